"""Queues whose consumers choose: who gets which message, against an obvious model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.house import (
    WALL,
    Taker,
    Time,
    browsed,
    figures,
    make_message,
    make_router,
    take_part,
)

from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.interface import Configure, Queue, Remove, Withdraw
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.settings import QueueSettings

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
