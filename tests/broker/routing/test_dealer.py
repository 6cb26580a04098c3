"""Queues whose consumers choose: who gets which message, against an obvious model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.house import (
    WALL,
    Taker,
    Time,
    browsed,
    figures,
    make_head,
    make_message,
    make_router,
    take_part,
)

from stompy.admin.rows import Event
from stompy.errors import ErrorCode
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, stamp
from stompy_broker.routing.consumer import NotNow
from stompy_broker.routing.dealer import STEP
from stompy_broker.routing.interface import Close, Configure, Outcome, Queue, Remove, Withdraw
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.unmatched_watch import UNMATCHED_SECONDS
from stompy_broker.selectors.selector import compile_selector

TICK = 0.002
"""So long that work that is done in steps has its next turn."""

POLICY = Policy(match="q", max_deliveries=-1, redelivery_delay=0)


@dataclass
class Sent:
    """A message, as the model knows it."""

    sequence: int
    kind: str
    rank: int
    priority: int
    expires: int
    again: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """By what it is ordered."""
        return -self.priority, self.sequence


Takes = Callable[[Sent], bool]

SELECTORS: dict[str, Takes] = {
    "": lambda sent: True,
    "kind = 'a'": lambda sent: sent.kind == "a",
    "kind = 'b'": lambda sent: sent.kind == "b",
    "kind IN ('a', 'b')": lambda sent: sent.kind in "ab",
    "rank > 4": lambda sent: sent.rank > 4,
    "kind = 'c' AND rank BETWEEN 2 AND 7": lambda sent: sent.kind == "c" and 2 <= sent.rank <= 7,
    "JMSRedelivered = FALSE": lambda sent: not sent.again,
    "JMSPriority >= 5": lambda sent: sent.priority >= 5,
}


@dataclass(eq=False)
class Client:
    """A consumer, and what the model thinks that it has."""

    taker: Taker
    takes: Takes
    room: int
    got: list[int] = field(default_factory=list)
    holds: list[Sent] = field(default_factory=list)


class ChoosingMachine(RuleBasedStateMachine):
    """A queue, and a list beside it from which each consumer takes the first that it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.queue: Queue = make_router(self.time, POLICY).queue("q")
        self.last = 0
        self.waiting: list[Sent] = []
        self.delayed: list[tuple[float, Sent]] = []
        self.clients: list[Client] = []
        self.turns: list[Client] = []
        self.paused = False

    @property
    def wall(self) -> int:
        """Milliseconds since the epoch."""
        return WALL + int(self.time.now * 1000)

    # -- the model --------------------------------------------------------------------------

    def deal(self) -> None:
        """Give the first message that anybody wants to who waits longest of those that want it."""
        while not self.paused:
            for sent in sorted(self.waiting, key=lambda sent: sent.place):
                client = next((one for one in self.turns if one.takes(sent)), None)
                if client is not None:
                    break
            else:
                return
            self.waiting.remove(sent)
            client.got.append(sent.sequence)
            client.holds.append(sent)
            client.room -= 1
            self.turns.remove(client)
            if client.room:
                self.turns.append(client)

    def settle_down(self) -> None:
        """Let work be done that is done in steps; what is over meanwhile nobody gets any more."""
        self.let_time_pass()
        for _ in range(3):
            self.time.advance(TICK)
            self.let_time_pass()

    def let_time_pass(self) -> None:
        """Have what is due wait again, and forget what is over."""
        self.waiting += [sent for when, sent in self.delayed if when <= self.time.now]
        self.delayed = [(when, sent) for when, sent in self.delayed if when > self.time.now]
        self.waiting = [one for one in self.waiting if not self.is_over(one.expires)]
        self.delayed = [(w, one) for w, one in self.delayed if not self.is_over(one.expires)]
        self.deal()

    def is_over(self, expires: int) -> bool:
        """Whether something has ended."""
        return 0 < expires <= self.wall

    # -- what happens -----------------------------------------------------------------------

    @rule(
        kind=st.sampled_from("abc"),
        rank=st.integers(0, 9),
        priority=st.sampled_from([4, 4, 4, 4, 4, 9, 0]),
        lives=st.sampled_from([0, 0, 0, 7]),
    )
    def publish(self, kind: str, rank: int, priority: int, lives: int) -> None:
        """A message comes."""
        self.last += 1
        headers = {"kind": kind, "rank": str(rank)}
        if priority != 4:
            headers["priority"] = str(priority)
        message = make_message(self.last, **headers)
        message.expires = self.wall + lives * 1000 if lives else 0
        self.waiting.append(Sent(self.last, kind, rank, priority, message.expires))
        self.queue.publish(message)
        self.settle_down()

    @precondition(lambda self: len(self.clients) < 6)
    @rule(selector=st.sampled_from(sorted(SELECTORS)), room=st.integers(1, 3))
    def attach(self, selector: str, room: int) -> None:
        """A consumer comes."""
        client = Client(Taker(room, selector=selector), SELECTORS[selector], room)
        self.clients.append(client)
        self.turns.append(client)
        take_part(self.queue, client.taker)
        self.settle_down()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=st.integers(1, 3))
    def resume(self, data: st.DataObject, room: int) -> None:
        """A consumer has room for more."""
        client = data.draw(st.sampled_from(self.clients))
        client.room += room
        client.taker.room += room
        if client not in self.turns:
            self.turns.append(client)
        self.queue.resume(client.taker)
        self.settle_down()

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """A consumer wants nothing for now."""
        client = data.draw(st.sampled_from(self.turns))
        self.turns.remove(client)
        self.queue.control(Withdraw([client.taker]))
        self.settle_down()

    @precondition(lambda self: any(one.holds for one in self.clients))
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "later", "dead"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        """A delivery ends in some way."""
        client = data.draw(st.sampled_from([one for one in self.clients if one.holds]))
        sent = data.draw(st.sampled_from(client.holds))
        client.holds.remove(sent)
        message = next(m for m in reversed(client.taker.taken) if m.sequence == sent.sequence)
        if how == "ack":
            self.queue.settle(message)
        elif how == "dead":
            self.queue.settle(message, Rejection(requeue=False))
        else:
            sent.again = True
            if how == "nack":
                self.waiting.append(sent)
            else:
                self.delayed.append((self.time.now + 3, sent))
            self.queue.settle(message, Rejection(delay=0 if how == "nack" else 3))
        self.settle_down()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), lost=st.booleans())
    def detach(self, data: st.DataObject, lost: bool) -> None:
        """A consumer goes; what it has comes back."""
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        if client in self.turns:
            self.turns.remove(client)
        for sent in client.holds:
            sent.again = True
        self.waiting += client.holds
        held = {sent.sequence: sent for sent in client.holds}
        messages = {m.sequence: m for m in client.taker.taken if m.sequence in held}
        back = [messages[sequence] for sequence in sorted(messages)]
        self.queue.detach(client.taker, back, lost=lost)
        self.settle_down()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """An operator takes messages out."""
        gone = data.draw(st.lists(st.sampled_from(self.waiting), min_size=1, max_size=4))
        self.waiting = [sent for sent in self.waiting if sent not in gone]
        self.queue.control(Remove(frozenset(sent.sequence for sent in gone)))
        self.settle_down()

    @rule()
    def pause(self) -> None:
        """An operator pauses the queue, or lets it go on."""
        self.paused = not self.paused
        self.queue.control(Configure(QueueSettings(paused=self.paused)))
        self.settle_down()

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        """Time passes: what is delayed is due, what has a time to live ends."""
        self.time.advance(seconds)
        self.let_time_pass()
        self.settle_down()

    # -- what holds -------------------------------------------------------------------------

    @invariant()
    def each_got_what_the_model_says(self) -> None:
        """Every consumer has got the same messages, in the same order."""
        for client in self.clients:
            assert [message.sequence for message in client.taker.taken] == client.got

    @invariant()
    def the_queue_has_what_the_model_has(self) -> None:
        """What waits is the same, in the same order; and so are the figures."""
        figures(self.queue)  # what came while nobody waited is looked at when somebody asks
        self.settle_down()
        told = figures(self.queue)
        ordered = sorted(self.waiting, key=lambda sent: sent.place)
        later = {sent.sequence for _, sent in self.delayed}
        # What is over is taken out at most once a second.
        found = browsed(self.queue)
        shown = [message.sequence for message in found if not self.is_over(message.expires)]
        assert shown[: len(ordered)] == [sent.sequence for sent in ordered]
        assert set(shown[len(ordered) :]) == later
        over = len(found) - len(shown)
        assert len(ordered) <= told.ready <= len(ordered) + over
        assert told.unacked == sum(len(client.holds) for client in self.clients)
        chooses = any(client.taker.terms.selector for client in self.clients)
        nobody = [one for one in ordered if not any(c.takes(one) for c in self.clients)]
        assert 0 <= told.unmatched - (len(nobody) if chooses else 0) <= over
        for line in told.lines:
            takes = SELECTORS[line.selector]
            assert 0 <= line.ready - sum(map(takes, ordered)) <= over


TestChoosing = ChoosingMachine.TestCase
TestChoosing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# -- one thing at a time ------------------------------------------------------------------------


def settle(time: Time, steps: int = 5) -> None:
    """Let work be done that is done in steps."""
    for _ in range(steps):
        time.advance(TICK)


def test_a_long_queue_is_looked_through_in_steps() -> None:
    time = Time()
    queue = make_router(time, POLICY).queue("q")
    count = 5 * STEP
    blue, red = make_head(colour="blue"), make_head(colour="red")
    for number in range(1, count):
        queue.publish(Message(number, blue, b"", stamp(WALL)))
    queue.publish(Message(count, red, b"", stamp(WALL)))
    taker, plain = Taker(1, selector="colour = 'red'"), Taker(1)
    take_part(queue, taker)
    # Who takes everything waits for nobody; what comes meanwhile is not before what is there.
    take_part(queue, plain)
    queue.publish(Message(count + 1, red, b"", stamp(WALL)))
    assert [message.sequence for message in plain.taken] == [1]
    steps = 0
    while not taker.taken:
        settle(time, 1)
        steps += 1
        assert steps < 20
    assert steps >= 4
    assert [message.sequence for message in taker.taken] == [count]
    # A second selector finds its messages in what is sorted already.
    other = Taker(2, selector="colour <> 'red'")
    take_part(queue, other)
    settle(time, 1)
    assert [message.sequence for message in other.taken] == [2, 3]
    settle(time, 10)
    told = figures(queue)
    assert (told.ready, told.unmatched) == (count + 1 - 4, 0)
    assert {line.selector: line.ready for line in told.lines} == {
        "colour = 'red'": 1,
        "colour <> 'red'": count - 4,
    }
    queue.detach(plain, plain.taken)
    queue.detach(other, other.taken)
    settle(time, 10)
    assert figures(queue).unmatched == count - 1
    queue.detach(taker, taker.taken)
    settle(time, 10)
    assert figures(queue).lines == ()
    assert [message.sequence for message in browsed(queue)] == list(range(1, count + 2))


def test_a_selector_that_failed_is_told_with_what_it_did_not_take() -> None:
    time, told = Time(), list[Event]()
    router = make_router(time, POLICY)
    router.events.watch("queue.*", told.append)
    text = "colour = 'red' AND size = 7"
    compile_selector(text).matches(cast(Message, None))
    take_part(router.queue("q"), Taker(5, selector=text))
    router.queue("q").publish(make_message(1, colour="blue"))
    settle(time)
    time.advance(UNMATCHED_SECONDS)
    detail = told[-1].detail or {}
    assert list(cast(dict[str, str], detail["failed"])) == [text]


def test_it_is_told_when_nobody_takes_what_waits() -> None:
    time, told = Time(), list[Event]()
    router = make_router(time, POLICY)
    router.events.watch("queue.*", told.append)
    queue = router.queue("q")
    taker = Taker(5, selector="colour = 'red'")
    take_part(queue, taker)
    queue.publish(make_message(1, colour="blue"))
    settle(time)
    time.advance(UNMATCHED_SECONDS / 2)
    queue.publish(make_message(2, colour="red"))
    assert [message.sequence for message in taker.taken] == [2]
    told.clear()
    time.advance(UNMATCHED_SECONDS / 2)
    (event,) = told
    assert (event.type, event.destination) == ("queue.unmatched", "/queue/q")
    assert event.detail == {"unmatched": 1, "selectors": ["colour = 'red'"]}
    time.advance(10 * UNMATCHED_SECONDS)
    assert len(told) == 1
    # Once more only after somebody has taken it.
    plain = Taker(1)
    take_part(queue, plain)
    settle(time)
    assert [message.sequence for message in plain.taken] == [1]
    queue.detach(plain, plain.taken)
    settle(time)
    time.advance(UNMATCHED_SECONDS + 1)
    assert len(told) == 2


def test_what_pushes_out_the_oldest_pushes_it_out_of_all_lines() -> None:
    time = Time()
    policy = Policy(match="q", max_length=3, overflow="drop-head")
    queue = make_router(time, policy).queue("q")
    red, blue = Taker(1, selector="colour = 'red'"), Taker(1, selector="colour = 'blue'")
    for taker in (red, blue):
        take_part(queue, taker)
    for number, colour in enumerate("rrbrbbrr", 1):
        queue.publish(make_message(number, colour={"r": "red", "b": "blue"}[colour]))
        settle(time)
    assert [message.sequence for message in red.taken] == [1]
    assert [message.sequence for message in blue.taken] == [3]
    assert [message.sequence for message in browsed(queue)] == [6, 7, 8]
    figures(queue)
    settle(time)
    assert {line.selector: line.ready for line in figures(queue).lines} == {
        "colour = 'red'": 2,
        "colour = 'blue'": 1,
    }
    red.room = blue.room = 5
    queue.resume(red)
    queue.resume(blue)
    assert [message.sequence for message in red.taken] == [1, 7, 8]
    assert [message.sequence for message in blue.taken] == [3, 6]


class Unable(Taker):
    """A consumer to whom some messages cannot be written, or who has no room after all."""

    def __init__(self, error: type[Exception], *, auto: bool, selector: str) -> None:
        super().__init__(10, auto=auto, selector=selector)
        self.error = error
        self.bad = {1, 3}

    def deliver(self, message: Message) -> bool:
        """Take a message, or fail."""
        if message.sequence in self.bad:
            raise self.error
        return super().deliver(message)


@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_a_message_that_cannot_be_written_costs_nobody_else(auto: bool, early: bool) -> None:
    time = Time()
    router = make_router(time, POLICY)
    queue = router.queue("q")
    taker = Unable(ValueError, auto=auto, selector="colour = 'red'")
    if early:
        take_part(queue, taker)
    for number in range(1, 5):
        queue.publish(make_message(number, colour="red"))
    if not early:
        take_part(queue, taker)
    settle(time)
    assert [message.sequence for message in taker.taken] == [2, 4]
    assert figures(router.queue("DLQ.q")).ready == 2
    assert figures(queue).unacked == (0 if auto else 2)


@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_who_takes_nothing_just_now_loses_his_turn_only(auto: bool, early: bool) -> None:
    time = Time()
    queue = make_router(time, POLICY).queue("q")
    busy = Unable(NotNow, auto=auto, selector="colour = 'red'")
    ready = Taker(1, auto=auto, selector="colour IN ('red', 'blue')")
    if early:
        take_part(queue, busy)
        take_part(queue, ready)
    queue.publish(make_message(1, colour="red"))
    queue.publish(make_message(2, colour="red"))
    if not early:
        take_part(queue, busy)
        take_part(queue, ready)
    settle(time)
    assert not busy.waiting
    assert [message.sequence for message in ready.taken] == [1]
    busy.bad.clear()
    queue.resume(busy)
    settle(time)
    assert [message.sequence for message in busy.taken] == [2]
    told = figures(queue)
    assert (told.delivered, told.ready, told.unacked) == (2, 0, 0 if auto else 2)


def test_very_many_selectors_are_found_by_what_they_begin_with() -> None:
    time = Time()
    queue = make_router(time, POLICY).queue("q")
    takers = [Taker(9, selector=f"id = '{number}' AND n > 0") for number in range(100)]
    odd = Taker(9, selector="n > 98 OR id = 'x'")
    for taker in [*takers, odd]:
        take_part(queue, taker)
    settle(time)
    for number in range(100):
        queue.publish(make_message(number + 1, id=str(number), n=str(number)))
    queue.publish(make_message(101, id="x"))
    queue.publish(make_message(102, n="7"))
    assert [len(taker.taken) for taker in takers] == [0] + [1] * 99
    assert [message.sequence for message in odd.taken] == [101]
    assert [message.sequence for message in browsed(queue)] == [1, 102]
    told = figures(queue)
    assert told.unmatched == 2
    by_selector = {line.selector: (line.matched, line.skipped) for line in told.lines}
    assert by_selector["id = '5' AND n > 0"] == (1, 101)
    for taker in takers:
        queue.detach(taker, taker.taken)
    settle(time)
    assert [line.selector for line in figures(queue).lines] == [odd.terms.selector]


def test_many_priorities_stay_in_order_when_nobody_chooses_any_more() -> None:
    time = Time()
    queue = make_router(time, POLICY).queue("q")
    red = Taker(1, selector="colour = 'red'")
    take_part(queue, red)
    for number in range(1, 7):
        queue.publish(make_message(number, colour="blue", priority=str(number % 3 * 3)))
    queue.detach(red)
    settle(time)
    queue.publish(make_message(7, priority="9"))
    plain = Taker(10)
    take_part(queue, plain)
    assert [message.sequence for message in plain.taken] == [7, 2, 5, 1, 4, 3, 6]


def test_a_queue_that_ends_does_nothing_more() -> None:
    time = Time()
    queue = make_router(time, POLICY).queue("q")
    red = Taker(1, selector="colour = 'red'")
    take_part(queue, red)
    for number in range(1, 4):
        queue.publish(make_message(number, colour="red"))
    gone: list[Outcome] = []
    queue.control(Close(), gone.append)
    assert gone == [2]
    settle(time)
    time.advance(2 * UNMATCHED_SECONDS)
    assert [message.sequence for message in red.taken] == [1]
    queue.detach(red, red.taken)
    assert figures(queue).ready == 0


def test_a_selector_that_only_another_broker_understands_ends_its_consumer() -> None:
    time = Time()
    queue = make_router(time, POLICY).queue("q")
    strange, plain = Taker(1, selector="colour MATCHES 'red'"), Taker(1)
    take_part(queue, strange)
    take_part(queue, plain)
    queue.publish(make_message(1, colour="red"))
    settle(time)
    assert [error.code for error in strange.failures] == [ErrorCode.BAD_SELECTOR]
    assert strange.taken == []
    assert [message.sequence for message in plain.taken] == [1]
    queue.detach(strange)
    settle(time)
    assert figures(queue).unacked == 1
