"""What brokers tell each other of topics: there and back, and what makes no sense."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.heads import heads, parts_of
from tests.support.house import make_head

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.head_codec import write_head
from stompy_broker.cluster.topics.topic_codec import (
    CodecError,
    Contents,
    ContentsKnown,
    ContentsKnownByAll,
    Disowned,
    Interest,
    InterestKnown,
    Kind,
    MessagesTaken,
    Outgoing,
    Reply,
    ReplyTaken,
    Request,
    RequestAction,
    RequestAnswer,
    TopicMessages,
    code_and_text,
    error_of,
    read,
    write,
    write_messages,
    write_reply,
)
from stompy_broker.message import MessageHead
from stompy_broker.routing.durable import DurableSubscription

numbers = st.integers(0, 2**63 - 1)
names = st.text(st.characters(codec="utf-8"), max_size=8)
many_names = st.lists(names, max_size=4).map(tuple)
subscriptions = st.builds(
    DurableSubscription,
    names,
    st.sampled_from(["a", "a.*", "b.>", "ä.#"]),
    st.booleans(),
    st.floats(0, 1e6),
    numbers,
    names,
)
told = st.one_of(
    st.builds(Interest, numbers, st.booleans(), st.booleans(), many_names, many_names),
    st.builds(InterestKnown, numbers),
    st.builds(MessagesTaken, numbers),
    st.builds(ReplyTaken, numbers, names, names),
    st.builds(
        Contents,
        numbers,
        numbers,
        numbers,
        st.booleans(),
        st.booleans(),
        st.lists(subscriptions, max_size=3).map(tuple),
        many_names,
        many_names,
        many_names,
    ),
    st.builds(ContentsKnown, numbers, numbers, numbers),
    st.builds(ContentsKnownByAll, numbers, numbers, numbers),
    st.builds(Disowned, numbers, numbers),
    st.builds(
        Request, numbers, numbers, st.sampled_from(RequestAction), st.booleans(), subscriptions
    ),
    st.builds(RequestAnswer, numbers, names, names),
)


@given(told)
def test_what_is_rare_comes_back(one: Interest) -> None:
    assert read(write(one)) == one


@given(st.lists(st.tuples(st.integers(0, 2), numbers, numbers, st.binary(max_size=40)), max_size=9))
def test_messages_come_back_in_order(rows: list[tuple[int, int, int, bytes]]) -> None:
    written = [write_head(make_head(f"/topic/t{number}")) for number in range(3)]
    outgoing = [Outgoing(written[head], at, ends, body, 0) for head, at, ends, body in rows]
    found = read(b"".join(write_messages(outgoing)))
    assert isinstance(found, TopicMessages)
    assert [
        (one.head.headers()["destination"], one.received_at, one.expires, one.body)
        for one in found.messages
    ] == [(f"/topic/t{head}", at, ends, body) for head, at, ends, body in rows]
    assert found.size == sum(one.size for one in found.messages)


def test_a_head_that_repeats_is_written_once() -> None:
    head = write_head(make_head("/topic/t", filler="x" * 1000))
    outgoing = [Outgoing(head, 1, 0, b"body", 0)] * 10
    assert len(b"".join(write_messages(outgoing))) < 2 * len(head)


@given(heads, names, st.booleans(), st.binary(max_size=40))
def test_a_reply_comes_back(head: MessageHead, name: str, refusable: bool, body: bytes) -> None:
    found = read(b"".join(write_reply(Reply(7, name, refusable, head, body))))
    assert isinstance(found, Reply)
    assert (found.number, found.name, found.may_be_refused, found.body) == (
        7,
        name,
        refusable,
        body,
    )
    assert parts_of(found.head) == parts_of(head)


@given(st.sampled_from(Kind), st.binary(max_size=60))
def test_nonsense_is_an_error_and_nothing_else(kind: Kind, octets: bytes) -> None:
    with contextlib.suppress(CodecError):
        read(bytes([kind]) + octets)


@given(told, st.data())
def test_what_is_cut_off_is_an_error(one: Interest, data: st.DataObject) -> None:
    octets = write(one)
    with pytest.raises(CodecError):
        read(octets[: data.draw(st.integers(1, len(octets) - 1))])


@pytest.mark.parametrize(
    "octets", [b"", b"\x01", b"@{}", b"@[]", b"@[1,2,true,[],[]]", b"@[-1,true,true,[],[]]"]
)
def test_what_makes_no_sense_is_told(octets: bytes) -> None:
    with pytest.raises(CodecError):
        read(octets)


def test_errors_come_back() -> None:
    error = ProtocolError(ErrorCode.QUEUE_FULL, "no room")
    again = error_of(ReplyTaken(1, *code_and_text(error)))
    assert again is not None
    assert (again.error_code, again.Message) == (ErrorCode.QUEUE_FULL, "no room")
    assert error_of(RequestAnswer(1, *code_and_text(None))) is None
    later = error_of(RequestAnswer(1, "word-of-a-later-version", "no"))
    assert later is not None
    assert later.Message == "no"
