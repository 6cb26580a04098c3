"""The command ``stompy-broker``, as a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.wire import cheap_hash, until

import stompy
import stompy_broker
from stompy_broker.build import compiled
from stompy_broker.event_loop import chosen
from stompy_broker.security.auth import matches
from stompy_broker.security.users import write_users

COMMAND = [sys.executable, "-m", "stompy_broker"]


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--memory", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(
            r"stompy-broker ready stomp://127\.0\.0\.1:(\d+) ws://127\.0\.0\.1:\1\n", line
        )
        assert found, line
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


def run(*options: object, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input=text,
    )


def test_the_version_says_which_form_runs() -> None:
    form = (
        f"stompy-broker, version {stompy_broker.__version__} "
        f"(compiled: {compiled()}, event loop: {chosen('auto')})\n"
    )
    assert run("--version").stdout == form


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(number: signal.Signals) -> None:
    with started() as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
            assert client.recv(9) == b"CONNECTED"
            process.send_signal(number)
            while data := client.recv(4096):
                last = data
            assert b"error-code:shutting-down" in last
        assert process.wait(10) == 0


def test_a_second_signal_forces() -> None:
    with started() as (process, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(
            b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"
            b"SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n\0"
            b"SEND\ndestination:/queue/q\n\nx\0"
        )
        seen = b""
        while b"\n\nx\0" not in seen:
            seen += client.recv(4096)
        process.send_signal(signal.SIGTERM)
        # It waits for the acknowledgement that does not come; the listener is closed by then.
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except (ConnectionRefusedError, ConnectionResetError):
                break
            except TimeoutError:
                continue  # it came while the listener was being closed
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], ["command line", "listen.port"]),
        (["--port", "x"], ["--port"]),
        (["--host", "0.0.0.0"], ["loopback", "[users]"]),
        (["--config", "none.toml"], ["none.toml", "cannot be read"]),
        (["--nonsense"], ["--nonsense"]),
        (["check", "none.toml"], ["none.toml", "cannot be read"]),
    ],
)
def test_bad_usage_is_2_with_a_reason(options: list[str], words: list[str]) -> None:
    result = run(*options)
    assert result.returncode == 2
    assert result.stdout == ""
    assert all(word in result.stderr for word in words)
    assert "Traceback" not in result.stderr


def test_a_port_in_use_is_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = run("--port", str(server.getsockname()[1]))
    assert result.returncode == 1
    assert "cannot listen on 127.0.0.1" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("missing", ["fcntl", "resource"])
@pytest.mark.parametrize("use", ["stompy_broker.running", "from stompy_broker.cli import main"])
def test_elsewhere_than_on_posix_it_says_so(missing: str, use: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import stompy_broker; {use}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: stompy-broker needs a POSIX system, such as Linux")


def test_sighup_has_the_users_read_again(tmp_path: Path) -> None:
    users, config = tmp_path / "users", tmp_path / "broker.toml"
    write_users(users, {})
    config.write_text(f"[security]\nusers_file = '{users}'\n")
    with started("--config", str(config)) as (process, port):
        with pytest.raises(stompy.STOMPError, match="wrong"):
            stompy.connect(("127.0.0.1", port), "ann", "x")
        write_users(users, {"ann": cheap_hash("x")})
        process.send_signal(signal.SIGHUP)

        def connected() -> bool:
            try:
                stompy.connect(("127.0.0.1", port), "ann", "x").disconnect()
            except stompy.STOMPError:
                return False
            return True

        until(connected, "ann to be known")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_hash_password() -> None:
    result = run("hash-password", "--password", "wonder")
    assert result.returncode == 0
    assert matches(result.stdout.strip(), "wonder")


def test_help_teaches() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert all(word in result.stdout for word in ("stompy-broker ready", "Exit status", "Examples"))
