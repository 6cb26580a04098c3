"""Brokers of one cluster as child processes: one is lost, and nothing with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import stompy
from stompy_broker import spawn_cluster
from stompy_broker.embed import cluster

pytestmark = pytest.mark.timeout(300)


def deliver(client: stompy.STOMPClient, queue: str, body: str) -> None:
    while True:
        try:
            client.message(queue, body, confirm=True)
        except stompy.STOMPConnectionError:
            continue
        else:
            return


def test_one_is_lost_and_nothing_with_it() -> None:
    with spawn_cluster() as brokers:
        assert "3 of 3 running" in repr(brokers)
        with stompy.connect(brokers.urls, reconnect=True) as client:
            deliver(client, "/queue/q", "before")
            brokers.brokers[0].kill()
            deliver(client, "/queue/q", "after")
            brokers.brokers[0].restart()
        with (
            stompy.connect(brokers.urls[0]) as client,
            client.subscription("/queue/q", "auto") as messages,
        ):
            assert messages.get(timeout=60).text == "before"
            assert messages.get(timeout=60).text == "after"
        places = [broker.data for broker in brokers.brokers]
    assert not any(broker.is_running for broker in brokers.brokers)
    assert not any(place.exists() for place in places)
    brokers.stop()  # harmless


def test_what_keeps_one_from_starting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_CONFIG", cluster._CONFIG + 'nats_server = "/nowhere"\n')
    with pytest.raises(RuntimeError, match="nowhere"):
        spawn_cluster()


def test_a_cluster_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="3 or 5"):
        spawn_cluster(2)


def test_nothing_is_left_of_one_that_nobody_holds(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        cluster._start(tmp_path / "none.toml", 0)
