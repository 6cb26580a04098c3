"""What has left a queue is sent again: in order, at a pace, or only foreseen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import Peer, until

import stompy_broker
from stompy.admin import Request
from stompy_broker import RunningBroker

START = datetime(2030, 1, 1, tzinfo=UTC)
BEGIN = int(START.timestamp() * 1000)
POLICIES = [
    {"match": "/queue/small.>", "max_length": 1, "overflow": "reject-publish"},
    {"match": "/queue/>", "history": "24h"},
]


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "policy": POLICIES}
    with stompy_broker.running(settings, time=START) as broker:
        yield broker
        until(lambda: broker.connections() == 0, "the last client to go")


@pytest.fixture
def admin(broker: RunningBroker) -> Iterator[Observer]:
    with observing(broker.port) as observer:
        yield observer


@pytest.fixture
def used(broker: RunningBroker, admin: Observer) -> str:
    """A queue through which five messages went, one each second, in another order."""
    peer = Peer.open(broker.port, "1.2")
    for number in range(5):
        admin.fill("q", f"body {number}", n=str(number), custom="a\\cb")
        broker.time.advance(1)
    peer.send(
        "SUBSCRIBE\nid:s\ndestination:/queue/q\nack:client-individual\nprefetch-count:9\n\n\0"
    )
    frames = [peer.expect("MESSAGE") for _ in range(5)]
    for frame in reversed(frames):
        peer.send(f"ACK\nid:{frame['ack']}\nreceipt:r\n\n\0")
        peer.expect("RECEIPT")
    peer.close()
    until(lambda: broker.connections() == 1, "the worker to go")
    return "q"


def _bodies(admin: Observer, queue: str) -> list[str]:
    return admin.bodies(queue)


def test_copies_come_in_the_order_in_which_they_came(admin: Observer, used: str) -> None:
    result = admin.ask("queue.replay", queue=used, to_queue="again")
    assert (result["matched"], result["replayed"], result["to"]) == (5, 5, "/queue/again")
    assert _bodies(admin, "again") == [f"body {number}" for number in range(5)]
    (first, *_) = admin.ask("message.peek", queue="again")["messages"]
    headers = first["headers"]
    assert headers["replayed"] == "true"
    assert headers["custom"] == "a:b"
    assert headers["destination"] == "/queue/again"
    rows = admin.replies(Request("queue.history", {"queue": used}).to_json())[0].checked()["rows"]
    assert headers["replay-of"] == rows[-1]["message_id"] != first["message_id"]


def test_a_copy_can_be_traced_to_what_it_was(admin: Observer, used: str) -> None:
    admin.ask("queue.replay", queue=used, to_queue="/queue/again", limit=1)
    (copy,) = admin.ask("message.peek", queue="again")["messages"]
    admin.ask("message.delete", queue="again", limit=1)
    trace = admin.ask("message.trace", id=copy["message_id"])
    assert trace["ids"] == [copy["message_id"], copy["headers"]["replay-of"]]
    assert [row["outcome"] for row in trace["rows"]] == ["acked", "deleted"]


def test_a_dry_run_only_tells(admin: Observer, used: str) -> None:
    would = admin.ask("queue.replay", dry_run=True, queue=used, to_queue="again", speed=2)
    assert (would["matched"], would["replayed"], would["seconds"]) == (5, 0, 2.0)
    assert (would["first_at"], would["last_at"]) == (BEGIN, BEGIN + 4000)
    assert would["bytes"] > 1000
    fails(Code.NOT_FOUND, admin.ask, "queue.get", queue="again")
    fails(Code.CONFLICT, admin.ask, "queue.replay", expect=4, queue=used, to_queue="again")


def test_some_are_chosen(admin: Observer, used: str) -> None:
    args: dict[str, Any] = {"from": BEGIN + 1000, "to": BEGIN + 4000}
    admin.ask("queue.replay", queue=used, to_queue="one", **args)
    assert _bodies(admin, "one") == ["body 1", "body 2", "body 3"]
    admin.ask("queue.replay", queue=used, to_queue="two", selector="n = '2'")
    assert _bodies(admin, "two") == ["body 2"]
    admin.ask("queue.replay", queue=used, to_queue="three", outcomes=["expired"])
    fails(Code.NOT_FOUND, admin.ask, "queue.get", queue="three")


def test_into_the_same_queue_it_comes_once(admin: Observer, used: str) -> None:
    assert admin.ask("queue.replay", queue=used)["replayed"] == 5
    assert len(_bodies(admin, used)) == 5


def test_where_somebody_consumes_it_takes_force(
    broker: RunningBroker, admin: Observer, used: str
) -> None:
    peer = Peer.open(broker.port, "1.2")
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/again\nreceipt:r\n\n\0")
    peer.expect("RECEIPT")
    error = fails(Code.CONFLICT, admin.ask, "queue.replay", queue=used, to_queue="again")
    assert "1 consumers" in error.message
    admin.ask("queue.replay", queue=used, to_queue="again", force=True)
    assert [peer.expect("MESSAGE").body for _ in range(5)][4] == b"body 4"
    peer.close()


def test_a_refusal_ends_it_and_says_so(admin: Observer, used: str) -> None:
    error = fails(Code.BAD_REQUEST, admin.ask, "queue.replay", queue=used, to_queue="small.q")
    assert "takes no more" in error.message
    assert _bodies(admin, "small.q") == ["body 0"]
    fails(Code.BAD_REQUEST, admin.ask, "queue.replay", queue=used, to_queue="/topic/t")


def test_it_goes_at_the_pace_of_that_time(
    broker: RunningBroker, admin: Observer, used: str
) -> None:
    wanted = Request("queue.replay", {"queue": used, "to_queue": "again", "speed": 0.5})
    with observing(broker.port) as other:
        body = wanted.to_json()
        other.peer.send(
            "SEND\ndestination:/queue/$SYS.command\nreply-to:/temp-queue/answers\n"
            f"correlation-id:1\ncontent-length:{len(body)}\n\n",
            body,
            b"\0",
        )
        other.ask("ping")
        until(lambda: broker.queue("again") is not None, "the first copy")
        for seconds, copies in ((1.5, 1), (1, 2), (2, 3), (2, 4)):
            broker.time.advance(seconds)
            assert len(_bodies(admin, "again")) == copies
    until(lambda: broker.connections() == 1, "who wanted it to go")
    broker.time.advance(10)
    assert len(_bodies(admin, "again")) == 4
