"""No legal frame is a poison message, whatever it holds, wherever it goes and whoever gets it.

Arbitrary frames of each version go through expiry, NACK, overflow, move and retry, and a restart,
and then to consumers of each version and to both clients. Each arrives once, as far as the
consumer's version can write it.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.wire import Frame, Peer, running_broker, stats, until

import stompy
from stompy import aio
from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

OUT = "/queue/any.out"
POLICIES = (
    Policy(match="/queue/any.expired", expired_to=OUT),
    Policy(match="/queue/any.full", max_length=1, overflow_to=OUT),
    Policy(match="/queue/any.rejected", dead_letter=OUT),
    Policy(match="/queue/any.tried", max_deliveries=1, dead_letter=OUT),
)
PATHS = ("expired", "full", "rejected", "tried", "moved", "retried")

ESCAPES = {"\\": "\\\\", "\n": "\\n", ":": "\\c"}
ESCAPES_1_2 = ESCAPES | {"\r": "\\r"}

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.text(st.sampled_from("a:\\\r\n cé\u00ff日\u2028") | CHARACTERS, max_size=12)
OCTETS = st.binary(max_size=12) | st.sampled_from(
    [b"caf\xe9", b"caf\xe9:\\n\r", b"\xff:\\", b"\\x"]
)


@dataclass(frozen=True)
class Sent:
    """A frame to be sent: header lines as they stand on the wire, and the body."""

    version: str
    lines: tuple[bytes, ...]
    body: bytes
    sized: bool

    def expected(self) -> dict[str, str]:
        """The headers as text; of a repeated name the first counts."""
        found: dict[str, str] = {}
        for line in self.lines:
            name, _, value = line.partition(b":")
            if self.version == "1.0":
                found.setdefault(as_text(name), as_text(value))
            else:
                found.setdefault(read_escapes(name.decode()), read_escapes(value.decode()))
        return found

    def octets(self) -> dict[str, str]:
        """The headers as 1.0 reads them, octet by octet."""
        pairs = [line.decode("utf-8", "surrogateescape").partition(":") for line in self.lines]
        return {name.strip(): value.strip() for name, _, value in reversed(pairs)}

    def to_bytes(self, destination: str, name: str, *more: str) -> bytes:
        lines = [f"destination:{destination}".encode(), f"any:{name}".encode(), *self.lines]
        lines += [line.encode() for line in (*more, f"receipt:{name}")]
        if self.sized:
            lines.append(b"content-length:%d" % len(self.body))
        return b"SEND\n" + b"\n".join(lines) + b"\n\n" + self.body + b"\0"


def as_text(octets: bytes) -> str:
    """What 1.0 trims, and read as UTF-8 or else as Latin-1."""
    trimmed = octets.decode("utf-8", "surrogateescape").strip().encode("utf-8", "surrogateescape")
    try:
        return trimmed.decode()
    except UnicodeDecodeError:
        return trimmed.decode("latin-1")


def read_escapes(text: str) -> str:
    """As a consumer of 1.2 reads them; only those that there are."""
    parts, at = [], 0
    back = {sequence: character for character, sequence in ESCAPES_1_2.items()}
    while at < len(text):
        if text[at] == "\\":
            parts.append(back[text[at : at + 2]])
            at += 2
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts)


def escaped(text: str, version: str, *, colons: bool = True) -> bytes:
    table = dict(ESCAPES_1_2 if version == "1.2" else ESCAPES)
    if not colons:
        del table[":"]
    return text.translate(str.maketrans(table)).encode()


@st.composite
def sent_frames(draw: st.DrawFn) -> Sent:
    version = draw(st.sampled_from(["1.0", "1.1", "1.2"]))
    lines = []
    for number in range(draw(st.integers(0, 4))):
        if version == "1.0":
            name = draw(OCTETS).translate(None, b"\0\r\n:")
            value = draw(OCTETS).translate(None, b"\0\r\n")
            lines.append(b"x%d%b:%b" % (number, name, value))
        else:
            name, value = f"x{number}" + draw(TEXTS), draw(TEXTS)
            if version == "1.1":
                name, value = name.replace("\r", ""), value.replace("\r", "")
            wire = escaped(value, version, colons=draw(st.booleans()))
            lines.append(escaped(name, version) + b":" + wire)
    sized = draw(st.booleans())
    body = draw(st.binary(max_size=20))
    return Sent(version, tuple(lines), body if sized else body.replace(b"\0", b""), sized)


# -- the way -----------------------------------------------------------------------------------


def send_all(broker: RunningBroker, frames: list[Sent]) -> None:
    for number, frame in enumerate(frames):
        with Peer.open(broker.port, frame.version) as peer:
            for path in PATHS:
                more = ["ttl:1"] if path == "expired" else []
                name = f"{path}-{number}"
                peer.send(frame.to_bytes(f"/queue/any.{path}", name, *more))
                assert peer.expect("RECEIPT")["receipt-id"] == name


def reject_all(broker: RunningBroker, path: str, count: int, *headers: str) -> None:
    lines = "".join(f"{header}\n" for header in headers)
    with Peer.open(broker.port) as peer:
        peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/any.{path}\nack:client-individual\n\n\0")
        for _ in range(count):
            message = peer.expect("MESSAGE")
            peer.send(f"NACK\nid:{message['ack']}\n{lines}\n\0")
        peer.send("DISCONNECT\nreceipt:d\n\n\0")
        peer.expect("RECEIPT")


def command(broker: RunningBroker, name: str, **args: object) -> None:
    with Peer.open(broker.port) as peer:
        request = json.dumps({"cmd": name, "args": args})
        head = "SEND\ndestination:/queue/$SYS.command\nreply-to:/temp-queue/op\n\n"
        peer.send(f"{head}{request}\0")
        answer = json.loads(peer.expect("MESSAGE").body)
        assert answer["ok"], answer


def walk(broker: RunningBroker, count: int) -> None:
    """Have each message end in the same queue, by its own way."""
    reject_all(broker, "rejected", count, "requeue:false", "reason:no")
    reject_all(broker, "tried", count)
    command(broker, "message.move", queue="any.moved", to=OUT)
    reject_all(broker, "retried", count, "requeue:false")
    command(broker, "message.peek", queue="DLQ.any.retried", body="full", limit=100)
    command(broker, "message.retry", queue="DLQ.any.retried")
    command(broker, "message.move", queue="any.retried", to=OUT)
    with Peer.open(broker.port) as peer:
        peer.send("SEND\ndestination:/queue/any.full\nreceipt:r\n\nlast\0")
        peer.expect("RECEIPT")
    until(lambda: stats(broker, OUT).ready == count * len(PATHS), "everything to arrive")


# -- who gets them ------------------------------------------------------------------------------


def received(broker: RunningBroker, version: str, count: int) -> Iterator[Frame]:
    with Peer.open(broker.port, version) as peer:
        line = "prefetch-count:0\n"
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{OUT}\nack:client-individual\n{line}\n\0")
        for _ in range(count):
            yield peer.expect("MESSAGE")
        peer.send("DISCONNECT\nreceipt:d\n\n\0")
        peer.expect("RECEIPT")


def check(headers: dict[str, str], body: bytes, frames: list[Sent], version: str) -> str:
    """Compare a message with what was sent; gives which one it is."""
    name = headers["any"]
    frame = frames[int(name.partition("-")[2])]
    assert body == frame.body
    if version == "1.0":
        if frame.version == "1.0":
            assert frame.octets().items() <= headers.items()
        return name
    for key, value in frame.expected().items():
        lost = version == "1.1" and "\r" in (key[-1:], value[-1:])
        assert lost or headers[key] == value
    return name


def decoded(frame: Frame, version: str) -> dict[str, str]:
    """Headers as a strict reader of the version reads them."""
    head = frame.raw.partition(b"\n\n")[0]
    found: dict[str, str] = {}
    if version == "1.0":
        for name, value in frame.headers:
            found.setdefault(name, value)
        return found
    for line in head.decode().split("\n")[1:]:
        assert line.count(":") == 1, line
        name, value = line.split(":")
        assert version == "1.1" or "\r" not in line
        found.setdefault(read_escapes(name), read_escapes(value))
    return found


def by_blocking_client(url: str, frames: list[Sent], count: int) -> Counter[str]:
    with stompy.connect(url) as client, client.subscription(OUT, prefetch=0) as subscription:
        messages = [subscription.get(timeout=10) for _ in range(count)]
        return Counter(check(dict(m.headers), m.body, frames, "1.2") for m in messages)


async def by_asyncio_client(url: str, frames: list[Sent], count: int) -> Counter[str]:
    async with (
        await aio.connect(url) as client,
        await client.subscription(OUT, prefetch=0) as subscription,
    ):
        messages = [await subscription.get(timeout=10) for _ in range(count)]
        return Counter(check(dict(m.headers), m.body, frames, "1.2") for m in messages)


# Not shrunk: each try takes brokers and connections.
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(frames=st.lists(sent_frames(), min_size=3, max_size=6))
def test_whatever_a_frame_holds_it_arrives(frames: list[Sent]) -> None:
    count = len(frames) * len(PATHS)
    names = Counter(f"{path}-{number}" for path in PATHS for number in range(len(frames)))
    with tempfile.TemporaryDirectory() as directory:
        store = {"data": str(Path(directory) / "data")}
        with running_broker(policy=POLICIES, store=store) as broker:
            send_all(broker, frames)
            walk(broker, len(frames))
        with running_broker(policy=POLICIES, store=store) as broker:
            for version in ("1.0", "1.1", "1.2"):
                found = Counter(
                    check(decoded(frame, version), frame.body, frames, version)
                    for frame in received(broker, version, count)
                )
                assert found == names
            assert by_blocking_client(broker.url, frames, count) == names
            assert asyncio.run(by_asyncio_client(broker.url, frames, count)) == names
            until(lambda: stats(broker, OUT).ready == count, "everything to come back")
            assert stats(broker, OUT).dead_lettered == stats(broker, OUT).dropped == 0
