"""Rows beside messages that the disk has damaged: the rest of the broker starts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.support.wire import Peer, running_broker, stats

from stompy_broker.store.directory import FILE

SUBSCRIBE = (
    "SUBSCRIBE\nid:{0}\ndestination:/topic/t\ndurable-subscription-name:{0}\nreceipt:{0}\n\n\0"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a queue that was set up, and two backlogs."""
    data = tmp_path / "data"
    with running_broker(store={"data": str(data)}) as broker:
        with Peer.open(broker.port, "1.2", "client-id:c") as peer:
            for name in ("a", "b"):
                peer.send(SUBSCRIBE.format(name))
                peer.expect("RECEIPT")
        with Peer.open(broker.port) as peer:
            peer.send("SEND\ndestination:/topic/t\n\nx\0")
            peer.send("SEND\ndestination:/queue/q\nx-max-length:5\n\nx\0")
            peer.sync()
    return data


def change(data: Path, statement: str, value: object = None) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(data / FILE)
    try:
        with connection:
            return connection.execute(statement, () if value is None else (value,)).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("pattern", ""), ("pattern", b"t"), *(("settings", v) for v in ("{", "[]", "{}", b"\xff", 7))],
)
def test_a_durable_subscription(
    data: Path, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits for it is kept. It was a traceback, and no start."""
    change(data, f"UPDATE subscription SET {column} = ? WHERE name = 'c.a'", value)
    with running_broker(store={"data": str(data)}) as broker:
        assert stats(broker, "durable.c.b").ready == stats(broker, "q").ready == 1
        assert "subscription 'c.a' is damaged" in caplog.text
    assert len(change(data, "SELECT * FROM message")) == 3


@pytest.mark.parametrize("value", ["{", "[]", '{"x-max-length": 5}', b"\xff", 7])
def test_the_set_up_of_a_queue(data: Path, value: object, caplog: pytest.LogCaptureFixture) -> None:
    change(data, "UPDATE settings SET headers = ?", value)
    with running_broker(store={"data": str(data)}) as broker:
        assert stats(broker, "q").ready == 1
        assert "set-up of queue 'q' is damaged" in caplog.text
