"""What messages cost that are to come later: each while it waits, the start, and when many are due.

Memory is what the broker's process grows by, beside the bodies. The burst is compared with plain
messages that go the same way in the same broker, and whose headers differ as theirs do. Times are
those of the broker's processor, for others may use the machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import load
from serving import broker, form, serving

YEAR = 365 * 86_400_000
"""Milliseconds over which the waiting ones are spread."""
BODY = b"0123456789"
AT_ONCE = 1000
"""Messages of a write."""


def now() -> int:
    return time.time_ns() // 1_000_000


def send_later(peer: load.Peer, destination: str, times: list[int]) -> None:
    """Send a message for each of these times, and be sure that all are safe."""
    for start in range(0, len(times), AT_ONCE):
        some = times[start : start + AT_ONCE]
        peer.send(
            b"".join(load.send_frame(destination, BODY, b"x-deliver-at:%d\n" % due) for due in some)
        )
    peer.send(load.send_frame("/topic/nobody", b"", b"receipt:all\n"))
    peer.expect(b"RECEIPT")


def waiting(count: int, data: Path | None) -> None:
    """Fill a broker with messages for the next year, and start it again if it has a store."""
    kind = "--memory" if data is None else "with a store"
    with serving(*broker(data=data)) as (port, pid), load.Peer(port) as peer:
        send_later(peer, "/queue/warm", [now() + YEAR] * 1000)
        before, begun = load.resident_bytes(pid), time.perf_counter()
        first = now() + 86_400_000
        send_later(peer, "/queue/later", [first + YEAR * n // count for n in range(count)])
        took = time.perf_counter() - begun
        time.sleep(3)  # until bodies are left on disk
        body = len(BODY) + 33 if data is None else 0
        each = (load.resident_bytes(pid) - before) / count - body
        cpu = load.cpu_seconds(pid)
        time.sleep(5)
        idle = (load.cpu_seconds(pid) - cpu) / 5
    print(f"{kind}: {each:6.0f} bytes each, {count / took:8.0f} sent/s, idle {idle:.1%} of a core")
    if data is not None:
        with serving(*broker()) as (_, pid):
            empty, begun = load.resident_bytes(pid), load.cpu_seconds(pid)
        with serving(*broker(data=data)) as (_, pid):
            took = load.cpu_seconds(pid) - begun
            each = (load.resident_bytes(pid) - empty) / count
            print(f"start: {took * 1e6 / count:5.1f} s a million, {each:.0f} bytes each after it")


def burst(count: int, data: Path | None) -> None:
    """Have many fall due at once, and compare that with sending as many."""
    kind = "--memory" if data is None else "with a store"
    with serving(*broker(data=data)) as (port, pid), load.Peer(port) as peer:
        load.flow(port, pid, "/queue/plain", count // 2)
        plain = load.flow(port, pid, "/queue/plain", count, extra=b"correlation-id:%d\n")
        lead = 2000 + count // 8
        due = now() + lead
        send_later(peer, "/queue/burst", [due] * count)
        assert now() < due, "it took too long to send them"
        with load.Peer(port) as consumer:
            consumer.send(load.subscribe_frame("/queue/burst", "auto"))
            time.sleep((due - now()) / 1000)
            before, begun = load.cpu_seconds(pid), time.perf_counter()
            load._consume(consumer, count, acks=False)
            took, cpu = time.perf_counter() - begun, load.cpu_seconds(pid) - before
    print(
        f"burst of {count}, {kind}: {count / took:8.0f}/s, {count / cpu:8.0f} per s of processor; "
        f"plain {plain.per_cpu_second:8.0f}; ratio {count / cpu / plain.per_cpu_second:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--burst", type=int, default=100_000)
    options = parser.parse_args()
    print(form())
    with TemporaryDirectory() as top:
        for name in (None, "waiting"):
            waiting(options.waiting, None if name is None else Path(top) / name)
        for name in (None, "burst"):
            burst(options.burst, None if name is None else Path(top) / name)


if __name__ == "__main__":
    main()
