"""Frames made at random of everything the broker knows, with a fixed seed: it never stumbles."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest
from tests.support.wire import Pair, Peer, running_broker

from stompy_broker import RunningBroker

COMMANDS = ("SEND", "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT")
RARE = ("DISCONNECT", "CONNECT", "MESSAGE", "RECEIPT", "send", "")
DESTINATIONS = (
    "/queue/a", "/queue/b", "/topic/a", "/topic/a.b", "/topic/*.b", "/topic/>", "/temp-queue/x",
    "/reply-queue/x", "/queue/DLQ.a", "/queue/$SYS.command", "/topic/$SYS.broker", "/topic/$SYS.>",
    "/topic/$SYS.event.>", "/topic/$SYS.queue.a", "a", "/queue/", "/topic/.", "/topic/a..b",
    "/queue/\u202e", "/queue/" + "x" * 15_000, "/topic/" + "a." * 2_000, "/dsub/x",
)  # fmt: skip
NAMES = (
    "destination", "id", "ack", "receipt", "transaction", "message-id", "subscription", "reply-to",
    "persistent", "priority", "ttl", "expires", "timestamp", "content-length", "content-type",
    "selector", "durable", "auto-delete", "activemq.subscriptionName", "prefetch-count", "requeue",
    "delay", "reason", "x-max-length", "x-overflow", "x-message-ttl", "x-expires", "interval",
    "x-dead-letter-routing-key", "original-destination", "mode", "format", "fields", "", "a b",
)  # fmt: skip
VALUES = (
    "", "0", "1", "-1", "true", "false", "auto", "client", "client-individual", "1-1", "9" * 300,
    "1e5", "nan", " 5 ", "0x10", "é", "\u0660", "a:b", "\\c\\n", "t1", "t2", "s1", "x" * 2_000,
    "250", "*", ">", "full", "delta", "objects", "reject-publish", "drop-head", "DLQ.a",
)  # fmt: skip
COMMAND_BODIES = (
    b"{", b"[]", b'{"cmd":"ping"}', b'{"cmd":"queue.list","args":{"sort":1}}', b'{"cmd":null}',
    b'{"cmd":"queue.purge","args":{"queue":"a"}}', b'{"cmd":"message.peek","args":{"queue":[]}}',
    b'{"cmd":"message.move","args":{"queue":"a","to":"b","limit":-1}}', b'{"cmd":"nope"}',
)  # fmt: skip


class Frames:
    """A stream of frames that are more or less legal."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def next(self, version: str) -> bytes:
        chance, choice = self.random.random, self.random.choice
        command = choice(RARE) if chance() < 0.04 else choice(COMMANDS)
        headers: dict[str, str] = {}
        body = b""
        if command in ("SEND", "SUBSCRIBE"):
            headers["destination"] = choice(DESTINATIONS)
        if command in ("SUBSCRIBE", "UNSUBSCRIBE"):
            headers["id"] = choice(("s1", "s2", "s3"))
        if command in ("BEGIN", "COMMIT", "ABORT"):
            headers["transaction"] = choice(("t1", "t2"))
        if command in ("ACK", "NACK"):
            headers |= {"id": "1-1", "message-id": "1", "subscription": "s1"}
        for _ in range(choice((0, 0, 1, 1, 2, 4))):
            headers[choice(NAMES)] = choice(VALUES + DESTINATIONS)
        if command == "SEND":
            body = choice((b"", b"x", self.random.randbytes(50), b"x" * 70_000))
            if headers["destination"] == "/queue/$SYS.command":
                headers["reply-to"], body = "/temp-queue/r", choice(COMMAND_BODIES)
            if b"\0" in body or chance() < 0.3:
                headers["content-length"] = str(len(body))
        lines = "".join(f"{self._escaped(k, version)}:{self._escaped(v, version)}\n"
                        for k, v in headers.items())  # fmt: skip
        frame = f"{command}\n{lines}\n".encode() + body + b"\0"
        if chance() < 0.03:
            at = self.random.randrange(len(frame))
            frame = frame[:at] + self.random.randbytes(1) + frame[at + 1 :]
        return frame

    @staticmethod
    def _escaped(text: str, version: str) -> str:
        if version == "1.0":
            return text
        return text.replace("\\", "\\\\").replace(":", "\\c")


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    policies = [
        {"match": "/queue/b", "max_length": 3, "overflow": "reject-publish"},
        {"match": "/topic/>", "backlog_messages": 5},
    ]
    with running_broker(policy=policies, limits={"memory": "8MiB"}) as broker:
        yield broker


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_the_broker_goes_on(
    broker: RunningBroker, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    frames = Frames(seed)
    for _ in range(60):
        version = frames.random.choice(("1.0", "1.1", "1.2"))
        with Peer.open(broker.port, version, "client-id:c") as peer:
            try:
                peer.send(*(frames.next(version) for _ in range(frames.random.randint(1, 40))))
                peer.finish()
                said = peer.rest()
            except OSError:
                continue  # it was refused before all of it was sent
            assert b"error-code:internal-error" not in said
    with Pair(broker.port) as pair:
        pair.exchange()
    faults = [r for r in caplog.records if r.levelno >= logging.ERROR or r.exc_info]
    assert not faults, [record.getMessage() for record in faults]
