"""PHP's stomp extension, which wants a line feed after the NUL of every frame."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.interop.samples import BINARY, TEXT

from stompy_broker import RunningBroker

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).parent / "php" / "client.php"


@pytest.fixture(scope="module")
def php() -> str:
    program = shutil.which("php")
    if program is None:
        pytest.skip("php is not installed")
    modules = subprocess.run([program, "-m"], capture_output=True, text=True, check=True).stdout
    if "stomp" not in modules.lower().split():
        pytest.skip("php has no stomp extension; Debian calls it php-stomp")
    return program


def run(php: str, broker: RunningBroker, scenario: str, **more: Any) -> dict[str, Any]:
    task = {"scenario": scenario, "host": broker.host, "port": broker.port, **more}
    done = subprocess.run(
        [php, str(SCRIPT)],
        check=False,
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=45,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def bodies_of(report: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(message["body"]) for message in report["got"]]


def test_connect(php: str, broker: RunningBroker) -> None:
    assert run(php, broker, "connect")["session"]


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_a_backlog_is_read_frame_by_frame(php: str, broker: RunningBroker, ack: str) -> None:
    bodies = [b"one", TEXT.encode(), BINARY, b"", b"x" * 300_000, b"last"]
    task = [base64.b64encode(body).decode() for body in bodies]
    report = run(php, broker, "backlog", ack=ack, bodies=task)
    assert bodies_of(report) == bodies
    assert {message["headers"]["a"] for message in report["got"]} == {"b"}
    (queue,) = broker.queues()
    broker.wait_for(
        lambda: (broker.queue("letters").ready, broker.queue("letters").unacked) == (0, 0)
    )
    assert queue.published == len(bodies)


def test_transactions(php: str, broker: RunningBroker) -> None:
    assert bodies_of(run(php, broker, "transaction")) == [b"credit", b"outside"]


def test_a_topic_reaches_all(php: str, broker: RunningBroker) -> None:
    assert bodies_of(run(php, broker, "topic")) == [b"hello"] * 3


def test_the_error_is_told(php: str, broker: RunningBroker) -> None:
    assert "destination" in str(run(php, broker, "error")["error"]).lower()


def test_nothing_came_in_time(php: str, broker: RunningBroker) -> None:
    assert run(php, broker, "timeout")["frame"] is False
