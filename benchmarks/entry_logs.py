"""Logs of the store: how quickly entries are written, read and found, and how the loop fares.

First three ways to keep a stream, each as small as it can be: a row for each message, blocks of
messages as rows, and files of segments with an index. Then the store itself, on an event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from zlib import crc32

from serving import form

from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.store.entry_log import LogEntry, LogPage, WantedValues
from stompy_broker.store.log_block import PackedBlock, pack_blocks
from stompy_broker.store.sqlite import SQLiteStore
from stompy_broker.timers import Clock

BODY = b"x" * 100
HEAD = MessageHead.from_headers(
    {"destination": "/queue/s", "content-length": "100", "kind": "order"}
)
BEGUN = 1_700_000_000_000


def entries(first: int, count: int) -> list[LogEntry]:
    """Entries of a batch, as a queue would tell them: they came within a millisecond or two."""
    at = stamp(BEGUN + first // 100)
    return [
        LogEntry(n, n + 1 << 10, at, HEAD, BODY, None, b"") for n in range(first, first + count)
    ]


Begun = tuple[float, float]


def begin() -> Begun:
    """The time now, and the processor time of all threads."""
    return time.perf_counter(), time.process_time()


def rates(count: int, begun: Begun) -> str:
    """So many a second, and a second of the processor."""
    seconds, used = time.perf_counter() - begun[0], time.process_time() - begun[1]
    return f"{count / seconds:11,.0f} {count / used:11,.0f}"


def length(top: Path) -> int:
    return sum(file.stat().st_size for file in top.iterdir())


# -- three ways ----------------------------------------------------------------------------------


def database(top: Path, table: str) -> sqlite3.Connection:
    connection = sqlite3.connect(top / "db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(table)
    return connection


class Rows:
    """A row for each message, many to a statement, as the store writes messages of queues."""

    def __init__(self, top: Path) -> None:
        self.connection = database(
            top,
            "CREATE TABLE entry (offset INTEGER PRIMARY KEY, sequence, received, flags, head, "
            "body, checksum)",
        )
        self.text = f"INSERT INTO entry VALUES {','.join(['(?,?,?,?,?,?,?)'] * 100)}"
        self.one = "INSERT INTO entry VALUES (?,?,?,?,?,?,?)"

    def append(self, batch: list[LogEntry]) -> None:
        of_head = crc32(HEAD.block)
        rows = [
            (e.offset, e.sequence, BEGUN, 1, e.head.block, e.body, crc32(e.body or b"", of_head))
            for e in batch
        ]
        self.connection.execute("BEGIN")
        if len(rows) % 100:
            self.connection.executemany(self.one, rows)
        else:
            for at in range(0, len(rows), 100):
                values = [value for row in rows[at : at + 100] for value in row]
                self.connection.execute(self.text, values)
        self.connection.execute("COMMIT")

    def read(self) -> Iterator[int]:
        at, of_head = 0, crc32(HEAD.block)
        while True:
            found = self.connection.execute(
                "SELECT * FROM entry WHERE offset >= ? ORDER BY offset LIMIT 1000", (at,)
            ).fetchall()
            if not found:
                return
            for row in found:
                assert crc32(row[5], of_head) == row[6]
            yield len([LogEntry(row[0], row[1], b"", HEAD, row[5], None, b"") for row in found])
            at = found[-1][0] + 1


class Blocks:
    """A block for each batch, as a row."""

    def __init__(self, top: Path) -> None:
        self.connection = database(
            top, "CREATE TABLE block (offset INTEGER PRIMARY KEY, length, checksum, data)"
        )

    def append(self, batch: list[LogEntry]) -> None:
        self.connection.execute("BEGIN")
        for block in pack_blocks(batch):
            row = (block.first, block.length, crc32(block.data), block.data)
            self.connection.execute("INSERT INTO block VALUES (?,?,?,?)", row)
        self.connection.execute("COMMIT")

    def read(self) -> Iterator[int]:
        for row in self.connection.execute("SELECT * FROM block ORDER BY offset"):
            yield unpack(row)


class Segments:
    """A block for each batch at the end of a file, and another file with their places."""

    def __init__(self, top: Path) -> None:
        self.path = top / "segment"
        self.data = open(self.path, "ab", buffering=0)  # noqa: SIM115 -- as long as this
        self.index = open(top / "index", "ab", buffering=0)  # noqa: SIM115

    def append(self, batch: list[LogEntry]) -> None:
        parts = [
            struct.pack("<QIII", block.first, block.length, crc32(block.data), len(block.data))
            + block.data
            for block in pack_blocks(batch)
        ]
        at = self.data.tell()
        self.data.write(b"".join(parts))
        os.fdatasync(self.data.fileno())
        # Rebuilt from the data after a crash, so it needs no sync of its own.
        self.index.write(struct.pack("<QQ", batch[0].offset, at))

    def read(self) -> Iterator[int]:
        with open(self.path, "rb") as file:
            while head := file.read(20):
                first, count, checksum, size = struct.unpack("<QIII", head)
                yield unpack((first, count, checksum, file.read(size)))


def unpack(row: tuple[int, int, int, bytes]) -> int:
    first, count, checksum, data = row
    assert crc32(data) == checksum
    return len(PackedBlock(first, count, 0, 0, 0, 0, None, data).entries())


def compare_ways(total: int) -> None:
    print(f"{'':18}{'appended':>23}{'one a commit':>24}{'read':>24}{'bytes each':>12}")
    print(f"{'':18}" + f"{'a second':>11} {'a CPU s':>11} " * 3)
    for title, way in (("a row a message", Rows), ("blocks as rows", Blocks), ("files", Segments)):
        with TemporaryDirectory(prefix="stompy-logs-") as directory:
            top = Path(directory)
            kept = way(top)
            batches = [entries(first, 1000) for first in range(0, total, 1000)]
            begun = begin()
            for batch in batches:
                kept.append(batch)
            appended = rates(total, begun)
            begun = begin()
            assert sum(kept.read()) == total
            read = rates(total, begun)
            each = length(top) / total
            singles = [entries(first, 1) for first in range(total, total + 1000)]
            begun = begin()
            for batch in singles:
                kept.append(batch)
            print(f"{title:18}{appended} {rates(1000, begun)} {read}{each:12.0f}", flush=True)


# -- the store -----------------------------------------------------------------------------------


class Ticks:
    """How late the loop is for what is due each millisecond."""

    def __init__(self) -> None:
        self.latest = 0.0
        self._task = asyncio.ensure_future(self._tick())

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            self.latest = max(self.latest, time.perf_counter() - due)

    def stop(self) -> float:
        """Milliseconds."""
        self._task.cancel()
        return self.latest * 1000


async def told(ask: Callable[[Callable[..., None]], object]) -> object:
    """Wait for an answer by callback."""
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    ask(lambda *found: answer.set_result(found[0] if found else None))
    return await answer


async def fill(store: SQLiteStore, total: int, filtered: bool) -> str:
    """Append as a stream does: 1,000 in a turn, and never more than 40,000 unwritten."""
    logs, number, begun = store.logs, 0, begin()
    safe = asyncio.get_running_loop().create_future()
    safe.set_result(None)
    while number < total:
        for _ in range(20):
            at = stamp(BEGUN + number // 100)
            value = f"f{number // 1000 % 100}" if filtered else None
            for one in range(number, number + 1000):
                logs.append("s", Message(one + 1 << 10, HEAD, BODY, at), value)
            number += 1000
            await asyncio.sleep(0)
        await safe
        safe = asyncio.ensure_future(told(store.sync))
    await safe
    return rates(total, begun)


async def read(
    store: SQLiteStore, at: int, to: int, wanted: WantedValues | None = None
) -> tuple[int, float]:
    """Read a part of a log, a page at a time; gives entries and seconds."""
    count, begun = 0, time.perf_counter()
    while at < to:
        page = await told(lambda done, at=at: store.logs.read("s", at, done, wanted=wanted))
        assert isinstance(page, LogPage)
        count += len(page.entries)
        at = page.next
    return count, time.perf_counter() - begun


async def seek(store: SQLiteStore, total: int, part: int) -> float:
    """Find a time at so many twentieths; gives milliseconds."""
    wanted = BEGUN + total * part // 20 // 100
    begun = time.perf_counter()
    at = await told(lambda done: store.logs.find_time("s", wanted, done))
    taken = time.perf_counter() - begun
    assert at == (wanted - BEGUN) // 10 * 1000
    return taken * 1000


async def cut_off(store: SQLiteStore, first: int) -> tuple[float, float, float]:
    """Cut, and wait until the rows have gone.

    Returns:
        Milliseconds that took, how late the loop was meanwhile, and how late in as long without.
    """
    ticks, begun = Ticks(), time.perf_counter()
    store.logs.cut("s", first)
    await told(store.sync)
    while store.tables.logs.is_untidy:  # noqa: ASYNC110 -- nobody is told
        await asyncio.sleep(0.001)
    took, late = time.perf_counter() - begun, ticks.stop()
    ticks = Ticks()
    await asyncio.sleep(took)
    return took * 1000, late, ticks.stop()


async def measure_store(top: Path, total: int) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time, lambda when: loop.call_at(when, clock.run))
    store = SQLiteStore(
        top / "data",
        clock,
        loop.call_soon,
        loop.call_soon_threadsafe,
    )
    logs = store.logs

    def line(what: str, value: str) -> None:
        print(f"{what:44}{value:>24}   {memory():6.0f} MiB", flush=True)

    line("", "a second     a CPU s")
    line("appended", await fill(store, total, filtered=True))
    line("bytes on disk each", f"{store.stats().bytes / total:,.0f}")
    begun = begin()
    await read(store, 0, total)
    line("read", rates(total, begun))
    begun, part = begin(), min(total // 10, 300_000)
    found = await asyncio.gather(
        *(read(store, place * total // 10, place * total // 10 + part) for place in range(10))
    )
    line("read by 10 at 10 places, all together", rates(10 * part, begun))
    line("the slowest of them", f"{min(count / seconds for count, seconds in found):,.0f}")
    begun = begin()
    count, _ = await read(store, 0, total, WantedValues(frozenset({"f7"})))
    line("passed over or read: 1 of 100 filter values", rates(total, begun))
    assert count == sum(n // 1000 % 100 == 7 for n in range(0, total, 1000)) * 1000
    taken = [await seek(store, total, part) for part in range(20)]
    line("seek by time, median and slowest of 20, ms", f"{median(taken):.1f} {max(taken):11.1f}")
    begun = begin()
    await told(lambda done: logs.read("s", total // 2 + 17, done, limit=1))
    line("first page from an offset, ms", f"{(time.perf_counter() - begun[0]) * 1000:.1f}")
    took, late, idle = zip(
        *[await cut_off(store, total * n // 10) for n in range(1, 10)], strict=True
    )
    line("a tenth cut off, ms", f"{median(took):.0f}")
    line("how late the loop was meanwhile, ms", f"{median(late):.1f}")
    line("and how late in as long, idle, ms", f"{median(idle):.1f}")
    begun = begin()
    commits = min(5000, total // 100)
    for number in range(commits):
        logs.append("t", Message(number + 1 << 10, HEAD, BODY, stamp(BEGUN)))
        await told(store.sync)
    line("one a commit, appended", rates(commits, begun))
    ((rows,),) = store.tables.connection.execute(
        "SELECT count(*) FROM log_block WHERE place >> 40 = "
        "(SELECT id FROM entry_log WHERE name = 't')"
    )
    line("rows of these", f"{rows:,}")
    store.close()


def memory() -> float:
    """What this process has in memory now, in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="how many in the store")
    parser.add_argument("--ways", type=int, default=200_000, help="how many in each of the ways")
    chosen = parser.parse_args()
    print(form())
    sys.setswitchinterval(0.0005)  # as a broker does
    if chosen.ways:
        compare_ways(chosen.ways)
        print()
    if chosen.entries:
        with TemporaryDirectory(prefix="stompy-logs-") as directory:
            asyncio.run(measure_store(Path(directory), chosen.entries))


if __name__ == "__main__":
    main()
