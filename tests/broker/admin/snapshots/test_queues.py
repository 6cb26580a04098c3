"""Rows of queues: one that is kept because nothing happened is as one that is made now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.support.house import Taker, Time, make_head, make_router
from tests.support.steps import finished

from stompy.admin import Kind, QueueRow, moving_fields, row_to_json
from stompy_broker.admin.asking import ask
from stompy_broker.admin.snapshots.queues import QueueSnapshots
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Configure, Queue, QueueFigures, Remove
from stompy_broker.routing.rejection import Rejection

NAMES = st.sampled_from(["a", "b", "full"])
POLICIES = (
    Policy(match="/queue/full", max_length=2, overflow="drop-head", max_bytes=300),
    Policy(match="/queue/>", redelivery_delay=0, max_deliveries=2, dead_letter="/queue/DLQ.all"),
)
WHEN_SEEN = "last_in_at"
"""As exact as the interval of whoever looks, so that two who look differ."""


class Rows(RuleBasedStateMachine):
    """Whatever happens to queues, and is looked at in between."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.router = make_router(self.time, *POLICIES)
        self.kept = QueueSnapshots(self.router)
        self.consumers: list[tuple[Queue, Taker]] = []
        self.held: list[tuple[Queue, Taker, Message]] = []

    @rule(name=NAMES, headers=st.sampled_from([{}, {"priority": "9"}, {"ttl": "2000"}]))
    def publish(self, name: str, headers: dict[str, str]) -> None:
        self.router.note_time()
        queue = self.router.queue(name)
        self.router.publish_to(queue, make_head(f"/queue/{name}", **headers), b"x" * 100)

    @rule(name=NAMES, room=st.integers(1, 3), auto=st.booleans())
    def attach(self, name: str, room: int, auto: bool) -> None:
        queue = self.router.queue(name)
        taker = Taker(room, auto=auto)
        self.consumers.append((queue, taker))
        queue.attach(taker)
        queue.resume(taker)

    @rule(which=st.integers(0, 5))
    def make_room(self, which: int) -> None:
        if self.consumers:
            queue, taker = self.consumers[which % len(self.consumers)]
            taker.room += 1
            queue.resume(taker)

    @rule(lost=st.booleans())
    def detach(self, lost: bool) -> None:
        if self.consumers:
            queue, taker = self.consumers.pop(0)
            self._gather()
            held = [message for _, who, message in self.held if who is taker]
            self.held = [entry for entry in self.held if entry[1] is not taker]
            queue.detach(taker, held, lost=lost)

    @rule(
        rejection=st.sampled_from([None, Rejection(), Rejection(requeue=False), Rejection(delay=5)])
    )
    def settle(self, rejection: Rejection | None) -> None:
        self._gather()
        if self.held:
            queue, _, message = self.held.pop()
            queue.settle(message, rejection)

    def _gather(self) -> None:
        for queue, taker in self.consumers:
            taken, taker.taken = taker.taken, []
            if not taker.auto:
                self.held += [(queue, taker, message) for message in taken]

    @rule(name=NAMES, paused=st.booleans(), intake=st.booleans())
    def configure(self, name: str, paused: bool, intake: bool) -> None:
        queue = self.router.queue(name)
        settings = self._figures(queue).settings
        queue.control(Configure(replace(settings, paused=paused, intake_paused=intake)))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        queue = self.router.queue(name)
        browsed = finished(ask(lambda done: queue.browse(Browse(most=1), done)))
        queue.control(Remove(frozenset(message.sequence for message in browsed.messages)))

    @rule(seconds=st.sampled_from([0.3, 1.5, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.time.advance(seconds)

    def _figures(self, queue: Queue) -> QueueFigures:
        return finished(ask(queue.stats))

    @invariant()
    def rows_are_as_if_made_now(self) -> None:
        assert self._rows(self.kept) == self._rows(QueueSnapshots(self.router))

    def _rows(self, snapshots: QueueSnapshots) -> list[dict[str, Any]]:
        rows: list[QueueRow] = finished(snapshots.rows(self.time.now))
        left_out = moving_fields(Kind.QUEUES) | {WHEN_SEEN}
        return [
            {name: value for name, value in row_to_json(row).items() if name not in left_out}
            for row in rows
        ]


TestRows = Rows.TestCase
