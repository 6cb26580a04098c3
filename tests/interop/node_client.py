"""Clients for Node.js: installed once, then run one scenario at a time.

The scenarios are in ``node/``. A script gets one JSON argument and prints one line of JSON with
what it saw; the test judges it. It ends by itself once its connections are closed.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stompy_broker import RunningBroker

SCRIPTS = Path(__file__).parent / "node"

INSTALL_TIMEOUT = 60
"""Seconds for ``npm install``; a test that needs it has this and more."""

_FAILURE_COUNTS = 300
"""Seconds for which a failed installation is not tried again."""

_RUN_TIMEOUT = 15

_INSTALL = (
    "install",
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--prefer-offline",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-timeout=20000",
    "--loglevel=error",
)


@dataclass(frozen=True, slots=True)
class NodeClients:
    """The installed packages."""

    node: str
    folder: Path

    @classmethod
    def install(cls, folder: Path) -> NodeClients:
        """Install what ``node/package.json`` names, unless it is there; or skip the test."""
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            pytest.skip(f"{'npm' if node else 'node'} is not installed")
        wanted = (SCRIPTS / "package.json").read_text(encoding="utf-8")
        done, failed = folder / "installed.json", folder / "failed.txt"
        with _locked(folder / "lock"):
            if not done.exists() or done.read_text(encoding="utf-8") != wanted:
                if failed.exists() and time.time() - failed.stat().st_mtime < _FAILURE_COUNTS:
                    pytest.skip(failed.read_text(encoding="utf-8"))
                done.unlink(missing_ok=True)
                (folder / "package.json").write_text(wanted, encoding="utf-8")
                reason = _run_npm(npm, folder)
                if reason is not None:
                    failed.write_text(reason, encoding="utf-8")
                    pytest.skip(reason)
                done.write_text(wanted, encoding="utf-8")
        return cls(node, folder)

    def run(self, script: str, scenario: str, broker: RunningBroker, **more: Any) -> dict[str, Any]:
        """Run one scenario against a broker; give what the script reports.

        Args:
            script: name of the script, without ``.mjs``.
            scenario: one of the script's scenarios.
            broker: where it connects.
            more: what else the scenario needs; bytes become base64.
        """
        task = {
            "scenario": scenario,
            "host": broker.host,
            "port": broker.port,
            "modules": str(self.folder),
        }
        task |= {
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in more.items()
        }
        process = subprocess.run(
            [self.node, str(SCRIPTS / f"{script}.mjs"), json.dumps(task)],
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=_RUN_TIMEOUT,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
        return report


def body_of(message: dict[str, Any]) -> bytes:
    """The body of a message in a script's report."""
    return base64.b64decode(message["body"])


def _run_npm(npm: str, folder: Path) -> str | None:
    """Install; say what went wrong, if something did."""
    try:
        process = subprocess.run(
            [npm, *_INSTALL],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"npm install took more than {INSTALL_TIMEOUT} s"
    if process.returncode == 0:
        return None
    errors = [line for line in process.stderr.splitlines() if "error" in line]
    return "npm install failed: " + "; ".join(errors[:2])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other test processes out."""
    fcntl = pytest.importorskip("fcntl", reason="needs POSIX file locks")
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
