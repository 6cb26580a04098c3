"""What the settings of the garbage collector gain while a queue fills, in processor time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

import load
from serving import form, serving

MAIN = """
import gc, time
from stompy_broker.cli import main
begun = longest = 0
def watch(phase, _):
    global begun, longest
    if phase == "start":
        begun = time.thread_time()
    else:
        longest = max(longest, time.thread_time() - begun)
gc.callbacks.append(watch)
try:
    main()
finally:
    with open({told!r}, "w") as file:
        file.write(str(longest))
"""
UNTUNED = f"import gc; gc.freeze = lambda: None; gc.set_threshold = lambda *_: None; {MAIN}"
SELDOM = (
    f"import gc; s = gc.set_threshold; gc.set_threshold = lambda *_: s(10_000, 10_000, 1); {MAIN}"
)
GENERATIONS = (
    f"import gc; s = gc.set_threshold; gc.set_threshold = lambda *_: s(50_000, 20, 100); {MAIN}"
)
OPTIONS = ("--port", "0", "--memory", "--log-level", "error")
COUNT = 1_500_000


def fill(code: str) -> tuple[float, float]:
    """Processor time, and the longest collection, in seconds."""
    with tempfile.TemporaryDirectory() as made:
        told = Path(made, "longest")
        with serving("-c", code.format(told=str(told)), *OPTIONS) as (port, pid):
            before = load.cpu_seconds(pid)
            load.fill(port, pid, "/queue/fill", COUNT, b"x" * 100)
            spent = load.cpu_seconds(pid) - before
        return spent, float(told.read_text())


def main() -> None:
    kinds = {"as it is": MAIN, "a tenth as often": SELDOM}
    kinds |= {"with a middle generation": GENERATIONS, "untuned": UNTUNED}
    runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(3):
        for kind, code in kinds.items():
            runs[kind].append(fill(code))
    print(f"{form()}; {COUNT:,} messages")
    for kind, results in runs.items():
        spent, longest = (median(column) for column in zip(*results, strict=True))
        print(f"{kind:26} {spent:.2f} s of CPU, longest collection {longest * 1000:.0f} ms")


if __name__ == "__main__":
    main()
