"""The table of ``make bench``: the broker under load, with ratios.

Each scenario runs on the broker and on a relay made of the codec alone (``relay.py``), in turn,
so that a noisy machine disturbs both; medians and their ratio are printed.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from statistics import median

import load
from serving import broker, relay, serving

from stompy_broker.build import compiled

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
    with serving(*broker()) as ours, serving(*relay()) as bare:
        for name, scenario in SCENARIOS.items():
            runs: dict[str, list[load.Result]] = {"broker": [], "relay": []}
            for _ in range(options.rounds):
                for server, (port, pid) in (("relay", bare), ("broker", ours)):
                    runs[server].append(scenario(port, pid, options.n))
            rows.append(
                {"scenario": name}
                | {
                    f"{server} {figure}": round(median(getattr(run, figure) for run in results))
                    for server, results in runs.items()
                    for figure in ("rate", "per_cpu_second")
                }
            )
        times = load.latency(ours[0], "/queue/pace", rate=1000, seconds=5)
    with serving(*broker()) as (port, pid):
        per_message = load.fill(port, pid, "/queue/fill", 1_000_000, b"x" * 100)
    summary = {
        "latency p50 ms": round(times[len(times) // 2], 3),
        "latency p99 ms": round(times[len(times) * 99 // 100], 3),
        "bytes for a waiting message of 100 bytes": round(per_message),
    }
    if options.json:
        print(json.dumps({"compiled": compiled(), "rows": rows, **summary}))
        return
    print(
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"compiled: {compiled()}, {options.n} messages, "
    )
    print(f"medians of {options.rounds} runs; deliveries a second, and a second of CPU\n")
    print(f"{'scenario':30} {'broker/s':>10} {'/CPU s':>10} {'relay /CPU s':>13} {'ratio':>6}")
    for row in rows:
        ratio = row["broker per_cpu_second"] / row["relay per_cpu_second"]
        print(
            f"{row['scenario']:30} {row['broker rate']:10,} {row['broker per_cpu_second']:10,} "
            f"{row['relay per_cpu_second']:13,} {ratio:6.2f}"
        )
    print()
    for name, figure in summary.items():
        print(f"{name:42} {figure}")


if __name__ == "__main__":
    main()
