"""Who has a place, and who makes way."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.wire.connection_limits import ConnectionLimits


class Client:
    def __init__(self, host: str = "10.0.0.1", *, stranger: bool = True) -> None:
        self.host = host
        self.before_connect = stranger
        self.told: ProtocolError | None = None

    def evict(self, error: ProtocolError) -> None:
        self.told = error


def crowd(limits: ConnectionLimits[Client], *guests: Client) -> list[Client]:
    for guest in guests:
        assert limits.admit(guest) is None
    return list(guests)


def test_a_stranger_makes_way_for_who_comes() -> None:
    limits: ConnectionLimits[Client] = ConnectionLimits(3, 0)
    first, second, third = crowd(limits, Client(), Client(), Client())
    assert limits.admit(Client()) is None
    assert (bool(first.told), second.told, third.told) == (True, None, None)
    limits.remove(first)
    assert len(limits) == 3
    assert limits.refused == 1


def test_nobody_who_has_logged_in_does() -> None:
    limits: ConnectionLimits[Client] = ConnectionLimits(2, 0)
    crowd(limits, Client(stranger=False), Client(stranger=False))
    newcomer = Client()
    refusal = limits.admit(newcomer)
    assert refusal is not None
    assert refusal.error_code is ErrorCode.LIMIT_EXCEEDED
    assert len(limits) == 3, "it is there until it has been told"
    limits.remove(newcomer)
    assert limits.refused == 1


def test_the_address_with_most_strangers_loses_one() -> None:
    limits: ConnectionLimits[Client] = ConnectionLimits(5, 0)
    alone = Client("10.0.0.9")
    crowd(limits, alone, *(Client("10.6.6.6") for _ in range(4)))
    for _ in range(100):
        assert limits.admit(Client("10.6.6.6")) is None
    assert alone.told is None


def test_an_address_may_have_its_limit() -> None:
    limits: ConnectionLimits[Client] = ConnectionLimits(100, 2)
    first, _ = crowd(limits, Client("a"), Client("a", stranger=False))
    crowd(limits, Client("b"), Client("b"))
    assert limits.admit(Client("a", stranger=False)) is None
    assert first.told is not None
    assert limits.admit(Client("a")) is not None


def test_an_opening_hands_its_place_over() -> None:
    limits: ConnectionLimits[Client] = ConnectionLimits(1, 0)
    (handshake,) = crowd(limits, Client())
    connection = Client()
    limits.replace(handshake, connection)
    assert list(limits) == [connection]
    connection.before_connect = False
    assert limits.admit(Client()) is not None
    limits.remove(connection)
    assert limits.admit(Client()) is None


def test_nothing_is_remembered_of_who_has_gone() -> None:
    limits: ConnectionLimits[Client] = ConnectionLimits(10, 0)
    for number in range(1000):
        guest = Client(f"host-{number}")
        assert limits.admit(guest) is None
        limits.remove(guest)
    assert not len(limits)
    assert not limits._by_host
    assert not limits._waiting
