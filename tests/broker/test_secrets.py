"""A canary: passcodes that must not turn up in anything that anybody says, even at DEBUG."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.secure import ca_file, certificate, key_and_cert_file
from tests.support.wire import Peer, cheap_hash

import stompy
import stompy_broker
from stompy_broker.security.auth import Credentials
from stompy_broker.security.users import write_users

CANARY = "canary-8f3a"
"""Stands in every passcode, body and token."""


def broker_says(folder: Path, use: object) -> tuple[str, str]:
    """Everything that a broker at DEBUG prints while it is used, and its hashes."""
    password_hash = cheap_hash(f"{CANARY}-right")
    write_users(folder / "users", {"ann": password_hash})
    (folder / "broker.toml").write_text(
        f"""
        [security]
        users_file = "{folder / "users"}"
        [tls]
        cert = "{key_and_cert_file(folder, certificate("localhost", "127.0.0.1"))}"
        [store]
        data = "{folder / "data"}"
        """
    )
    process = subprocess.Popen(
        [
            *(sys.executable, "-X", "dev", "-W", "ignore", "-m", "stompy_broker"),
            *("--config", str(folder / "broker.toml"), "--port", "0", "--log-level", "debug"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while "stompy-broker ready " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        use(said.split("stompy-broker ready ")[1].split())  # type: ignore[operator]
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return said + rest, password_hash


@pytest.mark.timeout(60)
def test_no_secret_is_ever_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shown: list[str] = []
    options = stompy.TLS(ca_file=ca_file(tmp_path), key_password=CANARY)

    def use(urls: list[str]) -> None:
        for url in urls:
            scheme, place = url.split("://")
            tls = options if scheme in ("stomps", "wss") else None
            query = f"?token={CANARY}" if scheme in ("ws", "wss") else ""
            with stompy.connect(f"{scheme}://ann:{CANARY}-right@{place}{query}", tls=tls) as client:
                client.subscribe("/queue/q")
                client.message("/queue/q", f"{CANARY} body", transaction_key=CANARY)
                shown.append(repr(client.recv(timeout=10).Command))  # type: ignore[union-attr]
                shown.extend((repr(client), str(client._connection)))
                client.send("SEND", {"destination": "/x/y"}, f"{CANARY} body", receipt="1")
                with pytest.raises(stompy.STOMPError) as refused:
                    client.wait_for_receipt("1", timeout=10)
                shown.append(str(refused.value))
            with pytest.raises(stompy.STOMPError) as wrong:
                stompy.connect(f"{scheme}://ann:{CANARY}-wrong@{place}{query}", tls=tls)
            shown.extend((str(wrong.value), repr(wrong.value), str(wrong.value.__notes__)))
        port = int(urls[0].rpartition(":")[2])
        for malformed in (
            f"CONNECT\npasscode:{CANARY}\naccept-version:9\n\n\0",
            f"CONNECT\npasscode {CANARY}\n\n\0",
            f"CONNECT\nlogin:ann\npasscode:{CANARY}\n\nbody {CANARY}\0",
            f"GET /?token={CANARY} HTTP/1.1\r\nAuthorization: {CANARY}\r\n\r\n",
            f"GET /{CANARY} HTTP/1.1\r\nHost: x\r\nAuthorization: {CANARY}\r\n\r\n",
            f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {CANARY}\r\n\r\n",
        ):
            with Peer(port) as peer:
                peer.send(malformed)
                shown.append(peer.rest().decode())

    with caplog.at_level(logging.DEBUG):
        said, password_hash = broker_says(tmp_path, use)
    shown.append(repr(options))
    shown.append(repr(Credentials("ann", CANARY)))
    everything = "\n".join((said, caplog.text, *shown))
    assert "DEBUG" in said
    assert "authentication-failed" in said
    assert CANARY not in everything
    assert password_hash not in everything
    assert password_hash.rpartition("$")[2] not in everything


def test_a_configuration_does_not_show_its_hashes() -> None:
    password_hash = cheap_hash(CANARY)
    config = stompy_broker.BrokerConfig(users={"ann": password_hash})
    assert password_hash not in repr(config)
    assert password_hash not in str(config)
