"""Streams and their publisher, with a time that the test turns and steps that it takes."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.house import Time, make_head, make_router
from tests.support.steps import finished

from stompy.admin import Kind, Table, field_names, read_page
from stompy.admin.rows import Event
from stompy.admin.snapshot import PAGE_ROWS, Format, Mode
from stompy.protocol.headers import Version
from stompy_broker.admin.publisher import Publisher
from stompy_broker.admin.snapshots.process import Process
from stompy_broker.admin.snapshots.snapshots import Snapshots
from stompy_broker.admin.snapshots.totals import ClientTotals
from stompy_broker.admin.streams import BrokerIdentity, EnvelopeWriter
from stompy_broker.admin.tasks import Scheduler
from stompy_broker.message import Message
from stompy_broker.routing.router import Router
from stompy_broker.security.auth import Anyone
from stompy_broker.security.login import Logins
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.sys_subscription import EVENTS_WAITING, StreamSpec, SysSubscription

DELTAS = StreamSpec(Kind.QUEUES, "", Format.COLUMNS, Mode.DELTA, 1000, field_names(Kind.QUEUES))


class Broker:
    """All that publishing needs, in one place."""

    urls: tuple[str, ...] = ()
    connections = connections_max = connections_refused = 0

    def __init__(self) -> None:
        self.time = Time()
        self.router: Router = make_router(self.time)
        self.cpu = 0.0
        self._soon: deque[Callable[[], None]] = deque()
        self.snapshots = Snapshots(
            self.router,
            {},
            Logins(Anyone(), self.time.clock),
            self,
            ClientTotals(),
            Process(None),
        )
        self.publisher = Publisher(
            self.snapshots,
            self.router.events,
            EnvelopeWriter(BrokerIdentity("box", "boot"), lambda: self.snapshots.up_ms),
            self.time.clock,
            Scheduler(self._soon.append, lambda: self.cpu),
        )

    def pass_time(self, seconds: float) -> None:
        self.time.advance(seconds)
        while self._soon:
            self._soon.popleft()()

    def fill(self, name: str) -> None:
        self.router.publish_to(self.router.queue(name), make_head(), b"x")


class Reader:
    """An subscription and what was written for it."""

    def __init__(self) -> None:
        self.output = OutputBuffer(lambda: None, lambda: None)
        self.subscription = SysSubscription("1", self.output, Version.V1_2, "c-1")

    def stop(self) -> None:
        self.output.pause()

    def go_on(self) -> None:
        self.output.resume()
        self.subscription.resume()

    def read(self) -> list[Any]:
        frames = self.output.take().split(b"\0")[:-1]
        return [json.loads(frame.partition(b"\n\n")[2]) for frame in frames]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def seqs(envelopes: Sequence[Any]) -> list[tuple[int, int | None]]:
    return [(envelope["seq"], envelope.get("base")) for envelope in envelopes]


def test_who_comes_later_joins_the_stream(broker: Broker) -> None:
    first, second = Reader(), Reader()
    broker.fill("a")
    broker.publisher.subscribe(first.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    broker.pass_time(1)
    assert seqs(first.read()) == [(1, None), (2, 1)]
    broker.publisher.subscribe(second.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    assert seqs(second.read()) == [(2, None)]
    broker.fill("b")
    broker.pass_time(1)
    assert seqs(first.read()) == seqs(second.read()) == [(3, 2)]


def test_a_command_that_takes_long_over_a_snapshot_does_not_hand_it_to_those_who_come_later(
    broker: Broker,
) -> None:
    first, second = Reader(), Reader()
    for number in range(PAGE_ROWS + 1):
        broker.fill(f"q{number}")
    broker.publisher.subscribe(first.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    broker.pass_time(1)
    stream = broker.publisher.find(DELTAS)
    assert stream is not None
    steps = stream.everything()
    next(steps)
    broker.fill("q0")
    broker.pass_time(1)
    old = finished(steps)
    broker.publisher.subscribe(second.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    assert {page.head.headers()["seq"] for page in old} == {"2"}
    assert {envelope["seq"] for envelope in second.read()} == {3}


def test_bytes_are_shared(broker: Broker) -> None:
    offered: list[Sequence[Message]] = []

    class Offered(SysSubscription):
        def offer(self, stream: StreamSpec, pages: Sequence[Message]) -> None:
            offered.append(pages)

    for _ in range(2):
        reader = Offered("1", OutputBuffer(lambda: None, lambda: None), Version.V1_2, "c")
        broker.publisher.subscribe(reader, [DELTAS], None)
    broker.pass_time(0.05)
    assert offered[0] is offered[1]


def test_who_falls_behind_gets_everything_as_it_is_then(broker: Broker) -> None:
    reader = Reader()
    broker.fill("a")
    broker.publisher.subscribe(reader.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    reader.stop()
    for name in "bcde":
        broker.fill(name)
        broker.pass_time(1)
    reader.go_on()
    got = reader.read()
    # The second was on its way already when the socket was full.
    assert seqs(got) == [(1, None), (2, 1), (5, None)]
    assert reader.subscription.dropped == 2
    table = Table(Kind.QUEUES)
    for envelope in got:
        table.add(read_page(json.dumps(envelope)))
    assert list(table.rows) == list("abcde")
    broker.pass_time(1)
    assert seqs(reader.read()) == [(6, 5)]


def test_a_row_is_not_repeated_for_its_age(broker: Broker) -> None:
    reader = Reader()
    broker.fill("a")
    broker.publisher.subscribe(reader.subscription, [DELTAS], None)
    for _ in range(4):
        broker.pass_time(1)
    first, second, *others = reader.read()
    assert len(first["data"]) == 1
    assert len(second["data"]) == 1  # its rate is known now
    assert [envelope["data"] for envelope in others] == [[]] * len(others)


def test_everything_is_repeated_once_a_minute(broker: Broker) -> None:
    reader = Reader()
    broker.publisher.subscribe(reader.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    for _ in range(65):
        broker.pass_time(1)
    assert sum(envelope.get("base") is None for envelope in reader.read()) == 2


def test_a_stream_that_takes_too_long_comes_less_often_and_says_so(broker: Broker) -> None:
    reader = Reader()
    broker.fill("a")
    broker.publisher.subscribe(reader.subscription, [DELTAS], None)
    rows = broker.snapshots.rows

    def slowly(*args: Any) -> Any:
        broker.cpu += 0.25
        return (yield from rows(*args))

    broker.snapshots.rows = slowly  # type: ignore[method-assign]
    broker.pass_time(0.05)
    for _ in range(9):
        broker.pass_time(1)
    got = reader.read()
    assert len(got) == 4
    assert got[-1]["interval_ms"] == 3000


def test_many_streams_together_are_bounded_too(broker: Broker) -> None:
    reader = Reader()
    rows = broker.snapshots.rows

    def slowly(*args: Any) -> Any:
        broker.cpu += 0.1
        return (yield from rows(*args))

    broker.snapshots.rows = slowly  # type: ignore[method-assign]
    streams = [replace(DELTAS, kind=Kind.QUEUE, name=str(n), fields=("name",)) for n in range(20)]
    broker.publisher.subscribe(reader.subscription, streams, None)
    for _ in range(200):
        broker.pass_time(0.25)
    assert 4 <= broker.cpu <= 50 / 10 + 2


def test_who_leaves_while_a_round_is_made_is_forgotten(broker: Broker) -> None:
    reader = Reader()
    broker.publisher.subscribe(reader.subscription, [DELTAS], None)
    broker.time.advance(0.05)
    broker.publisher.unsubscribe(reader.subscription)
    reader.subscription.clear()
    broker.pass_time(0)
    assert broker.publisher._streams == {}
    assert reader.output.size == 0


def test_a_fault_in_a_round_ends_that_round_only(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader()
    rows = broker.snapshots.rows

    def fails(*args: Any) -> Any:
        raise RuntimeError("oops")

    broker.snapshots.rows = fails  # type: ignore[method-assign]
    broker.publisher.subscribe(reader.subscription, [DELTAS], None)
    broker.pass_time(0.05)
    assert "fault while snapshots were made" in caplog.text
    broker.snapshots.rows = rows  # type: ignore[method-assign]
    broker.pass_time(1)
    assert seqs(reader.read()) == [(1, None)]


def test_events_are_bounded_and_the_oldest_go(broker: Broker) -> None:
    reader = Reader()
    broker.publisher.subscribe(reader.subscription, [], "queue.*")
    reader.stop()
    for number in range(EVENTS_WAITING + 11):
        broker.router.events.tell(Event(type="queue.created", destination=str(number)))
    reader.go_on()
    told = [envelope["data"]["destination"] for envelope in reader.read()]
    # One was written before it was known that the socket takes no more.
    assert told == ["0", *map(str, range(11, EVENTS_WAITING + 11))]
    assert reader.subscription.dropped == 10


@pytest.mark.parametrize("steps", range(12))
def test_a_reader_may_leave_at_any_step_of_a_round(
    broker: Broker, caplog: pytest.LogCaptureFixture, steps: int
) -> None:
    """A monitor that goes while it is welcomed costs nobody else the snapshot."""
    broker.fill("a")
    leaver, stayer = Reader(), Reader()
    broker.publisher.subscribe(leaver.subscription, [DELTAS], None)
    broker.publisher.subscribe(stayer.subscription, [DELTAS], None)
    broker.time.advance(0.1)
    for _ in range(steps):
        if broker._soon:
            broker._soon.popleft()()
    broker.publisher.unsubscribe(leaver.subscription)
    leaver.subscription.clear()
    for _ in range(5):
        broker.pass_time(1.0)
    assert stayer.subscription.written
    assert not [r for r in caplog.records if r.levelname == "ERROR"]
