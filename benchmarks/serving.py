"""Servers to measure, each in a process of its own on a free port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def serving(*command: str) -> Iterator[tuple[int, int]]:
    """Run a server that prints its URL when ready; gives its port and process id."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "ready" not in line:
            raise RuntimeError(f"{command} did not start: {line!r}")
        yield int(line.rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def broker(*options: str, data: Path | None = None) -> tuple[str, ...]:
    store = ("--memory",) if data is None else ("--data", str(data))
    return ("-m", "stompy_broker", "--port", "0", *store, "--log-level", "error", *options)


def relay() -> tuple[str, ...]:
    return (str(HERE / "relay.py"), "0")


def byte_relay(loop: str = "") -> tuple[str, ...]:
    return (str(HERE / "byte_relay.py"), "0", *([loop] if loop else []))
