"""Attacks that held from the first day on, kept so that they go on holding."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator

import pytest
from tests.support.wire import PATIENCE, Peer, cheap_hash, running_broker, stats, until

from stompy_broker import RunningBroker

SPELLINGS = [
    "secret.a",
    "/queue/secret.a",
    "/queue//secret.a",
    "//queue/secret.a",
    "/queue/secret%2Ea",
    "/Queue/secret.a",
    "/queue/SECRET.A",
    "/queue/./secret.a",
    "/queue/x/../secret.a",
    "/queue/secret.a ",
    " /queue/secret.a",
    "/queue/secret.a\t",
    "/queue/\u0455ecret.a",  # Cyrillic
    "/queue/secret\uff0ea",  # FULLWIDTH FULL STOP
    "/queue/secret.a?consumer.prefetchSize=1",
    "/queue/secret.a,/queue/b",
    "queue://secret.a",
    "/queue/secret.a.",
    "/queue/.secret.a",
    "/amq/queue/secret.a",
    "/exchange/x/secret.a",
    "jms.queue.secret.a",
    "/queue/secret.a\0",
    "/queue/secret",
    "/queue/durable.x",
    "/queue/durable.ann.s",
    "/reply-queue/secret.a",
    "/remote-temp-queue/secret.a",
    "/dsub/secret.a",
    "/queue/DLQ.secret.a",
    "/queue/*",
    "/queue/>",
    "/queue/secret.*",
]

WILDCARDS = [
    "/topic/>",
    "/topic/#",
    "/topic/*.a",
    "/topic/*.*",
    "/topic/secret.*",
    "/topic/secret.>",
    "/topic/secret",
    "/topic/secret.a",
    "/topic/*.>",
    "/topic/secret.a.>",
    "/topic/s*.a",
    "/topic/$SYS.>",
    "/topic/$SYS.event.>",
    "/topic/secret.#",
]

FOREIGN = [
    "http://evil.example",
    "http://evil.example:80",
    "https://localhost.evil.example",
    "http://localhost.evil.example:8080",
    "http://evil.example#http://localhost",
    "null",
    "file://",
    "",
    "http://localhost@evil.example",
    "http://127.0.0.1.evil.example",
    "http://[::1].evil",
    "https://localhost:8080",
    "http://localhost:80a",
    "http://localhost:",
    "http://LOCALHOST.EVIL",
    "http://xlocalhost",
    "chrome-extension://abc",
    "http://localhost\r\nOrigin: http://evil.example",
    "http://evil.example\r\nOrigin: http://localhost",
]


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(
        users={"mallory": cheap_hash("m"), "boss": cheap_hash("b")},
        acl=[
            {"user": "mallory", "match": "/queue/secret.>", "access": "deny"},
            {"user": "mallory", "match": "/topic/secret.>", "access": "deny"},
        ],
    ) as broker:
        yield broker


@pytest.fixture
def boss(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port, "1.2", "login:boss", "passcode:b") as boss:
        yield boss


def heard(peer: Peer) -> list[str]:
    """The commands of all that a client is sent until the answer to a last SEND."""
    peer.send("SEND\ndestination:/topic/nobody.listens\nreceipt:last\n\n\0")
    commands = []
    try:
        while not commands or commands[-1] not in ("RECEIPT", "ERROR"):
            commands.append(peer.read().command)
    except (EOFError, ConnectionError):
        pass
    return commands


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_reads_a_denied_queue(
    broker: RunningBroker, boss: Peer, version: str, spelling: str
) -> None:
    boss.send("SEND\ndestination:/queue/secret.a\nreceipt:r\n\nTOP\0")
    boss.expect("RECEIPT")
    written = spelling.replace("\\", "\\\\").replace(":", "\\c")
    with Peer.open(broker.port, version, "login:mallory", "passcode:m") as mallory:
        text = spelling if version == "1.0" else written
        mallory.send(f"SUBSCRIBE\nid:1\ndestination:{text}\n\n\0")
        assert "MESSAGE" not in heard(mallory)
    assert stats(broker, "/queue/secret.a").consumers == 0


@pytest.mark.parametrize("wildcard", WILDCARDS)
def test_no_wildcard_covers_a_denied_topic(
    broker: RunningBroker, boss: Peer, wildcard: str
) -> None:
    with Peer.open(broker.port, "1.2", "login:mallory", "passcode:m") as mallory:
        mallory.send(f"SUBSCRIBE\nid:1\ndestination:{wildcard}\nreceipt:s\n\n\0")
        if mallory.read().command == "RECEIPT":
            boss.send("SEND\ndestination:/topic/secret.a\nreceipt:r\n\nTOP\0")
            boss.expect("RECEIPT")
            assert "MESSAGE" not in heard(mallory)


def answer_to(port: int, request: bytes) -> bytes:
    """The first line of an answer; empty = the broker closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw:
        raw.sendall(request)
        try:
            return raw.makefile("rb").readline()
        except ConnectionError:
            return b""


def upgrade(port: int, origin: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET / HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        f"Origin: {origin}",
    ]
    return answer_to(port, "".join(f"{line}\r\n" for line in [*lines, ""]).encode())


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_opens_no_websocket(broker: RunningBroker, origin: str) -> None:
    assert b"101" not in upgrade(broker.port, origin)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1"])
def test_a_local_page_does(broker: RunningBroker, origin: str) -> None:
    assert b"101" in upgrade(broker.port, origin)


@pytest.mark.parametrize(
    "start",
    [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 60\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_form_of_a_page_sends_no_message(start: str) -> None:
    frames = "CONNECT\naccept-version:1.2\nhost:x\n\n\0SEND\ndestination:/queue/forged\n\nx\0"
    with running_broker() as broker:
        assert not answer_to(broker.port, f"{start}{frames}".encode()).startswith(b"CONNECTED")
        until(lambda: broker.connections() == 0, "it to go")
        assert [row.name for row in broker.queues()] == []
