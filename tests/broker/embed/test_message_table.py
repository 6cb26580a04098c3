"""The messages of a queue as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.delaying import DelayingBroker
from tests.support.wire import running_broker, unique

import stompy
from stompy.errors import ProtocolError
from stompy_broker import RunningBroker, running
from stompy_broker.embed import thread
from stompy_broker.embed.message_table import COLUMNS


@pytest.fixture(scope="module", params=["at once", "later"])
def broker(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    """A broker whose queues answer at once, and one whose queues answer some turns later."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "later":
            patch.setattr(thread, "Broker", DelayingBroker)
        with running_broker() as broker:
            yield broker


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[stompy.STOMPClient]:
    with stompy.connect(broker.url) as client:
        yield client


def send(client: stompy.STOMPClient, queue: str, *bodies: str | bytes, **headers: str) -> None:
    for body in bodies:
        client.message(f"/queue/{queue}", body, headers=headers, confirm=True)


def test_a_row_tells_all_of_a_message(broker: RunningBroker, client: stompy.STOMPClient) -> None:
    queue, before = unique(), time.time() * 1000
    send(client, queue, "hello", **{"content-type": "text/plain", "color": "red", "ttl": "60000"})
    table = broker.queue(queue).table()
    assert table.names == (*COLUMNS, "body")
    (row,) = table
    assert row["body"] == "hello"
    assert row["message_id"] == str(row["sequence"])
    assert (row["state"], row["priority"], row["deliveries"]) == ("ready", 4, 0)
    assert row["content_type"] == "text/plain"
    headers = row["headers"]
    assert isinstance(headers, dict)
    assert headers["color"] == "red"
    received, expires = row["received_at"], row["expires_at"]
    assert isinstance(received, int)
    assert isinstance(expires, int)
    assert before - 1000 < received < expires
    assert row["due_at"] is None
    assert len(broker.queue(queue)) == 1, "nothing is consumed"


def test_messages_are_there_wherever_they_are(
    broker: RunningBroker, client: stompy.STOMPClient
) -> None:
    queue, now = unique(), time.time() * 1000
    send(client, queue, "later", "taken", "waits")
    subscription = client.subscription(f"/queue/{queue}", prefetch=1)
    subscription.get(timeout=5).nack(delay=600)
    subscription.get(timeout=5)
    broker.wait_for(lambda: broker.queue(queue).delayed == 1)
    table = broker.queue(queue).table()
    assert dict(zip(table.column("body"), table.column("state"), strict=True)) == {
        "later": "delayed",
        "taken": "unacked",
        "waits": "ready",
    }
    due = {row["body"]: row["due_at"] for row in table}
    assert due["taken"] is due["waits"] is None
    assert isinstance(due["later"], int)
    assert now + 500_000 < due["later"] < now + 1_000_000


def test_a_selector_chooses_and_a_limit_bounds(
    broker: RunningBroker, client: stompy.STOMPClient
) -> None:
    queue = unique()
    for number in range(20):
        send(client, queue, str(number), n=str(number))
    view = broker.queue(queue)
    assert view.table("n >= 5 AND n < 8").column("body") == ["5", "6", "7"]
    assert view.table("n >= 5", limit=2).column("body") == ["5", "6"]
    assert view.table(limit=3).column("body") == ["0", "1", "2"]
    assert len(view.table(limit=None)) == 20
    assert len(view.table(limit=0)) == 0
    with pytest.raises(ProtocolError, match="write = instead of =="):
        view.table("n == 5")


def test_forms_of_bodies(broker: RunningBroker, client: stompy.STOMPClient) -> None:
    queue = unique()
    send(client, queue, '{"a": 1, "b": [2]}', '{"c": null, "a": "x"}', "[1]", b"\xff")
    view = broker.queue(queue)
    table = view.table(body="json")
    assert table.names[len(COLUMNS) :] == ("body", "body.a", "body.b", "body.c")
    assert table.column("body.a") == [1, "x", None, None]
    assert table.column("body.b") == [[2], None, None, None]
    assert table.column("body") == ['{"a": 1, "b": [2]}', '{"c": null, "a": "x"}', "[1]", b"\xff"]
    assert view.table(body="text").column("body")[2:] == ["[1]", "\ufffd"]
    assert view.table(body="bytes").column("body")[2:] == [b"[1]", b"\xff"]
    assert view.table(body="none").names == COLUMNS
    with pytest.raises(ValueError, match="body is one of"):
        view.table(body="xml")  # type: ignore[arg-type]


def test_a_queue_that_is_not_there_has_no_rows(broker: RunningBroker) -> None:
    table = broker.queue(unique()).table()
    assert len(table) == 0
    assert table.names == (*COLUMNS, "body")


def test_bodies_on_disk_are_read_in_pieces(tmp_path: Path) -> None:
    with running({"store": {"data": str(tmp_path)}, "limits": {"memory": "16MiB"}}) as broker:
        with stompy.connect(broker.url) as client:
            large = [f"{number} {'x' * 1_000_000}" for number in range(20)]
            client.send_many("/queue/large", large)
            assert broker.queue("large").table().column("body") == large
            assert (
                broker.queue("large").table("JMSPriority = 4", limit=2).column("body") == large[:2]
            )
