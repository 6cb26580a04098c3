"""A running broker whose disk fails it, and then does not any more (promises 1, 2 and 11).

The faults are SQLite's own where that is possible; the last tests use disks that are really full.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from tests.support.process import BrokerProcess
from tests.support.storage import Tapped, short_wal
from tests.support.wire import Peer, running_broker, stats, until

import stompy
import stompy.aio
from stompy_broker import RunningBroker
from stompy_broker.store.sqlite import SQLiteStore

SEND = "SEND\ndestination:{}\nreceipt:{}\n{}\n{}\0"


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


def send(peer: Peer, destination: str, body: str, headers: str = "") -> None:
    """A SEND whose receipt is its body."""
    peer.send(SEND.format(destination, body, headers, body))


def receipts(peer: Peer, *expected: str) -> None:
    assert [peer.expect("RECEIPT")["receipt-id"] for _ in expected] == list(expected)


def subscribe(peer: Peer, destination: str, *headers: str) -> None:
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\nreceipt:s\n{lines}\n\0")
    receipts(peer, "s")


def drained(port: int, destination: str) -> list[bytes]:
    """Everything that waits in a queue."""
    with Peer.open(port) as peer:
        subscribe(peer, destination)
        bodies = []
        while peer.hears(0.5):
            bodies.append(peer.expect("MESSAGE").body)
        return bodies


# -- faults of SQLite in a broker that runs -------------------------------------------------------


def no_pages(store: SQLiteStore) -> None:
    (pages,) = store.tables.connection.execute("PRAGMA page_count").fetchone()
    store.tables.connection.execute(f"PRAGMA max_page_count = {pages}")


def pages(store: SQLiteStore) -> None:
    store.tables.connection.execute("PRAGMA max_page_count = 1000000")


def read_only(store: SQLiteStore) -> None:
    store.tables.connection.execute("PRAGMA query_only = ON")


def writable(store: SQLiteStore) -> None:
    store.tables.connection.execute("PRAGMA query_only = OFF")


def io_error(store: SQLiteStore) -> None:
    def fail(statement: str, has_run: bool) -> None:
        if statement == "COMMIT" and not has_run:
            raise sqlite3.OperationalError("disk I/O error")

    store.tables.connection = cast(sqlite3.Connection, Tapped(store.tables.connection, fail))


def no_error(store: SQLiteStore) -> None:
    store.tables.connection = cast(Tapped, store.tables.connection)._connection


FAULTS = {
    "database or disk is full": (no_pages, pages),
    "attempt to write a readonly database": (read_only, writable),
    "disk I/O error": (io_error, no_error),
}


class Ailing:
    """A broker whose disk can be made to fail."""

    def __init__(self, broker: RunningBroker, words: str) -> None:
        self.broker = broker
        self.port = broker.port
        self.store = cast(SQLiteStore, broker._ask(lambda broker: broker._store))
        self._words = words
        self._fail, self._heal = FAULTS[words]

    def fail(self) -> None:
        """From now on nothing can be written; a write that does not matter finds out."""
        self.broker._ask(lambda _: self._fail(self.store))
        with Peer.open(self.port) as peer:
            peer.send("SEND\ndestination:/queue/canary\n\n" + "x" * 100_000 + "\0")
            until(lambda: self._words in self.store.trouble, "trouble")
            peer.reset()

    def heal(self) -> None:
        self.broker._ask(lambda _: self._heal(self.store))
        until(lambda: not self.store.trouble, "the end of trouble")


@contextmanager
def ailing(data: Path, words: str, on_failure: str) -> Iterator[Ailing]:
    store = {"data": str(data), "on_failure": on_failure}
    with running_broker(store=store) as broker:
        yield Ailing(broker, words)


@pytest.mark.parametrize("words", FAULTS)
def test_producers_wait_and_consumers_do_not(
    tmp_path: Path, words: str, caplog: pytest.LogCaptureFixture
):
    with ailing(tmp_path / "data", words, "wait") as ill:
        with Peer.open(ill.port) as producer, Peer.open(ill.port) as consumer:
            for number in range(6):
                send(producer, "/queue/q", f"{number}")
            receipts(producer, *"012345")
            ill.fail()
            assert [record for record in caplog.records if words in record.getMessage()]
            send(producer, "/queue/q", "6")
            # What needs no disk goes on, also for who comes now, with receipts.
            with Peer.open(ill.port) as other:
                subscribe(other, "/topic/t")
                other.send("SEND\ndestination:/topic/t\n\nx\0")
                assert other.expect("MESSAGE").body == b"x"
                other.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0DISCONNECT\nreceipt:d\n\n\0")
                receipts(other, "u", "d")
            subscribe(consumer, "/queue/q", "ack:client-individual")
            got = [consumer.expect("MESSAGE") for _ in range(7)]
            assert [message.body for message in got] == [b"%d" % n for n in range(7)]
            consumer.send(f"ACK\nid:{got[0]['ack']}\n\n\0")
            consumer.send(f"ACK\nid:{got[1]['ack']}\nreceipt:a\n\n\0")
            consumer.send("BEGIN\ntransaction:t\n\n\0")
            consumer.send(f"ACK\nid:{got[2]['ack']}\ntransaction:t\n\n\0")
            consumer.send("SEND\ndestination:/queue/out\ntransaction:t\n\nout\0")
            consumer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
            until(lambda: stats(ill.broker, "/queue/q").unacked == 4, "what was settled")
            assert not producer.hears(0.1)
            assert not consumer.hears(0.1)  # nothing is safe yet
            ill.heal()
            receipts(producer, "6")
            receipts(consumer, "a", "c")
            send(producer, "/queue/q", "7")
            receipts(producer, "7")
            assert any("can be written again" in r.getMessage() for r in caplog.records)
            assert sum(words in r.getMessage() for r in caplog.records) == 1
    with running_broker(store={"data": str(tmp_path / "data")}) as broker:
        assert drained(broker.port, "/queue/q") == [b"3", b"4", b"5", b"6", b"7"]
        assert drained(broker.port, "/queue/out") == [b"out"]


@pytest.mark.parametrize("words", FAULTS)
def test_producers_are_refused(tmp_path: Path, words: str):
    with ailing(tmp_path / "data", words, "refuse") as ill:
        with Peer.open(ill.port) as producer, Peer.open(ill.port) as consumer:
            send(producer, "/queue/q", "0")
            receipts(producer, "0")
            with Peer.open(ill.port) as durable:
                durable.send(
                    "SUBSCRIBE\nid:d\ndurable:true\nauto-delete:false\n"
                    "destination:/topic/t\nreceipt:s\n\n\0"
                )
                receipts(durable, "s")
            ill.fail()
            for destination in ("/queue/q", "/queue/new", "/topic/t"):
                with Peer.open(ill.port) as refused:
                    send(refused, destination, "x")
                    refused.expect_error("store-unavailable", receipt="x")
            # Nothing of a transaction happens.
            subscribe(consumer, "/queue/q", "ack:client-individual")
            with Peer.open(ill.port) as refused:
                refused.send("BEGIN\ntransaction:t\n\n\0")
                refused.send("SEND\ndestination:/topic/nobody\ntransaction:t\n\nx\0")
                refused.send("SEND\ndestination:/queue/q\ntransaction:t\n\nx\0")
                refused.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
                refused.expect_error("store-unavailable", receipt="c")
            # What is not kept is taken.
            send(producer, "/queue/q", "short", "persistent:false\n")
            send(producer, "/topic/nobody", "t")
            assert [consumer.expect("MESSAGE").body for _ in range(2)] == [b"0", b"short"]
            ill.heal()
            receipts(producer, "short", "t")
            send(producer, "/queue/q", "1")
            receipts(producer, "1")
            assert consumer.expect("MESSAGE").body == b"1"
            assert "new" not in {row.name for row in ill.broker.queues()}


@pytest.mark.parametrize("on_failure", ["wait", "refuse"])
def test_what_needs_no_disk_gets_its_receipts(tmp_path: Path, on_failure: str):
    with ailing(tmp_path / "data", "disk I/O error", on_failure) as ill:
        ill.fail()
        with Peer.open(ill.port) as peer, Peer.open(ill.port) as reader:
            send(peer, "/topic/t", "topic")
            send(peer, "/queue/q", "short", "persistent:false\n")
            send(peer, "/temp-queue/x", "temporary")
            receipts(peer, "topic", "short", "temporary")
            peer.send("BEGIN\ntransaction:t\n\n\0")
            for destination in ("/topic/t", "/temp-queue/x", "/reply-queue/nobody"):
                peer.send(f"SEND\ntransaction:t\ndestination:{destination}\n\nx\0")
            peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
            receipts(peer, "c")
            # Settled, too, with a receipt.
            subscribe(reader, "/queue/q", "ack:client-individual")
            message = reader.expect("MESSAGE")
            reader.send(f"NACK\nid:{message['ack']}\nreceipt:n\n\n\0")
            message = reader.expect("MESSAGE")
            receipts(reader, "n")
            reader.send(f"ACK\nid:{message['ack']}\nreceipt:a\n\n\0")
            receipts(reader, "a")
            reader.send("SUBSCRIBE\nid:1\ndestination:/topic/t\nreceipt:s1\n\n\0")
            receipts(reader, "s1")
            send(peer, "/topic/t", "again")
            receipts(peer, "again")
            assert reader.expect("MESSAGE").body == b"again"


def test_receipts_of_one_connection_stay_in_order_while_the_disk_fails(tmp_path: Path):
    """The one for a topic comes after the one for the disk that was asked for before it."""
    with ailing(tmp_path / "data", "disk I/O error", "wait") as ill:
        ill.broker._ask(lambda _: ill._fail(ill.store))
        with Peer.open(ill.port) as peer:
            both = (SEND.format("/queue/q", "1", "", "1"), SEND.format("/topic/t", "2", "", "2"))
            peer.send("".join(both))
            until(lambda: bool(ill.store.trouble), "trouble")
            assert not peer.hears(0.1)
            ill.heal()
            receipts(peer, "1", "2")


def test_what_could_not_be_written_is_lost_with_the_broker_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """Nobody had a receipt for it; and the stop of the broker does not hang."""
    caplog.set_level(logging.CRITICAL)
    with ailing(tmp_path / "data", "disk I/O error", "wait") as ill:
        with Peer.open(ill.port) as producer:
            send(producer, "/queue/q", "0")
            receipts(producer, "0")
            ill.fail()
            send(producer, "/queue/q", "1")
            until(lambda: stats(ill.broker, "/queue/q").ready == 2, "the second message")
    with running_broker(store={"data": str(tmp_path / "data")}) as broker:
        assert drained(broker.port, "/queue/q") == [b"0"]


def test_who_comes_while_there_is_no_room_is_told_why_producers_wait(tmp_path: Path):
    sections = {"store": {"data": str(tmp_path)}, "limits": {"disk_free": 2**60}}
    with running_broker(**sections) as broker:
        store = cast(SQLiteStore, broker._ask(lambda broker: broker._store))
        until(lambda: bool(store.trouble), "the look at the disk")

        async def asynchronous() -> None:
            async with stompy.aio.connect(broker.url) as client:
                await client.message("/queue/q", "x", confirm=True)
                with pytest.raises(stompy.STOMPTimeout, match=r"left on its disk.*disk_free"):
                    await client.message("/queue/q", "x", confirm=True, timeout=0.2)

        # What is sent while it is full is taken yet, but the client is read no further.
        with stompy.connect(broker.url) as client:
            client.message("/queue/q", "x", confirm=True)
            with pytest.raises(stompy.STOMPTimeout, match=r"left on its disk.*disk_free"):
                client.message("/queue/q", "x", confirm=True, timeout=0.2)
        asyncio.run(asynchronous())


# -- the quota of the whole broker ---------------------------------------------------------------


def test_the_mark_for_messages_on_disk(tmp_path: Path):
    """Producers of persistent messages wait, others do not; it holds after a restart, too."""
    sections = {"store": {"data": str(tmp_path)}, "limits": {"disk": 50_000}}
    with running_broker(**sections) as broker:
        with Peer.open(broker.port) as producer, Peer.open(broker.port) as other:
            for number in range(20):
                send(producer, "/queue/q", f"{number}".ljust(5000))
            until(lambda: sum(row.bytes for row in broker.queues()) >= 50_000, "the mark")
            send(other, "/queue/short", "s", "persistent:false\n")
            send(other, "/topic/t", "t")
            receipts(other, "s", "t")
            assert stats(broker, "/queue/q").bytes < 70_000
            producer.reset()
    with running_broker(**sections) as broker:
        left = stats(broker, "/queue/q").ready
        assert left >= 9
        with Peer.open(broker.port) as producer, Peer.open(broker.port) as consumer:
            send(producer, "/queue/q", "last")
            receipts(producer, "last")  # what is full is seen when something comes
            send(producer, "/queue/q", "held")
            assert not producer.hears(0.1)
            subscribe(consumer, "/queue/q", "ack:client-individual")
            got = [consumer.expect("MESSAGE") for _ in range(left + 1)]
            consumer.send("".join(f"ACK\nid:{message['ack']}\n\n\0" for message in got))
            receipts(producer, "held")
            assert consumer.expect("MESSAGE").body == b"held"


# -- disks that are full -------------------------------------------------------------------------

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs the right to mount")
    options = [mount, "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill_queue(broker: BrokerProcess, limit: int, words: str, times: int = 1) -> list[str]:
    """Send until the broker has said that it takes no more; gives what it has taken for sure.

    That a receipt does not come in time tells nothing: the machine may be busy.
    """
    accepted = []
    with Peer.open(broker.port) as producer:
        for number in range(limit):
            name = f"{number:06}"
            producer.send(SEND.format("/queue/q", name, "", name + "x" * 50_000))
            while not producer.hears(0.2):
                if broker.log.read_text().count(words) >= times:
                    return accepted
            receipts(producer, name)
            accepted.append(name)
        raise AssertionError("it took everything")


def said(broker: BrokerProcess, words: str, times: int = 1) -> None:
    """Wait until the log says something, for the so-manieth time."""
    until(lambda: broker.log.read_text().count(words) >= times, words)


def settle(port: int, count: int) -> list[str]:
    """Take and acknowledge so many messages, also such as come only when there is room."""
    got = []
    with Peer.open(port) as consumer:
        subscribe(consumer, "/queue/q", "ack:client-individual")
        while len(got) < count:
            message = consumer.expect("MESSAGE")
            got.append(message.body[:6].decode())
            consumer.send(f"ACK\nid:{message['ack']}\n\n\0")
        consumer.sync()
    return got


@pytest.mark.slow
def test_it_stops_before_the_disk_is_full_and_goes_on_when_it_was_consumed(small_disk: Path):
    settings = '[limits]\ndisk_free = "16MiB"\n'
    with BrokerProcess(small_disk / "data", settings) as broker:
        for times in (1, 2):
            accepted = fill_queue(broker, 1000, "takes no more messages", times)
            assert len(accepted) > 100
            assert shutil.disk_usage(small_disk).free > 4 * MIB
            # The last one comes when there is room, or when its sender has gone.
            assert settle(broker.port, len(accepted) + 1) == [*accepted, f"{len(accepted):06}"]
            said(broker, "takes messages again", times)
        log = broker.log.read_text()
    assert log.count("takes no more messages") == 2
    assert "Traceback" not in log


@pytest.mark.slow
def test_others_fill_the_disk_and_make_room_again(small_disk: Path):
    """Nothing that was receipted is lost, and it goes on by itself; also with a crash between."""
    settings = "[limits]\ndisk_free = 0\n"
    ballast = small_disk / "ballast"
    with BrokerProcess(small_disk / "data", settings) as broker:
        with Peer.open(broker.port) as peer:
            send(peer, "/queue/before", "before")
            receipts(peer, "before")
        fill(ballast)
        accepted = fill_queue(broker, 2000, "cannot be written")
        assert "disk is full" in broker.log.read_text()
        ballast.unlink()
        said(broker, "can be written again")
        with Peer.open(broker.port) as peer:
            send(peer, "/queue/after", "after")
            receipts(peer, "after")
        fill(ballast)
        more = fill_queue(broker, 2000, "cannot be written", 2)
        broker.kill()
    ballast.unlink()
    with BrokerProcess(small_disk / "data", settings) as broker:
        # Of those without receipt one was written when there was room.
        names = [body[:6].decode() for body in drained(broker.port, "/queue/q")]
        assert names[: len(accepted) + 1] == [*accepted, f"{len(accepted):06}"]
        assert names[len(accepted) + 1 :][: len(more)] == more
        assert len(names) <= len(accepted) + len(more) + 2
        assert drained(broker.port, "/queue/before") == [b"before"]
        assert drained(broker.port, "/queue/after") == [b"after"]


@pytest.mark.slow
@pytest.mark.parametrize("crash", [False, True])
def test_a_start_on_a_full_disk_lets_consumers_drain(small_disk: Path, crash: bool):
    settings = "[limits]\ndisk_free = 0\n"
    ballast = small_disk / "ballast"
    with BrokerProcess(small_disk / "data", settings) as broker:
        with Peer.open(broker.port) as producer:
            for name in ("0", "1", "2"):
                send(producer, "/queue/q", name)
            receipts(producer, "0", "1", "2")
        broker.kill() if crash else broker.stop()
    fill(ballast)
    with BrokerProcess(small_disk / "data", settings) as broker:
        with Peer.open(broker.port) as consumer, Peer.open(broker.port) as producer:
            subscribe(consumer, "/queue/q", "ack:client-individual")
            got = [consumer.expect("MESSAGE") for _ in range(3)]
            assert [message.body for message in got] == [b"0", b"1", b"2"]
            assert got[0]["redelivered"] == "true"  # nobody could write down that it was not
            consumer.send(f"ACK\nid:{got[0]['ack']}\nreceipt:a\n\n\0")
            assert crash or not consumer.hears(0.2)  # a crash leaves a log with room in it
            send(producer, "/topic/t", "t")
            receipts(producer, "t")
            ballast.unlink()
            receipts(consumer, "a")
            send(producer, "/queue/q", "3")
            receipts(producer, "3")
        assert "Traceback" not in broker.log.read_text()
    with BrokerProcess(small_disk / "data", settings) as broker:
        assert drained(broker.port, "/queue/q") == [b"1", b"2", b"3"]


@pytest.mark.slow
def test_a_first_start_on_a_full_disk_says_so(small_disk: Path):
    fill(small_disk / "ballast")
    command = [sys.executable, "-m", "stompy_broker", "--port", "0"]
    done = subprocess.run(
        [*command, "--data", str(small_disk / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "its disk is full, 0 KiB are left: make room" in done.stderr
    assert "Traceback" not in done.stderr


def fill(ballast: Path) -> None:
    """Take all room that is left."""
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
def test_files_that_may_not_grow(tmp_path: Path):
    """A limit of the system instead of a full disk; lifting it is enough."""
    wrapper = ["prlimit", f"--fsize={20 * MIB}:"]
    with BrokerProcess(tmp_path / "data", "", *wrapper) as broker:
        accepted = fill_queue(broker, 2000, "cannot be written")
        assert len(accepted) > 100
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, unlimited)
        said(broker, "can be written again")
        broker.kill()
    with BrokerProcess(tmp_path / "data") as broker:
        names = [body[:6].decode() for body in drained(broker.port, "/queue/q")]
        assert names == [*accepted, f"{len(accepted):06}"]
