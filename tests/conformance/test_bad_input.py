"""Each rule of `docs/conformance.md`, broken: ERROR with its code, then close, nobody else suffers.

A case is what a client sends after it is connected, or instead of connecting. ``{q}`` stands for
a queue of the test's own.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Pair, Peer

ALL = ("1.0", "1.1", "1.2")
NEW = ("1.1", "1.2")
SUBSCRIBED = b"SUBSCRIBE\nid:0\ndestination:{q}\nack:client\n\n\0"
LONG = b"x" * 17_000


class Case(NamedTuple):
    """What is sent, and what must come of it."""

    rule: str
    versions: tuple[str | None, ...]  # None = the client has not connected
    sent: bytes
    code: str
    receipt: str | None = None


CASES = [
    # Framing
    Case("F2", ("1.1",), b"SEND\r\r\nreceipt:r\ndestination:{q}\n\n\0", "unknown-command", "r"),
    Case("F3", (None,), b"connect\naccept-version:1.2\n\n\0", "unknown-command"),
    Case("F3", ALL, b"send\nreceipt:r\ndestination:{q}\n\n\0", "unknown-command", "r"),
    Case("F4", ALL, b"SEND\nreceipt:r\ndestination:{q}\ncontent-length:1\n\nab\0",
         "malformed-frame", "r"),
    Case("F4", ALL, b"SEND\nreceipt:r\ndestination:{q}\ncontent-length:-1\n\n",
         "bad-content-length", "r"),
    Case("F4", ALL, b"SEND\nreceipt:r\ndestination:{q}\ncontent-length:9999999999\n\n",
         "frame-too-large", "r"),
    Case("F4", (None,), b"CONNECT\ncontent-length:one\n\n", "bad-content-length"),
    Case("F7", NEW, b"BEGIN\nreceipt:r\ntransaction:t\n\nbody\0", "unexpected-body", "r"),
    Case("F7", NEW, b"BEGIN\nreceipt:r\ntransaction:t\ncontent-length:4\n\nbody\0",
         "unexpected-body", "r"),
    Case("F10", (None, *ALL), b"SEND\nreceipt:r\nno colon\n\n\0", "malformed-frame", "r"),
    Case("F10", ALL, b"SEND\nreceipt:r\n:no name\n\n\0", "malformed-frame", "r"),
    Case("F10", ALL, b"SEND\nreceipt:r\nx:a\0b\n\n\0", "malformed-frame", "r"),
    Case("F10", ALL, b"SEND\nreceipt:r\ndestination:{q}\n\0SEND\n\n\0", "malformed-frame", "r"),
    Case("F10", ("1.2",), b"SEND\nreceipt:r\nx:a\rb\n\n\0", "malformed-frame", "r"),
    Case("F11", NEW, b"SEND\ndestination:{q}\nx:\xff\n\n\0", "bad-encoding"),
    Case("F11", (None,), b"CONNECT\nlogin:\xff\n\n\0", "bad-encoding"),
    Case("F11", NEW, b"S\xffND\ndestination:{q}\n\n\0", "bad-encoding"),
    Case("F12", (None, *ALL), b"X" * 5_000, "frame-too-large"),
    Case("F12", (None, *ALL), b"SEND\nx:" + LONG, "frame-too-large"),
    Case("F12", ALL, b"SEND\nreceipt:r\nx:" + LONG + b"\n\n\0", "frame-too-large", "r"),
    Case("F12", ALL, b"SEND\n" + b"x:1\n" * 300 + b"\n\0", "frame-too-large"),
    Case("F12", ALL, b"SEND\n" + b"x:1\n" * 300, "frame-too-large"),
    Case("F12", (None,), b"CONNECT\n" + b"x:%b\n" % LONG[:16_000] * 5, "frame-too-large"),
    # Escaping
    Case("E2", ("1.1",), b"SEND\nreceipt:r\nx:\\r\n\n\0", "bad-escape", "r"),
    Case("E4", NEW, b"SEND\nreceipt:r\nx:\\t\n\n\0", "bad-escape", "r"),
    Case("E4", NEW, b"SEND\nreceipt:r\nx:1\\\n\n\0", "bad-escape", "r"),
    Case("E6", NEW, b"SEND\nreceipt:r\nx\\y:1\n\n\0", "bad-escape", "r"),
    # Connecting
    Case("N6", (None,), b"CONNECT\naccept-version:2.0\n\n\0", "unsupported-version"),
    Case("N6", (None,), b"STOMP\naccept-version:\n\n\0", "unsupported-version"),
    Case("N12", (None,), b"SEND\nreceipt:r\ndestination:{q}\n\nbody\0", "unexpected-frame", "r"),
    Case("N12", (None,), b"MESSAGE\n\n\0", "unexpected-frame"),
    Case("N12", ALL, b"CONNECT\naccept-version:1.2\n\n\0", "unexpected-frame"),
    Case("N12", ALL, b"STOMP\naccept-version:1.2\nreceipt:r\n\n\0", "unexpected-frame", "r"),
    # Heart-beats
    Case("H1", (None,), b"CONNECT\naccept-version:1.1\nheart-beat:1\n\n\0", "bad-header"),
    Case("H1", (None,), b"CONNECT\naccept-version:1.2\nheart-beat:-1,0\n\n\0", "bad-header"),
    # SEND, SUBSCRIBE, UNSUBSCRIBE
    Case("S1", ALL, b"SEND\nreceipt:r\n\nbody\0", "missing-header", "r"),
    Case("S3", ALL, b"SEND\nreceipt:r\ndestination:/exchange/x\n\nbody\0", "bad-destination", "r"),
    Case("S3", ALL, b"SEND\nreceipt:r\ndestination:/topic/a.*\n\nbody\0", "bad-destination", "r"),
    Case("S3", ALL, b"SEND\nreceipt:r\ndestination:/queue/\n\nbody\0", "bad-destination", "r"),
    Case("S3", ALL, b"SEND\nreceipt:r\ndestination:/topic/$SYS.x\n\n\0", "bad-destination", "r"),
    Case("S4", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\n\n\0", "missing-header", "r"),
    Case("S4", NEW, b"SUBSCRIBE\nreceipt:r\ndestination:{q}\n\n\0", "missing-header", "r"),
    Case("S5", ALL, SUBSCRIBED + b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:{q}-2\n\n\0",
         "duplicate-subscription", "r"),
    Case("S6", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:{q}\nack:maybe\n\n\0",
         "bad-header", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:/x/y\n\n\0", "bad-destination", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:{q}\nack:client\n"
         b"prefetch-count:lots\n\n\0", "bad-header", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:{q}\nselector:a=\n\n\0",
         "bad-selector", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:{q}\nx-delivery-limit:3\n\n\0",
         "not-supported", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:/topic/$SYS.queues\n"
         b"x-priority:1\n\n\0", "not-supported", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:/topic/$SYS.queues\n"
         b"browser:true\n\n\0", "bad-destination", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:/amq/queue/a.*\n\n\0",
         "bad-destination", "r"),
    Case("S7", ALL, b"SUBSCRIBE\nreceipt:r\nid:0\ndestination:{q},{q}\n\n\0",
         "bad-destination", "r"),
    Case("S8", ALL, b"UNSUBSCRIBE\nreceipt:r\n\n\0", "missing-header", "r"),
    Case("S8", ALL, b"UNSUBSCRIBE\nreceipt:r\nid:0\n\n\0", "unknown-subscription", "r"),
    # MESSAGE, ACK, NACK
    Case("M4", ("1.2",), b"ACK\nreceipt:r\n\n\0", "missing-header", "r"),
    Case("M4", ("1.1",), b"ACK\nreceipt:r\nmessage-id:1\n\n\0", "missing-header", "r"),
    Case("M4", ("1.0",), b"ACK\nreceipt:r\n\n\0", "missing-header", "r"),
    Case("M4", ("1.2",), b"ACK\nid:1-1\n\n\0", "unknown-ack"),
    Case("M4", ("1.2",), SUBSCRIBED + b"ACK\nid:1-1\n\n\0", "unknown-ack"),
    Case("M4", ("1.1",), SUBSCRIBED + b"ACK\nreceipt:r\nsubscription:0\nmessage-id:1\n\n\0",
         "unknown-ack", "r"),
    Case("M5", ("1.2",), b"NACK\nreceipt:r\nid:7\n\n\0", "unknown-ack", "r"),
    Case("M5", ("1.2",), SUBSCRIBED + b"NACK\nreceipt:r\nid:1-1\nrequeue:perhaps\n\n\0",
         "bad-header", "r"),
    Case("M5", ("1.2",), SUBSCRIBED + b"NACK\nreceipt:r\nid:1-1\ndelay:-5\n\n\0",
         "bad-header", "r"),
    # Transactions
    Case("T1", ALL, b"BEGIN\nreceipt:r\n\n\0", "missing-header", "r"),
    Case("T1", ALL, b"COMMIT\nreceipt:r\n\n\0", "missing-header", "r"),
    Case("T2", ALL, b"BEGIN\ntransaction:t\n\n\0BEGIN\nreceipt:r\ntransaction:t\n\n\0",
         "duplicate-transaction", "r"),
    Case("T2", ALL, b"".join(b"BEGIN\ntransaction:%d\n\n\0" % n for n in range(1001)),
         "limit-exceeded"),
    Case("T4", ALL, b"SEND\nreceipt:r\ntransaction:t\ndestination:{q}\n\n\0",
         "unknown-transaction", "r"),
    Case("T4", ALL, b"ABORT\nreceipt:r\ntransaction:t\n\n\0", "unknown-transaction", "r"),
    # Receipts, ERROR, DISCONNECT
    Case("R12", ALL, b"NONSENSE\nreceipt:r\n\n\0", "unknown-command", "r"),
    Case("R12", ALL, b"MESSAGE\nreceipt:r\n\n\0", "unexpected-frame", "r"),
    Case("R12", (None,), b"\x00\x00\x00\x00\n\n\0\n\n\0", "malformed-frame"),
    Case("R12", ALL, b"\xfe\xed\xfa\xce\n\n\0", "bad-encoding"),
]  # fmt: skip


def number(case: Case, version: str | None) -> str:
    """A readable name for a case."""
    return f"{case.rule}-{version or 'connecting'}-{case.code}"


ONE_BY_ONE = [
    pytest.param(version, case, id=number(case, version))
    for case in CASES
    for version in case.versions
    if not (version == "1.0" and case.code == "bad-encoding")  # 1.0 names no encoding
]


def prepare(peer: Peer, version: str | None) -> None:
    """Connect, unless that is what goes wrong."""
    if version is not None:
        peer.send(f"CONNECT\naccept-version:{version}\nhost:x\n\n\0")
        peer.expect("CONNECTED")


@pytest.mark.parametrize(("version", "case"), ONE_BY_ONE)
def test_error_then_close(
    connect: Connect, pair: Pair, queue: str, version: str | None, case: Case
):
    """R4, 1.2 *ERROR*: with code and receipt-id; a healthy pair goes on as if nothing was."""
    pair.exchange()
    peer = connect(None)
    prepare(peer, version)
    peer.send(case.sent.replace(b"{q}", queue.encode()))
    peer.expect_error(case.code, case.receipt)
    pair.exchange()


@pytest.mark.parametrize(("version", "case"), ONE_BY_ONE)
def test_error_then_close_octet_by_octet(
    connect: Connect, queue: str, version: str | None, case: Case
):
    """F14, 1.2 *STOMP Frames*: the same, however the input was cut.

    Which of two faults is found first may differ: a command can be both too long and unknown.
    """
    peer = connect(None)
    prepare(peer, version)
    data = case.sent.replace(b"{q}", queue.encode())
    peer.dribble(data) if len(data) < 1000 else peer.send(data[:10], data[10:])
    error = peer.expect("ERROR")
    assert error["error-code"] == case.code
    assert error.get("receipt-id") == case.receipt
    peer.expect_eof()
