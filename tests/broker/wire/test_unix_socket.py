"""A broker that listens at a socket in the file system, and clients that come by it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.wire import cheap_hash, fast_config, running_broker, unique, until

import stompy
import stompy.aio
from stompy.errors import STOMPConnectionError, STOMPError
from stompy_broker import Broker
from stompy_broker.config import ConfigError
from stompy_broker.wire.unix_socket import PeerCredentials, bind_unix


@pytest.fixture
def place() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield Path(folder) / "stompy.sock"


def exchange(client: stompy.STOMPClient) -> str | None:
    """Send something to oneself; gives what came."""
    queue = f"/queue/{unique()}"
    with client.subscription(queue, "client-individual") as subscription:
        client.message(queue, "hello")
        message = subscription.get(timeout=10)
        assert message is not None
        message.ack()
        return message.text


def test_both_clients_come_by_it(place: Path) -> None:
    with running_broker(listen={"unix": str(place)}) as broker:
        assert f"unix://{place}" in broker.urls
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        with stompy.connect(f"unix://{place}") as client:
            assert exchange(client) == "hello"

        async def talk() -> str | None:
            async with await stompy.aio.connect(f"unix://{place}") as client:
                queue = f"/queue/{unique()}"
                async with await client.subscription(queue, "auto") as subscription:
                    await client.message(queue, "hello")
                    message = await subscription.get(timeout=10)
                    return None if message is None else message.text

        assert asyncio.run(talk()) == "hello"
        with stompy.connect([f"unix://{place}x", f"unix://{place}"]) as client:
            assert exchange(client) == "hello"
        with stompy.connect(f"failover:(unix://{place})?randomize=false") as client:
            assert exchange(client) == "hello"
    assert not place.exists()


def test_who_is_not_there_is_said(place: Path) -> None:
    with pytest.raises(STOMPConnectionError, match=f"unix://{place}.*socket"):
        stompy.connect(f"unix://{place}", timeout=5)


@pytest.mark.parametrize("mode", ["0660", "777"])
def test_who_may_connect(place: Path, mode: str) -> None:
    with running_broker(listen={"unix": str(place), "unix_mode": mode}):
        assert stat.S_IMODE(place.stat().st_mode) == int(mode, 8)


@pytest.mark.parametrize(
    "setting", [{"unix": "run/x"}, {"unix_mode": "rw"}, {"unix_mode": "0o600"}, {"unix_mode": "9"}]
)
def test_mistakes_in_the_configuration(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        fast_config(listen=setting)


def test_limits_of_one_address_are_those_of_one_user(place: Path) -> None:
    settings = {"listen": {"unix": str(place)}, "limits": {"connections_per_address": 2}}
    with running_broker(**settings) as broker:
        clients = [stompy.connect(f"unix://{place}") for _ in range(2)]
        with pytest.raises(STOMPError, match="this address has all the connections"):
            stompy.connect(f"unix://{place}")
        with stompy.connect(broker.url) as other:  # another address
            assert exchange(other) == "hello"
        for client in clients:
            client.disconnect()


def test_a_client_that_was_killed_is_missed(place: Path) -> None:
    with running_broker(listen={"unix": str(place)}) as broker:
        script = (
            "import stompy, sys, time\n"
            "client = stompy.connect(sys.argv[1])\n"
            "print('connected', flush=True)\n"
            "time.sleep(60)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, f"unix://{place}"], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"connected\n"
            assert broker.connections() == 1
            process.kill()
        until(lambda: broker.connections() == 0, "the broker to notice")


def test_the_user_of_the_process_is_the_login(place: Path) -> None:
    own = PeerCredentials(0, os.getuid()).login
    settings = {
        "listen": {"unix": str(place), "login_from_uid": True},
        "users": {own: cheap_hash("x"), "other": cheap_hash("other")},
    }
    with running_broker(**settings) as broker:
        with stompy.connect(f"unix://{place}") as client:
            frame = client.connected_frame
            assert frame is not None
            assert frame.headers["user-name"] == own
        with stompy.connect(f"unix://{place}", "other", "other") as client:
            frame = client.connected_frame
            assert frame is not None
            assert frame.headers["user-name"] == "other"
        with pytest.raises(STOMPError, match="needs a login"):
            stompy.connect(broker.url)
        with pytest.raises(STOMPError):
            stompy.connect(f"unix://{place}", "other")


def test_without_that_a_login_is_asked_for(place: Path) -> None:
    with (
        running_broker(listen={"unix": str(place)}, users={"a": cheap_hash("a")}),
        pytest.raises(STOMPError, match="needs a login"),
    ):
        stompy.connect(f"unix://{place}")


def test_a_user_without_a_name_is_a_number() -> None:
    assert PeerCredentials(1, 4_000_000).login == "4000000"


def test_what_a_killed_broker_left_is_taken_away(place: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(place))
    left.close()
    with (
        running_broker(listen={"unix": str(place)}),
        stompy.connect(f"unix://{place}") as client,
    ):
        assert exchange(client) == "hello"


def test_nothing_else_is_taken_away(place: Path) -> None:
    place.write_text("mine")
    with pytest.raises(OSError, match="something else is there"):
        bind_unix(str(place), 0o600)
    assert place.read_text() == "mine"


def test_one_place_has_one_broker(place: Path) -> None:
    async def start_another() -> None:
        async with Broker(fast_config(listen={"unix": str(place)})):
            pass

    with running_broker(listen={"unix": str(place)}):
        with pytest.raises(OSError, match=str(place)):
            asyncio.run(start_another())
        with stompy.connect(f"unix://{place}") as client:
            assert exchange(client) == "hello"


def test_a_path_that_is_too_long(place: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        bind_unix(str(place.with_name("x" * 200)), 0o600)
