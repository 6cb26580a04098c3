"""What the broker takes, a consumer can take that makes room for what is added (promise 4).

A consumer that knows the limits makes room for twice of each, and for 64 more headers.
"""

from __future__ import annotations

import json

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame

from stompy.protocol.limits import Limits

LIMITS = Limits()
ROOM = (LIMITS.header_count + 64, 2 * LIMITS.header_line, 2 * LIMITS.header_block)


def measured(frame: Frame) -> tuple[int, int, int]:
    """Number of headers, longest line, size of command and headers."""
    head = frame.raw.partition(b"\n\n")[0]
    lines = head.split(b"\n")
    return len(lines) - 1, max(map(len, lines)), len(head)


CASES = {
    "256 headers": ("1.2", [f"h{n}:{n}" for n in range(254)]),
    "colons in a line": ("1.0", ["long:" + ":" * (16 * 1024 - 10)]),
    "a megabyte": ("1.2", [f"h{n}:" + "x" * 16000 for n in range(65)]),
    "a megabyte of octets": ("1.0", [f"h{n}:\\" + "x" * 15000 for n in range(68)]),
    "half a megabyte of colons": ("1.0", [f"h{n}:" + ":" * 16000 for n in range(32)]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_taken_fits_in_every_version_also_as_a_dead_letter(
    connect: Connect, queue: str, case: str
):
    """4: by the limits of the broker, and the room that a receiver makes."""
    version, lines = CASES[case]
    sender = connect(version)
    sender.send(f"SEND\ndestination:{queue}\nreceipt:r\n", "\n".join(lines), "\n\nbody\0")
    sender.expect("RECEIPT")
    for other in ("1.1", "1.2"):
        peer = connect(other)
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
        message = peer.expect("MESSAGE")
        assert all(size <= most for size, most in zip(measured(message), ROOM, strict=True))
        assert message.body == b"body"
        if other == "1.1":
            peer.send("DISCONNECT\nreceipt:d\n\n\0")
            peer.expect("RECEIPT")
    reason = r"\c" * 8000
    peer.send(f"NACK\nid:{message['ack']}\nrequeue:false\nreason:{reason}\n\n\0")
    grave = connect()
    grave.send(f"SUBSCRIBE\nid:0\ndestination:{queue.replace('/queue/', '/queue/DLQ.')}\n\n\0")
    dead = grave.expect("MESSAGE")
    assert all(size <= most for size, most in zip(measured(dead), ROOM, strict=True))


def test_what_would_not_fit_is_refused_at_the_door(connect: Connect, queue: str):
    """4: with its numbers, and to its sender."""
    sender = connect("1.0")
    lines = "\n".join(f"h{n}:" + ":" * 16000 for n in range(60))
    sender.send(f"SEND\ndestination:{queue}\nreceipt:r\n{lines}\n\nbody\0")
    error = sender.expect_error("frame-too-large", receipt="r")
    assert b"header block, escaped" in error.body


@pytest.mark.parametrize(
    "headers", [{f"h{n}": "" for n in range(300)}, {"long": "x" * 40_000}], ids=["many", "long"]
)
def test_an_admin_sends_nothing_larger(connect: Connect, queue: str, headers: dict[str, str]):
    """4: a command is a body, which is not measured as headers are."""
    peer = connect()
    request = {"cmd": "message.send", "args": {"destination": queue, "headers": headers}}
    head = "SEND\ndestination:/queue/$SYS.command\nreply-to:/temp-queue/op\n\n"
    peer.send(f"{head}{json.dumps(request)}\0")
    answer = json.loads(peer.expect("MESSAGE").body)
    assert not answer["ok"]
    assert "over the limit" in json.dumps(answer["error"])


# -- headers that only the broker may write ------------------------------------------------------

FORGED = (
    "message-id:1", "subscription:evil", "ack:1-1", "redelivered:true", "delivery-count:9",
    "JMSXUserID:root", "x-death-count:7", "original-destination:/queue/other",
    "original-subscription:other", "x-last-death-queue:other",
)  # fmt: skip


@pytest.mark.parametrize("to", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_nobody_forges_the_broker_s_headers(connect: Connect, queue: str, version: str, to: str):
    """4: not plainly, not beside a header that has the block rewritten, nor by escapes."""
    receiver, sender = connect(to), connect(version)
    receiver.send(f"SUBSCRIBE\nid:mine\ndestination:{queue}\nack:client-individual\n\n\0")
    blocks = ["\n".join(FORGED), "\n".join((*FORGED, "url:a:b"))]
    if version != "1.0":
        blocks += ["\n".join((*FORGED, r"x:\n")), "x:1" + "".join(rf"\n{line}" for line in FORGED)]
        blocks.append("\n".join(line.replace(":", r"\c1:") for line in FORGED))
    else:
        blocks.append("\n".join(f" {line.replace(':', ' : ')}" for line in FORGED))
    for block in blocks:
        # What an escape smuggles has raw colons, which a value may have.
        sender.send(f"SEND\ndestination:{queue}\n{block}\n\nbody\0")
        message = receiver.expect("MESSAGE")
        assert message.body == b"body"
        assert message.all("subscription") == ["mine"]
        assert (message.all("redelivered"), message.all("delivery-count")) == (["false"], ["1"])
        assert len(message.all("message-id")) == 1
        assert message["message-id"] != "1"
        assert message.all("ack") != ["1-1"]
        forged = {line.partition(":")[0] for line in FORGED[5:]}
        assert not forged & {name for name, _ in message.headers}


def test_order_holds_under_redelivery(connect: Connect, queue: str):
    """12: whatever is given back, by whom and when, each comes in its place."""
    sender = connect()
    for number in range(60):
        sender.send(f"SEND\ndestination:{queue}\n\n{number}\0")
    sender.sync()
    for turn in range(6):
        peer = connect()
        line = f"prefetch-count:{7 + turn}\n"
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n{line}\n\0")
        messages = [peer.expect("MESSAGE") for _ in range(7 + turn)]
        assert [int(m.body) for m in messages] == list(range(7 + turn))
        peer.send(f"NACK\nid:{messages[3]['ack']}\ndelay:0\n\n\0")
        assert peer.expect("MESSAGE").body == b"3"
        peer.send("DISCONNECT\nreceipt:d\n\n\0")
        peer.expect("RECEIPT")
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    assert [int(body) for body in peer.bodies(60)] == list(range(60))
