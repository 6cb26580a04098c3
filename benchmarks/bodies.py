"""How many bytes a second the broker moves, by the size of the bodies, beside a relay of bytes.

The relay (``byte_relay.py``) gets the same frames and reads none of them, so it shows what sockets
and asyncio alone would move. Sender and receiver are threads here, and cost both servers the same.
"""

from __future__ import annotations

import argparse
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import load
from serving import broker, byte_relay, serving

from stompy_broker.build import compiled

SIZES = (0, 100, 1_000, 10_000, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20)
TOTAL = 256 << 20
"""Bytes of a run, unless that is more than `MOST` frames."""
MOST = 100_000
PIECE = 256 << 10


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes of frames that went through, by a second and by one of the server's processor."""

    size: int
    relay: float
    broker: float
    relay_per_cpu_second: float
    broker_per_cpu_second: float

    @property
    def ratio(self) -> float:
        return self.broker / self.relay

    @property
    def cpu_ratio(self) -> float:
        return self.broker_per_cpu_second / self.relay_per_cpu_second


def _take(taker: socket.socket, count: int) -> None:
    """Read until so many NULs have come: no body has one."""
    buffer = bytearray(1 << 20)
    while count > 0:
        size = taker.recv_into(buffer)
        if not size:
            raise EOFError("the server closed the connection")
        count -= buffer.count(0, 0, size)


def _run(
    pid: int, sender: socket.socket, taker: socket.socket, frame: bytes, count: int
) -> tuple[float, float]:
    """Send a frame so often and read as many: bytes a second, and a processor second."""
    batch = max(1, min(count, PIECE // len(frame)))
    data = frame * batch
    taking = threading.Thread(target=_take, args=(taker, count // batch * batch))
    cpu, clock = load.cpu_seconds(pid), time.perf_counter()
    taking.start()
    for _ in range(count // batch):
        sender.sendall(data)
    taking.join()
    moved = count // batch * len(data)
    return moved / (time.perf_counter() - clock), moved / max(load.cpu_seconds(pid) - cpu, 1e-3)


def _through_relay(port: int, pid: int, frame: bytes, count: int) -> tuple[float, float]:
    with (
        socket.create_connection(("127.0.0.1", port), load.TIMEOUT) as taker,
        socket.create_connection(("127.0.0.1", port), load.TIMEOUT) as sender,
    ):
        # The first of them has to be known to be the first.
        taker.recv(1)
        sender.recv(1)
        return _run(pid, sender, taker, frame, count)


def _through_broker(port: int, pid: int, frame: bytes, count: int) -> tuple[float, float]:
    with load.Peer(port) as taker, load.Peer(port) as sender:
        taker.subscribe("/queue/bodies")
        return _run(pid, sender.socket, taker.socket, frame, count)


def rows(
    sizes: Iterable[int] = SIZES, *, rounds: int = 3, total: int = TOTAL, loop: str = ""
) -> list[Row]:
    """Measure each size on both, in turn; medians.

    Args:
        sizes: of bodies, in bytes.
        rounds: runs of each.
        total: bytes of a run.
        loop: the event loop of both; empty = that of asyncio.
    """
    found = []
    with serving(*broker()) as ours, serving(*byte_relay(loop)) as bare:
        servers: tuple[tuple[tuple[int, int], Callable[..., tuple[float, float]]], ...] = (
            (bare, _through_relay),
            (ours, _through_broker),
        )
        for size in sizes:
            frame = load.send_frame("/queue/bodies", b"y" * size)
            count = max(2, min(MOST, total // len(frame)))
            runs = [[run(*where, frame, count) for where, run in servers] for _ in range(rounds)]
            relay, through = (
                [median(run[server][figure] for run in runs) for figure in (0, 1)]
                for server in (0, 1)
            )
            found.append(Row(size, relay[0], through[0], relay[1], through[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of a body")
    options = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}, compiled: {compiled()}")
    print(f"MB/s of frames, medians of {options.rounds} runs; in brackets by a second of CPU\n")
    print(f"{'body':>10} {'relay':>16} {'broker':>16} {'ratio':>13}")
    for row in rows(options.sizes, rounds=options.rounds):
        figures = (
            f"{rate / 1e6:,.0f} ({per_cpu / 1e6:,.0f})"
            for rate, per_cpu in (
                (row.relay, row.relay_per_cpu_second),
                (row.broker, row.broker_per_cpu_second),
            )
        )
        relay, through = figures
        print(f"{row.size:>10,} {relay:>16} {through:>16} {row.ratio:>6.2f} ({row.cpu_ratio:.2f})")


if __name__ == "__main__":
    main()
