"""How fluent the dashboard stays: thousands of queues, ticking, painted into a pseudo-terminal.

For each load it prints, per tick of one second: the processor time of decoding, model, order and
paint together; the longest time for which the event loop stood still; the bytes to the terminal;
and how long a cursor key took to be painted while that went on. Every second tick is quiet: time
and bytes are of those, so that neither the keys nor the beat that sees the loop stand still count.

    python benchmarks/monitor.py --rows 5000 --ticks 20
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import pty
import random
import resource
import statistics
import struct
import sys
import termios
import threading
import time
from typing import Any

from serving import form
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from stompy import OutcomeUnknown
from stompy.admin import Kind, Request, Role, field_names
from stompy_monitor.app import MonitorApp
from stompy_monitor.dashboard import Options
from stompy_monitor.model.model import Model
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.sources.base import ConnectionStatus, Phase

FIELDS = [name for name in field_names(Kind.QUEUES) if name != "rate"]
PAGE = 200
START = 1_795_404_855_000


class Load:
    """A source of made-up queues, encoded as a broker would, page by page.

    Args:
        model: where to.
        rows: how many queues.
        share: the part of them that changes each second; None for queues in which nothing waits,
            so that not even an age does.
        ticks: how many seconds.
    """

    def __init__(self, model: Model, rows: int, share: float | None, ticks: int) -> None:
        self.model = model
        self.share, self._ages = share or 0.0, share is not None
        self.ticks = ticks
        self.status = ConnectionStatus(url="made up", phase=Phase.LIVE, role=Role.MONITOR)
        self.cpu: list[float] = []
        self.bytes: list[int] = []
        self.quiet = True
        self.stalls: list[float] = []
        self.done = asyncio.Event()
        self._random = random.Random(4711)
        self._rows = [self._row(number) for number in range(rows)]
        self._stall = 0.0

    def _row(self, number: int) -> dict[str, Any]:
        name = f"app.{('orders', 'bills', 'mail')[number % 3]}.{number:05d}"
        row: dict[str, Any] = dict.fromkeys(FIELDS, 0)
        row |= {"name": name, "destination": f"/queue/{name}", "policy": "", "backlog_of": ""}
        return row | {"dlq": "", "dlq_of": "", "oldest_at": None, "consumers": number % 4}

    def _change(self, row: dict[str, Any], tick: int) -> None:
        count = self._random.randrange(200)
        row["in_msgs"] += count
        row["out_msgs"] += max(0, count - self._random.randrange(-5, 6))
        row["ready"] = max(0, row["in_msgs"] - row["out_msgs"])
        row["oldest_at"] = START + tick * 1000 - self._random.randrange(5000)

    def pages(self, tick: int) -> list[bytes]:
        """The messages of one tick."""
        count = len(self._rows) if tick == 0 else round(len(self._rows) * self.share)
        changed = self._rows if tick == 0 else self._random.sample(self._rows, count)
        for row in changed if self._ages else ():
            self._change(row, tick)
        values = [[row[name] for name in FIELDS] for row in changed]
        pages = max(1, -(-len(values) // PAGE))
        head = {"v": 1, "kind": "queues", "boot": "b", "seq": tick, "tick": tick, "pages": pages}
        head |= {"at": START + tick * 1000, "up_ms": tick * 1000, "interval_ms": 1000}
        if tick:
            head["base"] = tick - 1
        return [
            json.dumps(
                {**head, "page": page + 1, "fields": FIELDS, "data": values[page * PAGE :][:PAGE]}
            ).encode()
            for page in range(pages)
        ]

    async def run(self) -> None:
        """One set each second."""
        beat = asyncio.create_task(self._beat())
        loop = asyncio.get_running_loop()
        broker = {"v": 1, "kind": "broker", "boot": "b", "at": START, "data": {"name": "made up"}}
        self.model.apply(broker)  # before it is known the screen says why there is nothing to see
        for tick in range(2 * self.ticks + 2):
            pages = self.pages(tick)
            self.quiet, self._stall = tick % 2 == 0, 0.0
            written = Counting.written
            began, due = time.process_time(), loop.time() + 1
            self.status.latest_at = loop.time()
            for page in pages:
                self.model.apply(json.loads(page))
                await asyncio.sleep(0)
            await asyncio.sleep(due - loop.time())
            if tick > 1 and self.quiet:
                self.cpu.append(time.process_time() - began)
                self.bytes.append(Counting.written - written)
            elif tick > 1:
                self.stalls.append(self._stall)
        beat.cancel()
        self.done.set()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            if self.quiet:
                await asyncio.sleep(0.1)
                before = loop.time()
                continue
            await asyncio.sleep(0.005)
            now = loop.time()
            self._stall = max(self._stall, now - before - 0.005)
            before = now

    async def ask(self, request: Request, seconds: float = 10.0) -> Any:
        raise OutcomeUnknown("made up")

    def retry_now(self) -> None:
        """Nothing to retry."""

    def log_in(self, login: str, passcode: str) -> None:
        """Nothing to log in to."""


class Counting(LinuxDriver):
    """The driver of terminals; it knows how much it wrote."""

    written = 0

    def write(self, data: str) -> None:
        """Write, and count."""
        Counting.written += len(data.encode())
        super().write(data)


class Measured(MonitorApp):
    """The dashboard; it presses a key now and then, and ends when the load does."""

    keys: list[float]

    def get_driver_class(self) -> type[Driver]:
        """The one that counts."""
        return Counting

    def on_mount(self) -> None:
        self.keys = []
        self.run_worker(self._measure())

    async def _measure(self) -> None:
        load = self.dashboard.source
        assert isinstance(load, Load)
        while not load.done.is_set():
            await asyncio.sleep(0.37)
            screen = self.screen
            if isinstance(screen, TableScreen) and not load.quiet:
                began = time.perf_counter()
                screen.rows.action_move(1)
                painted = asyncio.Event()
                self.call_after_refresh(painted.set)
                await painted.wait()
                self.keys.append(time.perf_counter() - began)
        self.exit(0)


def drain(fd: int, painted: list[bytes]) -> None:
    """Read what the program paints, as fast as it comes."""
    while True:
        try:
            painted.append(os.read(fd, 1 << 16))
        except OSError:
            return


def measure(rows: int, share: float | None, ticks: int) -> None:
    """One line of the table; in a process of its own, on a pseudo-terminal."""
    report, result = os.pipe()
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.environ |= {"TEXTUAL_ANIMATIONS": "none"}

        async def play() -> None:
            model = Model()
            load = Load(model, rows, share, ticks)
            app = Measured(model, load, Options(view="queues"))
            await app.run_async()
            told: dict[str, Any] = {"cpu": load.cpu, "stalls": load.stalls, "keys": app.keys}
            told["bytes"] = load.bytes
            told["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            os.write(result, json.dumps(told).encode())

        asyncio.run(play())
        os._exit(0)
    os.close(result)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    painted: list[bytes] = []
    reader = threading.Thread(target=drain, args=(terminal, painted), daemon=True)
    reader.start()
    os.waitpid(child, 0)
    report_text = os.read(report, 1 << 20)
    if not report_text:
        sys.exit(b"".join(painted).decode("utf-8", "replace"))
    told = json.loads(report_text)
    keys = sorted(told["keys"]) or [0.0]
    p95 = keys[int(len(keys) * 0.95)]
    change = "idle" if share is None else f"{share:.0%}"
    print(
        f"{rows:7,}  {change:>6}  {statistics.median(told['cpu']) * 1000:8.1f}"
        f"  {statistics.median(told['stalls']) * 1000:7.0f} ({max(told['stalls']) * 1000:4.0f})"
        f"  {statistics.median(told['bytes']) / 1024:8.1f}  {p95 * 1000:9.0f}  {told['rss']:7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[500, 5000, 10_000])
    parser.add_argument("--ticks", type=int, default=8, help="of each sort")
    options = parser.parse_args()
    print(form())
    print("   rows  change  cpu ms/t  stall ms (max)  KB/tick  key p95 ms  rss MB")
    for rows in options.rows:
        for share in (None, 0.0, 0.1, 1.0):
            measure(rows, share, options.ticks)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
