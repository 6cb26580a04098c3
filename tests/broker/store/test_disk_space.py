"""The room on the disk, and what the store makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.house import make_message
from tests.support.storage import Shelf, short_wal

from stompy_broker.store import sqlite, writer
from stompy_broker.store.directory import FILE
from stompy_broker.store.disk_space import SPARE, DiskSpace
from stompy_broker.store.sqlite import SQLiteStore, StoreListener

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """A file system with as much room as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 100 * MIB
        self.looks = 0
        self.file: Path | None = None  # one that takes of the room
        monkeypatch.setattr(shutil, "disk_usage", self._usage)

    def _usage(self, path: Path) -> Usage:
        self.looks += 1
        taken = 0 if self.file is None else self.file.stat().st_size
        return Usage(1000 * MIB, 0, self.free - taken)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


class Shelved(Shelf):
    """A shelf whose store watches the room."""

    def _open(self, directory: Path) -> SQLiteStore:
        return SQLiteStore(
            directory,
            self.turns.time.clock,
            self.turns.soon,
            self.turns.post,
            listener=StoreListener(troubled=self._troubled),
            disk_free=64 * MIB,
        )


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelved]:
    shelf = Shelved(tmp_path / "data")
    yield shelf
    shelf.close()


def watched(shelf: Shelved) -> DiskSpace:
    """The room of a shelf whose WAL was carried over."""
    assert shelf.directory is not None
    shelf.sqlite.tables.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return DiskSpace(shelf.directory, 64 * MIB)


def test_the_mark_has_two_levels(shelf: Shelved, disk: Disk):
    room, connection = watched(shelf), shelf.sqlite.tables.connection
    for free, short in [
        (64 * MIB, False),
        (64 * MIB - 1, True),
        (64 * MIB + SPARE - MIB, True),
        (64 * MIB + SPARE, False),
        (64 * MIB, False),
    ]:
        disk.free = free
        assert bool(room.look(connection)) is short
    disk.free = 10 * MIB
    assert room.look(connection) == (
        "10 MiB are left on its disk, less than limits.disk_free, which is 64 MiB"
    )


def test_without_a_mark_nobody_looks(shelf: Shelved, disk: Disk, tmp_path: Path):
    disk.free = 0
    assert DiskSpace(tmp_path, 0).look(shelf.sqlite.tables.connection) == ""
    assert disk.looks == 0


def test_what_was_settled_makes_room(shelf: Shelved, disk: Disk):
    """In the database, whose file does not shrink."""
    message = make_message(1, b"x" * 20 * MIB)
    shelf.store.append("/queue/q", message)
    shelf.sync()
    room, disk.free = watched(shelf), 63 * MIB
    assert room.look(shelf.sqlite.tables.connection)
    shelf.store.remove(message)
    shelf.sync()
    assert not room.look(shelf.sqlite.tables.connection)


def test_what_was_not_carried_over_takes_room(shelf: Shelved, disk: Disk):
    """As soon as it is, which nobody asks about."""
    room, connection = watched(shelf), shelf.sqlite.tables.connection
    # The writer may carry it over before we look; then it is the file that takes the room.
    disk.free, disk.file = 80 * MIB, shelf.directory / FILE
    assert not room.look(connection)
    shelf.store.append("/queue/q", make_message(1, b"x" * 20 * MIB))
    shelf.sync()
    assert "59 MiB are left" in room.look(connection)


def test_a_shortage_is_trouble_though_everything_is_written(
    shelf: Shelved, disk: Disk, caplog: pytest.LogCaptureFixture
):
    disk.free = MIB
    shelf.turns.time.advance(sqlite.DISK_SECONDS)
    shelf.turns.until(lambda: shelf.trouble)
    assert shelf.store.stats().trouble.startswith("1 MiB are left")
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    assert shelf.store.trouble
    disk.free = 100 * MIB
    shelf.turns.time.advance(sqlite.RETRY_SECONDS)
    shelf.turns.until(lambda: not shelf.store.trouble)
    assert shelf.trouble == [True, False]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@pytest.mark.parametrize("pages", ["_WAL_PAGES", "_LOOK_PAGES"])
def test_it_looks_after_each_checkpoint_and_before(
    shelf: Shelved, disk: Disk, monkeypatch: pytest.MonkeyPatch, pages: str
):
    monkeypatch.setattr(writer, pages, 20)
    disk.free = MIB
    shelf.store.append("/queue/q", make_message(1, b"x" * 200_000))
    shelf.sync()
    shelf.turns.until(lambda: shelf.trouble)


def test_how_the_store_is_doing(shelf: Shelved, disk: Disk):
    before = shelf.store.stats()
    for number in range(100):
        shelf.store.append("/queue/q", make_message(number, b"x" * 10_000))
    assert shelf.store.stats().unwritten == 100
    shelf.sync()
    after = shelf.store.stats()
    assert (after.trouble, after.unwritten, after.free) == ("", 0, 100 * MIB)
    assert after.bytes > before.bytes + 900_000
    assert (before.commits, after.commits) == (0, 1)
    assert after.commit_seconds > 0
