"""Are the installed packages good for something? Run by the Python of the environment they are in.

A broker with a data directory is started, killed and started again, a message survives that on its
way from one command line to another, and the monitor sees the broker.
"""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import stompy
import stompy_broker

BIN = Path(sys.executable).parent
PACKAGES = ("stompy-core", "stompy-broker", "stompy-monitor")


def run(*command: str) -> str:
    name, *words = command
    done = subprocess.run(
        [BIN / name, *words], check=True, stdout=subprocess.PIPE, text=True, timeout=30
    )
    return done.stdout


def main() -> None:
    (expected,) = sys.argv[1:]
    assert "site-packages" in stompy.__file__, f"not the installed one: {stompy.__file__}"
    found = {version(package) for package in PACKAGES} | {stompy.__version__}
    assert found == {expected, stompy_broker.__version__}, found
    for command in ("stompy", "stompy-broker", "stompy-monitor"):
        assert "--help" in run(command, "--help"), command
    with stompy_broker.spawn() as broker:
        run("stompy", "send", "/queue/smoke", "it works", "--url", broker.url)
        broker.kill()
        broker.restart()
        heard = run("stompy", "listen", "/queue/smoke", "--count", "1", "--url", broker.url)
        assert heard == "it works\n", heard
        seen = json.loads(run("stompy-monitor", broker.url, "--once", "--json"))
        assert "broker" in seen, seen
    print("installed, and works:", *PACKAGES, expected)


if __name__ == "__main__":
    main()
