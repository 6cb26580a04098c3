"""Logs in SQLite: blocks are merged, cut off in steps, and read past where they are damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.crashes import Crashes
from tests.support.house import WALL, make_head, make_message
from tests.support.storage import Shelf, contents_of, logs_of, page_of, short_wal

from stompy_broker.message import Message, stamp
from stompy_broker.store import log_tables
from stompy_broker.store.directory import FILE
from stompy_broker.store.entry_log import EntryLogs, LogEntry, WantedValues
from stompy_broker.store.log_reading import DamagedEntries
from stompy_broker.store.sqlite import IDLE_SECONDS, RETRY_SECONDS

HEAD = make_head()


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with short_wal():
        yield


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "data")
    yield shelf
    shelf.close()


def logs(shelf: Shelf) -> EntryLogs:
    return shelf.store.logs


def fill(shelf: Shelf, count: int, log: str = "a", value: str | None = None, size: int = 0) -> None:
    """Add entries whose bodies tell their offsets."""
    start = logs(shelf).ends_of(log).next
    for number in range(start, start + count):
        body = b"%d" % number + bytes(size)
        message = Message(number + 1 << 10, HEAD, body, stamp(WALL + number))
        logs(shelf).append(log, message, value)


def commit_each(shelf: Shelf, count: int, log: str = "a") -> None:
    """Add entries, each in a commit of its own."""
    for _ in range(count):
        fill(shelf, 1, log)
        shelf.sync()


def rows(shelf: Shelf, what: str = "count(*)") -> list[tuple[int, ...]]:
    return shelf.sqlite.tables.connection.execute(
        f"SELECT {what} FROM log_block ORDER BY place"
    ).fetchall()


def until_tidy(shelf: Shelf) -> None:
    shelf.turns.until(lambda: not (shelf.sqlite.tables.logs.is_untidy or shelf.sqlite.busy))


def everything(shelf: Shelf, wanted: WantedValues | None = None) -> list[LogEntry]:
    entries: list[LogEntry] = []
    at = 0
    while at < logs(shelf).ends_of("a").next:
        page = page_of(shelf, "a", at, wanted=wanted)
        entries += page.entries
        assert page.next > at
        at = page.next
    return entries


def offsets(shelf: Shelf, wanted: WantedValues | None = None) -> list[int]:
    found = everything(shelf, wanted)
    assert all(one.body is not None and one.body.startswith(b"%d" % one.offset) for one in found)
    return [one.offset for one in found]


# -- small blocks --------------------------------------------------------------------------------


def test_small_blocks_are_merged(shelf: Shelf) -> None:
    commit_each(shelf, 700)
    until_tidy(shelf)
    ((count,),) = rows(shelf)
    assert count < 150
    assert offsets(shelf) == list(range(700))
    before = logs(shelf).ends()
    shelf.reopen()
    assert logs(shelf).ends() == before
    assert offsets(shelf) == list(range(700))


def test_full_blocks_are_left_alone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tables, "_MERGED", 10)
    for _ in range(4):
        commit_each(shelf, 8)
        fill(shelf, 1500)
        shelf.sync()
    until_tidy(shelf)
    ends = logs(shelf).ends_of("a")
    assert offsets(shelf) == list(range(ends.next))
    totals = rows(shelf, "total, content, sequence, latest")
    assert sum(content for _, content, _, _ in totals) == ends.bytes == totals[-1][0]
    assert totals == sorted(totals, key=lambda row: row[0])
    assert [row[2:] for row in totals] == sorted(row[2:] for row in totals)


def test_a_large_entry_among_small_ones(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tables, "_MERGED", 10)
    for number in range(60):
        fill(shelf, 1, size=300_000 if number % 7 == 3 else 0)
        shelf.sync()
    until_tidy(shelf)
    assert offsets(shelf) == list(range(60))
    shelf.reopen()
    assert offsets(shelf) == list(range(60))


def test_when_nothing_happens_the_rest_is_merged(shelf: Shelf) -> None:
    commit_each(shelf, 50)
    assert rows(shelf) == [(50,)]
    shelf.turns.time.advance(IDLE_SECONDS + 1)
    until_tidy(shelf)
    assert rows(shelf) == [(1,)]
    assert offsets(shelf) == list(range(50))


def test_a_crash_at_any_statement_of_a_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_tables, "_MERGED", 8)
    shelf = Shelf(tmp_path / "data")
    told = [logs_of(shelf)]
    crashes = Crashes(shelf, tmp_path, lambda: len(told))
    for number in range(30):
        fill(shelf, 1)
        if number % 10 == 9:
            logs(shelf).cut("a", number - 4)
        told.append(logs_of(shelf))  # waits until it is safe
        until_tidy(shelf)
    shelf.close()
    assert len(crashes.every) > 33  # commits, and merges among them
    for crash in crashes.every:
        kept = contents_of(crash.copy).logs
        assert kept in told[crash.before - 1 : crash.after + 1], crash.copy


# -- cutting off ---------------------------------------------------------------------------------


def test_what_was_cut_off_goes_in_steps(shelf: Shelf) -> None:
    fill(shelf, 100_000)
    shelf.sync()
    assert rows(shelf) == [(100,)]
    everything_there = logs(shelf).ends_of("a")
    statements: list[str] = []
    shelf.tap(lambda text, has_run: statements.append(text) if has_run else None)
    logs(shelf).cut("a", 95_500)
    shelf.sync()
    until_tidy(shelf)
    assert rows(shelf, "length") == [(1000,)] * 5
    assert sum(one.startswith("DELETE FROM log_block") for one in statements) == 3
    ends = logs(shelf).ends_of("a")
    assert ends.first == 95_500
    assert 0 < ends.bytes < everything_there.bytes // 10
    assert ends.oldest == WALL + 95_000
    shelf.reopen()
    assert logs(shelf).ends_of("a") == ends
    assert offsets(shelf) == list(range(95_500, 100_000))


def test_a_cut_that_was_not_carried_out_is_after_a_restart(shelf: Shelf) -> None:
    fill(shelf, 5000)
    fill(shelf, 3000, "b")
    shelf.sync()
    shelf.tap(
        lambda text, has_run: pytest.fail("too early") if "DELETE FROM log_block" in text else None
    )
    logs(shelf).cut("a", 4000)
    logs(shelf).drop("b")
    shelf.leave()
    shelf.crash()
    assert rows(shelf) == [(8,)]
    commit_each(shelf, 1)
    until_tidy(shelf)
    assert rows(shelf, "length") == [(1000,), (1,)]
    assert shelf.sqlite.tables.connection.execute("SELECT name FROM entry_log").fetchall() == [
        ("a",)
    ]


def test_a_log_that_was_emptied_has_no_rows_and_goes_on(shelf: Shelf) -> None:
    fill(shelf, 2500)
    shelf.sync()
    logs(shelf).cut("a", 2500)
    shelf.sync()
    until_tidy(shelf)
    assert rows(shelf) == [(0,)]
    assert logs(shelf).ends_of("a") == (2500, 2500, 0, 0)
    shelf.reopen()
    assert logs(shelf).ends_of("a") == (2500, 2500, 0, 0)
    fill(shelf, 10)
    shelf.sync()
    assert offsets(shelf) == list(range(2500, 2510))


def test_the_room_of_a_dropped_log_comes_back(shelf: Shelf) -> None:
    assert shelf.directory is not None
    fill(shelf, 2000, size=20_000)
    shelf.sync()
    logs(shelf).drop("a")
    shelf.sync()
    until_tidy(shelf)
    for _ in range(60):
        shelf.turns.time.advance(IDLE_SECONDS + 1)
        shelf.turns.until(lambda: not shelf.sqlite.busy)
    assert (shelf.directory / FILE).stat().st_size < 8_000_000


def test_sequences_of_entries_count(shelf: Shelf) -> None:
    fill(shelf, 3)
    shelf.reopen()
    assert shelf.store.last_sequence == 3 << 10


# -- a disk that fails ---------------------------------------------------------------------------


def test_a_batch_that_failed_is_written_with_what_came_after(shelf: Shelf) -> None:
    fill(shelf, 2, "gone")
    shelf.sync()
    fails = [True]

    def tap(text: str, has_run: bool) -> None:
        if text == "COMMIT" and not has_run and fails:
            raise sqlite3.OperationalError("disk I/O error")

    shelf.tap(tap)
    fill(shelf, 3)
    fill(shelf, 1, "gone")
    logs(shelf).keep_reader("a", "ann", 1)
    logs(shelf).keep_reader("gone", "ann", 1)
    shelf.store.sync(lambda: None)
    shelf.turns.until(lambda: shelf.store.trouble)
    fill(shelf, 2)
    logs(shelf).drop("gone")
    fill(shelf, 1, "gone")
    logs(shelf).keep_reader("a", "ann", 2)
    logs(shelf).cut("a", 1)
    assert logs(shelf).safe_next("a") == 0
    fails.clear()
    shelf.turns.time.advance(RETRY_SECONDS + 1)
    shelf.sync()
    assert logs(shelf).safe_next("a") == 5
    shelf.reopen()
    assert offsets(shelf) == [1, 2, 3, 4]
    assert logs(shelf).readers("a") == {"ann": 2}
    assert logs(shelf).readers("gone") == {}
    assert [one.body for one in page_of(shelf, "gone", 0).entries] == [b"0"]


def test_what_cannot_be_read_just_now_is_read_later(shelf: Shelf) -> None:
    fill(shelf, 3)
    shelf.sync()
    failed: list[str] = []

    def tap(text: str, has_run: bool) -> None:
        if "log_block" in text and not failed:
            failed.append(text)
            raise sqlite3.OperationalError("disk I/O error")

    shelf.tap(tap)
    pages: list[object] = []
    logs(shelf).read("a", 0, pages.append)
    shelf.turns.until(lambda: not shelf.sqlite.busy and failed)
    assert pages == []
    shelf.turns.time.advance(RETRY_SECONDS + 1)
    shelf.turns.until(lambda: pages)
    assert offsets(shelf) == [0, 1, 2]


def test_what_cannot_be_tidied_is_tried_again(shelf: Shelf) -> None:
    fill(shelf, 3000)
    shelf.sync()
    failed: list[str] = []

    def tap(text: str, has_run: bool) -> None:
        if text.startswith("DELETE FROM log_block") and not failed:
            failed.append(text)
            raise sqlite3.OperationalError("disk I/O error")

    shelf.tap(tap)
    logs(shelf).cut("a", 2000)
    shelf.sync()
    shelf.turns.until(lambda: failed and not shelf.sqlite.busy)
    assert rows(shelf) == [(3,)]
    shelf.turns.time.advance(11)
    commit_each(shelf, 1)
    until_tidy(shelf)
    assert rows(shelf, "length") == [(1000,), (1,)]


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "data = zeroblob(length(data))",
        "data = 'text'",
        "data = substr(data, 2)",
        "length = length + 1",
        "content = content + 1",
        "checksum = checksum + 1",
        "sequence = 'x'",
        "filters = x'00'",
    ],
)
@pytest.mark.parametrize("wanted", [None, WantedValues(frozenset({"red"}))])
def test_what_is_damaged_is_said_and_read_past(
    shelf: Shelf, damage: str, wanted: WantedValues | None
) -> None:
    fill(shelf, 5000, value="red")
    shelf.sync()
    shelf.sqlite.tables.connection.execute(
        f"UPDATE log_block SET {damage} WHERE place & 1099511627775 = 2000"
    )
    shelf.reopen()
    assert offsets(shelf, wanted) == [*range(2000), *range(3000, 5000)]
    (said,) = shelf.damaged
    assert isinstance(said, DamagedEntries)
    assert said[:3] == ("a", 2000, 3000)
    assert page_of(shelf, "a", 2500, wanted=wanted).lost == 500
    assert len(shelf.damaged) == 1
    assert shelf.store.stats().damaged >= 1000
    fill(shelf, 1, value="red")
    shelf.sync()
    assert offsets(shelf, wanted)[-1] == 5000


@pytest.mark.parametrize("wanted", [None, WantedValues(frozenset({"red"}))])
def test_the_last_block_is_damaged(shelf: Shelf, wanted: WantedValues | None) -> None:
    fill(shelf, 1500, value="red")
    shelf.sync()
    shelf.sqlite.tables.connection.execute(
        "UPDATE log_block SET length = 7 WHERE place & 1099511627775 = 1000"
    )
    shelf.reopen()
    # Nobody can tell how many there were, so what comes has offsets that none of them had.
    assert logs(shelf).ends_of("a").next == 2000
    fill(shelf, 1, value="red")
    shelf.sync()
    assert offsets(shelf, wanted) == [*range(1000), 2000]
    (said,) = shelf.damaged
    assert said[:3] == ("a", 1000, 2000)


def test_rows_that_are_not_there(shelf: Shelf) -> None:
    fill(shelf, 5000)
    shelf.sync()
    shelf.sqlite.tables.connection.execute(
        "DELETE FROM log_block WHERE place & 1099511627775 IN (0, 2000, 3000)"
    )
    shelf.reopen()
    assert offsets(shelf) == [*range(1000, 2000), *range(4000, 5000)]
    assert [one[1:3] for one in shelf.damaged] == [(0, 1000), (2000, 4000)]


def test_a_block_that_is_damaged_is_not_merged(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_each(shelf, 5)
    shelf.sqlite.tables.connection.execute(
        "UPDATE log_block SET content = 7 WHERE place & 1099511627775 = 2"
    )
    monkeypatch.setattr(log_tables, "_MERGED", 6)
    commit_each(shelf, 3)
    until_tidy(shelf)
    assert offsets(shelf) == [0, 1, 3, 4, 5, 6, 7]


def test_pages_of_the_file_that_are_damaged(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "data")
    fill(shelf, 40_000)
    shelf.close()
    file = tmp_path / "data" / FILE
    connection = sqlite3.connect(file)
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    # Leaves and pages of data in the middle of the file; not those that SQLite begins with.
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.close()
    with file.open("r+b") as stream:
        for page in range(pages // 3, pages // 3 + 40):
            stream.seek(page * size)
            stream.write(b"\xff" * size)
    shelf.crash()
    try:
        found = offsets(shelf)
        lost = {offset for one in shelf.damaged for offset in range(*one[1:3])}
        assert lost
        assert len(found) > 20_000
        assert sorted({*found, *lost}) == list(range(40_000))
        assert lost.isdisjoint(found)
    finally:
        shelf.close()


def test_a_body_that_is_damaged_is_not_taken_over(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        shelf.store.append("/queue/q", make_message(number))
    shelf.sync()
    shelf.sqlite.tables.connection.execute("UPDATE message SET body = x'00' WHERE sequence = 1")
    shelf.reopen()
    for one in list(shelf.store.restore()):
        logs(shelf).append("a", one.message)
        shelf.store.remove(one.message)
    shelf.sync()
    assert [one.body for one in page_of(shelf, "a", 0).entries] == [None, b"body"]
    assert "message 1 of /queue/q is damaged" in caplog.text
