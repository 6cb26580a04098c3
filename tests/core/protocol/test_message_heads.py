"""Runs of messages that are like each other; that they are read right is proved in `test_codec`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.protocol.codec import FrameParser, Head, accept_any
from stompy.protocol.headers import Version
from stompy.protocol.limits import DEFAULT_LIMITS
from stompy.protocol.message_heads import MessageHeads, RunHead


def message(number: int, body: bytes = b"body", more: str = "", *, ack: bool = True) -> bytes:
    token = f"ack:a{number}\n" if ack else ""
    front = f"MESSAGE\nsubscription:0\n{token}message-id:m{number}\nx:y\n{more}\n"
    return front.encode() + body + b"\0\n"


def parser(memory: MessageHeads | None) -> FrameParser:
    made = FrameParser(version=Version.V1_2)
    made.proceed(Version.V1_2, DEFAULT_LIMITS, accept_any, memory)
    return made


def read(wire: list[bytes], memory: MessageHeads | None) -> list[tuple[dict[str, str], bytes]]:
    subject = parser(memory)
    found = [(head.headers, body) for piece in wire for head, body in subject.feed(piece)]
    assert subject.failure is None
    return found


@given(
    ack=st.booleans(),
    kinds=st.lists(st.sampled_from(["same", "length", "nul", "other", "beat"]), max_size=30),
    data=st.data(),
)
def test_a_run_is_what_its_messages_are_wherever_it_is_cut(
    ack: bool, kinds: list[str], data: st.DataObject
) -> None:
    forms = {
        "same": lambda one: message(one, ack=ack),
        "length": lambda one: message(one, b"a\0b", "content-length:3\n", ack=ack),
        "nul": lambda one: message(one, b"", ack=ack),
        "other": lambda one: message(one, more="z:1\n", ack=not ack),
        "beat": lambda _: b"\n\r\n",
    }
    wire = b"".join(forms[kind](number) for number, kind in enumerate(kinds))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read(pieces, MessageHeads()) == read([wire], None)


def test_of_a_run_one_message_is_parsed() -> None:
    memory, parsed = MessageHeads(), list[Head]()
    subject = parser(memory)
    subject.proceed(Version.V1_2, DEFAULT_LIMITS, parsed.append, memory)
    frames = subject.feed(b"".join(message(number) for number in range(100)))
    assert len(frames) == 100
    assert len(parsed) == 1
    assert all(isinstance(head, RunHead) for head, _ in frames[1:])


def test_what_two_messages_share_is_told_without_decoding_one() -> None:
    heads = [head for head, _ in read_heads(message(1) + message(2) + message(3))]
    assert heads[1].shared is heads[2].shared
    assert heads[1].shared["subscription"] == "0"
    assert heads[1].headers["message-id"] == "m2"
    assert heads[2].block == message(3).partition(b"\n\n")[0]


def read_heads(wire: bytes) -> list[tuple[Head, bytes]]:
    return parser(MessageHeads()).feed(wire)


@pytest.mark.parametrize("odd", [b"m\\c2", b"m\r2", b"m\xff2", b"m\n2:3"])
def test_what_is_not_plain_ends_the_run(odd: bytes) -> None:
    wire = message(1) + message(2).replace(b"m2", odd) + message(3)
    tolerant = {}
    for memory in (MessageHeads(), None):
        subject = FrameParser(version=Version.V1_1)
        subject.proceed(Version.V1_1, DEFAULT_LIMITS, accept_any, memory, tolerant=True)
        tolerant[memory is None] = [(head.headers, body) for head, body in subject.feed(wire)]
    assert tolerant[False] == tolerant[True]
    assert len(tolerant[True]) == 3
