"""The dashboard for Grafana and the page of the manual name the metrics that there are."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.support.house import Time, make_router
from tests.support.sources import ROOT
from tests.support.steps import finished
from tests.support.wire import running_broker

from stompy_broker.admin.metrics import Metrics

DASHBOARD = ROOT / "packages/stompy-broker/deploy/grafana.json"
PAGE = ROOT / "docs/metrics.md"
_NAME = re.compile(r"\b(?:stompy|process)_\w+")


class Listening:
    """Nobody is connected."""

    urls = ()
    connections = connections_max = connections_refused = 0


def names() -> set[str]:
    """The names of all samples that a broker can give."""
    time = Time()
    router = make_router(time)
    metrics = Metrics(router, Listening(), 1)
    finished(metrics.collect())
    time.advance(0.2)
    found = {"stompy_store_commit_seconds"}  # not of a broker without a disk
    for family in finished(metrics.collect()):
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        found |= {family.name + end for end in ends.get(family.type, [""])}
    return found


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return content


def queries(dashboard: dict[str, Any]) -> list[str]:
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = [str(one["query"]) for one in dashboard["templating"]["list"]]
    return panels + variables


def test_the_dashboard_asks_for_metrics_that_there_are(dashboard: dict[str, Any]) -> None:
    used = set(_NAME.findall("\n".join(queries(dashboard))))
    assert used - names() == set()
    assert {name for name in names() if name.startswith("stompy_")} - used <= {
        "stompy_queue_wait_seconds_sum",
        "stompy_queue_wait_seconds_count",
    }


def test_its_panels_have_places_of_their_own(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_its_queries_use_variables_that_it_has(dashboard: dict[str, Any]) -> None:
    known = {one["name"] for one in dashboard["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$(\w+)", "\n".join(queries(dashboard)))) <= known


def test_the_page_of_the_manual_has_every_metric() -> None:
    told = set(_NAME.findall(PAGE.read_text("utf-8")))
    missing = {name for name in names() if name.startswith("stompy_")} - told
    assert {name.rpartition("_")[0] for name in missing} <= {"stompy_queue_wait_seconds"}
    assert {name for name in told - names() if name.startswith("stompy_")} == {
        "stompy_queue_wait_seconds",
    }


def test_a_broker_with_a_disk_tells_how_long_commits_take(tmp_path: object) -> None:
    with running_broker(store={"data": str(tmp_path)}) as broker:
        families = broker._await(_collected)
    assert "stompy_store_commit_seconds" in families


async def _collected(broker: Any) -> set[str]:
    metrics = Metrics(broker._router, broker, 1)
    return {family.name for family in finished(metrics.collect())}
