"""The tricks of the SQLite store, each with and without, and what a queue costs for being kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import load
from serving import broker, form, serving

ROUNDS = 7
CHANGED = """
import stompy_broker.store.sqlite as store
from stompy_broker.cli import main
assert hasattr(store, {name!r})
store.{name} = {value}
main()
"""
NUMBERS = count(1)

Scenario = Callable[[int, int, str], load.Result]


def durable(messages: int, window: int) -> Scenario:
    return lambda port, pid, name: load.durable(port, pid, name, messages, window=window)[0]


def queue(messages: int, ack: str = "auto") -> Scenario:
    return lambda port, pid, name: load.flow(port, pid, name, messages, ack=ack)


def compare(title: str, scenario: Scenario, *commands: tuple[str, ...]) -> None:
    """Run a scenario on two brokers in turn; print medians and their ratios."""
    with ExitStack() as stack:
        places = [stack.enter_context(serving(*command)) for command in commands]
        runs: list[list[load.Result]] = [[], []]
        for _ in range(ROUNDS):
            for (port, pid), results in zip(places, runs, strict=True):
                results.append(scenario(port, pid, f"/queue/bench.{next(NUMBERS)}"))
    print(f"{title:48}", end="")
    for figure in ("rate", "per_cpu_second"):
        one, other = (median(getattr(run, figure) for run in results) for results in runs)
        print(f"{one:9,.0f} {other:9,.0f} {one / other:6.2f}", end="  ")
    print(flush=True)


def trick(title: str, name: str, value: str, scenario: Scenario, top: Path) -> None:
    options = broker(data=top / f"{name} off")[2:]
    changed = ("-c", CHANGED.format(name=name, value=value), *options)
    compare(title, scenario, broker(data=top / f"{name} on"), changed)


def main() -> None:
    print(form())
    print(f"{'':48}{'messages a second':26}  messages a second of CPU")
    print(f"{'':48}" + f"{'with':>9} {'without':>9} {'gain':>6}  " * 2)
    with TemporaryDirectory(prefix="stompy-store-") as directory:
        top = Path(directory)
        one, many, flow = durable(1000, 1), durable(20_000, 256), queue(50_000)
        each = queue(50_000, "client-individual")
        trick("window 1: small batches in place", "_QUICK_SECONDS", "0", one, top)
        trick("window 256: many rows to a statement", "_ROWS", "1", many, top)
        trick("queue: what nobody awaits is written later", "LAZY_SECONDS", "0", flow, top)
        trick("client-individual: what is settled is waited for", "_SETTLED_SHARE", "0", each, top)
        print(f"\n{'':48}" + f"{'--data':>9} {'--memory':>9} {'ratio':>6}  " * 2)
        compare("queue", flow, broker(data=top / "queue"), broker())
        compare("client-individual", each, broker(data=top / "each"), broker())


if __name__ == "__main__":
    main()
