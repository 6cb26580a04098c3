"""One reader of a source: what it is given, what it refuses, who shares it, how far it is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.house import WALL, Taker, Time, make_head

from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, stamp
from stompy_broker.routing.consumer import NotNow
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import NAMED, QueueIdentity
from stompy_broker.routing.message_source import MessageRun, MessageSource, RunReader
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reader_owner import ReaderOwner
from stompy_broker.routing.rejection import Rejection, Retries
from stompy_broker.routing.stream_choice import StreamChoice
from stompy_broker.routing.stream_reader import StreamReader
from stompy_broker.routing.terms import Terms

RUN = 4


class Source(MessageSource):
    """Messages in runs of a few, which are at hand at once or when `arrive` is called."""

    def __init__(self, *, late: bool = False, has_gaps: bool = True) -> None:
        super().__init__(0, 0, has_gaps=has_gaps)
        self.messages: list[ReaderMessage] = []
        self.late = late
        self.asked: dict[RunReader, None] = {}
        self.there: set[int] = set()
        self.waiting: dict[RunReader, None] = {}
        self.runs: dict[int, MessageRun] = {}

    def add(self, *bodies: str, **headers: str) -> None:
        for body in bodies:
            place = len(self.messages)
            head = make_head("/queue/s", **headers)
            message = ReaderMessage(place, 100 + place, head, body.encode(), stamp(WALL + place))
            self.messages.append(message)
        self.end = len(self.messages)
        waiting, self.waiting = self.waiting, {}
        for reader in waiting:
            reader.hand_out()

    def run_at(
        self, place: int, reader: RunReader, values: frozenset[str], unfiltered: bool
    ) -> MessageRun | None:
        place = max(place, self.first)
        if place >= self.end:
            self.wait(reader)
            return None
        start = place - place % RUN
        if self.late and start not in self.there:
            self.asked[reader] = None
            self.there.add(start)
            return None
        some = self.messages[start : start + RUN]
        run = self.runs.setdefault(start, MessageRun(some, start + len(some)))
        run.readers += 1
        return run

    def arrive(self) -> None:
        asked, self.asked = self.asked, {}
        for reader in asked:
            reader.hand_out()

    def wait(self, reader: RunReader) -> bool:
        self.waiting[reader] = None
        return False

    def leave(self, run: MessageRun) -> None:
        run.readers -= 1
        if not run.readers:
            self.runs = {start: one for start, one in self.runs.items() if one is not run}


class Owner(ReaderOwner):
    """Remembers what was given up, and what is kept."""

    def __init__(
        self, time: Time, source: Source, *, final: bool = False, **policy: object
    ) -> None:
        settings = Policy.model_validate({"match": "/queue/s", **policy})
        identity = QueueIdentity("/queue/s", "s", settings, *NAMED._replace(final=final))
        super().__init__(identity, source, Watermark(0), time.clock)
        self.given_up: list[tuple[int, str, str]] = []
        self.kept: list[int] = []
        self.full = False

    def give_up(self, message: ReaderMessage, cause: str, reason: str) -> bool:
        if not self.full:
            self.given_up.append((message.place, cause, reason))
        return not self.full

    def keep_place(self, name: str, place: int) -> None:
        self.kept.append(place)


@pytest.fixture(params=[True, False], autouse=True)
def gaps(request: pytest.FixtureRequest) -> None:
    """Have messages of a source go one by one, or only the first ones."""
    House.has_gaps = request.param


class House:
    """A source, whose messages one reader reads."""

    has_gaps = True

    def __init__(
        self,
        *bodies: str,
        name: str = "",
        late: bool = False,
        choice: StreamChoice | None = None,
        final: bool = False,
        **policy: object,
    ) -> None:
        self.time = Time()
        self.source = Source(late=late, has_gaps=self.has_gaps)
        self.source.add(*bodies)
        self.owner = Owner(self.time, self.source, final=final, **policy)
        self.reader = StreamReader(self.owner, 1, choice, name)
        self.reader.put_at(0)

    def take(self, room: int = 100, *, auto: bool = False, terms: Terms | None = None) -> Taker:
        taker = Taker(room, auto=auto)
        taker.terms = terms or taker.terms
        self.reader.come(taker)
        self.reader.resume(taker)
        return taker

    def refuse(self, message: Message, rejection: Rejection = Rejection()) -> None:  # noqa: B008
        assert isinstance(message, ReaderMessage)
        self.reader.reject(message, rejection)

    def leave(self, taker: Taker, messages: Sequence[Message] = (), *, lost: bool = False) -> None:
        self.reader.go(taker)
        self.reader.give_back(
            [one for one in messages if isinstance(one, ReaderMessage)], lost=lost
        )

    def give_room(self, taker: Taker, room: int = 100) -> None:
        taker.room = room
        self.reader.resume(taker)


def bodies(taker: Taker) -> str:
    return "".join(one.body.decode() for one in taker.taken if one.body is not None)


def test_it_gives_everything_in_order_and_then_what_comes() -> None:
    house = House(*"abcdefghij")
    one = house.take(auto=True)
    assert bodies(one) == "abcdefghij"
    house.source.add("k")
    assert bodies(one) == "abcdefghijk"
    assert house.reader.place == 11


def test_credit_is_never_exceeded_and_nothing_is_passed_over() -> None:
    house = House(*"abcdefghij")
    one = house.take(3)
    assert bodies(one) == "abc"
    house.reader.accept_all(one.taken[:2])
    house.give_room(one, 2)
    assert bodies(one) == "abcde"
    assert house.reader.first_unsettled == 2


def test_what_is_read_from_elsewhere_is_waited_for() -> None:
    house = House(*"abcdefghij", late=True)
    one = house.take()
    assert not one.taken
    for _ in range(3):
        house.source.arrive()
    assert bodies(one) == "abcdefghij"


def test_everybody_has_an_object_to_settle_and_shares_the_wire_form() -> None:
    house = House(*"abc")
    other = StreamReader(house.owner, 2)
    other.put_at(0)
    first = house.take(2)
    second = Taker(10)
    other.come(second)
    other.resume(second)
    assert first.taken[1] is not second.taken[1]
    assert second.taken[1].shared_tail is not None
    house.reader.accept_all(first.taken[:])
    house.give_room(first)
    assert first.taken[2].shared_tail is second.taken[2].shared_tail


def test_memory_counts_what_is_not_settled() -> None:
    house = House(*"abc")
    one = house.take()
    size = sum(message.size for message in one.taken)
    assert house.owner.memory.used == size
    house.reader.accept_all(one.taken[:1])
    house.refuse(one.taken[1], Rejection(delay=5))
    assert house.owner.memory.used == size - one.taken[0].size
    house.leave(one, one.taken[2:])
    assert house.owner.memory.used == 0
    assert house.reader.is_over


# -- what is refused -------------------------------------------------------------------------


def test_what_is_refused_comes_again_and_is_not_passed() -> None:
    house = House(*"abcdef")
    one = house.take(2)
    house.refuse(one.taken[0], Rejection(delay=10))
    house.give_room(one)
    assert bodies(one) == "ab"  # whatever room there is
    house.time.advance(9)
    assert bodies(one) == "ab"
    house.time.advance(1)
    assert bodies(one) == "abacdef"
    again = one.taken[2]
    assert again.deliveries == again.failures == 1
    assert house.reader.redelivered == 1


def test_what_is_refused_behind_another_one_waits_for_that() -> None:
    house = House(*"abcd")
    one = house.take(2)
    house.refuse(one.taken[1], Rejection(delay=0))
    house.refuse(one.taken[0], Rejection(delay=3))
    house.give_room(one)
    assert bodies(one) == "ab"
    house.time.advance(3)
    assert bodies(one) == "ababcd"


def test_delays_grow_as_the_policy_says() -> None:
    house = House("a", "b", redelivery_delay=1.0, max_deliveries=4)
    one = house.take(1)
    times = []
    for _ in range(4):
        house.refuse(one.taken[-1])
        house.give_room(one, 1)
        while one.room and house.owner.given_up == []:
            house.time.advance(0.5)
        times.append(house.time.now)
    assert times == [0.0, 1.0, 3.0, 3.0]
    assert house.owner.given_up == [(0, "nack", "")]
    assert bodies(one) == "aaaab"


def test_the_subscription_may_say_how_often() -> None:
    house = House("a", "b")
    one = house.take(1)
    rejection = Rejection(retries=Retries(most=1, first=0.0))
    for _ in range(2):
        house.refuse(one.taken[-1], rejection)
        house.give_room(one, 1)
    assert house.owner.given_up == [(0, "nack", "")]
    assert bodies(one) == "aab"


def test_a_dead_letter_is_made_and_the_reader_goes_on() -> None:
    house = House(*"abc", name="n")
    one = house.take(1)
    house.refuse(one.taken[0], Rejection(requeue=False, reason="why"))
    house.give_room(one)
    assert house.owner.given_up == [(0, "rejected", "why")]
    assert bodies(one) == "abc"
    assert house.reader.kept == 1


def test_a_dead_letter_queue_gives_nothing_up() -> None:
    house = House("a", final=True, max_deliveries=1)
    one = house.take()
    house.refuse(one.taken[0], Rejection(requeue=False))
    house.refuse(one.taken[1], Rejection(delay=0))
    assert bodies(one) == "aaa"
    assert not house.owner.given_up


def test_what_cannot_be_given_up_is_tried_again() -> None:
    house = House("a", "b")
    one = house.take(1)
    house.owner.full = True
    house.refuse(one.taken[0], Rejection(requeue=False))
    house.give_room(one, 1)
    assert bodies(one) == "a"
    house.owner.full = False
    house.time.advance(60)
    assert bodies(one) == "aa"
    house.refuse(one.taken[1], Rejection(requeue=False))
    house.give_room(one)
    assert bodies(one) == "aab"


def test_a_consumer_that_takes_nothing_now_loses_nothing() -> None:
    class Shy(Taker):
        shy = True

        def deliver(self, message: Message) -> bool:
            if self.shy:
                raise NotNow
            return super().deliver(message)

    house = House("a", "b")
    one = Shy(10)
    house.reader.come(one)
    house.reader.resume(one)
    assert not one.waiting
    assert (house.reader.unacked, house.owner.memory.used, house.reader.place) == (0, 0, 0)
    one.shy = False
    house.reader.resume(one)
    assert bodies(one) == "ab"
    house.refuse(one.taken[0], Rejection(delay=0))
    one.shy = True
    house.refuse(one.taken[1], Rejection(delay=0))
    one.shy = False
    house.reader.resume(one)
    assert bodies(one) == "abaab"[:3] + "b"


def test_a_message_that_cannot_be_written_is_passed_over() -> None:
    class Faulty(Taker):
        def deliver(self, message: Message) -> bool:
            if message.body == b"b":
                raise ValueError("no")
            return super().deliver(message)

    house = House(*"abc", name="n")
    one = Faulty(10)
    house.reader.come(one)
    house.reader.resume(one)
    assert bodies(one) == "ac"
    assert house.owner.given_up == [(1, "unwritable", "ValueError: no")]
    house.reader.accept_all(one.taken)
    assert house.reader.kept == 3


# -- names, and how far it is ----------------------------------------------------------------


def test_the_kept_place_is_behind_the_last_one_settled_without_a_gap() -> None:
    house = House(*"abcd", name="n")
    one = house.take()
    house.reader.accept_all([one.taken[2], one.taken[1]])
    assert house.reader.kept <= 0
    house.reader.accept_all([one.taken[0]])
    assert house.reader.kept == 3
    house.refuse(one.taken[3], Rejection(delay=0))
    assert house.reader.kept == 3
    house.reader.accept_all([one.taken[-1]])
    assert house.reader.kept == 4


def test_without_acknowledgement_it_is_kept_after_writing() -> None:
    house = House(*"abcd", name="n")
    house.take(auto=True)
    assert house.owner.kept[-1] == 4


def test_who_comes_back_is_given_what_was_not_settled() -> None:
    house = House(*"abcdef", name="n")
    one = house.take(5)
    house.reader.accept_all([one.taken[0], one.taken[3]])
    house.leave(one, [one.taken[1], one.taken[2], one.taken[4]], lost=True)
    assert house.owner.memory.used == 0
    two = house.take()
    assert bodies(two) == "bcef"
    assert [message.failures for message in two.taken] == [1, 0, 0, 0]
    assert [message.redelivery is not None for message in two.taken] == [True] * 3 + [False]
    house.reader.accept_all(two.taken)
    assert house.reader.kept == 6


def test_a_delay_outlives_the_consumer() -> None:
    house = House(*"ab", name="n")
    one = house.take()
    house.refuse(one.taken[0], Rejection(delay=10))
    house.leave(one, one.taken[1:])
    two = house.take()
    assert not two.taken
    house.time.advance(10)
    assert bodies(two) == "ab"


def test_who_is_lost_again_and_again_over_a_message_does_not_get_it_for_ever() -> None:
    house = House(*"ab", name="n", max_deliveries=3)
    for _ in range(3):
        one = house.take(1)
        house.leave(one, one.taken, lost=True)
    assert house.owner.given_up == [(0, "delivery_limit", "")]
    assert bodies(house.take()) == "b"


def test_what_is_settled_after_its_consumer_went_counts() -> None:
    house = House(*"abc", name="n")
    one = house.take()
    house.leave(one, one.taken[1:])
    house.reader.accept_all(one.taken[:1])
    house.reader.give_back((), lost=False)
    assert bodies(house.take()) == "bc"
    assert house.reader.kept == 1


def test_going_elsewhere_forgets_what_was_given() -> None:
    house = House(*"abcd", name="n")
    one = house.take(2)
    house.refuse(one.taken[1], Rejection(delay=100))
    house.reader.seek(3, 2)
    assert house.reader.kept == 3
    house.reader.accept_all(one.taken[:1])
    assert house.reader.kept == 3
    house.give_room(one)
    assert bodies(one) == "abd"
    assert house.owner.memory.used == one.taken[2].size


# -- several under one name ------------------------------------------------------------------


def test_those_who_share_get_each_message_once() -> None:
    house = House(name="n")
    one, two = house.take(), house.take()
    house.source.add(*"abcdef")
    assert sorted(bodies(one) + bodies(two)) == list("abcdef")
    assert len(one.taken) == len(two.taken) == 3
    house.leave(one, one.taken)
    assert sorted(bodies(two)) == list("abcdef")


def test_of_those_who_share_the_highest_priority_goes_first() -> None:
    house = House(name="n")
    house.take()
    high = house.take(2, terms=Terms(priority=5))
    house.source.add(*"abc")
    assert bodies(high) == "ab"


def test_one_of_a_name_is_active_and_the_next_takes_over() -> None:
    house = House(name="n")
    single = Terms(single_active=True)
    one, two = house.take(2, terms=single), house.take(terms=single)
    house.source.add(*"abc")
    assert (bodies(one), bodies(two)) == ("ab", "")
    assert house.reader.active == one.number
    house.leave(one, one.taken)
    house.time.advance(1)
    assert bodies(two) == "abc"
    assert house.reader.active == two.number


# -- choices ---------------------------------------------------------------------------------


def test_only_what_matches_is_given_and_the_place_goes_on() -> None:
    house = House(name="n", choice=StreamChoice("k = 'v'"))
    one = house.take(auto=True)
    house.source.add("a", k="v")
    house.source.add(*"bcdefgh", k="w")
    house.source.add("i", k="v")
    assert bodies(one) == "ai"
    assert house.reader.kept == 9


@pytest.mark.parametrize(("unfiltered", "expected"), [(False, "ac"), (True, "acd")])
def test_filter_values_are_exact(unfiltered: bool, expected: str) -> None:
    house = House(choice=StreamChoice("", frozenset({"x", "z"}), unfiltered))
    for body, value in (("a", "x"), ("b", "xy"), ("c", "z")):
        house.source.add(body, **{"x-stream-filter-value": value})
    house.source.add("d")
    assert bodies(house.take()) == expected


def test_passing_over_very_much_lets_others_have_their_turn() -> None:
    house = House(*["a"] * 5000, choice=StreamChoice("k = 'v'"))
    one = house.take()
    house.source.add("b", k="v")
    assert house.reader.place < 5000
    for _ in range(10):
        house.time.advance(0)
    assert bodies(one) == "b"


def test_who_has_gone_is_given_nothing() -> None:
    house = House()
    one = house.take()
    house.reader.stand_back((one,))
    house.source.add("a")
    assert not one.taken
    house.reader.resume(one)
    assert bodies(one) == "a"
    house.reader.close()
    house.source.add("b")
    assert bodies(one) == "a"
    assert house.owner.memory.used == one.taken[0].size  # it has it yet


def test_nobody_is_given_anything_while_it_is_paused() -> None:
    house = House("a")
    house.owner.paused = True
    one = house.take()
    assert not one.taken
    house.owner.paused = False
    house.reader.hand_out()
    assert bodies(one) == "a"
