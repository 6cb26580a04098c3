"""The benchmark of a cluster runs and tells its figures; how fast it is, is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "cluster.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_each_part_has_its_figures(tmp_path: Path):
    parts = ("beside", "latency", "queues", "kill")
    small = ("--rounds", "1", "--share", "0.005", "--waiting", "10", "--silence", "3", "--ours")
    command = [sys.executable, str(BENCHMARK), *parts, *small, "--json"]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path)], stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    for figures in found["beside"]["cpu"].values():
        assert figures.keys() >= {"alone", "owner", "front", "ratio", "model", "nats"}
    rows = {row: set(runs) for row, runs in found["beside"]["rates"].items()}
    assert all(names == {"alone", "owner", "front"} for names in rows.values())
    assert {"durable, window 256", "durable, window 1", "in passing"} <= rows.keys()
    assert found["latency"].keys() == {"alone", "owner", "front"}
    assert found["queues"]["seconds"].keys() == {"alone", "owner"}
    assert [(row["waiting"], row["silence"]) for row in found["kills"]] == [(10, 3.0)]
