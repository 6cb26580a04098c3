"""Pages are made once for all who ask, one after the other, and take a tenth of the time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

import pytest
from tests.support.house import Time, make_message, make_router

from stompy.admin import Kind, field_names
from stompy_broker.admin.metrics import Metrics
from stompy_broker.admin.pages import METRICS, SNAPSHOT, Page, Pages, may_exist
from stompy_broker.admin.snapshots.queues import QueueSnapshots
from stompy_broker.admin.streams import BrokerIdentity, EnvelopeWriter
from stompy_broker.admin.tasks import Scheduler
from stompy_broker.routing.router import Router


class House:
    """Pages, with turns of an event loop and a clock that the test turns."""

    def __init__(self, queues: int = 3) -> None:
        self.time = Time()
        self.router: Router = make_router(self.time)
        for number in range(queues):
            self.router.queue(f"q{number}").publish(make_message(number))
        self._soon: deque[Callable[[], None]] = deque()
        self.cpu = 0.0
        self.forgotten = 0
        self.taken: list[Page] = []
        rows = QueueSnapshots(self.router)

        class Snapshots:
            def moment(inner):  # noqa: N805
                return Moment(self.time.now)

            def rows(inner, kind, name, moment):  # noqa: N805
                if kind is Kind.QUEUES:
                    return (yield from rows.rows(moment.now))
                yield None
                return []

        class Moment:
            def __init__(inner, now):  # noqa: N805
                inner.now, inner.at, inner.tick = now, 1, 1

        listening = type("Listening", (), {"connections": 0})()
        self.metrics = Metrics(self.router, listening, 2000)
        self.pages = Pages(
            Snapshots(),  # type: ignore[arg-type]
            EnvelopeWriter(BrokerIdentity("b", "boot"), lambda: 5),
            self.metrics,
            self.time.clock,
            Scheduler(self._soon.append, self._cpu),
            self._forget,
        )

    def _cpu(self) -> float:
        self.cpu += 0.01
        return self.cpu

    def _forget(self) -> None:
        self.forgotten += 1

    def ask(self, path: str, accept: str = "") -> None:
        self.pages.make(path, accept, self.taken.append)

    def turn(self) -> None:
        self.time.clock.run()
        while self._soon:
            self._soon.popleft()()


def test_who_asks_for_a_page_that_is_being_made_gets_the_same() -> None:
    house = House()
    house.ask(METRICS)
    house.ask(METRICS)
    house.ask(METRICS, "application/openmetrics-text")
    assert house.taken == []
    house.turn()
    assert len(house.taken) == 2
    assert house.taken[0] is house.taken[1]
    assert house.taken[0].type.startswith("text/plain")
    # The other form has its turn after a rest of nine times as long.
    house.turn()
    assert len(house.taken) == 2
    house.time.advance(100)
    house.turn()
    assert house.taken[2].type.startswith("application/openmetrics-text")
    assert house.taken[2].content.endswith(b"# EOF\n")


@pytest.mark.parametrize("queues", [0, 1, 200, 201, 450])
def test_a_snapshot_is_one_page_however_many_rows_there_are(queues: int) -> None:
    house = House(queues)
    house.ask(f"{SNAPSHOT}queues")
    house.turn()
    (page,) = house.taken
    assert (page.status, page.type) == (HTTPStatus.OK, "application/json")
    envelope = json.loads(page.content)
    assert [row["name"] for row in envelope["data"]] == [f"q{number}" for number in range(queues)]
    assert all(tuple(row) == tuple(field_names(Kind.QUEUES)) for row in envelope["data"])
    about = {name: envelope[name] for name in ("v", "kind", "page", "pages", "total", "broker")}
    expected = {"v": 1, "kind": "queues", "page": 1, "pages": 1, "total": queues, "broker": "b"}
    assert about == expected
    assert house.forgotten == 1


@pytest.mark.parametrize(
    "name", ["", "nothing", "queue", "queue.absent", "*", "event.>", "q ueues"]
)
def test_what_is_no_snapshot_is_not_found(name: str) -> None:
    house = House()
    house.ask(SNAPSHOT + name)
    house.turn()
    assert [page.status for page in house.taken] == [HTTPStatus.NOT_FOUND]


def test_a_fault_costs_one_page(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    monkeypatch.setattr(house.metrics, "collect", lambda: 1)
    house.ask(METRICS)
    house.turn()
    assert house.taken[0].status == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "fault while a page was made" in caplog.text
    house.time.advance(100)
    house.ask(f"{SNAPSHOT}queues")
    house.turn()
    assert house.taken[1].status == HTTPStatus.OK


def test_nothing_is_made_after_the_end() -> None:
    house = House()
    house.ask(METRICS)
    house.pages.close()
    house.turn()
    assert house.taken == []


def test_only_these_paths_lead_to_pages() -> None:
    assert may_exist(METRICS)
    assert may_exist(f"{SNAPSHOT}x")
    assert not may_exist("/")
    assert not may_exist("/metrics/")
