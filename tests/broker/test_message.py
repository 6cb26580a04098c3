"""Messages on the wire: what is passed on, what the broker writes, for each version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.protocol.codec import FrameParser, Head
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy_broker.message import (
    BROKER_HEADERS,
    Message,
    MessageHead,
    MessageTraits,
    SharedMessage,
    stamp,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TOLD = {"content-length", "message-id", "timestamp", "priority", "expires", "expiration", "ttl"}
names = texts.filter(lambda name: bool(name) and name not in TOLD)
header_sets = st.dictionaries(names, texts, max_size=5)


def read_send(data: bytes, version: Version) -> tuple[Head, bytes]:
    ((head, body),) = FrameParser(version=version).feed(data)
    return head, body


def delivered(message: Message, version: Version) -> Head:
    frame = b"MESSAGE\nmessage-id:" + message.tail(version)
    ((head, body),) = FrameParser(version=version).feed(frame)
    assert body == message.body
    return head


@given(header_sets, st.binary(max_size=50))
def test_every_header_arrives_in_1_2(headers: dict[str, str], body: bytes) -> None:
    head = MessageHead.from_headers({**headers, "destination": "/queue/q"})
    message = Message(7, head, body, stamp(1))
    got = delivered(message, Version.V1_2).headers
    expected = {name: value for name, value in headers.items() if name not in BROKER_HEADERS}
    assert got == expected | {
        "destination": "/queue/q",
        "message-id": "7",
        "timestamp": "1",
        "content-length": str(len(body)),
    }
    assert head.headers() == expected | {"destination": "/queue/q"}


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_raw_block_is_passed_on_as_it_came(version: Version) -> None:
    raw = b"SEND\ndestination:/queue/q\ncontent-length:2\nx:a\n\nhi\0"
    head, body = read_send(raw, version)
    message_head = MessageHead.from_send(head, version)
    assert message_head.block == b"destination:/queue/q\ncontent-length:2\nx:a\n\n"
    assert message_head.sized
    assert message_head.version_neutral
    assert body == b"hi"


@pytest.mark.parametrize("name", sorted(BROKER_HEADERS))
def test_headers_of_the_broker_are_not_passed_on(name: str) -> None:
    raw = b"SEND\ndestination:/queue/q\n%b:1\n\n\0" % name.encode()
    head, _ = read_send(raw, Version.V1_2)
    assert name not in MessageHead.from_send(head, Version.V1_2).headers()


def test_the_senders_timestamp_is_kept() -> None:
    raw = b"SEND\ndestination:/queue/q\ntimestamp:5\n\n\0"
    head, _ = read_send(raw, Version.V1_2)
    message = Message(1, MessageHead.from_send(head, Version.V1_2), b"", stamp(99))
    assert delivered(message, Version.V1_2).headers["timestamp"] == "5"
    assert message.received_at == 99


@pytest.mark.parametrize("value", ["false", "False", "0", "no"])
def test_persistent_false_is_seen(value: str) -> None:
    raw = b"SEND\ndestination:/queue/q\npersistent:%b\n\n\0" % value.encode()
    head, _ = read_send(raw, Version.V1_2)
    assert not MessageHead.from_send(head, Version.V1_2).persistent


def test_coming_back_keeps_everything_but_the_counts() -> None:
    message = Message(3, MessageHead.from_headers({"destination": "/queue/q"}), b"x", stamp(1))
    again = message.returned(failed=False).returned(failed=True)
    assert (again.deliveries, again.failures) == (2, 1)
    assert (again.message_id, again.head, again.body, again.stamp) == (
        message.message_id,
        message.head,
        message.body,
        message.stamp,
    )


def test_a_shared_message_has_one_tail_for_all() -> None:
    head = MessageHead.from_headers({"destination": "/topic/t"})
    shared = SharedMessage(3, head, b"x", stamp(1))
    tails = {shared.tail(version) for version in ALL_VERSIONS}
    assert tails == {Message(3, head, b"x", stamp(1)).tail(Version.V1_0)}
    assert shared.tail(Version.V1_2) is shared.tail(Version.V1_0)


def test_repr_shows_no_content() -> None:
    head = MessageHead.from_headers({"destination": "/queue/q", "secret": "canary"})
    assert "canary" not in repr(Message(1, head, b"canary", stamp(1)))


@pytest.mark.parametrize("version", [Version.V1_1, Version.V1_2])
def test_a_raw_colon_in_a_value_goes_out_escaped(version: Version) -> None:
    """A reader that takes a line with two colons for none would lose the header."""
    raw = b"SEND\ndestination:/queue/q\nurl:http://x:80/\nother:1\n\n\0"
    head, _ = read_send(raw, version)
    message = Message(1, MessageHead.from_send(head, version), b"", stamp(1))
    for other, line in {
        Version.V1_0: b"\nurl:http://x:80/\n",
        Version.V1_1: b"\nurl:http\\c//x\\c80/\n",
        Version.V1_2: b"\nurl:http\\c//x\\c80/\n",
    }.items():
        assert line in message.tail(other)
    assert message.head.headers()["url"] == "http://x:80/"


def test_octets_that_are_no_utf8_are_latin_1_to_later_versions() -> None:
    raw = b"SEND\ndestination:/queue/q\nn\xe9:caf\xe9:\\n\nutf8:\xc3\xa9\n\n\0"
    head, _ = read_send(raw, Version.V1_0)
    message = Message(1, MessageHead.from_send(head, Version.V1_0), b"", stamp(1))
    assert b"\nn\xe9:caf\xe9:\\n\nutf8:\xc3\xa9\n" in message.tail(Version.V1_0)
    for version in (Version.V1_1, Version.V1_2):
        assert "\nné:café\\c\\\\n\nutf8:é\n" in message.tail(version).decode()
    assert message.head.text_headers()["né"] == "café:\\n"
    assert message.frame("/queue/q").Headers["né"] == "café:\\n"
    again = MessageHead.from_headers(message.head.headers())
    assert again.block == message.head.block


@pytest.mark.parametrize("block", [b"x:\\\n\n", b"x:\\t\n\n", b"x\n\n", b"\n", b":\n\n"])
def test_reading_a_block_never_fails(block: bytes) -> None:
    """It may come from an older broker, or from a damaged disk."""
    head = MessageHead(block, MessageTraits(sized=False))
    for version in ALL_VERSIONS:
        head.block_for(version).decode()


@pytest.mark.parametrize("version", ALL_VERSIONS)
@pytest.mark.parametrize(
    "headers",
    [{}, {"content-length": "4"}, {"timestamp": "5"}, {"a": "b:c\n\\"}, {"name": "ä"}],
    ids=["plain", "sized", "stamped", "escaped", "utf-8"],
)
@pytest.mark.parametrize("message_id", [None, b"of-its-own"])
def test_what_is_before_a_large_body_is_what_its_tail_begins_with(
    version: Version, headers: dict[str, str], message_id: bytes | None
) -> None:
    head = MessageHead.from_headers({"destination": "/queue/a", **headers}, message_id=message_id)
    message = Message(7, head, b"body", stamp(9))
    assert message.front(version) + b"body\0\n" == message.tail(version)
