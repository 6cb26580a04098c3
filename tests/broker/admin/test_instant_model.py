"""What a queue is said to have held at any instant, against a model that watched all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.house import WALL, Taker, Time, make_head, make_router, take_part

from stompy.admin import Request
from stompy.admin.command import CommandError
from stompy.admin.rows import Role
from stompy_broker.admin.commands.base import Call, CommandContext
from stompy_broker.admin.commands.history import HistoryCommands
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Browsed, Queue, Remove
from stompy_broker.routing.rejection import Rejection
from stompy_broker.store.memory import MemoryStore

QUEUE = parse_destination("/queue/q")

Held = dict[int, int]
"""Who has which message, by their numbers; 0 = it waits."""


class Holder(Taker):
    """A consumer that shows what it has."""

    def holds(self) -> Iterable[Message]:
        """What it was given and has not settled."""
        return tuple(self.taken)


class Watched:
    """A broker with one queue, and what was in it after each act.

    Attributes:
        seen: when something was done, in milliseconds, and what was there from then on.
    """

    def __init__(self) -> None:
        self.time = Time()
        policy = Policy(match="/queue/q", history="24h", max_deliveries=3, redelivery_delay=0)
        self.router = make_router(self.time, policy, store=MemoryStore(durable=True))
        self.takers: list[Taker] = []
        self.seen: list[tuple[int, Held]] = [(0, {})]

    @property
    def queue(self) -> Queue:
        """The queue."""
        return self.router.queue("q")

    def do(self, eighths: int, act: Callable[[], None]) -> None:
        """Do something after a while, and look at what is there.

        Eighths of a second add up exactly, and are whole milliseconds; thousandths do not.
        """
        self.time.advance(eighths / 8)
        self.router.note_time()
        self.router.current_time.now = self.time.now
        act()
        found: list[Browsed] = []
        self.queue.browse(Browse(), found.append)
        held = {message.sequence: 0 for message in found[0].messages}
        held |= {one.sequence: taker.number for taker in self.takers for one in taker.taken}
        self.seen.append((self.now, held))

    @property
    def now(self) -> int:
        """The time, in milliseconds."""
        return int(self.time.now * 1000)

    def at(self, then: int) -> Held:
        """What the command tells of an instant."""
        context = cast(CommandContext, SimpleNamespace(router=self.router))
        table = {command.name: command for command in HistoryCommands(context).table()}
        command = table["queue.at"]
        args = command.read({"queue": "q", "t": WALL + then, "limit": 1000})
        call = Call(Request("queue.at", args), args, None, Role.ADMIN, lambda part: None)
        steps = cast(Any, command.run(call))
        while True:
            try:
                wait = next(steps)
            except StopIteration as end:
                result = end.value
                break
            if wait is not None:
                wait(lambda: None)  # a store in memory answers at once
        told = {int(one["sequence"]): one.get("consumer", 0) for one in result["messages"]}
        assert result["waiting"] == sum(holder == 0 for holder in told.values())
        assert result["unacked"] == len(told) - result["waiting"]
        return told

    # -- acts -------------------------------------------------------------------------------

    def send(self, priority: int) -> None:
        head = make_head(priority=str(priority))
        self.router.publish(QUEUE, head, b"x")

    def come(self, room: int) -> None:
        self.takers.append(Holder(room))
        take_part(self.queue, self.takers[-1])

    def _take(self, number: int) -> tuple[Taker, Message] | None:
        every = [(taker, one) for taker in self.takers for one in taker.taken]
        if not every:
            return None
        taker, message = every[number % len(every)]
        taker.taken.remove(message)
        return taker, message

    def settle(self, number: int, outcome: str) -> None:
        if (taken := self._take(number)) is None:
            return
        taker, message = taken
        rejection = None if outcome == "ack" else Rejection(requeue=outcome == "nack")
        self.queue.settle(message, rejection)
        taker.room += 1
        self.queue.resume(taker)

    def leave(self, number: int) -> None:
        if self.takers:
            taker = self.takers.pop(number % len(self.takers))
            self.queue.detach(taker, taker.taken, lost=bool(number % 2))

    def delete(self, number: int) -> None:
        found: list[Browsed] = []
        self.queue.browse(Browse(), found.append)
        waiting = found[0].messages
        if waiting:
            self.queue.control(Remove(frozenset((waiting[number % len(waiting)].sequence,))))


ACTS = st.lists(
    st.tuples(
        st.integers(1, 50),
        st.one_of(
            st.tuples(st.just("send"), st.integers(3, 5)),
            st.tuples(st.just("come"), st.integers(1, 3)),
            st.tuples(
                st.just("settle"), st.integers(0, 9), st.sampled_from(("ack", "nack", "reject"))
            ),
            st.tuples(st.just("leave"), st.integers(0, 5)),
            st.tuples(st.just("delete"), st.integers(0, 5)),
        ),
    ),
    max_size=40,
)


@given(acts=ACTS, later=st.integers(0, 50))
@settings(max_examples=150, deadline=None)
def test_every_instant_is_told_as_it_was(acts: list[tuple[int, Any]], later: int) -> None:
    watched = Watched()
    for eighths, (name, *args) in acts:
        act = getattr(watched, name)
        watched.do(eighths, lambda act=act, args=args: act(*args))  # type: ignore[misc]
    watched.do(1 + later, lambda: None)
    past = watched.router.histories.of("/queue/q")
    if past is None or past.live is None:
        return  # nobody has used the queue
    begun = past.live.known_from - WALL
    ends = [then for then, _ in watched.seen[1:]]
    for (then, held), until in zip(watched.seen, ends, strict=False):
        for moment in {then, until - 1}:
            if moment >= begun:
                assert watched.at(moment) == held
            else:
                with pytest.raises(CommandError, match="is not known"):
                    watched.at(moment)
                assert held == {}
