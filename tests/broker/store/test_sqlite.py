"""The SQLite store: what it refuses, what it writes and when, and what stays on disk only."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.house import make_message
from tests.support.storage import Shelf, contents, contents_of, short_wal

from stompy_broker.store import directory, schema, sqlite, writer
from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import FILE, LOCK, lock_directory


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "data")
    yield shelf
    shelf.close()


def opened(data: Path) -> str:
    """Try to open a store; what is said against it."""
    with pytest.raises(StoreError) as caught:
        Shelf(data)
    # Nothing is left open: it can be tried again.
    os.close(lock_directory(data))
    return str(caught.value)


def fill(data: Path, count: int, body: bytes = b"x" * 1000) -> None:
    shelf = Shelf(data)
    for sequence in range(1, count + 1):
        # One object for all would be stored once.
        shelf.store.append("/queue/q", make_message(sequence, bytes(bytearray(body))))
    shelf.close()


def pragma(data: Path, name: str) -> object:
    connection = sqlite3.connect(data / FILE)
    try:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]
    finally:
        connection.close()


# -- what is refused -----------------------------------------------------------------------------


def test_a_directory_in_use_is_refused_and_who_has_it_is_named(shelf: Shelf):
    with pytest.raises(StoreError, match=f"in use .* process id {os.getpid()}$"):
        Shelf(shelf.directory)
    shelf.sync()


def test_a_lock_that_names_nobody_is_a_lock_too(shelf: Shelf):
    assert shelf.directory is not None
    (shelf.directory / LOCK).write_text("")
    with pytest.raises(StoreError, match=r"in use .* another process$"):
        Shelf(shelf.directory)


def test_a_lock_of_a_dead_process_is_none(tmp_path: Path):
    (tmp_path / LOCK).write_text("1")
    Shelf(tmp_path).close()


def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path):
    fill(tmp_path, 3)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    assert "has version 99" in opened(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE theirs (x)", "PRAGMA application_id = 42", "PRAGMA user_version = 1"],
)
def test_somebody_elses_database_is_refused_and_not_touched(tmp_path: Path, statement: str):
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute(statement)
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    assert "not a database of stompy-broker" in opened(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert pragma(tmp_path, "journal_mode") == "delete"


def test_what_is_no_database_is_refused_with_the_way_out(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"all work and no play makes Jack a dull boy\n" * 1000)
    reason = opened(tmp_path)
    assert all(word in reason for word in (FILE, "damaged", "store check", "store export"))


def damage(data: Path) -> None:
    """Overwrite pages in the middle of the file."""
    with (data / FILE).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 2 & ~4095)
        file.write(b"\xa5" * 16384)


def test_damage_is_found_after_an_unclean_end(shelf: Shelf, tmp_path: Path):
    for sequence in range(300):
        shelf.store.append("/queue/q", make_message(sequence, b"x" * 1000))
    shelf.sync()
    shelf.sqlite.tables.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    copy = shelf.copy(tmp_path / "copy")
    damage(copy)
    reason = opened(copy)
    assert all(word in reason for word in ("damaged", "store check", "store export"))


def test_damage_that_only_shows_when_messages_are_read(tmp_path: Path):
    fill(tmp_path, 300)
    damage(tmp_path)
    shelf = Shelf(tmp_path)
    with pytest.raises(StoreError, match=r"damaged.*store export"):
        list(shelf.store.restore())
    shelf.close()


def test_a_large_database_is_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(directory, "_CHECK_BELOW", 1000)
    shelf = Shelf(tmp_path / "data")
    copy = shelf.copy(tmp_path / "copy")
    shelf.close()
    Shelf(copy).close()
    assert "too large to be checked" in caplog.text


@pytest.mark.parametrize("place", ["file", "file/below", "file\0"])
def test_a_place_that_cannot_be_a_directory(tmp_path: Path, place: str):
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreError, ValueError)):
        Shelf(tmp_path / place)


def test_a_database_that_cannot_be_opened(tmp_path: Path):
    (tmp_path / FILE).mkdir()
    assert "cannot be used: unable to open" in opened(tmp_path)


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 9))
    assert "too old" in opened(tmp_path)


# -- the files -----------------------------------------------------------------------------------


def test_only_the_owner_can_read_them(tmp_path: Path):
    shelf = Shelf(tmp_path / "new" / "data")
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    files = list((tmp_path / "new" / "data").iterdir())
    assert {file.name for file in files} == {FILE, f"{FILE}-wal", LOCK}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    shelf.close()
    assert not (tmp_path / "new" / "data" / f"{FILE}-wal").exists()


def test_the_end_says_whether_it_was_orderly(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    shelf = Shelf(tmp_path / "data")
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    copy = shelf.copy(tmp_path / "copy")
    shelf.reopen()
    assert "not closed properly" not in caplog.text
    shelf.close()
    assert [kept.sequence for kept in contents_of(copy).messages] == [1]
    assert "was not closed properly; no damage found" in caplog.text


def test_the_wal_is_laid_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(directory, "WAL_BYTES", 1_000_000)
    shelf = Shelf(tmp_path / "data")
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    copy = shelf.copy(tmp_path / "copy")
    assert (copy / f"{FILE}-wal").stat().st_size == 1_000_000
    assert (copy / FILE).stat().st_size < 100_000
    shelf.close()
    assert [kept.sequence for kept in contents_of(copy).messages] == [1]


def test_a_torn_wal_loses_the_latest_commits_only(shelf: Shelf, tmp_path: Path):
    """Whatever was cut off or spoilt at its end, what is before that is there, in whole commits."""
    for sequence in range(1, 41):
        shelf.store.append("/queue/q", make_message(sequence * 2, b"x" * 3000))
        shelf.store.append("/queue/q", make_message(sequence * 2 + 1, b"x" * 3000))
        shelf.sync()
    whole = shelf.copy(tmp_path / "whole")
    wal = (whole / f"{FILE}-wal").read_bytes()
    counts = []
    for number, length in enumerate(range(len(wal) // 3, len(wal), len(wal) // 23)):
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / FILE).write_bytes((whole / FILE).read_bytes())
        spoilt = bytes(byte ^ 0xFF for byte in wal[length : length + 50])
        (copy / f"{FILE}-wal").write_bytes(wal[:length] + spoilt * (number % 2))
        found = [kept.sequence for kept in contents_of(copy).messages]
        assert found == list(range(2, len(found) + 2))
        assert len(found) % 2 == 0
        counts.append(len(found))
    assert counts == sorted(counts)
    assert len(set(counts)) > 10


# -- the schema ----------------------------------------------------------------------------------


def test_steps_are_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    fill(tmp_path, 2)
    assert pragma(tmp_path, "user_version") == len(schema.STEPS)
    assert pragma(tmp_path, "application_id") == schema.APPLICATION_ID
    assert f"new database, schema {len(schema.STEPS)}" in caplog.text
    assert not any(name in caplog.text for name, _ in schema.STEPS)
    caplog.clear()
    Shelf(tmp_path).close()
    assert "schema" not in caplog.text


def test_a_new_step_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path, 2)
    step = ("colours", "ALTER TABLE subscription ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, step))
    shelf = Shelf(tmp_path)
    assert [kept.sequence for kept in contents(shelf).messages] == [1, 2]
    shelf.close()
    assert pragma(tmp_path, "user_version") == len(schema.STEPS)


def test_a_step_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path, 2)
    with monkeypatch.context() as patch:
        step = ("nonsense", "CREATE TABLE half (x); SELECT nonsense")
        patch.setattr(schema, "STEPS", (*schema.STEPS, step))
        assert "nonsense" in opened(tmp_path)
    assert pragma(tmp_path, "user_version") == len(schema.STEPS)
    assert [kept.sequence for kept in contents_of(tmp_path).messages] == [1, 2]


# -- what is written, and when -------------------------------------------------------------------


class Statements:
    """What the writer runs, and on which thread."""

    def __init__(self, shelf: Shelf) -> None:
        self.seen: list[tuple[str, str]] = []
        shelf.tap(self.note)

    def note(self, statement: str, has_run: bool) -> None:
        if has_run:
            self.seen.append((statement.partition(" (")[0], threading.current_thread().name))

    @property
    def words(self) -> list[str]:
        return [statement.split()[0] for statement, _ in self.seen]


def test_what_is_settled_in_time_leaves_no_trace(shelf: Shelf):
    statements = Statements(shelf)
    message = make_message(1)
    shelf.store.append("/queue/q", message)
    shelf.store.mark_delivered(message, 1)
    shelf.turns.end()
    shelf.store.remove(message)
    shelf.sync()
    shelf.turns.time.advance(1)
    shelf.turns.end()
    assert statements.seen == []
    assert shelf.written == []


def test_what_nobody_waits_for_is_written_soon(shelf: Shelf):
    shelf.store.append("/queue/q", make_message(1))
    shelf.turns.end()
    assert shelf.written == []
    shelf.turns.time.advance(sqlite.LAZY_SECONDS)
    shelf.turns.until(lambda: shelf.written == [1])


def test_what_comes_while_the_writer_is_busy_is_written_together(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite, "_SMALL", 0)
    statements = Statements(shelf)
    told: list[int] = []
    for number in range(100):
        shelf.store.append("/queue/q", make_message(number))
        shelf.store.sync(lambda number=number: told.append(number))
        if number == 0:
            shelf.turns.end()
    shelf.turns.until(lambda: len(told) == 100)
    assert statements.words.count("COMMIT") == 2


def test_small_batches_are_written_in_place_and_large_ones_are_not(shelf: Shelf):
    statements = Statements(shelf)
    here = threading.current_thread().name
    shelf.sqlite._writer.commit_seconds = 0.0
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    assert {thread for _, thread in statements.seen} == {here}
    for grow in (
        lambda: [shelf.store.append("/queue/q", make_message(n)) for n in range(2, 40)],
        lambda: shelf.store.append("/queue/q", make_message(99, b"x" * 1_000_000)),
        lambda: (
            setattr(shelf.sqlite._writer, "commit_seconds", 1.0)
            or shelf.store.append("/queue/q", make_message(100))
        ),
    ):
        statements.seen.clear()
        shelf.sqlite._writer.commit_seconds = 0.0
        grow()
        shelf.sync()
        assert {thread for _, thread in statements.seen} == {"stompy-store"}


def test_nothing_is_written_in_place_while_the_writer_reads(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    """One connection is used by one thread at a time."""
    monkeypatch.setattr(sqlite, "_QUICK_SECONDS", 1e9)
    shelf.store.append("/queue/q", make_message(1))
    shelf.sync()
    statements = Statements(shelf)
    loaded: list[bool] = []
    shelf.store.load([make_message(1)], lambda: loaded.append(True))
    shelf.store.append("/queue/q", make_message(2))
    shelf.sync()
    assert loaded
    assert {thread for _, thread in statements.seen} == {"stompy-store"}


def test_the_wal_is_carried_over_between_commits(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "_WAL_PAGES", 20)
    statements = Statements(shelf)
    for number in range(30):
        shelf.store.append("/queue/q", make_message(number, b"x" * 20_000))
        shelf.sync()
    checkpoints = [n for n, word in enumerate(statements.words) if word == "PRAGMA"]
    assert len(checkpoints) >= 5
    assert {statements.seen[n][1] for n in checkpoints} == {"stompy-store"}
    assert all(statements.words[n - 1] == "COMMIT" for n in checkpoints)
    assert shelf.directory is not None
    assert (shelf.directory / f"{FILE}-wal").stat().st_size < 300_000


def test_queues_that_ended_leave_no_name_behind(shelf: Shelf):
    for number in range(20):
        message = make_message(number)
        shelf.store.append(f"/queue/reply.{number}", message)
        shelf.sync()
        shelf.store.remove(message)
        if number % 2:
            shelf.store.keep_queue(f"reply.{number}", None)
    shelf.sync()
    shelf.store.append("/queue/stays", make_message(100))
    shelf.sync()
    assert len(shelf.sqlite.tables.queues) == 11
    shelf.reopen()
    assert len(contents(shelf).messages) == 1
    assert list(shelf.sqlite.tables.queues) == ["/queue/stays"]
    assert shelf.sqlite.tables.connection.execute("SELECT destination FROM queue").fetchall() == [
        ("/queue/stays",)
    ]


def test_a_fault_of_one_does_not_keep_the_others_waiting(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
):
    told: list[int] = []
    shelf.store.append("/queue/q", make_message(1))
    for number in range(3):
        shelf.store.sync(lambda number=number: told.append(number // (number - 1)))
    shelf.turns.until(lambda: told)
    assert told == [0, 2]
    assert "ZeroDivisionError" in caplog.text


def test_after_the_end_nothing_comes_any_more(shelf: Shelf):
    """What the writer reported just before it was stopped is not acted upon."""
    told: list[int] = []
    for number in range(50):
        shelf.store.append("/queue/q", make_message(number))
    shelf.store.sync(lambda: told.append(1))
    shelf.turns.end()
    turns = shelf.turns
    shelf.store.close()
    turns.end()
    assert told == []
    shelf.turns = turns
    shelf.store = Shelf(shelf.directory).store
    assert len(list(shelf.store.restore())) == 50
