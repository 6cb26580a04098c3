"""``make demo`` shows a broker at work, and stops."""

import subprocess
import sys

from tests.docs.blocks import ROOT


def test_the_demo_runs_for_the_seconds_given_and_stops():
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--seconds", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=18)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    consumers = [int(row[3]) for row in rows if row[:1] == ["orders"]]
    assert consumers[-1] == 2
    assert rows[-1][0] == "stopped;"
