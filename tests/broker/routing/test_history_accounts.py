"""What is written of what leaves a queue with a history: who had it, when, and how that ended."""

from __future__ import annotations

from typing import NamedTuple

from tests.support.house import WALL, Taker, Time, browsed, make_head, make_router, take_part

from stompy.admin.settlements import SettlementKind
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import Close, Move, Queue, Remove, Transfer
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.settlement_record import (
    SettlementRecord,
    decode_record,
)
from stompy_broker.routing.settlement_record import (
    Taker as Words,
)
from stompy_broker.store.entry_log import LogPage
from stompy_broker.store.memory import MemoryStore

KINDS = SettlementKind


class Row(NamedTuple):
    """What was written down once.

    Attributes:
        sequence: of the message.
        at: when, in milliseconds since the beginning of the test.
        body: of the message, if it left.
        record: what is said of it.
    """

    sequence: int
    at: int
    body: bytes | None
    record: SettlementRecord


class House:
    """A broker in memory with one queue that has a history."""

    def __init__(self, **settings: object) -> None:
        self.time = Time()
        self.store = MemoryStore(durable=True)
        policy = Policy.model_validate({"match": "/queue/q", "history": "24h", **settings})
        self.router: Router = make_router(self.time, policy, store=self.store)
        self.queue: Queue = self.router.queue("q")

    def send(self, body: bytes = b"body", **headers: str) -> int:
        """Send a message; gives its sequence."""
        self.router.note_time()
        self.router.publish(parse_destination("/queue/q"), make_head(**headers), body)
        return self.queue.sequences.last

    def rows(self) -> list[Row]:
        """All that was written down, oldest first."""
        past = self.router.histories.of("/queue/q")
        if past is None:
            return []
        pages: list[LogPage] = []
        past.logs.read(past.log, 0, pages.append, limit=1 << 30)
        return [
            Row(one.sequence, one.received_at - WALL, one.body, decode_record(one.payload))
            for page in pages
            for one in page.entries
        ]

    def last(self) -> Row:
        """What was written down last."""
        return self.rows()[-1]


class Named(Taker):
    """A consumer that says who it is."""

    def taker(self) -> Words:
        """Its words."""
        return Words("app-1", "alice", "c-7", "sub-0")


def _come(house: House, consumer: Consumer) -> None:
    take_part(house.queue, consumer)


def _had(consumer: Taker) -> Message:
    return consumer.taken[-1]


def test_what_is_accepted_is_written_with_who_had_it() -> None:
    """An ACK: when it came, when and to whom it went, and when that ended."""
    house, consumer = House(), Named(10)
    sequence = house.send(b"one")
    house.time.advance(1)
    _come(house, consumer)
    house.time.advance(2)
    house.queue.settle(_had(consumer))
    (row,) = house.rows()
    assert row == Row(
        sequence,
        3000,
        b"one",
        SettlementRecord(
            KINDS.ACKED,
            WALL,
            WALL + 1000,
            consumer.number,
            Words("app-1", "alice", "c-7", "sub-0"),
            1,
        ),
    )
    assert list(house.store.restore()) == []


def test_what_goes_straight_to_a_consumer_is_written_too() -> None:
    """It never waited, and went to a consumer with or without acknowledgement."""
    house, consumer = House(), Taker(10, auto=True)
    _come(house, consumer)
    house.send(b"auto")
    assert [(row.body, row.record.kind) for row in house.rows()] == [(b"auto", KINDS.TAKEN)]
    assert house.last().record.consumer == consumer.number
    house.queue.detach(consumer)
    house.send(b"waits")
    _come(house, Taker(1, auto=True))
    assert house.last().body == b"waits"
    assert house.last().record.kind is KINDS.TAKEN


def test_a_delivery_that_ends_otherwise_has_a_row_of_its_own() -> None:
    """A NACK, a lost connection and one that left: the message is still there."""
    house, first = House(redelivery_delay=0), Taker(10)
    sequence = house.send(b"x")
    _come(house, first)
    house.time.advance(1)
    house.queue.settle(_had(first), Rejection(reason="no flour"))
    house.queue.detach(first, [_had(first)], lost=True)
    second = Taker(10)
    _come(house, second)
    house.queue.detach(second, [_had(second)])
    rows = house.rows()
    assert [row.record.kind for row in rows] == [KINDS.NACKED, KINDS.LOST, KINDS.RETURNED]
    assert [row.record.deliveries for row in rows] == [1, 2, 3]
    assert [row.record.failures for row in rows] == [1, 2, 2]
    assert [row.record.reason for row in rows] == ["no flour", "", ""]
    assert {row.sequence for row in rows} == {sequence}
    assert not any(row.body for row in rows)
    assert len(browsed(house.queue)) == 1


def test_a_dead_letter_says_why_and_where_to() -> None:
    """What is rejected is written with cause, reason and target; its dead letter has its id."""
    house, consumer = House(), Taker(10)
    house.send(b"x")
    _come(house, consumer)
    house.queue.settle(_had(consumer), Rejection(requeue=False, reason="bad"))
    record = house.last().record
    assert record.kind is KINDS.DEAD_LETTERED
    assert (record.cause, record.reason, record.sent_to) == ("rejected", "bad", "/queue/DLQ.q")
    assert record.consumer == consumer.number


def test_what_expires_is_written() -> None:
    """Nobody had it."""
    house = House(message_ttl=1000)
    house.send(b"x")
    house.time.advance(5)
    (row,) = house.rows()
    assert (row.record.kind, row.record.cause, row.body) == (KINDS.EXPIRED, "expired", b"x")
    assert row.record.consumer == row.record.delivered == 0


def test_what_a_limit_drops_is_written() -> None:
    """The oldest has to go."""
    house = House(max_length=1)
    first = house.send(b"1")
    house.send(b"2")
    (row,) = house.rows()
    assert (row.sequence, row.record.kind, row.record.cause) == (first, KINDS.DROPPED, "maxlen")


def test_what_operators_take_out_is_written() -> None:
    """Deleted, moved, and gone with the queue."""
    house = House()
    one, two = house.send(b"1"), house.send(b"2")
    house.send(b"3")
    house.queue.control(Remove(frozenset((one,)), "purged"))
    there = parse_destination("/queue/elsewhere")
    house.queue.control(Move([Transfer(two, there, make_head("/queue/elsewhere"))]))
    house.queue.control(Close())
    rows = house.rows()
    assert [row.record.kind for row in rows] == [KINDS.DELETED, KINDS.MOVED, KINDS.CLOSED]
    assert rows[0].record.cause == "purged"
    assert rows[1].record.sent_to == "/queue/elsewhere"


def test_many_settlements_at_once_are_written_one_by_one() -> None:
    """As a cumulative ACK does it."""
    house, consumer = House(), Taker(10)
    sequences = [house.send(b"%d" % number) for number in range(5)]
    _come(house, consumer)
    ended: list[None] = []
    house.queue.settle_many(consumer.taken, None, None, lambda: ended.append(None))
    assert [row.sequence for row in house.rows()] == sequences
    assert ended


def test_what_was_not_delivered_after_all_has_no_row() -> None:
    """A consumer that takes nothing for now had nothing."""
    house = House()
    house.send(b"x", priority="9")
    assert house.rows() == []


def test_a_queue_without_history_writes_nothing() -> None:
    """No log, and no timer."""
    house = House(match="/queue/other")
    consumer = Taker(10)
    house.send(b"x")
    _come(house, consumer)
    house.queue.settle(_had(consumer))
    assert house.router.histories.of("/queue/q") is None
    assert list(house.router.histories) == []
