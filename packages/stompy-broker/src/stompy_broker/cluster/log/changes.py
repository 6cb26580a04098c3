"""What becomes safe together: the changes of one record, as bytes and back.

The bytes are tables of one kind of thing each, then the bodies. What messages have in common,
their queue, their header block, is written once. So is a body that comes several times in a row,
as those do that a topic gives to its durable subscribers.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself
from typing import Any, NamedTuple

from stompy_broker.cluster.log.log_record import RecordError
from stompy_broker.message import Message, MessageHead, MessageTraits, group_in, stamp
from stompy_broker.store.base import Callback, DeliveryState, StoredId, StoredSubscription

_CHANGE = 600
"""What a change weighs beside its bytes; see `Changes.weight`."""

_COUNTS = Struct(">7I")
_TEXT = Struct(">I")
_HEAD = Struct(">BBII")
_ROW = Struct(">QIIQQIIQQQI")
_STATE = Struct(">QIIQQ")

_SIZED, _STAMPED, _WITH_ID = 1, 2, 4

_NEVER_DELIVERED = (0, 0, 0, 0)


class Placed(NamedTuple):
    """Where the body of a message is in what a record holds.

    Attributes:
        sequence: of the message.
        offset: of its first byte.
        length: in bytes.
    """

    sequence: int
    offset: int
    length: int


class LoggedMessage(NamedTuple):
    """A message as a record has it.

    Attributes:
        destination: its queue.
        head: what its headers say.
        received: when it came, in milliseconds since the epoch.
        expires: when it ends, or 0.
        state: what became of it.
        placed: where its body is.
    """

    destination: str
    head: MessageHead
    received: int
    expires: int
    state: DeliveryState
    placed: Placed


class FrontMark(NamedTuple):
    """How far the owner of the log has carried out what another broker told it.

    Attributes:
        number: the last batch of that broker whose changes are in the log.
        answers: batch, index in it and answer, of what the broker may not have heard: a number, or
            an error as a row of JSON.
    """

    number: int = 0
    answers: tuple[tuple[int, int, Any], ...] = ()


@dataclass(slots=True)
class Changes:
    """What becomes safe together.

    Attributes:
        appended: new messages and their queues, by sequence.
        copied: messages that are in the log already, and are written again with what became of
            them.
        bytes: the size of the new messages.
        states: what became of messages, by sequence.
        removed: sequences of messages that are, or may be, in the log.
        kept: durable subscriptions by name; None = it was deleted.
        settings: the set-up of queues by name; None = it ended.
        fronts: how far other brokers are, by the names of their fronts; None = one has gone.
        waiting: who is to be told when it is safe.
        ids: duplicate ids that came, or are written again, by the sequences of their messages.
        dropped_ids: sequences of those that are known no longer, and may be in the log.
    """

    appended: dict[int, tuple[str, Message]] = field(default_factory=dict)
    copied: dict[int, tuple[str, Message, DeliveryState]] = field(default_factory=dict)
    bytes: int = 0
    states: dict[int, DeliveryState] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    kept: dict[str, StoredSubscription | None] = field(default_factory=dict)
    settings: dict[str, Mapping[str, str] | None] = field(default_factory=dict)
    fronts: dict[str, FrontMark | None] = field(default_factory=dict)
    waiting: list[Callback] = field(default_factory=list)
    ids: dict[int, StoredId] = field(default_factory=dict)
    dropped_ids: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many changes there are."""
        messages = len(self.appended) + len(self.states) + len(self.removed)
        ids = len(self.ids) + len(self.dropped_ids)
        return messages + len(self.kept) + len(self.settings) + len(self.fronts) + ids

    @property
    def weight(self) -> int:
        """How long it takes to write, by a rough count, in bytes."""
        return self.bytes + _CHANGE * self.size

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.size or self.copied)


class WrittenChanges(NamedTuple):
    """Changes as bytes.

    Attributes:
        payload: the bytes.
        placed: where bodies are in them.
    """

    payload: bytes
    placed: list[Placed]


def write_changes(changes: Changes) -> WrittenChanges:
    """Write changes into one piece."""
    tables = _Tables(changes.states)
    for sequence, (destination, message) in changes.appended.items():
        tables.add(sequence, destination, message)
    if changes.copied:
        gone = set(changes.removed)
        for sequence, (destination, message, state) in changes.copied.items():
            if sequence not in gone:
                tables.add(sequence, destination, message, state)
    known = tables.written
    states = [
        _STATE.pack(sequence, *state)
        for sequence, state in changes.states.items()
        if sequence not in known
    ]
    removed = array("Q", changes.removed)
    if not _BIG_ENDIAN:
        removed.byteswap()
    others = _write_others(changes)
    counts = _COUNTS.pack(
        len(others),
        len(tables.names),
        len(tables.heads),
        len(tables.rows),
        len(states),
        len(removed),
        tables.length,
    )
    front = b"".join(
        [
            counts,
            others,
            *tables.name_rows,
            *tables.head_rows,
            *tables.rows,
            *states,
            removed.tobytes(),
        ]
    )
    start = len(front)
    placed = [
        Placed(sequence, offset + start, length) for sequence, offset, length in tables.placed
    ]
    return WrittenChanges(b"".join([front, *tables.bodies]), placed)


_BIG_ENDIAN = array("H", [1]).tobytes() == b"\0\1"


class _Tables:
    """Messages on their way into tables."""

    def __init__(self, states: Mapping[int, DeliveryState]) -> None:
        self._states = states
        self.names: dict[str, int] = {}
        self.heads: dict[MessageHead, int] = {}
        self.name_rows: list[bytes] = []
        self.head_rows: list[bytes] = []
        self.rows: list[bytes] = []
        self.placed: list[tuple[int, int, int]] = []  # offsets from the first body
        self.bodies: list[bytes] = []
        self.length = 0
        self.written: set[int] = set()
        self._body: bytes | None = None  # the last one
        self._stamp, self._received = b"", 0

    def add(
        self,
        sequence: int,
        destination: str,
        message: Message,
        earlier: DeliveryState | None = None,
    ) -> None:
        """Write a message into the tables, with what became of it last."""
        name = self.names.get(destination)
        if name is None:
            name = self.names[destination] = len(self.names)
            self.name_rows.append(_write_text(destination))
        head = self.heads.get(message.head)
        if head is None:
            head = self.heads[message.head] = len(self.heads)
            self.head_rows.append(_write_head(message.head))
        if message.stamp is not self._stamp:
            self._stamp, self._received = message.stamp, message.received_at
        state = self._states.get(sequence, earlier)
        if state is None:
            past = message.redelivery
            state = _NEVER_DELIVERED if past is None else (past[0], past[1], 0, 0)
        body = message.body or b""
        if body is not self._body:
            self._body = body
            self.bodies.append(body)
            self.length += len(body)
        offset = self.length - len(body)
        self.rows.append(
            _ROW.pack(
                sequence,
                name,
                head,
                self._received,
                message.expires,
                *state,
                offset,
                len(body),
            )
        )
        self.placed.append((sequence, offset, len(body)))
        self.written.add(sequence)


def _write_text(text: str) -> bytes:
    octets = text.encode("utf-8", "surrogateescape")
    return _TEXT.pack(len(octets)) + octets


def _write_head(head: MessageHead) -> bytes:
    traits = head.traits
    with_id = traits.message_id is not None
    flags = _SIZED * traits.sized | _STAMPED * traits.stamped | _WITH_ID * with_id
    message_id = traits.message_id or b""
    row = _HEAD.pack(flags, traits.priority, len(message_id), len(head.block))
    return b"%b%b%b" % (row, message_id, head.block)


def _write_others(changes: Changes) -> bytes:
    ids = changes.ids or changes.dropped_ids
    if not (changes.kept or changes.settings or changes.fronts or ids):
        return b""
    kept = {
        name: None if one is None else [one.pattern, one.settings]
        for name, one in changes.kept.items()
    }
    settings = {
        name: None if headers is None else dict(headers)
        for name, headers in changes.settings.items()
    }
    if ids:
        rows = [
            (one.destination, sequence, one.value.decode("latin-1"), one.until, one.shown)
            for sequence, one in changes.ids.items()
        ]
        return json.dumps([kept, settings, changes.fronts, rows, changes.dropped_ids]).encode()
    if not changes.fronts:
        return json.dumps([kept, settings]).encode()  # as versions read that know no fronts
    return json.dumps([kept, settings, changes.fronts]).encode()


@dataclass(slots=True)
class ReadChanges:
    """Changes as a record tells them.

    Attributes:
        messages: those that came, or were written again.
        states: what became of others, by sequence.
        removed: sequences of those that left.
        kept: as in `Changes`.
        settings: as in `Changes`.
        fronts: as in `Changes`.
        ids: as in `Changes`.
        dropped_ids: as in `Changes`.
    """

    messages: list[LoggedMessage] = field(default_factory=list)
    states: dict[int, DeliveryState] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    kept: dict[str, StoredSubscription | None] = field(default_factory=dict)
    settings: dict[str, Mapping[str, str] | None] = field(default_factory=dict)
    fronts: dict[str, FrontMark | None] = field(default_factory=dict)
    ids: dict[int, StoredId] = field(default_factory=dict)
    dropped_ids: list[int] = field(default_factory=list)


def read_changes(payload: bytes) -> ReadChanges:
    """Read what `write_changes` has written.

    Raises:
        RecordError: it is something else.
    """
    try:
        return _read(payload)
    except (StructError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise RecordError(f"what it holds makes no sense: {error}") from None


def _read(payload: bytes) -> ReadChanges:
    others, names, heads, rows, states, removals, bodies = _COUNTS.unpack_from(payload)
    at = _COUNTS.size
    read = ReadChanges()
    if others:
        _read_others(payload[at : at + others], read)
    at += others
    known_names: list[str] = []
    for _ in range(names):
        (length,) = _TEXT.unpack_from(payload, at)
        at += _TEXT.size
        known_names.append(payload[at : at + length].decode("utf-8", "surrogateescape"))
        at += length
    known_heads: list[MessageHead] = []
    for _ in range(heads):
        head, at = _read_head(payload, at)
        known_heads.append(head)
    table, at = _cut(payload, at, rows * _ROW.size)
    start = len(payload) - bodies
    for sequence, name, number, received, expires, *state, offset, length in _ROW.iter_unpack(
        table
    ):
        head = known_heads[number]
        if offset + length > bodies:
            raise ValueError("a body ends behind the end")
        placed = Placed(sequence, start + offset, length)
        read.messages.append(
            LoggedMessage(
                known_names[name],
                head,
                received,
                expires,
                (state[0], state[1], state[2], state[3]),
                placed,
            )
        )
    table, at = _cut(payload, at, states * _STATE.size)
    for sequence, deliveries, failures, due, holder in _STATE.iter_unpack(table):
        read.states[sequence] = (deliveries, failures, due, holder)
    table, at = _cut(payload, at, removals * 8)
    removed = array("Q", table)
    if not _BIG_ENDIAN:
        removed.byteswap()
    read.removed = removed.tolist()
    if at != start:
        raise ValueError("its length is another one")
    return read


def _cut(payload: bytes, at: int, length: int) -> tuple[bytes, int]:
    end = at + length
    if end > len(payload):
        raise ValueError("it ends too soon")
    return payload[at:end], end


def _read_head(payload: bytes, at: int) -> tuple[MessageHead, int]:
    flags, priority, id_length, length = _HEAD.unpack_from(payload, at)
    message_id, at = _cut(payload, at + _HEAD.size, id_length)
    block, at = _cut(payload, at, length)
    traits = MessageTraits(
        sized=bool(flags & _SIZED),
        stamped=bool(flags & _STAMPED),
        priority=priority,
        message_id=message_id if flags & _WITH_ID else None,
        grouping=group_in(block),
    )
    return MessageHead(block, traits), at


def _read_others(octets: bytes, read: ReadChanges) -> None:
    kept, settings, *others = json.loads(octets)
    for name, one in kept.items():
        read.kept[name] = None if one is None else StoredSubscription(name, *map(_as_text, one))
    for name, headers in settings.items():
        read.settings[name] = (
            None
            if headers is None
            else {_as_text(key): _as_text(value) for key, value in headers.items()}
        )
    for name, mark in (others[0] if others else {}).items():
        read.fronts[name] = None if mark is None else _read_mark(*mark)
    if len(others) > 1:
        _read_ids(others[1], others[2], read)


def _read_ids(rows: list[list[Any]], dropped: list[Any], read: ReadChanges) -> None:
    names: dict[str, str] = {}
    for destination, sequence, value, until, shown in rows:
        name = names.setdefault(_as_text(destination), destination)
        octets = _as_text(value).encode("latin-1")
        read.ids[int(sequence)] = StoredId(name, int(sequence), octets, int(until), int(shown))
    read.dropped_ids = [int(sequence) for sequence in dropped]


def _read_mark(number: int, answers: list[list[Any]]) -> FrontMark:
    return FrontMark(
        int(number), tuple((int(batch), int(index), answer) for batch, index, answer in answers)
    )


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def messages_of(payload: bytes, logged: Iterable[LoggedMessage]) -> Iterator[tuple[str, Message]]:
    """Messages with their bodies, as they are written again; their states go extra."""
    for destination, head, received, expires, _, placed in logged:
        body = payload[placed.offset : placed.offset + placed.length]
        message = Message(placed.sequence, head, body, stamp(received))
        message.expires = expires
        yield destination, message
