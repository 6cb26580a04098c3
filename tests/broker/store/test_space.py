"""DiskSpace on the disk comes back when messages were settled."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.broker.store.test_damage import BODIES, change, old_directory
from tests.support.house import make_message
from tests.support.storage import Shelf, contents_of, short_wal

from stompy_broker.store import directory as directories
from stompy_broker.store import sqlite, tables
from stompy_broker.store.base import StoreError
from stompy_broker.store.compaction import compact_directory
from stompy_broker.store.directory import FILE
from stompy_broker.store.inspection import inspected

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


def used(directory: Path) -> int:
    return (directory / FILE).stat().st_size


def fill_and_settle(shelf: Shelf, count: int, kept: int) -> None:
    messages = [make_message(1000 + n, b"%4d " % n * 4000) for n in range(count)]
    for message in messages:
        shelf.store.append("/queue/q", message)
    shelf.sync()
    for message in messages[kept:]:
        shelf.store.remove(message)
    shelf.sync()


def idle(shelf: Shelf) -> None:
    """Let time pass until there is nothing more to do."""
    for _ in range(100):
        shelf.turns.time.advance(sqlite.IDLE_SECONDS)
        shelf.turns.until(lambda: not shelf.sqlite._writer.busy)


def test_an_idle_broker_gives_room_back(tmp_path: Path):
    shelf = Shelf(tmp_path / "data")
    fill_and_settle(shelf, 800, 3)
    shelf.sqlite.tables.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    assert used(tmp_path / "data") > 16_000_000
    idle(shelf)
    assert used(tmp_path / "data") < 6 * MIB
    shelf.store.append("/queue/q", make_message(5000))
    shelf.sync()
    copy = shelf.copy(tmp_path / "copy")
    assert [kept.sequence for kept in contents_of(copy).messages] == [1000, 1001, 1002, 5000]
    shelf.close()


def test_it_pauses_for_what_is_to_be_written(tmp_path: Path):
    shelf = Shelf(tmp_path / "data")
    fill_and_settle(shelf, 800, 0)
    shelf.turns.time.advance(sqlite.IDLE_SECONDS)
    shelf.turns.until(lambda: not shelf.sqlite._writer.busy)
    (free,) = shelf.sqlite.tables.connection.execute("PRAGMA freelist_count").fetchone()
    shelf.store.append("/queue/q", make_message(5000))
    shelf.sync()
    shelf.turns.time.advance(sqlite.IDLE_SECONDS / 2)
    assert not shelf.sqlite._writer.busy
    (now,) = shelf.sqlite.tables.connection.execute("PRAGMA freelist_count").fetchone()
    assert abs(free - now) < 10
    shelf.close()


def test_a_long_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "_LONG_WAL", 100_000)
    monkeypatch.setattr(directories, "WAL_BYTES", 50_000)
    shelf = Shelf(tmp_path / "data")
    shelf.store.append("/queue/q", make_message(1, b"x" * 500_000))
    shelf.sync()
    wal = tmp_path / "data" / f"{FILE}-wal"
    assert wal.stat().st_size > 500_000
    idle(shelf)
    assert wal.stat().st_size == 50_000
    shelf.store.append("/queue/q", make_message(2, b"y"))
    shelf.sync()
    assert len(contents_of(shelf.copy(tmp_path / "copy")).messages) == 2
    shelf.close()


def test_a_small_directory_of_before_learns_it_at_the_start(tmp_path: Path):
    directory = old_directory(tmp_path / "data", 2)
    Shelf(directory).close()
    connection = sqlite3.connect(directory / FILE)
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()
    assert {kept.sequence: kept.body for kept in contents_of(directory).messages} == BODIES


def test_a_large_one_is_told_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    monkeypatch.setattr(directories, "_COMPACT_BELOW", 100)
    directory = old_directory(tmp_path / "data", 2)
    shelf = Shelf(directory)
    assert "`stompy-broker store compact`" in caplog.text
    fill_and_settle(shelf, 800, 1)
    idle(shelf)
    shelf.close()
    before = used(directory)
    assert before > 16_000_000
    done = compact_directory(directory)
    assert (done.before, done.after) == (before, used(directory))
    assert done.after < 200_000
    assert [kept.sequence for kept in contents_of(directory).messages] == [*BODIES, 1000]


def test_compact_drops_what_is_damaged_when_it_is_told_to(tmp_path: Path):
    shelf = Shelf(tmp_path / "data")
    for number in (1, 2, 3):
        shelf.store.append("/queue/q", make_message(number, b"%d" % number * 400))
    shelf.close()
    change(tmp_path / "data", "UPDATE message SET body = x'00' WHERE sequence = 2")
    contents_of(tmp_path / "data")
    assert compact_directory(tmp_path / "data").dropped == 0
    with inspected(tmp_path / "data") as inspection:
        assert len(inspection.check()) == 1
    assert compact_directory(tmp_path / "data", drop_damaged=True).dropped == 1
    with inspected(tmp_path / "data") as inspection:
        assert inspection.check() == []
        assert [message.sequence for message in inspection.export()] == [1, 3]


def test_the_command(tmp_path: Path):
    shelf = Shelf(tmp_path / "data")
    fill_and_settle(shelf, 100, 1)
    command = [sys.executable, "-m", "stompy_broker", "store", "compact", str(tmp_path / "data")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"process id {os.getpid()}" in refused.stderr
    shelf.close()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "bytes before" in done.stdout
    with pytest.raises(StoreError, match="holds no"):
        compact_directory(tmp_path / "none")
