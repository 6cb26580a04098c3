"""The command ``stompy-monitor``, as a process of its own against a real broker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stompy_broker import RunningBroker, load_config, running
from stompy_broker.auth import hash_password


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stompy_monitor", *arguments],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running() as broker:
        yield broker


def test_text(broker: RunningBroker) -> None:
    result = run(broker.url)
    assert result.returncode == 0
    assert "stompy-broker/" in result.stdout
    assert f"127.0.0.1:{broker.port}" in result.stdout
    assert result.stderr == ""


def test_json(broker: RunningBroker) -> None:
    result = run(broker.url, "--once", "--json")
    snapshot = json.loads(result.stdout)["broker"]
    assert snapshot["version"] == "1.2"
    assert snapshot["address"] == f"127.0.0.1:{broker.port}"


def test_the_url_may_come_from_the_environment(broker: RunningBroker) -> None:
    assert run("--json", STOMPY_URL=broker.url).returncode == 0


def test_login() -> None:
    config = load_config(
        overrides={
            "listen": {"port": 0},
            "store": {"data": ""},
            "users": {"ops": hash_password("wonder")},
        }
    )
    with running(config) as broker:
        assert run(broker.url, "--login", "ops", "--passcode", "wonder").returncode == 0
        refused = run(broker.url, "--login", "ops", "--passcode", "canary")
    assert refused.returncode == 1
    assert "login or passcode is wrong" in refused.stderr
    assert "canary" not in refused.stderr


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    result = run(f"stomp://127.0.0.1:{port}")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("stompy-monitor: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["http://x"], ["--nonsense"], ["stomp://"]])
def test_usage(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2
