"""The command ``stompy-broker check``, as a process of its own."""

from __future__ import annotations

import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.secure import authority, certificate
from tests.support.wire import cheap_hash

import stompy_broker
from stompy_broker.wire.tls import validity_warnings

COMMAND = [sys.executable, "-m", "stompy_broker"]


def run(*options: object, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, options)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input=text,
    )


KEPT = (
    "# keeps its last message with x-retain:true for who subscribes later; so may 10000 topics, "
    "with 67108864 bytes together"
)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "broker.toml"
    file.write_text(
        '[[policy]]\nmatch = "/queue/a"\n[[policy]]\nmatch = "/queue/a.>"\nmax_length = 7\n'
    )
    return file


@pytest.mark.parametrize(
    ("destination", "first", "length"),
    [
        ("/queue/a.b", '/queue/a.b: policy.1, match = "/queue/a.>"', 7),
        ("a", '/queue/a: policy.0, match = "/queue/a"', 0),
        ("/topic/a.b", "/topic/a.b: defaults", 0),
    ],
)
def test_explain(configuration: Path, destination: str, first: str, length: int) -> None:
    result = run("check", configuration, "--explain", destination)
    assert result.returncode == 0
    line, *settings = result.stdout.splitlines()
    assert line == first
    assert f"max_length = {length}" in settings
    settings = [line for line in settings if not line.startswith("#")]
    assert len(settings) == len(stompy_broker.Policy.model_fields) - 1


@pytest.mark.parametrize(
    ("destination", "lines"),
    [
        ("/queue/a", ["# route.0 moves what matches n > 1 to /queue/b"]),
        ("/queue/b", ["# route.0 leads here from /queue/a"]),
        ("/exchange/logs/key", ["# a fanout exchange", KEPT]),
        (
            "/topic/VirtualTopic.x",
            [
                "# a virtual topic: what is sent to it goes to "
                "/queue/Consumer.*.VirtualTopic.x as well",
                KEPT,
            ],
        ),
        (
            "/queue/Consumer.A.VirtualTopic.>",
            ["# gets what is sent to the virtual topic /topic/VirtualTopic.>"],
        ),
        ("/queue/c", []),
        ("/topic/c", [KEPT]),
        (
            "/reply-topic/x",
            ["# keeps no message for who subscribes later (x-retain): it is temporary"],
        ),
    ],
)
def test_explain_says_where_else_messages_go(
    tmp_path: Path, destination: str, lines: list[str]
) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(
        '[[exchange]]\nname = "logs"\ntype = "fanout"\n[[route]]\nfrom = "/queue/a"\n'
        'to = ["/queue/b"]\nmode = "move"\nselector = "n > 1"\n'
    )
    result = run("check", file, "--explain", destination)
    assert [line for line in result.stdout.splitlines() if line.startswith("#")] == lines


def test_check_refuses_routes_in_a_circle(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text('[[route]]\nfrom = "/queue/*"\nto = ["/queue/b"]\n')
    result = run("check", file)
    assert result.returncode == 2
    assert "route.0: leads to itself: route.0 -> route.0" in result.stderr


def test_explain_says_that_topics_keep_nothing(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[limits]\nretained = 0\n")
    last = run("check", file, "--explain", "/topic/a").stdout.splitlines()[-1]
    assert last.endswith("(x-retain): limits.retained = 0")


def test_explain_what_is_no_destination(configuration: Path) -> None:
    result = run("check", configuration, "--explain", "/nowhere/x")
    assert (result.returncode, result.stdout) == (2, "")
    assert "/nowhere/x" in result.stderr
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
    before = validity_warnings(str(tmp_path / "cert.pem"), datetime(1990, 1, 1, tzinfo=UTC))
    assert "is not valid before 2000-01-01" in before[0]
    (tmp_path / "odd.pem").write_text(f"{ssl.PEM_HEADER}\nMAA=\n{ssl.PEM_FOOTER}\n")
    assert validity_warnings(str(tmp_path / "odd.pem"), now) == []


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


def test_check_explains_the_quota_of_a_user(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(
        """
        [roles]
        monitor = ["ann"]
        [[quota]]
        user = "@monitor"
        send_rate = "10/s"
        stored_bytes = "1MiB"
        [[quota]]
        connections = 3
        [users]
        """
        f"ann = '{cheap_hash('a')}'\nbob = '{cheap_hash('b')}'\n"
    )
    ann = run("check", str(file), "--explain-access", "ann", "/queue/a").stdout
    assert ann.endswith('quota.0, user = "@monitor":\nsend_rate = "10/s"\nstored_bytes = 1048576\n')
    bob = run("check", str(file), "--explain-access", "bob", "/queue/a").stdout
    assert bob.endswith('quota.1, user = "*":\nconnections = 3\n')


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
