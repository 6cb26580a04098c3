"""One broker for all tests that need no settings of their own, and clients that get closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from tests.support.wire import Pair, Peer, running_broker, unique

from stompy_broker import RunningBroker

Connect = Callable[..., Peer]


@pytest.fixture(scope="session")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def connect(broker: RunningBroker) -> Iterator[Connect]:
    """Open connections: ``connect("1.1", "login:x")``, or bare sockets: ``connect(None)``."""
    peers: list[Peer] = []

    def connect(version: str | None = "1.2", *headers: str) -> Peer:
        peer = Peer(broker.port) if version is None else Peer.open(broker.port, version, *headers)
        peers.append(peer)
        return peer

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def pair(broker: RunningBroker) -> Iterator[Pair]:
    with Pair(broker.port) as pair:
        yield pair


@pytest.fixture
def queue() -> str:
    return f"/queue/{unique()}"


@pytest.fixture
def topic() -> str:
    return f"/topic/{unique('t')}"


@pytest.fixture(autouse=True)
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever clients do, the broker itself never stumbles."""
    yield
    for phase in ("setup", "call"):
        faults = [r for r in caplog.get_records(phase) if r.levelno >= logging.ERROR]
        assert not faults, [record.getMessage() for record in faults]
