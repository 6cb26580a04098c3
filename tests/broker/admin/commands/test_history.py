"""The past of a queue, asked for by operators: rows, an instant, and the life of one message."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import Frame, Peer, until

import stompy_broker
from stompy.admin import Request
from stompy_broker import RunningBroker

START = datetime(2030, 1, 1, tzinfo=UTC)
BEGIN = int(START.timestamp() * 1000)

POLICIES = [
    {"match": "/queue/short", "history": "1 h"},
    {"match": "/queue/plain.>"},
    {"match": "/queue/>", "history": "24h", "redelivery_delay": 0},
]


@pytest.fixture(scope="module", params=["in memory", "on disk"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBroker]:
    data = str(tmp_path_factory.mktemp("past")) if request.param == "on disk" else ""
    settings = {"listen": {"port": 0}, "store": {"data": data}, "policy": POLICIES}
    with stompy_broker.running(settings, time=START) as broker:
        yield broker
        until(lambda: broker.connections() == 0, "the last client to go")


@pytest.fixture
def admin(broker: RunningBroker) -> Iterator[Observer]:
    with observing(broker.port) as observer:
        yield observer


@pytest.fixture
def worker(broker: RunningBroker) -> Iterator[Peer]:
    peer = Peer.open(broker.port, "1.2", "client-id:worker-1")
    yield peer
    peer.close()


class Past:
    """A queue, a time to look back from, and somebody who works on it.

    Args:
        broker: whose time is moved.
        admin: asks.
        worker: consumes.
        queue: the queue.
    """

    def __init__(self, broker: RunningBroker, admin: Observer, worker: Peer, queue: str) -> None:
        self.broker, self.admin, self.worker, self.queue = broker, admin, worker, queue
        self.begin = now(broker)
        self._given: list[Frame] = []

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.broker.time.advance(seconds)

    def subscribe(self, ack: str = "client-individual", prefetch: int = 10) -> None:
        """Begin to consume."""
        self.worker.send(
            f"SUBSCRIBE\nid:s\ndestination:/queue/{self.queue}\nack:{ack}\n"
            f"prefetch-count:{prefetch}\nreceipt:sub\n\n\0"
        )
        self.receipt()

    def receipt(self) -> None:
        """Wait for a receipt; what the worker is given meanwhile is kept for it."""
        while (frame := self.worker.read()).command != "RECEIPT":
            assert frame.command == "MESSAGE", frame.raw
            self._given.append(frame)

    def take(self) -> Frame:
        """The next message of the worker."""
        return self._given.pop(0) if self._given else self.worker.expect("MESSAGE")

    def settle(self, frame: Frame, command: str = "ACK", **headers: object) -> None:
        """Settle one, and wait until that is done."""
        lines = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())
        self.worker.send(f"{command}\nid:{frame['ack']}\nreceipt:done\n{lines}\n\0")
        self.receipt()

    def rows(self, **args: Any) -> list[dict[str, Any]]:
        """The rows of the history."""
        request = Request("queue.history", {"queue": self.queue, **args})
        *parts, _ = [reply.checked() for reply in self.admin.replies(request.to_json())]
        return [row for part in parts for row in part["rows"]]

    def at(self, seconds: float, **args: Any) -> Any:
        """What was there so many seconds after the beginning."""
        moment = self.begin + int(seconds * 1000)
        return self.admin.ask("queue.at", queue=self.queue, t=moment, **args)


def now(broker: RunningBroker) -> int:
    """The broker's time in milliseconds since the epoch."""
    return round(broker.time.now.timestamp() * 1000)


_numbers = iter(range(1_000_000))


@pytest.fixture
def past(broker: RunningBroker, admin: Observer, worker: Peer) -> Past:
    return Past(broker, admin, worker, f"q{next(_numbers)}")


def test_a_row_says_who_had_what_and_when(past: Past) -> None:
    past.admin.fill(past.queue, "one", kind="x")
    past.wait(1)
    past.subscribe()
    frame = past.take()
    past.wait(2)
    past.settle(frame)
    (row,) = past.rows(body="full")
    begin = past.begin
    assert row["message_id"] == frame["message-id"]
    assert [row[name] for name in ("received_at", "delivered_at", "ended_at")] == [
        begin,
        begin + 1000,
        begin + 3000,
    ]
    assert (row["outcome"], row["client_id"], row["subscription"]) == ("acked", "worker-1", "s")
    assert (row["body"], row["headers"]["kind"], row["deliveries"]) == ("one", "x", 1)
    assert row["session"].startswith("c-")


def test_rows_are_chosen_by_time_outcome_selector_and_place(past: Past) -> None:
    past.admin.fill(past.queue, "a", n="1")
    past.admin.fill(past.queue, "b", n="2")
    past.subscribe()
    first, second = past.take(), past.take()
    past.settle(first)
    past.wait(10)
    past.settle(second, "NACK", requeue="false", reason="no")
    assert [row["outcome"] for row in past.rows()] == ["acked", "dead_lettered"]
    middle = past.begin + 5000
    assert [row["outcome"] for row in past.rows(to=middle)] == ["acked"]
    assert [row["outcome"] for row in past.rows(**{"from": middle})] == ["dead_lettered"]
    assert [row["outcome"] for row in past.rows(**{"from": -5000})] == ["dead_lettered"]
    assert [row["reason"] for row in past.rows(outcomes=["dead_lettered"])] == ["no"]
    assert [row["outcome"] for row in past.rows(selector="n = '1'")] == ["acked"]
    assert [row["outcome"] for row in past.rows(after=0)] == ["dead_lettered"]
    assert [row["outcome"] for row in past.rows(limit=1)] == ["acked"]
    assert len(past.rows(ids=[second["message-id"]])) == 1
    error = fails(Code.BAD_REQUEST, past.rows, outcomes=["eaten"])
    assert "acked" in error.message


def test_an_instant_shows_what_waited_and_what_was_with_whom(past: Past) -> None:
    past.admin.fill(past.queue, "a", "b")  # at 0 s
    past.wait(1)
    past.subscribe(prefetch=1)  # at 1 s: a is with the worker
    frame = past.take()
    past.wait(1)
    past.settle(frame, "NACK")  # at 2 s: a comes again
    again = past.take()
    past.wait(1)
    past.admin.fill(past.queue, "c")  # at 3 s
    past.wait(1)
    past.settle(again)  # at 4 s: a has left, b is with the worker
    past.take()
    past.wait(1)

    def told(seconds: float) -> list[tuple[str, str]]:
        shown = past.at(seconds)["messages"]
        return [(one["message_id"][-9:], one["state"]) for one in shown]

    ids = [one["message_id"][-9:] for one in past.at(3.5)["messages"]]
    a, b, c = ids
    assert told(0.5) == [(a, "waiting"), (b, "waiting")]
    assert told(1.5) == told(2.5) == [(a, "unacked"), (b, "waiting")]
    assert told(3.5) == [(a, "unacked"), (b, "waiting"), (c, "waiting")]
    assert told(4.5) == [(b, "unacked"), (c, "waiting")]
    at = past.at(3.5)
    assert (at["waiting"], at["unacked"], at["more"]) == (2, 1, False)
    assert at["messages"][0]["client_id"] == "worker-1"
    assert at["messages"][0]["outcome"] == "acked"
    assert past.at(3.5, limit=1)["more"]
    fails(Code.BAD_REQUEST, past.at, 100)


def test_an_instant_before_the_history_begins_is_not_known(past: Past) -> None:
    past.wait(5)
    past.admin.fill(past.queue, "a")
    past.wait(1)
    begun = past.begin + 5000
    for moments in (1, 4.999, -10 * 86400):
        error = fails(Code.NOT_FOUND, past.at, moments)
        assert error.detail == {"known_from": begun}
        assert "is not known: its history is known from " in error.message
        assert f"({begun} ms)" in error.message
    past.subscribe()
    past.settle(past.take())
    fails(Code.NOT_FOUND, past.at, 1)
    told = past.at(5)
    assert (told["known_from"], told["waiting"], told["unacked"]) == (begun, 1, 0)


def test_a_history_that_nothing_is_in_yet_answers(past: Past) -> None:
    past.admin.fill(past.queue, "1", "2", "3", "4", "5")
    told = past.at(0)
    assert (told["waiting"], told["unacked"], told["known_from"]) == (5, 0, past.begin)
    *parts, last = past.admin.replies(Request("queue.history", {"queue": past.queue}).to_json())
    assert parts == []
    assert last.checked()["rows_total"] == 0
    assert last.checked()["known_from"] == past.begin
    assert past.rows(**{"from": -1000, "to": -1}) == []
    listed = past.admin.ask("history.list")["histories"]
    (mine,) = [one for one in listed if one["queue"] == past.queue]
    assert (mine["records"], mine["oldest_at"], mine["ended"]) == (0, None, False)
    first = told["messages"][0]["message_id"]
    (here,) = past.admin.ask("message.trace", id=first)["now"]
    assert (here["queue"], here["state"]) == (past.queue, "ready")
    assert past.admin.ask("queue.replay", queue=past.queue)["replayed"] == 0


def test_a_trace_tells_the_life_of_a_message_over_queues(past: Past) -> None:
    past.admin.fill(past.queue, "a")
    past.subscribe()
    frame = past.take()
    past.settle(frame, "NACK")
    past.settle(past.take(), "NACK", requeue="false", reason="broken")
    dead = f"DLQ.{past.queue}"
    past.wait(3)
    assert past.admin.ask("message.retry", queue=dead)["retried"] == 1
    past.settle(past.take())
    trace = past.admin.ask("message.trace", id=frame["message-id"])
    assert [(row["queue"], row["outcome"]) for row in trace["rows"]] == [
        (past.queue, "nacked"),
        (past.queue, "dead_lettered"),
        (dead, "moved"),
        (past.queue, "acked"),
    ]
    assert trace["rows"][1]["sent_to"] == f"/queue/{dead}"
    assert trace["now"] == []
    only = past.admin.ask("message.trace", id=frame["message-id"], queue=dead)
    assert [row["outcome"] for row in only["rows"]] == ["moved"]


def test_a_trace_tells_where_a_message_is_now(past: Past) -> None:
    past.admin.fill(past.queue, "a", "b")
    past.subscribe(prefetch=1)
    frame = past.take()
    past.settle(frame)
    held = past.take()
    trace = past.admin.ask("message.trace", id=held["message-id"])
    assert trace["rows"] == []
    (here,) = trace["now"]
    assert (here["queue"], here["state"], here["client_id"]) == (past.queue, "unacked", "worker-1")
    fails(Code.NOT_FOUND, past.admin.ask, "message.trace", id="1")


def test_a_queue_without_history_says_so(past: Past) -> None:
    past.admin.fill("plain.q", "a")
    error = fails(Code.CONFLICT, past.admin.ask, "queue.at", queue="plain.q", t=past.begin)
    assert "no policy says `history`" in error.message
    error = fails(Code.NOT_FOUND, past.admin.ask, "queue.history", queue="never.used")
    assert "there is no queue 'never.used'" in error.message


def test_what_is_too_old_is_forgotten(past: Past) -> None:
    past.queue = "short"
    past.admin.fill("short", "a")
    past.subscribe()
    past.settle(past.take())
    assert len(past.rows()) == 1
    past.wait(3590)
    assert len(past.rows()) == 1
    past.admin.fill("short", "b")
    past.settle(past.take())
    past.wait(600)
    assert [row["ended_at"] for row in past.rows()] == [past.begin + 3_590_000]
    error = fails(Code.NOT_FOUND, past.at, 0)
    known_from = error.detail["known_from"]
    assert isinstance(known_from, int)
    assert past.begin < known_from < past.begin + 60_000
    told = past.at(100)
    assert (told["waiting"], told["unacked"], told["known_from"]) == (0, 0, known_from)


def test_the_past_outlives_its_queue(past: Past) -> None:
    past.admin.fill(past.queue, "a", "b")
    past.subscribe()
    past.settle(past.take())
    past.take()
    past.worker.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0")
    past.receipt()
    past.admin.ask("queue.delete", queue=past.queue)
    assert [row["outcome"] for row in past.rows()] == ["acked", "returned", "closed"]
