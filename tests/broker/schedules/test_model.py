"""Schedules of a real broker under virtual time, held to a slow model of them.

Whatever programs and operators do, the same messages come, for the same times and in the same order
as from a list that is looked through for each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.admin import Observer
from tests.support.wire import Peer

import stompy_broker
from stompy_broker import RunningBroker

START = datetime(2030, 3, 30, 20, tzinfo=UTC)
MINUTE = 60_000
_queues = itertools.count(1)


@dataclass
class Planned:
    """What the model knows of one schedule.

    Attributes:
        body: of its messages; tells it apart.
        name: what its sender calls it.
        order: the how manieth it is.
        due: when it is due next.
        period: between one and the next; 0 = there is no next.
        left: how many come after the next one; -1 = for ever.
        fired: how often it has come in its turn.
        plain: whether it was sent without any delay, so that it never waited.
    """

    body: str
    name: str
    order: int
    due: int
    period: int = 0
    left: int = 0
    fired: int = 0
    plain: bool = False

    def __post_init__(self) -> None:
        self.recurs = bool(self.period and self.left)


@dataclass
class Model:
    """All schedules of one queue, and what has come of them: body, time and number.

    Attributes:
        now: milliseconds since the epoch.
        planned: what is to come.
        came: what has come.
    """

    now: int
    planned: list[Planned] = field(default_factory=list)
    came: list[tuple[str, int, str]] = field(default_factory=list)

    def send(self, one: Planned) -> None:
        """Plan something; under a name it takes the place of what was there."""
        if one.name:
            self.cancel(one.name)
        self.planned.append(one)

    def cancel(self, name: str) -> bool:
        """Forget what has a name; say whether there was something."""
        before = len(self.planned)
        self.planned = [one for one in self.planned if one.name != name]
        return len(self.planned) < before

    def advance(self, milliseconds: int) -> None:
        """Let time pass, and have come what is due."""
        self.now += milliseconds
        while due := [one for one in self.planned if one.due <= self.now]:
            one = min(due, key=lambda one: (one.due, one.order))
            one.fired += 1
            at, number = (0, "") if one.plain else (one.due, str(one.fired) if one.recurs else "")
            self.came.append((one.body, at, number))
            if not one.period or not one.left:
                self.planned.remove(one)
                continue
            one.left -= one.left > 0
            one.due += one.period


@pytest.fixture(scope="module", params=["in memory", "on disk"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBroker]:
    data: Path | None = None
    if request.param == "on disk":
        data = tmp_path_factory.mktemp("model") / "data"
    sections = {"listen": {"port": 0}, "store": {"data": "" if data is None else str(data)}}
    with stompy_broker.running(sections, time=START) as broker:
        yield broker


NAMES = st.sampled_from(["", "a", "b", "c"])
DELAYS = st.integers(0, 5).map(lambda n: n * MINUTE // 2)
STEPS = st.one_of(
    st.tuples(st.just("once"), NAMES, DELAYS),
    st.tuples(
        st.just("series"),
        NAMES,
        DELAYS,
        st.sampled_from([11_000, MINUTE // 2, MINUTE]),
        st.integers(-1, 4),
    ),
    st.tuples(st.just("cancel"), NAMES.filter(bool)),
    st.tuples(st.just("advance"), st.sampled_from([1, MINUTE // 2, MINUTE])),
    st.tuples(st.just("move"), st.integers(0, 9), DELAYS),
    st.tuples(st.just("fire"), st.integers(0, 9)),
    st.tuples(st.just("drop"), st.integers(0, 9)),
)


class Run:
    """One example: what is done is done to the broker and to the model."""

    def __init__(self, broker: RunningBroker, peer: Peer) -> None:
        self.broker, self.peer = broker, peer
        self.admin = Observer(peer)
        self.queue = f"model{next(_queues)}"
        self.model = Model(round(broker.time.now.timestamp() * 1000))
        self._bodies = itertools.count(1)

    def send(self, name: str, *lines: str) -> str:
        """SEND a schedule; gives its body."""
        body = str(next(self._bodies))
        named = f"x-schedule-id:{name}\n" if name else ""
        said = "".join(f"{line}\n" for line in lines)
        self.peer.send(f"SEND\ndestination:/queue/{self.queue}\n{named}{said}receipt:r\n\n{body}\0")
        assert self.peer.expect("RECEIPT")
        return body

    def once(self, name: str, delay: int) -> None:
        body = self.send(name, f"x-delay:{delay}")
        plain = not delay and not name
        self.model.send(Planned(body, name, int(body), self.model.now + delay, plain=plain))

    def series(self, name: str, delay: int, period: int, times: int) -> None:
        body = self.send(
            name, f"x-delay:{delay}", f"x-repeat-every:{period}", f"x-repeat-times:{times}"
        )
        due = self.model.now + (delay or period)
        self.model.send(Planned(body, name, int(body), due, period, times))

    def cancel(self, name: str) -> None:
        self.peer.send(
            f"SEND\ndestination:/queue/{self.queue}\nx-schedule-id:{name}\n"
            "x-schedule-cancel:true\nreceipt:c\n\n\0"
        )
        told = self.peer.expect("RECEIPT")["cancelled"]
        assert told == ("true" if self.model.cancel(name) else "false")

    def advance(self, milliseconds: int) -> None:
        self.broker.time.advance(timedelta(milliseconds=milliseconds))
        self.model.advance(milliseconds)

    def _chosen(self, number: int) -> tuple[str, Planned] | None:
        """A schedule by its place among those that are to come: its job, and what it is."""
        rows = self.rows()
        if not rows:
            return None
        job, body = rows[number % len(rows)]
        return job, next(one for one in self.model.planned if one.body == body)

    def move(self, number: int, delay: int) -> None:
        chosen = self._chosen(number)
        if chosen is not None:
            at = self.model.now + delay + 1
            place = f"/queue/{self.queue}"
            self.admin.ask("scheduled.reschedule", id=chosen[0], at=at, destination=place)
            chosen[1].due = at

    def fire(self, number: int) -> None:
        chosen = self._chosen(number)
        if chosen is None:
            return
        job, one = chosen
        self.admin.ask("scheduled.fire_now", ids=[job], destination=f"/queue/{self.queue}")
        self.broker.time.advance(0)
        self.model.came.append((one.body, self.model.now, ""))
        if not one.recurs:
            self.model.planned.remove(one)

    def drop(self, number: int) -> None:
        chosen = self._chosen(number)
        if chosen is not None:
            place = f"/queue/{self.queue}"
            done = self.admin.ask("scheduled.cancel", ids=[chosen[0]], destination=place)
            assert done["cancelled"] == 1
            self.model.planned.remove(chosen[1])

    def rows(self) -> list[tuple[str, str]]:
        """What is to come, next one first: job and body."""
        place = f"/queue/{self.queue}"
        rows = self.admin.ask("scheduled.list", match=place)["rows"]
        rows = [row for row in rows if row["destination"] == place]
        found = []
        for row in rows:
            shown = self.admin.ask("scheduled.get", id=row["job_id"], destination=place)
            found.append((row["job_id"], shown["message"]["body"]))
        planned = sorted(self.model.planned, key=lambda one: (one.due, one.order))
        assert [row["next_at"] for row in rows] == [one.due for one in planned]
        assert [body for _, body in found] == [one.body for one in planned]
        return found

    def came(self) -> list[tuple[str, int, str]]:
        """What has come so far."""
        return [
            (
                message.text,
                int(message.headers.get("scheduled-at", 0)),
                message.headers.get("scheduled-number", ""),
            )
            for message in self.broker.queue(self.queue).messages
        ]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEPS, max_size=20))
def test_the_same_comes_as_from_the_model(
    broker: RunningBroker, steps: list[tuple[str, ...]]
) -> None:
    with Peer.open(broker.port) as peer:
        run = Run(broker, peer)
        for name, *values in steps:
            getattr(run, name)(*values)
            run.advance(0)
        run.advance(MINUTE)
        assert run.came() == run.model.came
        jobs = [job for job, _ in run.rows()]
        if jobs:
            run.admin.ask("scheduled.cancel", ids=jobs, destination=f"/queue/{run.queue}")
