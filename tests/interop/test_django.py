"""The packages django-outbox-pattern and django-stomp; each act is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stompy_broker import RunningBroker

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PROJECT = Path(__file__).parent / "django" / "project.py"
WANTED = Path(__file__).parent / "django" / "requirements.txt"

_FAILURE_COUNTS = 300
"""Seconds for which a failed installation is not tried again."""

Act = Callable[..., Any]


@pytest.fixture(scope="session")
def packages(pytestconfig: pytest.Config) -> Path:
    """The packages, installed apart: they want an older stomp.py than the other tests."""
    cache = getattr(pytestconfig, "cache", None)
    if cache is None:
        pytest.skip("the packages are kept in pytest's cache, which is turned off")
    fcntl = pytest.importorskip("fcntl", reason="needs POSIX file locks")
    folder = Path(cache.mkdir("interop-django"))
    done, failed, wanted = folder / "installed.txt", folder / "failed.txt", WANTED.read_text()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != wanted:
            if failed.exists() and time.time() - failed.stat().st_mtime < _FAILURE_COUNTS:
                pytest.skip(failed.read_text())
            reason = _install(folder / "packages")
            if reason:
                failed.write_text(reason)
                pytest.skip(reason)
            done.write_text(wanted)
    return folder / "packages"


def _install(target: Path) -> str:
    """Install them; say what went wrong, if something did."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    words = [*command, "--target", str(target), "--requirement", str(WANTED)]
    try:
        process = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False)
    except subprocess.TimeoutExpired:
        return "pip install took more than 50 s"
    if process.returncode == 0:
        return ""
    return "pip install failed: " + process.stderr.strip().rpartition("\n")[2]


@pytest.fixture
def act(packages: Path, broker: RunningBroker, tmp_path: Path) -> Act:
    """Have a process do something, and report."""

    def act(what: str, **more: object) -> Any:
        task = {"act": what, "port": broker.port, "database": str(tmp_path / "db"), **more}
        process = subprocess.run(
            [sys.executable, str(PROJECT), json.dumps(task)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(packages)},
            timeout=45,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return act


def waiting(broker: RunningBroker) -> dict[str, int]:
    return {row.name: row.ready for row in broker.queues()}


def test_an_outbox_loses_nothing_between_two_consumers(act: Act, broker: RunningBroker) -> None:
    act("consume", count=0)
    assert act("publish", body={"n": 1}) == "Succeeded"
    act("publish", body={"n": 2})
    assert act("consume", count=2) == [{"n": 1}, {"n": 2}]
    assert waiting(broker) == {"DLQ.billing": 0, "billing": 0}


def test_what_an_outbox_consumer_fails_on_is_a_dead_letter(act: Act, broker: RunningBroker) -> None:
    act("consume", count=0)
    act("publish", body={"n": 1})
    assert act("consume", count=1, fails=True) == [{"n": 1}]
    assert waiting(broker) == {"DLQ.billing": 1, "billing": 0}


@pytest.mark.parametrize(
    ("destination", "durable"),
    [
        ("/queue/orders", False),
        ("/topic/orders", True),
        ("/topic/VirtualTopic.orders", False),
    ],
)
def test_django_stomp_loses_nothing(
    act: Act, broker: RunningBroker, destination: str, durable: bool
) -> None:
    source = destination
    if "VirtualTopic" in destination:
        source = "/queue/Consumer.billing.VirtualTopic.orders"
    listen = {"destination": source, "durable": durable}
    act("listen", count=0, **listen)
    act("send", destination=destination, body={"n": 1})
    assert act("listen", count=1, **listen) == [{"n": 1}]
    assert not any(waiting(broker).values())
