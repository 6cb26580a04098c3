"""Last-value queues: what takes the place of what, in a queue and on its disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.house import Taker, browsed, figures, raise_refusal
from tests.support.storage import Shelf, short_wal

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.interface import GiveUp, Queue, Remove
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router

POLICY = Policy(match="/queue/q", last_value_key="symbol", redelivery_delay=0, max_deliveries=-1)
QUEUE = Destination(DestinationKind.QUEUE, "q", is_pattern=False)

AGAIN = Rejection(requeue=True, failed=True)


class House:
    """A broker's queue ``q`` on a store, and who consumes from it."""

    def __init__(self, policy: Policy = POLICY, directory: Path | None = None) -> None:
        self.policy = policy
        self.shelf = Shelf(directory)
        self.router: Router = self.shelf.route(policy)
        self.refused: list[ProtocolError] = []

    @property
    def queue(self) -> Queue:
        return self.router.queue("q")

    def send(self, key: str, body: str, **headers: str) -> None:
        """Send a message; an empty key is none."""
        told = {"destination": "/queue/q", **headers, **({"symbol": key} if key else {})}
        head = MessageHead.from_headers(told)
        self.router.publish(QUEUE, head, body.encode(), None, self.refused.append)

    def moment(self, seconds: float = 0.0) -> None:
        """Let the queue do what it does in a moment."""
        self.shelf.turns.end()
        self.shelf.turns.time.advance(seconds)
        self.shelf.turns.end()

    def taker(self, room: int = 1000, *, auto: bool = False, selector: str = "") -> Taker:
        taker = Taker(room, auto=auto, selector=selector)
        self.queue.attach(taker, raise_refusal)
        self.queue.resume(taker)
        self.moment()
        return taker

    def waiting(self) -> list[str]:
        """The bodies of what waits, next one first."""
        found = browsed(self.queue)
        self.shelf.load(*[message for message in found if message.body is None])
        return [text(message) for message in found]

    def restart(self) -> None:
        """Begin anew with what is on disk."""
        self.shelf.sync()
        self.shelf.reopen()
        self.router = self.shelf.route(self.policy)
        self.moment()


def text(message: Message) -> str:
    assert message.body is not None
    return message.body.decode()


def bodies(taker: Taker) -> list[str]:
    return [text(message) for message in taker.taken]


@pytest.fixture(params=["memory", "sqlite"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with short_wal():
        house = House(directory=tmp_path if request.param == "sqlite" else None)
        yield house
        house.shelf.close()


def make(**settings: object) -> House:
    return House(Policy.model_validate({**POLICY.model_dump(), **settings}))


# -- what waits -----------------------------------------------------------------------------------


def test_the_last_of_each_key_waits_at_the_end(house: House) -> None:
    for key, body in (("A", "a1"), ("B", "b1"), ("A", "a2"), ("C", "c1"), ("B", "b2")):
        house.send(key, body)
    assert house.waiting() == ["a2", "c1", "b2"]
    told = figures(house.queue)
    assert (told.ready, told.replaced, told.dropped, told.keys) == (3, 2, 0, 3)
    assert (told.published, told.removed, told.expired) == (5, 0, 0)
    house.restart()
    assert house.waiting() == ["a2", "c1", "b2"]
    assert figures(house.queue).keys == 3


def test_or_at_the_place_of_the_old_one(tmp_path: Path) -> None:
    for directory in (None, tmp_path):
        house = House(POLICY.model_copy(update={"last_value_position": "place"}), directory)
        for key, body in (("A", "a1"), ("B", "b1"), ("A", "a2"), ("C", "c1"), ("B", "b2")):
            house.send(key, body)
        assert house.waiting() == ["a2", "b2", "c1"]
        ids = [message.message_id for message in browsed(house.queue)]
        assert len(set(ids)) == 3
        house.restart()
        assert house.waiting() == ["a2", "b2", "c1"]
        assert [message.message_id for message in browsed(house.queue)] == ids
        house.send("A", "a3")
        house.send("A", "a4")
        assert house.waiting() == ["a4", "b2", "c1"]
        house.restart()
        assert house.waiting() == ["a4", "b2", "c1"]
        taker = house.taker()
        assert bodies(taker) == ["a4", "b2", "c1"]
        for message in taker.taken:
            house.queue.settle(message)
        house.restart()
        assert house.waiting() == []
        house.shelf.close()


def test_without_a_key_all_is_as_ever(house: House) -> None:
    for key, body in (("", "1"), ("A", "a1"), ("", "2"), ("A", "a2"), ("", "2")):
        house.send(key, body)
    assert house.waiting() == ["1", "2", "a2", "2"]
    assert figures(house.queue).keys == 1


def test_what_comes_at_once_goes_out_as_one() -> None:
    house = House()
    taker = house.taker()
    for number in range(10):
        house.send("A", f"a{number}")
    house.send("B", "b")
    house.moment()
    assert bodies(taker) == ["a9", "b"]
    house.send("A", "more")
    house.moment()
    assert bodies(taker) == ["a9", "b", "more"]
    for message in taker.taken:
        house.queue.settle(message)
    assert figures(house.queue).keys == 0


# -- what is with a consumer ----------------------------------------------------------------------


def test_what_a_consumer_has_stays(house: House) -> None:
    house.send("A", "a1")
    taker = house.taker(1)
    house.send("A", "a2")
    house.send("A", "a3")
    assert house.waiting() == ["a3"]
    told = figures(house.queue)
    assert (told.ready, told.unacked, told.replaced, told.keys) == (1, 1, 1, 1)
    house.queue.settle(taker.taken[0])
    assert (figures(house.queue).acked, house.waiting()) == (1, ["a3"])


def test_what_comes_back_goes_if_a_newer_one_is_there(house: House) -> None:
    house.send("A", "a1")
    taker = house.taker(1)
    house.send("A", "a2")
    house.queue.settle(taker.taken[0], AGAIN)
    assert house.waiting() == ["a2"]
    told = figures(house.queue)
    assert (told.replaced, told.nacked, told.unacked, told.dead_lettered) == (1, 1, 0, 0)
    house.restart()
    assert house.waiting() == ["a2"]


def test_or_if_a_consumer_has_the_newer_one(house: House) -> None:
    house.send("A", "a1")
    first = house.taker(1)
    house.send("A", "a2")
    second = house.taker(1)
    assert bodies(second) == ["a2"]
    house.queue.detach(first, first.taken, lost=True)
    assert house.waiting() == []
    assert figures(house.queue).replaced == 1
    house.queue.detach(second, second.taken)
    assert house.waiting() == ["a2"]


def test_it_waits_again_if_the_newer_one_is_gone(house: House) -> None:
    house.send("A", "a1")
    first = house.taker(1)
    house.send("A", "a2")
    second = house.taker(1)
    house.queue.settle(second.taken[0])
    house.queue.settle(first.taken[0], AGAIN)
    assert house.waiting() == ["a1"]
    house.send("A", "a3")
    assert house.waiting() == ["a3"]


def test_what_waits_for_its_time_is_replaced(house: House) -> None:
    house.send("A", "a1")
    house.send("B", "b1")
    taker = house.taker(2)
    later = Rejection(requeue=True, failed=True, delay=60.0)
    for message in taker.taken:
        house.queue.settle(message, later)
    assert figures(house.queue).delayed == 2
    house.send("A", "a2")
    told = figures(house.queue)
    assert (told.delayed, told.ready, told.replaced) == (1, 1, 1)
    assert house.waiting() == ["a2", "b1"]
    house.restart()
    assert house.waiting() == ["a2", "b1"]
    house.moment(61.0)
    assert figures(house.queue).delayed == 0
    assert house.waiting() == ["b1", "a2"]


def test_what_was_given_up_meanwhile_is_not_replaced() -> None:
    house = House()
    house.send("A", "a1")
    taker = house.taker(1)
    house.queue.settle(taker.taken[0], Rejection(requeue=True, failed=True, delay=60.0))
    (message,) = browsed(house.queue)
    house.queue.control(GiveUp(frozenset((message.sequence,)), "removed"))
    house.send("A", "a2")
    assert house.waiting() == ["a2"]
    assert figures(house.queue).replaced == 0
    assert figures(house.router.queue("DLQ.q")).ready == 1


def test_taken_out_ones_that_wait_for_their_time_do_not_pile_up() -> None:
    house = House()
    later = Rejection(requeue=True, failed=False, delay=3600.0)
    taker = house.taker(10**6)
    for number in range(1000):
        house.send("A", str(number))
        house.moment()
        house.queue.settle(taker.taken[-1], later)
    told = figures(house.queue)
    assert (told.delayed, told.replaced, told.ready) == (1, 999, 0)
    assert house.waiting() == ["999"]
    house.moment(3601.0)
    assert bodies(taker)[-1] == "999"
    assert len(taker.taken) == 1001


# -- with all the rest ----------------------------------------------------------------------------


def test_a_priority_is_that_of_the_new_one() -> None:
    house = House()
    house.send("A", "a1", priority="9")
    house.send("B", "b1")
    house.send("C", "c1", priority="1")
    assert house.waiting() == ["a1", "b1", "c1"]
    house.send("A", "a2", priority="0")
    house.send("C", "c2", priority="9")
    assert house.waiting() == ["c2", "b1", "a2"]


def test_an_end_is_that_of_the_new_one() -> None:
    house = House()
    house.send("A", "a1", ttl="500")
    house.send("B", "b1", ttl="500")
    house.send("A", "a2")
    house.moment(2.0)
    assert house.waiting() == ["a2"]
    told = figures(house.queue)
    assert (told.expired, told.replaced, told.keys) == (1, 1, 1)
    house.send("B", "b2")
    assert house.waiting() == ["a2", "b2"]


def test_selectors_choose_among_the_last_values() -> None:
    house = House()
    taker = house.taker(selector="kind = 'x'")
    house.send("A", "a1", kind="x")
    house.send("A", "a2", kind="y")
    house.moment()
    assert bodies(taker) == []
    house.send("A", "a3", kind="x")
    house.moment()
    assert bodies(taker) == ["a3"]
    assert house.waiting() == []


def test_groups_go_on_as_ever() -> None:
    house = House()
    for body in ("a1", "a2"):
        house.send("A", body, JMSXGroupID="g")
    house.send("B", "b1", JMSXGroupID="g")
    house.send("A", "a3", JMSXGroupID="g")
    assert house.waiting() == ["b1", "a3"]
    first, second = house.taker(1), house.taker(1)
    assert bodies(first) == ["b1"]
    house.send("B", "b2", JMSXGroupID="g")
    house.queue.settle(first.taken[0], AGAIN)
    first.room = 2
    house.queue.resume(first)
    house.moment()
    assert bodies(first) == ["b1", "a3", "b2"]
    assert bodies(second) == []
    for message in first.taken[1:]:
        house.queue.settle(message)
    assert (figures(house.queue).keys, figures(house.queue).unacked) == (0, 0)


def test_a_full_queue_takes_what_replaces() -> None:
    house = make(max_length=2, overflow="reject-publish")
    for key in ("A", "B", "C"):
        house.send(key, key)
    assert [error.code for error in house.refused] == [ErrorCode.QUEUE_FULL]
    house.send("A", "again")
    assert len(house.refused) == 1
    assert house.waiting() == ["B", "again"]


def test_and_pushes_nothing_out_for_it() -> None:
    house = make(ring_size=2)
    for body in ("A1", "B1", "A2", "B2", "B3", "C1"):
        house.send(body[0], body)
    assert house.waiting() == ["B3", "C1"]
    told = figures(house.queue)
    assert (told.replaced, told.dropped, told.keys) == (3, 1, 2)


def test_what_is_removed_has_no_key_any_more(house: House) -> None:
    house.send("A", "a1")
    (message,) = browsed(house.queue)
    house.queue.control(Remove(frozenset((message.sequence,))))
    assert figures(house.queue).keys == 0
    house.send("A", "a2")
    assert (house.waiting(), figures(house.queue).replaced) == (["a2"], 0)


def test_dead_letters_all_stay() -> None:
    house = make(match="/queue/>")
    for number in range(3):
        house.send("A", f"a{number}")
        taker = house.taker()
        house.queue.settle(taker.taken[0], Rejection(requeue=False, failed=True))
        house.queue.detach(taker)
    assert figures(house.router.queue("DLQ.q")).ready == 3


def test_policies_may_begin_and_end_with_it() -> None:
    house = House(Policy(match="/queue/q"))
    house.send("A", "old")
    house.router.policies.renew([POLICY])
    list(house.router.registry.renew_policies())
    for body in ("a1", "a2"):
        house.send("A", body)
    assert house.waiting() == ["old", "a2"]
    house.router.policies.renew([Policy(match="/queue/q")])
    list(house.router.registry.renew_policies())
    house.moment(1.0)
    house.send("A", "a3")
    assert house.waiting() == ["old", "a2", "a3"]
    assert figures(house.queue).keys == 0
    assert bodies(house.taker()) == ["old", "a2", "a3"]


def test_after_a_crash_the_newest_of_each_key_is_there(tmp_path: Path) -> None:
    with short_wal():
        house = House(directory=tmp_path / "one")
        house.send("A", "a1")
        taker = house.taker(1)
        house.send("A", "a2")
        house.send("B", "b1")
        assert bodies(taker) == ["a1"]
        house.shelf.sync()
        other = House(directory=house.shelf.copy(tmp_path / "two"))
        other.moment()
        assert other.waiting() == ["a2", "b1"]
        assert (figures(other.queue).ready, figures(other.queue).keys) == (2, 2)
        other.shelf.close()
        house.shelf.close()


# -- how much it costs ----------------------------------------------------------------------------


def lines_run(act: Callable[[], None]) -> int:
    """How many lines of Python an act takes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("position", ["end", "place"])
def test_a_replacement_costs_the_same_however_many_keys_there_are(position: str) -> None:
    """Counted, not timed: a search would take as many lines more as there are keys."""

    def cost(keys: int) -> float:
        house = make(last_value_position=position)
        for number in range(keys):
            house.send(f"k{number}", "first")
        # From the back, the middle and the front.
        order = [(number * 7919) % keys for number in range(500)]

        def send_all() -> None:
            for one in order:
                house.send(f"k{one}", "x")

        lines = lines_run(send_all)
        assert figures(house.queue).ready == keys
        assert figures(house.queue).replaced == 500
        return lines / 500

    few, many = cost(500), cost(20_000)
    assert many < 1.3 * few


# -- a model --------------------------------------------------------------------------------------


@dataclass(eq=False)
class Value:
    """A message as the model knows it; ``state``: waiting, later, held, or gone."""

    number: int
    key: str
    priority: int
    state: str = "waiting"
    due: float = 0.0
    holder: int = 0
    place: int = field(default=0)


class LastValueModel(RuleBasedStateMachine):
    """Of each key the newest message waits, and what comes back goes if there is a newer one."""

    def __init__(self) -> None:
        super().__init__()
        self.files = TemporaryDirectory()
        self.values: list[Value] = []
        self.replaced = 0

    @initialize(stored=st.booleans(), in_place=st.booleans())
    def begin(self, stored: bool, in_place: bool) -> None:
        self.in_place = in_place
        update = {"last_value_position": "place" if in_place else "end"}
        directory = Path(self.files.name) if stored else None
        with short_wal():
            self.house = House(POLICY.model_copy(update=update), directory)
        self.takers: list[Taker] = []
        self.held: dict[int, tuple[Taker, Message]] = {}

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.shelf.close()
        self.files.cleanup()

    # -- the model -----------------------------------------------------------------------------

    def there(self, key: str) -> list[Value]:
        """What is in the queue with a key, oldest first."""
        return [one for one in self.values if key and one.key == key and one.state != "gone"]

    def expected(self) -> list[int]:
        waiting = [one for one in self.values if one.state == "waiting"]
        return [one.number for one in sorted(waiting, key=lambda one: (-one.priority, one.place))]

    def comes_back(self, value: Value, due: float) -> None:
        if self.there(value.key)[-1:] not in ([], [value]):
            value.state = "gone"
            self.replaced += 1
        else:
            value.state, value.due = ("later", due) if due else ("waiting", 0.0)

    def take(self) -> None:
        """See what was delivered since: the first ones, whoever of the takers has which."""
        self.house.moment()
        found = [(taker, message) for taker in self.takers for message in taker.taken]
        numbers = [int(text(message)) for _, message in found]
        assert sorted(numbers) == sorted(self.expected()[: len(numbers)])
        for number, (taker, message) in zip(numbers, found, strict=True):
            self.values[number].state, self.values[number].due = "held", 0.0
            self.held[number] = (taker, message)
        for taker in self.takers:
            taker.taken.clear()

    # -- what happens --------------------------------------------------------------------------

    @rule(key=st.sampled_from(["", "A", "B", "C"]), priority=st.sampled_from([4, 4, 4, 9, 0]))
    def send(self, key: str, priority: int) -> None:
        new = Value(len(self.values), key, priority)
        new.place = new.number
        before = self.there(key)[-1:]
        if before and before[0].state in ("waiting", "later"):
            before[0].state = "gone"
            self.replaced += 1
            if self.in_place:
                new.place = before[0].place
        self.values.append(new)
        self.house.send(key, str(new.number), priority=str(priority))

    @rule(room=st.integers(1, 3))
    def come(self, room: int) -> None:
        if len(self.takers) < 3:
            self.take()
            self.takers.append(self.house.taker(room))
            self.take()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.takers:
            self.take()
            taker = data.draw(st.sampled_from(self.takers))
            self.takers.remove(taker)
            back = [number for number, (one, _) in self.held.items() if one is taker]
            messages = [self.held.pop(number)[1] for number in back]
            for number in back:
                self.comes_back(self.values[number], 0.0)
            self.house.queue.detach(taker, messages, lost=data.draw(st.booleans()))
            self.take()

    @rule(data=st.data(), how=st.sampled_from(["ack", "again", "later"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        self.take()
        if self.held:
            number = data.draw(st.sampled_from(sorted(self.held)))
            taker, message = self.held.pop(number)
            value = self.values[number]
            if how == "ack":
                value.state = "gone"
                self.house.queue.settle(message)
            else:
                seconds = 30.0 if how == "later" else 0.0
                due = self.house.shelf.turns.time.now + seconds if seconds else 0.0
                self.comes_back(value, due)
                self.house.queue.settle(
                    message, Rejection(requeue=True, failed=False, delay=seconds)
                )
            taker.room += 1
            self.house.queue.resume(taker)
            self.take()

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.take()
        now = self.house.shelf.turns.time.now + seconds
        for value in self.values:
            if value.state == "later" and value.due <= now:
                value.state = "waiting"
        self.house.moment(seconds)
        self.take()

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.take()
        found = browsed(self.house.queue)
        if found:
            message = data.draw(st.sampled_from(found))
            self.house.shelf.load(*([message] if message.body is None else []))
            self.values[int(text(message))].state = "gone"
            self.house.queue.control(Remove(frozenset((message.sequence,))))

    @rule()
    def restart(self) -> None:
        self.take()
        self.house.restart()
        self.takers, self.held = [], {}
        # What consumers had waits again, unless there is a newer one.
        for value in self.values:
            if value.state == "held":
                value.state = "waiting"
            elif value.state == "waiting" and value.due:
                # The clock begins anew, and the wall with it: what was due then is due then again.
                value.state = "later"
        for value in self.values:
            if value.state != "gone" and value.key and self.there(value.key)[-1] is not value:
                value.state = "gone"
        self.replaced = figures(self.house.queue).replaced

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "house"):
            return
        self.take()
        told = figures(self.house.queue)
        assert told.ready == len(self.expected())
        assert told.delayed == sum(one.state == "later" for one in self.values)
        assert told.unacked == len(self.held)
        assert told.replaced == self.replaced
        assert told.keys == len({one.key for one in self.values if one.key and one.state != "gone"})
        ready = self.house.waiting()[: told.ready]
        assert [int(body) for body in ready] == self.expected()


TestLastValues = LastValueModel.TestCase
TestLastValues.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
