"""Streams as queues: what is published, what is kept, what goes, and each verb by example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from tests.support.house import (
    WALL,
    Taker,
    Time,
    browsed,
    figures,
    make_head,
    make_router,
    raise_refusal,
    take_part,
)

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.headers import Version
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Configure,
    GiveUp,
    Move,
    Order,
    Outcome,
    QueueFigures,
    Remove,
    Transfer,
)
from stompy_broker.routing.reader_message import ReaderMessage
from stompy_broker.routing.reading import FROM_FIRST, Reading, StartAt, StreamStart
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.stream_orders import ForgetReader, Seek, StreamFigures, Truncate
from stompy_broker.routing.stream_queue import StreamQueue
from stompy_broker.routing.terms import Terms
from stompy_broker.store.memory import MemoryStore

STREAM = Destination(DestinationKind.QUEUE, "s", is_pattern=False)
FIRST = Reading(FROM_FIRST)


def policy(**settings: object) -> Policy:
    return Policy.model_validate({"match": "/queue/s", "type": "stream", **settings})


def open_router(
    time: Time, *policies: Policy, store: MemoryStore | None = None, memory_mark: int = 1 << 30
) -> Router:
    router = make_router(time, *(policies or (policy(),)), store=store, memory_mark=memory_mark)
    router.registry.restore()
    return router


def stream(router: Router) -> StreamQueue:
    queue = router.queue("s")
    assert isinstance(queue, StreamQueue)
    return queue


def send(router: Router, *bodies: str, **headers: str) -> None:
    """SEND messages to the stream."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    head = make_head("/queue/s", **named)
    router.note_time()
    for body in bodies:
        router.publish(STREAM, head, body.encode())


class Reader(Taker):
    """A consumer that reads as it says."""

    def __init__(
        self,
        room: int = 1000,
        reading: Reading | None = FIRST,
        *,
        auto: bool = False,
        selector: str = "",
        single: bool = False,
    ) -> None:
        super().__init__(room, auto=auto)
        self.terms = Terms(selector, single_active=single, reading=reading)

    @property
    def bodies(self) -> list[str]:
        return [message.body.decode() for message in self.taken if message.body is not None]

    @property
    def offsets(self) -> list[int]:
        return [cast(ReaderMessage, message).place for message in self.taken]


def read(router: Router, *given: Reader) -> Sequence[Reader]:
    for reader in given:
        take_part(stream(router), reader)
    return given


def reader(
    router: Router, room: int = 1000, reading: Reading | None = FIRST, **other: object
) -> Reader:
    one = Reader(room, reading, **other)  # type: ignore[arg-type]
    read(router, one)
    return one


def told(router: Router) -> StreamFigures:
    found: list[Browsed] = []
    stream(router).browse(Browse(stream=True), found.append)
    assert found[0].stream is not None
    return found[0].stream


def ordered(router: Router, order: Order) -> Outcome:
    answers: list[Outcome] = []
    stream(router).control(order, answers.append)
    return answers[0]


@pytest.fixture(params=["memory", "kept"])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    return MemoryStore(durable=request.param == "kept")


# -- what is published -----------------------------------------------------------------------


def test_messages_have_offsets_in_the_order_in_which_they_came(store: MemoryStore) -> None:
    router = open_router(Time(), store=store)
    send(router, "a", "b", "c")
    one = reader(router)
    send(router, "d")
    assert one.bodies == ["a", "b", "c", "d"]
    assert one.offsets == [0, 1, 2, 3]


def test_what_is_delivered_tells_its_offset() -> None:
    router = open_router(Time())
    send(router, "a", "b")
    one = reader(router, auto=True)
    lines = one.taken[1].tail(Version.V1_2).split(b"\n")
    assert lines[0] == one.taken[1].message_id.encode()
    assert b"x-stream-offset:1" in lines
    assert one.taken[1].tail(Version.V1_1) == one.taken[1].front(Version.V1_1) + b"b\0\n"


def test_a_message_that_is_not_persistent_or_ends_is_kept_like_others(store: MemoryStore) -> None:
    time = Time()
    router = open_router(time, store=store)
    send(router, "a", persistent="false")
    send(router, "b", expires=str(WALL - 1))
    send(router, "c", ttl="1000")
    time.advance(10)
    assert reader(router).bodies == ["a", "b", "c"]


def test_priorities_are_passed_on_and_change_no_order() -> None:
    router = open_router(Time())
    send(router, "a", priority="1")
    send(router, "b", priority="9")
    assert reader(router).bodies == ["a", "b"]


def test_receipts_come_when_it_is_safe(store: MemoryStore) -> None:
    router = open_router(Time(), store=store)
    receipts: list[str] = []
    router.publish(STREAM, make_head("/queue/s"), b"a", lambda error=None: receipts.append("a"))
    assert receipts == ["a"]


# -- where reading begins --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "first"),
    [
        (StreamStart(StartAt.FIRST), 0),
        (StreamStart(StartAt.LAST), 9),
        (StreamStart(StartAt.NEXT), None),
        (StreamStart(StartAt.OFFSET, 4), 4),
        (StreamStart(StartAt.OFFSET, 400), None),
        (StreamStart(StartAt.BACK, 3), 7),
        (StreamStart(StartAt.BACK, 300), 0),
        (StreamStart(StartAt.TIME, WALL + 2500), 3),
        (StreamStart(StartAt.TIME, WALL + 99_000), None),
        (StreamStart(StartAt.AGE, 1500), 9),
        (StreamStart(StartAt.AGE, 10**9), 0),
    ],
)
def test_reading_begins_where_it_is_asked_to(
    store: MemoryStore, start: StreamStart, first: int | None
) -> None:
    time = Time()
    router = open_router(time, store=store)
    for number in range(10):
        send(router, str(number))
        time.advance(1)
    expected = [] if first is None else list(range(first, 10))
    assert reader(router, reading=Reading(start)).offsets == expected


def test_who_asks_for_nothing_gets_what_comes_next() -> None:
    router = open_router(Time())
    send(router, "a")
    one = reader(router, reading=None)
    send(router, "b")
    assert one.bodies == ["b"]


def test_a_stream_without_messages_is_read_from_its_beginning() -> None:
    router = open_router(Time())
    some = [reader(router, reading=Reading(StreamStart(at))) for at in StartAt]
    send(router, "a")
    assert [one.bodies for one in some] == [["a"]] * len(some)


# -- what stays, and what goes ---------------------------------------------------------------


def test_a_number_of_messages_is_the_limit_exactly(store: MemoryStore) -> None:
    router = open_router(Time(), policy(max_length=3), store=store)
    send(router, *"abcdef")
    assert told(router)[:2] == (3, 6)
    assert reader(router).bodies == ["d", "e", "f"]


def test_a_smaller_limit_holds_at_once_when_the_policy_is_another() -> None:
    router = open_router(Time())
    send(router, *"abcdef")
    stream(router).renew_policy(policy(max_length=2))
    assert told(router)[:2] == (4, 6)


def test_what_is_too_old_goes(store: MemoryStore) -> None:
    time = Time()
    router = open_router(time, policy(max_age="1h"), store=store)
    send(router, "a", "b")
    time.advance(1800)
    send(router, "c")
    time.advance(1700)
    assert told(router).first == 0
    time.advance(300)
    assert told(router)[:2] == (2, 3)
    time.advance(3600)
    assert told(router)[:2] == (3, 3)
    assert not stream(router)._retention.pending
    send(router, "d")
    assert reader(router).offsets == [3]


def test_bytes_go_by_blocks(store: MemoryStore) -> None:
    time = Time()
    router = open_router(time, policy(max_length_bytes=100_000), store=store)
    send(router, *["x" * 1000] * 3000)
    time.advance(5)
    before = figures(stream(router)).bytes
    time.advance(5)
    assert before < 1_200_000  # it had three times as much
    assert told(router).first > 1000
    assert told(router).next == 3000


def test_nothing_is_done_where_nothing_is_limited() -> None:
    router = open_router(Time())
    send(router, "a")
    assert not stream(router)._retention.watches
    assert not stream(router)._retention.pending


def test_whoever_stands_in_what_went_goes_on_behind_it() -> None:
    router = open_router(Time())
    send(router, *"abcdef")
    slow = reader(router, 2)
    assert ordered(router, Truncate(4)) == 4
    for message in slow.taken[:]:
        stream(router).settle(message)
    slow.room = 10
    stream(router).resume(slow)
    assert slow.bodies == ["a", "b", "e", "f"]


def test_truncating_is_bounded_by_what_is_there() -> None:
    router = open_router(Time())
    send(router, "a", "b")
    assert ordered(router, Truncate(99)) == 2
    assert ordered(router, Truncate(1)) == 0
    send(router, "c")
    assert told(router)[:2] == (2, 3)


# -- memory and disk -------------------------------------------------------------------------


def test_what_is_kept_counts_on_the_disk_or_in_memory_and_is_given_back() -> None:
    for durable in (True, False):
        store = MemoryStore(durable=durable)
        router = open_router(Time(), store=store)
        before = router.memory.used
        send(router, *["x" * 100] * 50)
        one = reader(router)
        taken = figures(stream(router)).bytes
        assert taken >= 5000
        assert router.groups.home.disk.used == (taken if durable else 0)
        for message in one.taken:
            stream(router).settle(message)
        stream(router).detach(one)
        ordered(router, Close())
        assert router.groups.home.disk.used == 0
        assert router.memory.used == before


def test_only_the_tail_is_in_memory() -> None:
    store = MemoryStore(durable=True)
    router = open_router(Time(), store=store)
    body = "x" * 10_000
    send(router, *[body] * 3000)
    assert router.memory.used < 9 << 20
    one = reader(router, 10_000, auto=True)
    time = router.clock
    for _ in range(10):
        time.run()
    assert one.offsets == list(range(3000))
    stream(router).detach(one)
    assert router.memory.used < 9 << 20


def test_an_operator_holds_its_senders_and_its_readers() -> None:
    router = open_router(Time())
    send(router, "a")
    one = reader(router, 1)
    ordered(router, Configure(QueueSettings(paused=True, intake_paused=True)))
    assert figures(stream(router)).full
    stream(router).settle(one.taken[0])
    send(router, "b")
    one.room = 1
    stream(router).resume(one)
    assert one.bodies == ["a"]
    ordered(router, Configure(QueueSettings()))
    assert one.bodies == ["a", "b"]
    assert not figures(stream(router)).full


# -- a broker that starts again --------------------------------------------------------------


def test_a_restart_keeps_offsets_places_and_ends() -> None:
    store = MemoryStore(durable=True)
    router = open_router(Time(), store=store)
    send(router, *"abcdef")
    ordered(router, Truncate(1))
    named = Reading(FROM_FIRST, resumes=True, name="n")
    one = reader(router, reading=named)
    for message in one.taken[:2]:
        stream(router).settle(message)
    again = open_router(Time(), store=store)
    assert told(again)[:2] == (1, 6)
    other = reader(again, reading=named)
    assert other.offsets == [3, 4, 5]
    assert all(message.redelivery is not None for message in other.taken)
    send(again, "g")
    assert other.offsets == [3, 4, 5, 6]
    assert other.taken[-1].redelivery is None
    assert reader(again).offsets == [1, 2, 3, 4, 5, 6]


def test_a_stream_stays_one_whatever_the_policy_says_later() -> None:
    store = MemoryStore(durable=True)
    send(open_router(Time(), store=store), "a")
    router = open_router(Time(), Policy(match="/queue/s"), store=store)
    send(router, "b")
    assert reader(router).bodies == ["a", "b"]


def test_a_queue_stays_one_whatever_the_policy_says_later() -> None:
    store = MemoryStore(durable=True)
    before = make_router(Time(), store=store)
    before.publish(STREAM, make_head("/queue/s"), b"a")
    router = make_router(Time(), policy(), store=store)
    router.registry.restore()
    assert not isinstance(router.queue("s"), StreamQueue)
    assert figures(router.queue("s")).ready == 1


def test_a_deleted_stream_begins_anew() -> None:
    store = MemoryStore(durable=True)
    router = open_router(Time(), store=store)
    send(router, "a")
    named = Reading(FROM_FIRST, resumes=True, name="n")
    one = reader(router, reading=named)
    stream(router).detach(one)
    router.registry.delete_queue(stream(router), "no use")
    assert told(router)[:2] == (0, 0)
    send(router, "b")
    assert reader(router, reading=named).offsets == [0]


def test_it_stays_while_nobody_uses_it() -> None:
    time = Time()
    router = open_router(time)
    send(router, "a")
    ordered(router, Truncate(1))
    time.advance(10_000)
    send(router, "b")
    assert told(router)[:2] == (1, 2)


# -- orders ----------------------------------------------------------------------------------


def test_it_refuses_what_would_take_messages_away() -> None:
    router = open_router(Time())
    send(router, "a")
    (message,) = browsed(stream(router))
    one = frozenset({message.sequence})
    for order in (Remove(one), GiveUp(one, "rejected"), Move([])):
        refused = ordered(router, order)
        assert isinstance(refused, ProtocolError)
        assert refused.code == ErrorCode.NOT_SUPPORTED
    assert told(router)[:2] == (0, 1)


def test_what_is_no_stream_refuses_its_orders() -> None:
    router = open_router(Time())
    answers: list[Outcome] = []
    for order in (Truncate(1), Seek("n", FROM_FIRST), ForgetReader("n")):
        router.queue("plain").control(order, answers.append)
    assert [isinstance(answer, ProtocolError) for answer in answers] == [True] * 3
    found: list[Browsed] = []
    router.queue("plain").browse(Browse(stream=True), found.append)
    assert found[0].stream is None


def test_messages_are_looked_at_in_pages_and_copied() -> None:
    router = open_router(Time())
    send(router, *map(str, range(3000)))
    found: list[Browsed] = []
    stream(router).browse(Browse(skip=10, most=5, bodies=10_000), found.append)
    assert [message.body for message in found[0].messages] == [b"10", b"11", b"12", b"13", b"14"]
    assert found[0].more
    last = found[0].messages[-1]
    stream(router).browse(
        Browse(most=2, states=frozenset({"ready"}), beyond=(0, last.sequence)),  # type: ignore[arg-type]
        found.append,
    )
    some = found[1].messages
    assert len(some) == 2
    assert min(message.sequence for message in some) > last.sequence
    other = Destination(DestinationKind.QUEUE, "other", is_pattern=False)
    transfers = [Transfer(m.sequence, other, make_head("/queue/other")) for m in some]
    assert ordered(router, Move(transfers, copies=True)) == 2
    assert [m.body for m in browsed(router.queue("other"))] == [b"15", b"16"]
    assert told(router)[:2] == (0, 3000)


def test_it_ends_only_when_it_is_not_in_use() -> None:
    router = open_router(Time())
    send(router, "a")
    refused = ordered(router, Close(unused=0.0))
    assert isinstance(refused, ProtocolError)
    assert ordered(router, Close()) == 1
    send(router, "b")  # somebody had it at hand: it goes nowhere
    assert isinstance(ordered(router, Close()), ProtocolError)


def test_figures_are_the_same_object_while_nothing_happens() -> None:
    router = open_router(Time())
    send(router, "a")
    found: list[QueueFigures] = []
    queue = stream(router)
    queue.stats(found.append)
    queue.stats(found.append, found[0])
    assert found[1] is found[0]
    assert (found[0].ready, found[0].published, found[0].in_use) == (1, 1, True)
    send(router, "b")
    queue.stats(found.append, found[0])
    assert found[2].ready == 2


def test_a_refused_reader_takes_no_part() -> None:
    router = open_router(Time())
    with pytest.raises(ProtocolError, match="selector"):
        stream(router).attach(Reader(selector="a ="), raise_refusal)
    with pytest.raises(ProtocolError, match="x-stream-consumer"):
        stream(router).attach(Reader(single=True), raise_refusal)
    assert figures(stream(router)).consumers == 0
    lost = Reader(selector="a =")
    stream(router).attach(lost)
    assert lost.failures


def test_dead_letters_tell_the_offset() -> None:
    router = open_router(Time())
    send(router, "a", "b", k="v")
    one = reader(router)
    stream(router).settle(one.taken[1], Rejection(requeue=False, reason="broken"))
    (letter,) = browsed(router.queue("DLQ.s"))
    headers = letter.head.headers()
    assert headers["x-stream-offset"] == "1"
    assert headers["k"] == "v"
    assert headers["x-death-info"] == "broken"
    assert letter.message_id == one.taken[1].message_id
    assert told(router)[:2] == (0, 2)
