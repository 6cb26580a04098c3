"""Servers to measure, each in a process of its own on a free port."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stompy_broker.build import compiled

HERE = Path(__file__).parent
DIST = HERE.parent / "dist"


def form() -> str:
    """Which Python runs, and which form of our code."""
    return f"{platform.python_implementation()} {platform.python_version()}, compiled: {compiled()}"


def released(into: Path) -> bool:
    """Install core and broker from ``dist/``, if there are wheels: the newest that fit this Python.

    What they need is taken from the environment that measures.
    """
    if not (list(DIST.glob("stompy_core-*.whl")) and list(DIST.glob("stompy_broker-*.whl"))):
        return False
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    source = ("--no-deps", "--no-index", "--find-links", str(DIST), "--target", str(into))
    subprocess.run([*pip, *source, "stompy-core", "stompy-broker"], check=True)
    return True


def version_in(path: Path) -> str:
    """What the broker that is installed there says of itself."""
    command = [sys.executable, "-m", "stompy_broker", "--version"]
    done = subprocess.run(command, env=_with(path), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def _with(path: Path | None) -> dict[str, str] | None:
    return None if path is None else {**os.environ, "PYTHONPATH": str(path)}


@contextmanager
def serving(*command: str, path: Path | None = None) -> Iterator[tuple[int, int]]:
    """Run a server that prints its URL when ready; gives its port and process id.

    Args:
        command: what Python is to run.
        path: where to find our packages; None = those that measure.
    """
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=_with(path)
    )
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
