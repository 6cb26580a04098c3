"""A look into a data directory: what it finds, and that it changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.house import WALL, make_head
from tests.support.storage import Shelf

from stompy_broker.message import Message, MessageHead, earlier_deliveries, stamp
from stompy_broker.store.base import StoredSubscription, StoreError
from stompy_broker.store.directory import FILE
from stompy_broker.store.inspection import QueueCount, inspected

PAGE = 4096


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Two queues and a subscription, written and not closed."""
    shelf = Shelf(tmp_path / "data")
    shelf.store.append("/queue/a", Message(1, make_head(priority="7"), b"one\0\xff", stamp(WALL)))
    moved = MessageHead.from_headers({"destination": "/queue/DLQ.a"}, message_id=b"older")
    older = Message(2, moved, b"two", stamp(WALL + 5), earlier_deliveries(3, 0))
    shelf.store.append("/queue/b", older)
    shelf.store.append("/queue/a", Message(3, make_head(name="größe:\n"), b"", stamp(WALL + 9)))
    shelf.store.keep_subscription(StoredSubscription("ann.news", "news.>", "{}"))
    shelf.sync()
    yield shelf
    shelf.close()


@pytest.fixture
def crashed(shelf: Shelf, tmp_path: Path) -> Path:
    return shelf.copy(tmp_path / "crashed")


def content(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.glob(f"{FILE}*")}


def large(directory: Path, count: int = 2000, start: int = 1) -> Path:
    """A closed database of many pages."""
    shelf = Shelf(directory)
    for sequence in range(start, start + count):
        shelf.store.append("/queue/q", Message(sequence, make_head(), b"x" * 200, stamp(WALL)))
    shelf.sync()
    shelf.close()
    return directory


def leaves(file: Path) -> list[int]:
    """The pages that hold rows, roughly: table leaves full of our bodies."""
    data = file.read_bytes()
    pages = range(1, len(data) // PAGE)
    return [
        n
        for n in pages
        if data[n * PAGE] == 13 and data.count(b"x" * 200, n * PAGE, n * PAGE + PAGE) > 5
    ]


def wipe(file: Path, *pages: int) -> None:
    with file.open("r+b") as stream:
        for page in pages:
            stream.seek(page * PAGE)
            stream.write(b"\0" * PAGE)


@pytest.mark.parametrize("closed", [False, True])
def test_it_changes_nothing(shelf: Shelf, crashed: Path, closed: bool):
    directory = crashed
    if closed:
        shelf.close()
        assert shelf.directory is not None
        directory = shelf.directory
    before = content(directory)
    with inspected(directory) as inspection:
        assert inspection.check() == []
        assert len(inspection.stats().queues) == 2
        assert [m.sequence for m in inspection.export()] == [1, 2, 3]
        assert inspection.problems == []
    assert content(directory) == before
    if closed:
        shelf.store = Shelf(directory).store


def test_a_broken_wal_is_left_alone(crashed: Path):
    wal = crashed / f"{FILE}-wal"
    wal.write_bytes(b"nonsense" * 10_000)
    before = content(crashed)
    with inspected(crashed) as inspection:
        inspection.check()
        list(inspection.export())
    assert content(crashed) == before


def test_stats(crashed: Path):
    with inspected(crashed) as inspection:
        stats = inspection.stats()
    a, b = stats.queues
    assert (a.destination, a.messages, a.oldest) == ("/queue/a", 2, WALL)
    assert a.bytes > 5
    assert (b.destination, b.messages, b.oldest) == ("/queue/b", 1, WALL + 5)
    assert stats.subscriptions == [StoredSubscription("ann.news", "news.>", "{}")]
    assert stats.files == {name: len(data) for name, data in content(crashed).items()}


def test_export(crashed: Path):
    with inspected(crashed) as inspection:
        first, second, third = inspection.export()
    assert (first.destination, first.message_id, first.priority) == ("/queue/a", "1", 7)
    assert (first.received_at, first.body) == (WALL, b"one\0\xff")
    assert first.headers == {"destination": "/queue/q", "priority": "7"}
    assert (second.message_id, second.deliveries) == ("older", 3)
    assert second.headers == {"destination": "/queue/DLQ.a"}
    assert third.headers["name"] == "größe:\n"


def test_messages_without_queue_are_found_and_exported(shelf: Shelf):
    shelf.close()
    assert shelf.directory is not None
    with sqlite3.connect(shelf.directory / FILE) as connection:
        connection.execute("DELETE FROM queue WHERE destination = '/queue/a'")
    connection.close()
    with inspected(shelf.directory) as inspection:
        (finding,) = inspection.check()
        assert "is missing, and has 2 messages; the first is 1" in finding
        orphans, b = inspection.stats().queues
        assert orphans.destination is None
        assert orphans.messages == 2
        assert b.destination == "/queue/b"
        assert [m.destination for m in inspection.export()] == [None, "/queue/b", None]
        assert len(inspection.problems) == 2
    with sqlite3.connect(shelf.directory / FILE) as connection:
        connection.execute("DELETE FROM message")
    connection.close()
    shelf.store = Shelf(shelf.directory).store


@pytest.mark.parametrize("start", [1, 10**15])
@pytest.mark.parametrize("bad", [[0], [3], [3, 4], [3, 10], [-1], [0, 5, -1]])
def test_what_is_not_damaged_is_exported(tmp_path: Path, bad: list[int], start: int):
    file = large(tmp_path / "data", start=start) / FILE
    pages = leaves(file)
    wipe(file, *(pages[n] for n in bad))
    with inspected(file.parent) as inspection:
        assert inspection.check() != []
        found = [message.sequence for message in inspection.export()]
        assert inspection.problems
    assert found == sorted(set(found))
    assert len(found) >= 2000 - 20 * len(bad)
    assert len(found) < 2000


def test_a_garbled_row_is_passed_over(shelf: Shelf):
    shelf.close()
    assert shelf.directory is not None
    with sqlite3.connect(shelf.directory / FILE) as connection:
        connection.execute("UPDATE message SET head = x'ff00' WHERE sequence = 1")
        connection.execute("UPDATE message SET flags = 'x' WHERE sequence = 2")
    connection.close()
    with inspected(shelf.directory) as inspection:
        garbled, sound = inspection.export()
        assert (garbled.sequence, garbled.body, garbled.headers) == (1, b"one\0\xff", {})
        assert garbled.damaged
        assert (sound.sequence, sound.damaged) == (3, "")
        assert len(inspection.problems) == 2
    with sqlite3.connect(shelf.directory / FILE) as connection:
        connection.execute("DELETE FROM message")
    connection.close()
    shelf.store = Shelf(shelf.directory).store


def test_an_empty_queue_is_counted(tmp_path: Path):
    directory = large(tmp_path / "data", 1)
    with sqlite3.connect(directory / FILE) as connection:
        connection.execute("DELETE FROM message")
    connection.close()
    with inspected(directory) as inspection:
        assert inspection.stats().queues == [QueueCount("/queue/q", 0, 0, None)]


def test_a_directory_in_use(shelf: Shelf):
    assert shelf.directory is not None
    with pytest.raises(StoreError, match="in use"), inspected(shelf.directory):
        pass


def test_an_absent_directory_is_not_made(tmp_path: Path):
    with pytest.raises(StoreError, match="holds no messages"), inspected(tmp_path / "none"):
        pass
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "start a broker"), (b"not a database at all" * 1000, "damaged")]
)
def test_what_is_no_database(tmp_path: Path, data: bytes, words: str):
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StoreError, match=words), inspected(tmp_path):
        pass
    assert (tmp_path / FILE).read_bytes() == data


@pytest.mark.parametrize(
    ("pragma", "words"),
    [("application_id = 5", "not a database of"), ("user_version = 99", "install a newer")],
)
def test_what_is_not_ours(tmp_path: Path, pragma: str, words: str):
    directory = large(tmp_path / "data", 1)
    with sqlite3.connect(directory / FILE) as connection:
        connection.execute(f"PRAGMA {pragma}")
    connection.close()
    with pytest.raises(StoreError, match=words), inspected(directory):
        pass
