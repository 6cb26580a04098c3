"""Stored messages that are not what was written any more: nobody gets them, and they are told."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.house import Taker, figures, make_message, take_part
from tests.support.storage import Shelf, contents, short_wal

from stompy_broker.routing.queue import LocalQueue
from stompy_broker.store.base import StoreError
from stompy_broker.store.directory import FILE
from stompy_broker.store.inspection import inspected
from stompy_broker.store.rows import checksum, checksum_of_head
from stompy_broker.store.schema import APPLICATION_ID, STEPS

PAGE = 4096
BODIES = {sequence: b"%d " % sequence * 50 for sequence in range(1, 7)}

FLIPS = {
    "queue": "queue = queue + {bit}",
    "received": "received = received + {bit}",
    "expires": "expires = {bit} << 45",
    "flags": "flags = flags + {bit}",
    "message_id": "message_id = x'61'",
    "head": "head = CAST(replace(head, 'queue', 'pueue') AS BLOB)",
    "body": "body = CAST(replace(body, '4', '5') AS BLOB)",
    "emptied": "body = x''",
    "garbled": "flags = 'x', head = 5",
    "another type": "received = 'then'",
    "checksum": "checksum = checksum + 1",
}


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


def filled(directory: Path, bodies: dict[int, bytes] = BODIES) -> Path:
    """A closed directory with some messages."""
    shelf = Shelf(directory)
    for sequence, body in bodies.items():
        shelf.store.append("/queue/q", make_message(sequence, body))
    shelf.close()
    return directory


def change(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def drained(shelf: Shelf, count: int) -> tuple[LocalQueue, Taker]:
    queue, taker = shelf.route().queue("q"), Taker(100)
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) >= count and queue._reader.wanted is None)
    return queue, taker


@pytest.mark.parametrize("what", FLIPS)
@pytest.mark.parametrize("bit", [1, 4])
def test_a_changed_row_is_given_to_nobody_and_kept(
    tmp_path: Path, what: str, bit: int, caplog: pytest.LogCaptureFixture
):
    directory = filled(tmp_path / "data")
    statement = FLIPS[what].format(bit=bit)
    change(directory, f"UPDATE message SET {statement} WHERE sequence = 4")
    with inspected(directory) as inspection:
        (finding,) = [one for one in inspection.check() if "missing" not in one]
        assert "message 4 of " in finding
        assert "is damaged" in finding
    shelf = Shelf(directory)
    queue, taker = drained(shelf, 5)
    assert {m.sequence: m.body for m in taker.taken} == {
        n: body for n, body in BODIES.items() if n != 4
    }
    assert [one.sequence for one in shelf.damaged] == [4]
    assert shelf.store.stats().damaged == 1
    assert figures(queue).ready == 0
    assert caplog.text.count("message 4 of ") == 1
    for message in taker.taken:
        queue.settle(message)
    shelf.sync()
    assert figures(queue).bytes == 0
    shelf.reopen()
    assert contents(shelf).messages == ()
    assert shelf.damaged == [shelf.damaged[0]]  # told once
    assert shelf.store.stats().damaged == 1
    assert "1 damaged messages are set aside" in caplog.text
    shelf.close()
    with inspected(directory) as inspection:
        (finding,) = inspection.check()
        assert "message 4 of " in finding
        assert "set aside" in finding
        stats = inspection.stats()
        assert stats.damaged == 1
        assert sum(queue.messages for queue in stats.queues) == 0
        exported = list(inspection.export())
        if what != "garbled":
            (copy,) = exported
            assert copy.damaged
            assert what in ("body", "emptied") or copy.body == BODIES[4]
        assert len(inspection.problems) == 1


def test_every_single_bit_counts():
    head = (3, 1_700_000_000_000, 1_800_000_000_000, 18, b"id", b"a:b\n\n")
    sequence, body = 1_700_000_000_000 * 2**20, b"hello"
    right = checksum(checksum_of_head(*head), sequence, body)
    sums = set()
    for bit in range(60):
        sums.add(checksum(checksum_of_head(*head), sequence ^ 1 << bit, body))
        for place in range(4):
            other = [*head]
            other[place] ^= 1 << bit
            sums.add(checksum(checksum_of_head(*other), sequence, body))
    for bit in range(8 * len(body)):
        flipped = (int.from_bytes(body) ^ 1 << bit).to_bytes(len(body))
        sums.add(checksum(checksum_of_head(*head), sequence, flipped))
    assert right not in sums


def test_a_lost_piece_of_a_large_body(tmp_path: Path):
    """SQLite itself sees it, and cannot read the row: the others are read."""
    bodies = {n: bytes([64 + n]) * 20_000 for n in range(1, 5)}
    directory = filled(tmp_path / "data", bodies)
    file = directory / FILE
    data = bytearray(file.read_bytes())
    page = next(at for at in range(0, len(data), PAGE) if data.count(b"B", at, at + PAGE) > 4000)
    data[page : page + PAGE] = bytes(PAGE)
    file.write_bytes(data)
    shelf = Shelf(directory)
    queue, taker = drained(shelf, 3)
    assert [m.sequence for m in taker.taken] == [1, 3, 4]
    assert "cannot be read" in shelf.damaged[0].reason
    for message in taker.taken:
        queue.settle(message)
    shelf.sync()
    shelf.reopen()
    assert contents(shelf).messages == ()
    shelf.close()


def test_random_flips_change_nothing_unnoticed(tmp_path: Path):
    """Of 60 files with one wrong bit each: refused, or every body is as it was."""
    chance = random.Random(5)
    bodies = {n: chance.randbytes(chance.choice((20, 300, 6000))) for n in range(1, 60)}
    directory = filled(tmp_path / "data", bodies)
    sound = (directory / FILE).read_bytes()
    outcomes = set()
    for _ in range(60):
        flipped = bytearray(sound)
        flipped[chance.randrange(len(sound))] ^= 1 << chance.randrange(8)
        (directory / FILE).write_bytes(flipped)
        try:
            shelf = Shelf(directory)
        except StoreError:
            outcomes.add("refused")
            continue
        try:
            found = contents(shelf).messages
        except StoreError:
            outcomes.add("refused")
        else:
            got = {kept.sequence: kept.body for kept in found if kept.body is not None}
            assert got.items() <= bodies.items()
            outcomes.add("all" if got == bodies else "damage seen")
            assert len(got) == len(bodies) or shelf.damaged
        finally:
            shelf.close()
    assert "damage seen" in outcomes


def old_directory(directory: Path, steps: int) -> Path:
    """A directory as a release with so many steps has left it."""
    directory.mkdir()
    connection = sqlite3.connect(directory / FILE)
    for _, statements in STEPS[:steps]:
        connection.executescript(statements)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {steps}")
    connection.execute("INSERT INTO queue VALUES (1, '/queue/q')")
    connection.executemany(
        "INSERT INTO message (sequence, queue, received, deliveries, due, expires, flags, head, "
        "body) VALUES (?, 1, 1700000000000, 0, 0, 0, 16, ?, ?)",
        [(n, b"destination:/queue/q\n\n", body) for n, body in BODIES.items()],
    )
    connection.commit()
    connection.close()
    return directory


@pytest.mark.parametrize("steps", [1, 2])
def test_messages_of_an_older_release_are_unchecked_and_go_on(
    tmp_path: Path, steps: int, caplog: pytest.LogCaptureFixture
):
    directory = old_directory(tmp_path / "data", steps)
    caplog.set_level("INFO")
    shelf = Shelf(directory)
    for number, (name, _) in enumerate(STEPS, 1):
        told = f"brought up to date, schema {number}: {name}"
        assert caplog.text.count(told) == (number > steps)
    queue, taker = drained(shelf, len(BODIES))
    assert {m.sequence: m.body for m in taker.taken} == BODIES
    shelf.store.append("/queue/q", make_message(100, b"new"))
    queue.settle(taker.taken[0])
    shelf.close()
    with inspected(directory) as inspection:
        assert inspection.check() == []
        assert [one.sequence for one in inspection.export()] == [2, 3, 4, 5, 6, 100]
    change(directory, "UPDATE message SET body = x'00' WHERE sequence IN (2, 100)")
    with inspected(directory) as inspection:
        (finding,) = inspection.check()
        assert "message 100 of /queue/q is damaged" in finding


@pytest.mark.parametrize("text", ["{broken", "[1, 2]"])
def test_garbled_settings_are_found(tmp_path: Path, text: str):
    directory = filled(tmp_path / "data")
    change(directory, f"INSERT INTO settings VALUES ('orders', '{text}')")
    change(directory, f"INSERT INTO subscription VALUES ('ann', 'news', '{text}')")
    with inspected(directory) as inspection:
        queue, subscription = inspection.check()
    assert "queue orders is garbled" in queue
    assert "durable subscription ann is garbled" in subscription
