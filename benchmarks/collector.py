"""What the broker's settings of the garbage collector gain while a queue fills."""

from __future__ import annotations

from statistics import median

import load
from serving import serving

MAIN = "from stompy_broker.cli import main; main()"
UNTUNED = f"import gc; gc.freeze = lambda: None; gc.set_threshold = lambda *_: None; {MAIN}"
OPTIONS = ("--port", "0", "--memory", "--log-level", "error")
COUNT = 500_000


def fill(code: str) -> float:
    with serving("-c", code, *OPTIONS) as (port, pid):
        before = load.cpu_seconds(pid)
        load.fill(port, pid, "/queue/fill", COUNT, b"x" * 100)
        return load.cpu_seconds(pid) - before


def main() -> None:
    pairs = [(fill(MAIN), fill(UNTUNED)) for _ in range(5)]
    tuned, untuned = (median(column) for column in zip(*pairs, strict=True))
    print(f"{COUNT:,} messages: {tuned:.2f} s of CPU tuned, {untuned:.2f} s not; ", end="")
    print(f"ratio {tuned / untuned:.2f}")


if __name__ == "__main__":
    main()
