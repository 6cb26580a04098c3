"""Schedules with names when the broker is killed: what the last receipt said is what there is."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from pathlib import Path

from tests.support.admin import observing
from tests.support.process import BrokerProcess
from tests.support.wire import Peer, until

ROUNDS = 2
HOUR = 3600 * 1000


def upsert(peer: Peer, number: int) -> None:
    peer.send(
        f"SEND\ndestination:/queue/q\nx-schedule-id:job\nx-delay:{HOUR}\nreceipt:{number}\n\n"
        f"{number}\0"
    )


def told(port: int) -> list[int]:
    """The bodies of all schedules of that name."""
    with observing(port) as admin:
        rows = admin.ask("scheduled.list", match="/queue/q")["rows"]
        return [
            int(admin.ask("scheduled.get", id=row["job_id"])["message"]["body"]) for row in rows
        ]


class Upserts:
    """A program that says what its schedule is, again and again, until the broker is gone.

    Attributes:
        sent: the last number that it said.
        confirmed: the last one that was confirmed.
        enough: set when some were.
    """

    def __init__(self, port: int, begin: int) -> None:
        self.sent = self.confirmed = begin
        self.enough = threading.Event()
        self._port, self._begin = port, begin
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with Peer.open(self._port) as peer, contextlib.suppress(OSError, EOFError, AssertionError):
            while True:
                for _ in range(5):
                    self.sent += 1
                    upsert(peer, self.sent)
                for _ in range(5):
                    self.confirmed = int(peer.expect("RECEIPT")["receipt-id"])
                if self.confirmed >= self._begin + 50:
                    self.enough.set()


def test_an_upsert_is_atomic_under_kill(tmp_path: Path) -> None:
    """There is exactly one at any time: the last that was confirmed, or one sent after it."""
    upserts: Upserts | None = None
    for life in range(ROUNDS + 1):
        with BrokerProcess(tmp_path / "data") as process:
            if upserts is not None:
                (left,) = told(process.port)
                assert upserts.confirmed <= left <= upserts.sent
            if life < ROUNDS:
                upserts = Upserts(process.port, 0 if upserts is None else upserts.sent)
                assert upserts.enough.wait(60)
                process.kill()
                upserts.thread.join(60)


def test_a_cancelled_schedule_stays_cancelled(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "data") as process, Peer.open(process.port) as peer:
        upsert(peer, 1)
        assert peer.expect("RECEIPT")["receipt-id"] == "1"
        peer.send(
            "SEND\ndestination:/queue/q\nx-schedule-id:job\nx-schedule-cancel:true\nreceipt:c\n\n\0"
        )
        assert peer.expect("RECEIPT")["cancelled"] == "true"
        process.kill()
    with BrokerProcess(tmp_path / "data") as process:
        assert told(process.port) == []


def fired(port: int) -> list[dict[str, str]]:
    """The headers of what has come so far."""
    with observing(port) as admin:
        if not admin.ask("queue.list", match="q")["rows"]:
            return []
        peeked = admin.ask("message.peek", queue="q", limit=1000, body="none")
        return [message["headers"] for message in peeked["messages"]]


def test_a_series_neither_loses_nor_doubles_a_number(tmp_path: Path) -> None:
    """Each number comes once over several lives of the broker, or one later says that it did."""
    enough = 0
    for life in range(ROUNDS):
        with BrokerProcess(tmp_path / "data") as process:
            if life == 0:
                begin_series(process.port)
            enough = len(fired(process.port)) + 4
            until(partial(has_fired, process.port, enough), "a few more have come")
            process.kill()
    with BrokerProcess(tmp_path / "data") as process:
        until(partial(has_fired, process.port, enough + 4), "it goes on")
        heads = fired(process.port)
    last = 0
    for headers in heads:
        number, missed = int(headers["scheduled-number"]), int(headers.get("scheduled-missed", 1))
        assert number - missed == last
        last = number


def begin_series(port: int) -> None:
    """Have a message come each tenth of a second, for ever."""
    with Peer.open(port) as peer:
        peer.send(
            "SEND\ndestination:/queue/q\nx-schedule-id:job\nx-repeat-every:100\n"
            "x-repeat-times:-1\nreceipt:1\n\n\0"
        )
        peer.expect("RECEIPT")


def has_fired(port: int, times: int) -> bool:
    """Whether so many messages have come."""
    return len(fired(port)) >= times
