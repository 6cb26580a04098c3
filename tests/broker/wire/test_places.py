"""Who has a place, and who makes way."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.wire.places import Places


class Guest:
    def __init__(self, host: str = "10.0.0.1", *, stranger: bool = True) -> None:
        self.host = host
        self.is_stranger = stranger
        self.told: ProtocolError | None = None

    def make_way(self, error: ProtocolError) -> None:
        self.told = error


def crowd(places: Places[Guest], *guests: Guest) -> list[Guest]:
    for guest in guests:
        assert places.enter(guest) is None
    return list(guests)


def test_a_stranger_makes_way_for_who_comes() -> None:
    places: Places[Guest] = Places(3, 0)
    first, second, third = crowd(places, Guest(), Guest(), Guest())
    assert places.enter(Guest()) is None
    assert (bool(first.told), second.told, third.told) == (True, None, None)
    places.leave(first)
    assert len(places) == 3
    assert places.refused == 1


def test_nobody_who_has_logged_in_does() -> None:
    places: Places[Guest] = Places(2, 0)
    crowd(places, Guest(stranger=False), Guest(stranger=False))
    newcomer = Guest()
    refusal = places.enter(newcomer)
    assert refusal is not None
    assert refusal.error_code is ErrorCode.LIMIT_EXCEEDED
    assert len(places) == 3, "it is there until it has been told"
    places.leave(newcomer)
    assert places.refused == 1


def test_the_address_with_most_strangers_loses_one() -> None:
    places: Places[Guest] = Places(5, 0)
    alone = Guest("10.0.0.9")
    crowd(places, alone, *(Guest("10.6.6.6") for _ in range(4)))
    for _ in range(100):
        assert places.enter(Guest("10.6.6.6")) is None
    assert alone.told is None


def test_an_address_may_have_its_limit() -> None:
    places: Places[Guest] = Places(100, 2)
    first, _ = crowd(places, Guest("a"), Guest("a", stranger=False))
    crowd(places, Guest("b"), Guest("b"))
    assert places.enter(Guest("a", stranger=False)) is None
    assert first.told is not None
    assert places.enter(Guest("a")) is not None


def test_an_opening_hands_its_place_over() -> None:
    places: Places[Guest] = Places(1, 0)
    (opening,) = crowd(places, Guest())
    connection = Guest()
    places.hand_over(opening, connection)
    assert list(places) == [connection]
    connection.is_stranger = False
    assert places.enter(Guest()) is not None
    places.leave(connection)
    assert places.enter(Guest()) is None


def test_nothing_is_remembered_of_who_has_gone() -> None:
    places: Places[Guest] = Places(10, 0)
    for number in range(1000):
        guest = Guest(f"host-{number}")
        assert places.enter(guest) is None
        places.leave(guest)
    assert not len(places)
    assert not places._by_host
    assert not places._strangers
