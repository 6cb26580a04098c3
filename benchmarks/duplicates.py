"""What it costs to take messages once: pairs of runs, without and with a ``dedup-id``.

* *in memory*: from one producer to one consumer, each SEND with a header that no other has: a
  ``correlation-id``, or a ``dedup-id``. Demanded: at least 0.75.
* *durable, window 256*: to a queue on disk, with a receipt for each, of which 256 may be awaited.
  Demanded: at least 0.8 of the same with a ``correlation-id``.
* *memory of an id*: bytes of the process that each takes, of a million in one window.

Rates go by the processor time of the broker. The two of a pair run one right after the other, and
the median of their ratios is printed: a noisy machine disturbs both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import load
from serving import broker, form, serving

from stompy_broker.routing.duplicate_ids import DuplicateIds, DuplicateTally
from stompy_broker.store.memory import MemoryStore

Run = Callable[[int, int, int, bytes], load.Result]


def in_memory(port: int, pid: int, count: int, extra: bytes) -> load.Result:
    return load.flow(port, pid, "/queue/bench", count, extra=extra)


def durable(port: int, pid: int, count: int, extra: bytes) -> load.Result:
    return load.durable(port, pid, "/queue/bench", count, window=256, extra=extra)[0]


RUNS: dict[str, tuple[Run, bool]] = {
    "in memory": (in_memory, False),
    "durable, window 256": (durable, True),
}


def pairs(run: Run, count: int, rounds: int, data: Path | None) -> dict[str, float]:
    """Run pairs; gives the medians."""
    without: list[float] = []
    once: list[float] = []
    with serving(*broker(data=data)) as (port, pid):
        for number in range(rounds + 1):
            # The ids of each round are others, or all of them would be duplicates.
            ids = b"dedup-id:%d-%%d\n" % (number + 1_000_000)
            first = run(port, pid, count, b"correlation-id:%d-%%d\n" % (number + 1_000_000))
            second = run(port, pid, count, ids)
            if number:  # the first pair warms up
                without.append(first.per_cpu_second)
                once.append(second.per_cpu_second)
    ratios = [one / other for one, other in zip(once, without, strict=True)]
    return {
        "without": round(median(without)),
        "dedup-id": round(median(once)),
        "ratio": round(median(ratios), 3),
    }


def memory(count: int = 1_000_000) -> float:
    """Bytes that an id takes."""
    ids = DuplicateIds("/queue/q", count, 1, MemoryStore(), DuplicateTally())
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(count):
        value = b"0b9f3a3e-5f3a-4c6e-a1c2-7d6f1e2a3b4c-%d" % number
        ids.add(value, (1_795_976_347_899 << 20) + number * 1024, 1 << 41, stored=True)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / len(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=50_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", choices=RUNS, help="measure this one alone")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    for name, (run, on_disk) in RUNS.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="stompy-bench-") as top:
                data = Path(top) if on_disk else None
                rows[name] = pairs(run, options.n, options.rounds, data)
    if options.only is None:
        rows["memory of an id"] = {"bytes": round(memory(), 1)}
    if options.json:
        print(json.dumps({"form": form(), "rows": rows}))
        return
    print(form())
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{what} {value:,}" for what, value in row.items()))


if __name__ == "__main__":
    main()
