"""What a front tells an owner, and what it is told, as bytes and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.heads import parts_of

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.remote.events import EventsReader, EventsWriter
from stompy_broker.cluster.remote.link_batch import (
    BatchReader,
    BatchWriter,
    read_visit,
    write_visit,
)
from stompy_broker.cluster.remote.tables import HEADS, VerbError, opening
from stompy_broker.cluster.remote.values import order_of, order_row, pack, unpack
from stompy_broker.cluster.remote.verbs import (
    AdmitVerb,
    AnswerEvent,
    AttachVerb,
    BrowseVerb,
    ControlVerb,
    DeliverEvent,
    DetachVerb,
    ExpireVerb,
    FailEvent,
    MessageOrigin,
    NothingVerb,
    OnceVerb,
    OriginEvent,
    PublishVerb,
    ResumeVerb,
    ReturnVerb,
    RoomEvent,
    SettleVerb,
    StatsVerb,
    ToldBatch,
    ToldConsumer,
    ToldEvents,
    TookVerb,
    Verb,
    Visit,
    WithdrawVerb,
)
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message, MessageHead, MessageTraits, Redelivery, stamp
from stompy_broker.routing.interface import (
    Browse,
    Close,
    Configure,
    Foresee,
    GiveUp,
    Move,
    Order,
    Remove,
    Reschedule,
    Transfer,
    Unschedule,
)
from stompy_broker.routing.rejection import Rejection, Retries
from stompy_broker.routing.selection import Selection
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.terms import Terms

numbers = st.integers(0, 2**64 - 1)
small = st.integers(0, 2**32 - 1)
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
lists = st.lists(numbers, max_size=20)
bodies = st.lists(st.binary(max_size=50), min_size=1, max_size=10)
heads = st.builds(
    MessageHead,
    st.binary(max_size=80),
    st.builds(
        MessageTraits,
        sized=st.booleans(),
        stamped=st.booleans(),
        persistent=st.booleans(),
        priority=st.integers(0, 9),
        ttl=st.integers(0, 10**12),
        expires=st.integers(0, 10**13),
        message_id=st.none() | st.binary(max_size=20),
    ),
)
pasts = st.none() | st.builds(Redelivery, small, small)
terms = st.builds(Terms, st.text(max_size=20), reading=st.none())
rejections = st.none() | st.builds(
    Rejection,
    st.booleans(),
    st.none() | st.floats(0, 1e6),
    st.text(max_size=20),
    st.booleans(),
    st.none()
    | st.builds(
        Retries,
        st.none() | st.integers(-1, 100),
        *[st.none() | st.floats(0, 1e9)] * 2,
        st.none() | st.booleans(),
        *[st.none() | st.floats(0, 1e9)] * 2,
    ),
)
verbs = st.one_of(
    st.builds(PublishVerb, names, heads, st.booleans(), pasts, bodies),
    st.builds(ExpireVerb, names, heads, st.binary(max_size=50)),
    st.builds(
        OnceVerb,
        names,
        heads,
        st.binary(max_size=50),
        st.binary(min_size=1, max_size=256),
        st.integers(0, 1 << 40),
        st.booleans(),
    ),
    st.builds(SettleVerb, names, rejections, lists),
    st.builds(AttachVerb, small, names, st.booleans(), small, terms),
    st.builds(DetachVerb, small, names, st.booleans(), lists, lists),
    st.builds(ResumeVerb, small),
    st.builds(WithdrawVerb, small),
    st.builds(ReturnVerb, small, lists),
    st.builds(TookVerb, small, small, numbers),
    st.builds(AdmitVerb, names, small, st.integers(-(2**40), 2**40)),
    st.builds(StatsVerb, names, st.booleans()),
    st.builds(NothingVerb, small),
    st.builds(
        BrowseVerb,
        names,
        st.builds(
            Browse,
            st.builds(Selection, st.none() | st.frozensets(names), selector=st.text(max_size=20)),
            small,
            small,
        ),
    ),
    st.builds(
        ControlVerb,
        names,
        st.builds(Remove, st.frozensets(numbers))
        | st.builds(Close, st.none() | st.floats(0, 1e6))
        | st.builds(Configure, st.builds(QueueSettings, paused=st.booleans())),
    ),
)


def shown(verb: Verb) -> list[object]:
    """A verb with heads that can be compared."""
    values = [getattr(verb, name) for name in verb.__slots__ if name != "refused"]
    told = [parts_of(one) if isinstance(one, MessageHead) else one for one in values]
    return [type(verb).__name__, *told]


@given(st.lists(st.lists(verbs, max_size=10), max_size=4), numbers, numbers)
def test_a_batch_is_read_as_it_was_written(
    told: Sequence[list[Verb]], confirmed: int, tenure: int
) -> None:
    writer, reader = BatchWriter(7, 3), BatchReader()
    for number, batch in enumerate(told):
        octets = b"".join(writer.write(ToldBatch(number, confirmed, tenure, batch)))
        assert opening(octets)[1:] == (7, 3)
        read = reader.read(octets)
        assert (read.number, read.confirmed, read.tenure) == (number, confirmed, tenure)
        assert list(map(shown, read.verbs)) == list(map(shown, batch))


@given(st.binary(max_size=200))
def test_what_makes_no_sense_is_refused(octets: bytes) -> None:
    for message in (octets, b"\2\0\0\0\0\0\0" + octets):
        try:
            BatchReader().read(message)
        except VerbError:
            continue
        try:
            EventsReader().read(message, 0.0)
        except VerbError:
            continue


def test_heads_are_written_once_and_forgotten_in_turn() -> None:
    writer, reader = BatchWriter(0, 1), BatchReader()
    heads = [MessageHead(b"n:%d\n\n" % number, MessageTraits(sized=True)) for number in range(3)]

    def send(head: MessageHead) -> int:
        batch = ToldBatch(1, 0, 0, [PublishVerb("q", head, False, None, [b"x"])])
        octets = b"".join(writer.write(batch))
        (verb,) = reader.read(octets).verbs
        assert isinstance(verb, PublishVerb)
        assert verb.head.block == head.block
        return len(octets)

    first = send(heads[0])
    assert send(heads[0]) < first
    for number in range(HEADS):
        send(MessageHead(b"other:%d\n\n" % number, MessageTraits(sized=True)))
    again = send(heads[0])
    assert again > send(heads[0])
    long = MessageHead(b"n:" + b"x" * 10_000 + b"\n\n", MessageTraits(sized=True))
    assert send(long) == send(long)


@given(st.lists(st.tuples(small, heads, pasts, bodies), max_size=5), numbers, numbers, names)
def test_events_are_read_as_they_were_written(
    deliveries: list[tuple[int, MessageHead, Redelivery | None, list[bytes]]],
    executed: int,
    safe: int,
    name: str,
) -> None:
    error = ProtocolError(ErrorCode.QUEUE_FULL, name, headers={"a": name})
    others = [
        AnswerEvent(3, 4, None),
        AnswerEvent(3, 5, 17),
        AnswerEvent(3, 6, error),
        FailEvent(8, error),
        RoomEvent(name, 5, 9),
        OriginEvent(MessageOrigin(1024, 3, "ann/1", 7, 2)),
    ]
    given_ = [
        DeliverEvent(number, head, stamp(1000 + number), past, list(range(len(some))), some)
        for number, head, past, some in deliveries
    ]
    octets = b"".join(
        EventsWriter(1, 2).write(ToldEvents(executed, safe, 5, [*given_, *others]), 0.0)
    )
    read = EventsReader().read(octets, 0.0)
    assert (read.executed, read.safe, read.safe_sequence) == (executed, safe, 5)
    for before, after in zip(given_, read.events, strict=False):
        assert isinstance(after, DeliverEvent)
        assert parts_of(after.head) == parts_of(before.head)
        assert (after.consumer, after.stamp, after.past) == (
            before.consumer,
            before.stamp,
            before.past,
        )
        assert (after.sequences, after.bodies) == (before.sequences, before.bodies)
    assert str(read.events[len(given_) :]) == str(others)


def test_a_visit_is_read_as_it_was_written() -> None:
    visit = Visit(
        "ann/1",
        9,
        [ToldConsumer(1, "q", False, 10, True, [2**63])],
        {"q": [5]},
        {"ä": [6]},
        [MessageOrigin(1, 2, "bob/1", 3, 4)],
    )
    assert read_visit(write_visit(3, 4, visit)) == visit
    with pytest.raises(VerbError):
        read_visit(b"\1\0\0\0\0\0\0[]")
    with pytest.raises(VerbError):
        opening(b"\1")


HEAD = MessageHead.from_headers({"destination": "/queue/b"}, message_id=b"7")


@pytest.mark.parametrize(
    "order",
    [
        Remove(frozenset((3, 1 << 60))),
        GiveUp(frozenset((3, 4)), "operator", "wrong: ä"),
        Unschedule("a name: ä"),
        Reschedule(frozenset((3, 1 << 60)), 1_800_000_000_000),
        Foresee(Message(0, HEAD, None, stamp(5), length=9)),
        Move([Transfer(3, parse_destination("/queue/b"), HEAD, 2, 1, b"\xff\0body")]),
        Move([Transfer(3, parse_destination("/topic/b"), HEAD)], copies=True),
        Move([Transfer(3, parse_destination("/queue/b"), HEAD)], within=True),
    ],
)
def test_orders_of_operators_are_the_same_at_the_owner(order: Order) -> None:
    told = order_of(unpack(pack(order_row(order))))
    if isinstance(order, Move):
        assert isinstance(told, Move)
        assert (told.copies, told.within) == (order.copies, order.within)
        (one,), (other,) = order.transfers, told.transfers
        assert replace(other, head=HEAD) == replace(one, head=HEAD)
        assert (other.head.block, other.head.message_id) == (HEAD.block, HEAD.message_id)
    elif isinstance(order, Foresee):
        assert isinstance(told, Foresee)
        one, other = order.message, told.message
        assert (other.head.block, other.size, other.stamp) == (one.head.block, one.size, one.stamp)
    else:
        assert told == order
