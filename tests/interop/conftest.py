"""A broker for each test, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.node_client import NodeClients
from tests.interop.peers import OURS, PeerBroker, running_peer
from tests.interop.samples import beating_config, wait_until

import stompy_broker
from stompy_broker import RunningBroker

# stomp.py otherwise looks up the names of this machine when it is imported.
os.environ.setdefault("STOMP_SKIP_HOSTNAME_SCAN", "1")


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: before.issuperset(threading.enumerate()))
    assert set(threading.enumerate()) - before == set()


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with stompy_broker.running() as broker:
        yield broker
        assert wait_until(lambda: broker.connections() == 0), "a client is still connected"


@pytest.fixture
def beating_broker() -> Iterator[RunningBroker]:
    with stompy_broker.running(beating_config()) as broker:
        yield broker
        assert wait_until(lambda: broker.connections() == 0), "a client is still connected"


@pytest.fixture(scope="session")
def node_clients(pytestconfig: pytest.Config) -> NodeClients:
    cache = getattr(pytestconfig, "cache", None)
    if cache is None:
        pytest.skip("the packages are kept in pytest's cache, which is turned off")
    return NodeClients.install(Path(cache.mkdir("interop-node")))


@pytest.fixture(
    scope="module",
    params=[
        OURS,
        pytest.param("RabbitMQ", marks=pytest.mark.interop),
        pytest.param("ActiveMQ", marks=pytest.mark.interop),
    ],
)
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PeerBroker]:
    """Our broker, and each foreign one that is installed."""
    with running_peer(request.param, tmp_path_factory.mktemp("peer")) as peer:
        yield peer
