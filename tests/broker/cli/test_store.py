"""The command ``stompy-broker store``, as a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

import stompy_broker
from stompy_broker.config import BrokerConfig, ListenConfig, StoreConfig

COMMAND = [sys.executable, "-m", "stompy_broker"]
FRAMES = (
    b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"
    b"SEND\ndestination:/queue/orders\nkind:new\n\none\0"
    b"SEND\ndestination:/queue/orders\nreceipt:r\n\ntwo\0"
)


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, options)], capture_output=True, text=True, timeout=60, check=False
    )


def broker_on(directory: Path) -> stompy_broker.Broker:
    return stompy_broker.Broker(
        BrokerConfig(listen=ListenConfig(port=0), store=StoreConfig(data=str(directory)))
    )


async def fill(directory: Path, frames: bytes = FRAMES) -> None:
    async with broker_on(directory) as broker:
        port = int(broker.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(frames)
        await reader.readuntil(b"receipt-id:r")
        writer.close()
        await writer.wait_closed()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "data"))
    return tmp_path / "data"


def test_check(directory: Path) -> None:
    result = run("store", "check", directory)
    assert (result.returncode, result.stdout) == (0, f"{directory}: no damage found\n")


def test_stats(directory: Path) -> None:
    result = run("store", "stats", directory)
    assert result.returncode == 0
    heading, line, *_ = result.stdout.splitlines()
    assert heading.split() == ["queue", "messages", "bytes", "oldest"]
    assert line.split()[:2] == ["/queue/orders", "2"]
    assert "messages.db" in result.stdout


def test_stats_as_json(directory: Path) -> None:
    stats = json.loads(run("store", "stats", directory, "--json").stdout)
    (queue,) = stats["queues"]
    assert queue["destination"] == "/queue/orders"
    assert queue["messages"] == 2
    assert stats["subscriptions"] == []
    assert stats["files"]["messages.db"] == (directory / "messages.db").stat().st_size


def test_what_topics_keep(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    frame = b"SEND\ndestination:/topic/t\nx-retain:true\nreceipt:r\n\nthree\0"
    asyncio.run(fill(directory, FRAMES.replace(b"receipt:r\n", b"") + frame))
    assert "(kept by topics)" in run("store", "stats", directory).stdout
    exported = [json.loads(line) for line in run("store", "export", directory).stdout.splitlines()]
    found = [(one["destination"], one["retained"]) for one in exported]
    assert found == [("/queue/orders", False), ("/queue/orders", False), ("/topic/t", True)]
    assert exported[2]["headers"]["retain"] == "true"
    counted = run("store", "sql", directory, "SELECT count(*) FROM messages").stdout
    assert counted.split()[-1] == "2"
    assert run("store", "check", directory).returncode == 0


def test_export(directory: Path) -> None:
    result = run("store", "export", directory)
    assert (result.returncode, result.stderr) == (0, "")
    first, second = map(json.loads, result.stdout.splitlines())
    assert list(first) == [
        "destination",
        "message_id",
        "sequence",
        "received_at",
        "deliveries",
        "expires",
        "priority",
        "headers",
        "damaged",
        "retained",
        "body_base64",
    ]
    assert first["destination"] == "/queue/orders"
    assert first["headers"] == {"destination": "/queue/orders", "kind": "new"}
    assert base64.b64decode(first["body_base64"]) == b"one"
    assert base64.b64decode(second["body_base64"]) == b"two"


@pytest.mark.parametrize("command", ["check", "stats", "export"])
def test_a_directory_in_use_is_1(tmp_path: Path, command: str) -> None:
    async def meanwhile() -> subprocess.CompletedProcess[str]:
        async with broker_on(tmp_path / "data"):
            return await asyncio.to_thread(run, "store", command, tmp_path / "data")

    result = asyncio.run(meanwhile())
    assert (result.returncode, result.stdout) == (1, "")
    assert "in use by a broker" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "stats", "export"])
def test_an_absent_directory_is_1(tmp_path: Path, command: str) -> None:
    result = run("store", command, tmp_path / "none")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"stompy-broker: {tmp_path / 'none'}: holds no messages.db\n"


@pytest.mark.parametrize("command", ["check", "stats", "export"])
def test_damage_is_1(directory: Path, command: str) -> None:
    with (directory / "messages.db").open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\0" * (3 * 4096))
    result = run("store", command, directory)
    assert result.returncode == 1
    assert result.stdout if command == "check" else result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [[], ["check"], ["stats"], ["export"]])
def test_help_tells_the_exit_codes(command: list[str]) -> None:
    result = run("store", *command, "--help")
    assert result.returncode == 0
    assert "Exit status" in result.stdout
