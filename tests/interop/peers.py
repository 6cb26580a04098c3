"""RabbitMQ, ActiveMQ and our own broker, each as the other end of our clients."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks import foreign

import stompy
import stompy_broker
from stompy.session.dialects import DIALECTS, Dialect, dialect_of

OURS = "stompy-broker"

SETTLED = 0.5
"""Seconds without a message after which none is expected any more."""


@dataclass(frozen=True)
class PeerBroker:
    """A broker to talk to.

    Attributes:
        name: which.
        url: where.
    """

    name: str
    url: str

    @property
    def dialect(self) -> Dialect:
        """What should be found by its ``server`` header."""
        return next(dialect for dialect in DIALECTS if dialect.name == self.name)


@contextmanager
def running_peer(name: str, directory: Path, port: int = 0) -> Iterator[PeerBroker]:
    """A broker until the block is left; it finds in its directory what it kept there before."""
    if name == OURS:
        settings = {
            "listen": {"port": port},
            "store": {"data": str(directory / "data")},
            "times": {"shutdown": 0.0},
        }
        config = stompy_broker.load_config(overrides=settings)
        with stompy_broker.running(config) as broker:
            yield PeerBroker(name, broker.url)
        return
    if absent := foreign.missing(name):
        pytest.skip(absent)
    with foreign.STARTS[name](directory, port) as place:
        yield PeerBroker(name, f"stomp://127.0.0.1:{place[0]}")


def unique(prefix: str = "/queue/") -> str:
    """A destination that nobody else uses."""
    return f"{prefix}peers.{uuid.uuid4().hex}"


def send(client: stompy.STOMPClient, destination: str, *bodies: str, **headers: str) -> None:
    """Send messages that are kept on disk; they are there afterwards."""
    dialect = dialect_of(client.connected["server"])
    kind = dialect.destination_headers(destination, for_subscribe=False)
    for body in bodies:
        all_headers = {"persistent": "true", **kind, **headers}
        client.wait_for_receipt(
            client.message(destination, body, headers=all_headers, receipt=True)
        )


def received(client: stompy.STOMPClient) -> list[str]:
    """The messages that come, until none come any more."""
    bodies = []
    try:
        while (frame := client.recv(timeout=SETTLED)) is not None:
            bodies.append(frame.text)
    except stompy.STOMPTimeout:
        return bodies
    raise AssertionError(f"the connection ended: {client.close_reason}")
