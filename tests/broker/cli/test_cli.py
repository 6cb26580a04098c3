"""The command ``stompy-broker``, as a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.secure import authority, certificate
from tests.support.wire import cheap_hash, until

import stompy
import stompy_broker
from stompy_broker.build import compiled
from stompy_broker.security.auth import matches
from stompy_broker.security.users import write_users
from stompy_broker.wire.tls import doubts_of

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


def run(*options: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False, input=text
    )


def test_the_version_says_which_form_runs() -> None:
    form = f"stompy-broker, version {stompy_broker.__version__} (compiled: {compiled()})\n"
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
        process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 1


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


def test_check(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[listen]\nport = 1234\n")
    result = run("check", str(file))
    assert (result.returncode, result.stdout) == (0, f"{file}: valid\n")


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_bytes(b"\xef\xbb\xbf[listen]\r\nport = 1234\r\n")
    result = run("check", str(file))
    assert (result.returncode, result.stdout) == (0, f"{file}: valid\n")


def test_check_warns_of_certificates_that_are_not_valid_now(tmp_path: Path) -> None:
    file, now = tmp_path / "broker.toml", datetime.now(UTC)
    for name, ends in (("old", now - timedelta(days=1)), ("good", now + timedelta(days=1))):
        issued = authority().issue_cert("localhost", not_before=now - timedelta(9), not_after=ends)
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"{name}.pem"))
        (tmp_path / f"{name}.pem").chmod(0o600)
        file.write_text(f"[tls]\ncert = '{tmp_path / name}.pem'\n")
        result = run("check", str(file))
        assert result.returncode == 0
        told = f"tls.cert '{tmp_path / name}.pem' has expired on {ends:%Y-%m-%d %H:%M} UTC"
        assert (told in result.stderr + result.stdout) == (name == "old")
    (cert,) = certificate("localhost").cert_chain_pems
    cert.write_to_path(str(tmp_path / "cert.pem"))
    before = doubts_of(str(tmp_path / "cert.pem"), datetime(1990, 1, 1, tzinfo=UTC))
    assert "is not valid before 2000-01-01" in before[0]
    (tmp_path / "odd.pem").write_text(f"{ssl.PEM_HEADER}\nMAA=\n{ssl.PEM_FOOTER}\n")
    assert doubts_of(str(tmp_path / "odd.pem"), now) == []


@pytest.mark.parametrize("missing", ["fcntl", "resource"])
@pytest.mark.parametrize("use", ["stompy_broker.running", "from stompy_broker.cli import main"])
def test_elsewhere_than_on_posix_it_says_so(missing: str, use: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import stompy_broker; {use}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: stompy-broker needs a POSIX system, such as Linux")


def test_check_looks_at_the_files_that_are_named(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[tls]\ncert = '/no/such/file'\n")
    result = run("check", str(file))
    assert result.returncode == 2
    assert f"{file}: tls.cert '/no/such/file'" in result.stderr
    result = run("--config", str(file), "--port", "0", "--memory")
    assert result.returncode == 2
    assert "tls.cert '/no/such/file'" in result.stderr


def test_check_explains_access(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(
        """
        [security]
        default_access = "deny"
        [roles]
        monitor = ["ann"]
        [[acl]]
        user = "ann"
        match = "/queue/{user}.>"
        actions = ["send", "receive"]
        [users]
        """
        f"ann = '{cheap_hash('a')}'\n"
    )
    result = run("check", str(file), "--explain-access", "ann", "ann.inbox")
    assert result.stdout == (
        "ann (role monitor), /queue/ann.inbox:\n"
        "send = allow  # acl.0\n"
        "receive = allow  # acl.0\n"
        "browse = deny  # security.default_access\n"
        "create = deny  # security.default_access\n"
        "admin = deny  # security.default_access\n"
    )
    result = run("check", str(file), "--explain-access", "ann", "/foo/bar")
    assert result.returncode == 2
    nobody = run("check", str(file), "--explain-access", "nobody", "/queue/ann.inbox").stdout
    assert "nobody (role none; there is no such user, so nobody can do this)" in nobody
    anonymous = run("check", str(file), "--explain-access", "anonymous", "/queue/x").stdout
    assert "nobody may come in without login" in anonymous


def test_check_explains_that_rules_follow_dead_letters(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[[acl]]\nmatch = '/queue/secret.>'\naccess = 'deny'\n")
    result = run("check", str(file), "--explain-access", "anonymous", "/queue/DLQ.secret.a")
    lines = result.stdout.splitlines()
    assert lines[1] == "send = allow  # security.default_access"
    assert lines[2] == (
        "receive = deny  # acl.0, about /queue/secret.a, whose messages may be in it"
    )


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ("user = 'boss'\nmatch = '/queue/>'", "acl.0.user: 'boss'"),
        ("match = '/queue/{user}.>'", "acl.0.match: {user}"),
    ],
)
def test_rules_for_names_that_nobody_proves_are_refused(
    tmp_path: Path, rule: str, key: str
) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(f"[security]\ndefault_access = 'deny'\n[[acl]]\n{rule}\n")
    for words in (("check", str(file)), ("--config", str(file), "--port", "0", "--memory")):
        result = run(*words)
        assert result.returncode == 2
        assert f"{file}: {key} proves nothing without users" in result.stderr
        assert "add [users]" in result.stderr
        assert not result.stdout


def test_check_warns_of_users_who_are_not_there(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(
        f"[users]\nann = '{cheap_hash('a')}'\n[roles]\nadmin = ['anne', 'ann', 'anonymous']\n"
        "[[acl]]\nuser = 'bob'\naccess = 'deny'\n"
    )
    result = run("check", str(file))
    assert result.returncode == 0
    assert result.stdout == f"{file}: valid\n"
    warnings = result.stderr.splitlines()
    assert [line.partition("warning: ")[2] for line in warnings] == [
        "acl.0.user: 'bob' is nobody: there is no such user so far",
        "roles.admin: 'anne' is nobody: there is no such user so far",
    ]
    file.write_text("[roles]\nadmin = ['joe']\n")
    result = run("check", str(file))
    assert "roles.admin: 'joe' is nobody: without users there is none" in result.stderr


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
