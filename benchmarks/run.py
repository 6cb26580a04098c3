"""The table of ``make bench``: the broker under load, with ratios.

Each scenario runs on the broker and on a relay made of the codec alone (``relay.py``), in turn,
so that a noisy machine disturbs both; medians and their ratio are printed. Where ``dist/`` has
wheels of core and broker, as a release leaves them, their broker runs in turn with both.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import load
from serving import broker, form, relay, released, serving, version_in

Scenario = Callable[[int, int, int], load.Result]

SCENARIOS: dict[str, Scenario] = {
    "queue": lambda port, pid, n: load.flow(port, pid, "/queue/bench", n),
    "queue, client-individual": lambda port, pid, n: load.flow(
        port, pid, "/queue/bench", n, ack="client-individual"
    ),
    "queue, headers never repeat": lambda port, pid, n: load.flow(
        port, pid, "/queue/bench", n, extra=b"correlation-id:c-%d\n"
    ),
    "topic, 10 subscribers": lambda port, pid, n: load.flow(
        port, pid, "/topic/bench", n, consumers=10
    ),
    "queue, 10 kB bodies": lambda port, pid, n: load.flow(
        port, pid, "/queue/bench", n // 10, body=b"x" * 10_000
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = []
    last = None
    with ExitStack() as stack:
        servers = {"relay": stack.enter_context(serving(*relay()))}
        servers["broker"] = stack.enter_context(serving(*broker()))
        wheels = Path(stack.enter_context(TemporaryDirectory(prefix="stompy-bench-")))
        if released(wheels):
            last = version_in(wheels)
            servers["dist"] = stack.enter_context(serving(*broker(), path=wheels))
        for name, scenario in SCENARIOS.items():
            runs: dict[str, list[load.Result]] = {server: [] for server in servers}
            for _ in range(options.rounds):
                for server, (port, pid) in servers.items():
                    runs[server].append(scenario(port, pid, options.n))
            rows.append(
                {"scenario": name}
                | {
                    f"{server} {figure}": round(median(getattr(run, figure) for run in results))
                    for server, results in runs.items()
                    for figure in ("rate", "per_cpu_second")
                }
            )
        times = load.latency(servers["broker"][0], "/queue/pace", rate=1000, seconds=5)
    with serving(*broker()) as (port, pid):
        per_message = load.fill(port, pid, "/queue/fill", 1_000_000, b"x" * 100)
    summary = {
        "latency p50 ms": round(times[len(times) // 2], 3),
        "latency p99 ms": round(times[len(times) * 99 // 100], 3),
        "bytes for a waiting message of 100 bytes": round(per_message),
    }
    if options.json:
        print(json.dumps({"form": form(), "dist": last, "rows": rows, **summary}))
        return
    print(f"{form()}; {options.n} messages, medians of {options.rounds} runs;")
    print("deliveries a second, and a second of CPU")
    print(f"dist/: {last}" if last else "dist/ has no wheels of core and broker to compare with")
    others = [one for one in servers if one != "broker"]
    heads = "".join(f" {other + ' /CPU s':>13} {'ratio':>6}" for other in others)
    print(f"\n{'scenario':30} {'broker/s':>10} {'/CPU s':>10}{heads}")
    for row in rows:
        ours = row["broker per_cpu_second"]
        print(f"{row['scenario']:30} {row['broker rate']:10,} {ours:10,}", end="")
        for other in others:
            theirs = row[f"{other} per_cpu_second"]
            print(f" {theirs:13,} {ours / theirs:6.2f}", end="")
        print()
    print()
    for name, figure in summary.items():
        print(f"{name:42} {figure}")


if __name__ == "__main__":
    main()
