"""Who tells the store much waits for it, and nobody else does."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from tests.support.house import make_message
from tests.support.storage import Shelf, Tapped, short_wal
from tests.support.wire import Peer, running_broker, stats, until

from stompy_broker.message import Message
from stompy_broker.store import sqlite
from stompy_broker.store.sqlite import SQLiteStore

BODY = b"x" * 1000


class Gate:
    """A disk that takes its time over a commit, until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.held = 0

    def __call__(self, statement: str, has_run: bool) -> None:
        if statement == "COMMIT" and not has_run:
            self.held += 1
            assert self._open.wait(30)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(sqlite, "_SMALL", 0)
    with short_wal():
        shelf = Shelf(tmp_path / "data")
        yield shelf
        shelf.close()


class Teller:
    """A client, as far as the store is concerned."""

    numbers = iter(range(1, 10**9))

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.waits = False
        self.sent: list[Message] = []

    def tell(self, weight: int) -> None:
        """One read that tells so much."""
        store = self.shelf.store
        before = store.gathered
        while store.gathered - before < weight:
            self.sent.append(make_message(next(self.numbers), BODY))
            store.append("/queue/q", self.sent[-1])
        if store.end_of_read(before):
            self.waits = True
            store.wait(self.go_on)

    def go_on(self) -> None:
        self.waits = False

    def settle(self) -> None:
        """Somebody consumes all that it sent."""
        while self.sent:
            self.shelf.store.remove(self.sent.pop())


def busy(shelf: Shelf, gate: Gate) -> None:
    """Let the writer begin with something, and be stuck."""
    shelf.tap(gate)
    shelf.store.append("/queue/first", make_message(0))
    shelf.store.sync(lambda: None)
    shelf.turns.end()
    until(lambda: gate.held == 1, "a commit")


def test_who_tells_much_waits_while_the_writer_is_behind(shelf: Shelf, gate: Gate):
    busy(shelf, gate)
    loader, other = Teller(shelf), Teller(shelf)
    loader.tell(sqlite._BATCH // 2)
    assert not loader.waits
    loader.tell(sqlite._BATCH)
    assert loader.waits
    other.tell(1)
    assert not other.waits
    gate.open()
    shelf.turns.until(lambda: not loader.waits)
    assert shelf.store.gathered < sqlite._BATCH


def test_nobody_waits_for_a_writer_that_is_idle(shelf: Shelf):
    loader = Teller(shelf)
    loader.tell(3 * sqlite._BATCH)
    assert not loader.waits
    assert shelf.store.gathered == 0  # it is on its way


def test_very_many_who_tell_little_wait_as_well(shelf: Shelf, gate: Gate):
    busy(shelf, gate)
    tellers = [Teller(shelf) for _ in range(8 * sqlite._OVERLOADED * 2 * 16)]
    for teller in tellers:
        teller.tell(sqlite._MUCH // 2)
    assert not tellers[0].waits
    assert tellers[-1].waits
    assert shelf.store.gathered < sqlite._BATCH * len(tellers) // 32 + sqlite._BATCH
    silent = Teller(shelf)
    silent.tell(0)
    assert not silent.waits


def test_one_goes_on_a_turn_until_the_next_batch_is_full(shelf: Shelf, gate: Gate):
    busy(shelf, gate)
    Teller(shelf).tell(sqlite._BATCH - 1)
    waiting = [Teller(shelf) for _ in range(6)]
    for teller in waiting:
        teller.tell(sqlite._BATCH // 2 + sqlite._MUCH)
    waiting = [teller for teller in waiting if teller.waits]
    assert len(waiting) >= 5
    gate.open()
    shelf.turns.until(lambda: not waiting[0].waits)
    assert [teller.waits for teller in waiting[1:]] == [True] * (len(waiting) - 1)
    waiting[0].tell(sqlite._BATCH * 2)
    while any(teller.waits for teller in waiting):
        before = sum(teller.waits for teller in waiting)
        shelf.turns.end()
        assert before - sum(teller.waits for teller in waiting) <= 2


def test_who_waits_goes_on_when_all_was_settled_meanwhile(shelf: Shelf, gate: Gate):
    """Then nothing is left to be written, and no commit follows."""
    busy(shelf, gate)
    loader, other = Teller(shelf), Teller(shelf)
    loader.tell(sqlite._BATCH * 2)
    other.tell(sqlite._BATCH * 2)
    assert loader.waits
    assert other.waits
    loader.settle()
    other.settle()
    gate.open()
    shelf.turns.until(lambda: not loader.waits and not other.waits)
    assert gate.held == 1


def settled(shelf: Shelf, teller: Teller, count: int) -> None:
    """One read of a consumer, who settles so many of the oldest."""
    before = shelf.store.gathered
    for message in teller.sent[:count]:
        shelf.store.remove(message)
    del teller.sent[:count]
    assert not shelf.store.end_of_read(before)


def commits(shelf: Shelf) -> int:
    return shelf.store.stats().commits


def test_what_is_being_settled_is_waited_for_and_not_written(shelf: Shelf):
    sender = Teller(shelf)
    sender.tell(sqlite._BATCH * 3 // 4)
    assert not sender.waits
    settled(shelf, sender, len(sender.sent) // 2)
    for _ in range(5):
        sender.tell(sqlite._BATCH * 3 // 4)
        assert sender.waits
        settled(shelf, sender, len(sender.sent) // 2)
        shelf.turns.time.advance(sqlite._DRAIN_SECONDS)
        assert sender.waits
        settled(shelf, sender, len(sender.sent))
        shelf.turns.end()
        assert not sender.waits
    shelf.turns.time.advance(1)
    shelf.turns.end()
    assert commits(shelf) == 0


def test_what_is_due_and_being_settled_is_waited_for_as_well(shelf: Shelf):
    sender, other = Teller(shelf), Teller(shelf)
    sender.tell(sqlite._BATCH // 2)
    settled(shelf, sender, len(sender.sent) // 2)
    shelf.turns.time.advance(sqlite.LAZY_SECONDS)
    other.tell(1)
    assert not other.waits  # who tells little
    sender.tell(sqlite._MUCH)
    assert sender.waits
    settled(shelf, sender, len(sender.sent))
    settled(shelf, other, 1)
    shelf.turns.end()
    assert not sender.waits
    assert commits(shelf) == 0


@pytest.mark.parametrize("count", [0, 1, 10])
def test_it_is_written_when_little_of_it_is_settled(shelf: Shelf, count: int):
    sender = Teller(shelf)
    sender.tell(sqlite._BATCH // 2)
    settled(shelf, sender, len(sender.sent) // 2)
    sender.tell(sqlite._BATCH)
    assert sender.waits
    shelf.turns.time.advance(sqlite._DRAIN_SECONDS)
    settled(shelf, sender, count)
    shelf.turns.time.advance(sqlite._DRAIN_SECONDS)
    shelf.turns.until(lambda: not sender.waits and commits(shelf) == 1)


def test_it_is_written_in_time_however_much_is_settled(shelf: Shelf):
    sender = Teller(shelf)
    sender.tell(sqlite._BATCH - sqlite._MUCH)
    settled(shelf, sender, len(sender.sent) // 2)
    began = shelf.turns.time.clock.now()
    sender.tell(sqlite._BATCH)
    while sender.waits:
        settled(shelf, sender, len(sender.sent) // 8)
        shelf.turns.time.advance(sqlite._DRAIN_SECONDS)
        shelf.turns.end()
    took = shelf.turns.time.clock.now() - began
    assert took <= sqlite.LAZY_SECONDS * 3 / 2 + sqlite._DRAIN_SECONDS
    shelf.turns.until(lambda: commits(shelf) == 1)


def test_who_asks_for_a_receipt_is_not_kept_waiting_for_that(shelf: Shelf):
    sender = Teller(shelf)
    sender.tell(sqlite._BATCH // 2)
    settled(shelf, sender, len(sender.sent) // 2)
    sender.tell(sqlite._BATCH)
    assert sender.waits
    shelf.sync()
    assert not sender.waits
    assert commits(shelf) == 1


def test_who_leaves_is_not_called(shelf: Shelf, gate: Gate):
    busy(shelf, gate)
    loader, second = Teller(shelf), Teller(shelf)
    for teller in (loader, second):
        teller.tell(sqlite._BATCH * 2)
        assert teller.waits
    shelf.store.forget(loader.go_on)
    gate.open()
    shelf.turns.until(lambda: not second.waits)
    assert loader.waits


def test_trouble_lets_everybody_go_on(shelf: Shelf, gate: Gate):
    """Who needs the disk is made to wait otherwise; who settles messages must not be."""

    def fail(statement: str, has_run: bool) -> None:
        gate(statement, has_run)
        if statement == "COMMIT" and not has_run:
            raise sqlite3.OperationalError("disk I/O error")

    real = shelf.sqlite.tables.connection
    busy(shelf, gate)
    shelf.sqlite.tables.connection = cast(sqlite3.Connection, Tapped(real, fail))
    tellers = [Teller(shelf) for _ in range(3)]
    for teller in tellers:
        teller.tell(sqlite._BATCH * 2)
    assert all(teller.waits for teller in tellers)
    gate.open()
    shelf.turns.until(lambda: not any(teller.waits for teller in tellers))
    shelf.turns.until(lambda: shelf.store.trouble)
    tellers[0].tell(sqlite._BATCH * 2)
    assert not tellers[0].waits
    shelf.sqlite.tables.connection = real


def test_a_load_without_receipts_is_read_no_further_and_others_are(tmp_path: Path, gate: Gate):
    """The topics, and a second producer, who asks for receipts."""
    count = 100_000
    with short_wal(), running_broker(store={"data": str(tmp_path / "data")}) as broker:
        store = cast(SQLiteStore, broker._ask(lambda broker: broker._store))
        with Peer.open(broker.port) as loader, Peer.open(broker.port) as other:

            def tap() -> None:
                connection = store.tables.connection
                store.tables.connection = cast(sqlite3.Connection, Tapped(connection, gate))
                store._writer.commit_seconds = 1.0  # not on the thread of the loop

            broker._ask(lambda _: tap())
            data = b"SEND\ndestination:/queue/load\n\n" + b"x" * 100 + b"\0"
            thread = threading.Thread(target=loader.send, args=(data * count,))
            thread.start()
            try:
                until(lambda: bool(store._paused._waiting), "the load to be held")
                assert store.gathered < 8 * sqlite._BATCH
                taken = stats(broker, "/queue/load").ready
                for number in range(20):
                    other.send(f"SEND\ndestination:/topic/t\nreceipt:{number}\n\nx\0")
                    assert other.expect("RECEIPT")["receipt-id"] == str(number)
                other.send("SEND\ndestination:/queue/other\nreceipt:q\n\nx\0")
                assert not other.hears(0.1)
                assert stats(broker, "/queue/load").ready == taken < count
                gate.open()
                assert other.expect("RECEIPT")["receipt-id"] == "q"
            finally:
                gate.open()
                thread.join()
            loader.sync()
            until(lambda: stats(broker, "/queue/load").ready == count, "all of it")
