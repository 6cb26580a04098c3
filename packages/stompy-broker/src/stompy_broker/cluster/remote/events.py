"""What an owner tells a front as bytes, and back."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.tables import (
    EVENTS,
    HEADED,
    NAMED,
    NOT_OWNER,
    OPENING,
    OWNED,
    WELCOME,
    TableReader,
    TableWriter,
    VerbError,
    pack_numbers,
)
from stompy_broker.cluster.remote.values import (
    error_of,
    error_row,
    figures_of,
    figures_row,
    head_of,
    head_text,
    pack,
    unpack,
)
from stompy_broker.cluster.remote.verbs import (
    ActiveEvent,
    Answer,
    AnswerEvent,
    DeliverEvent,
    FailEvent,
    GiveBackEvent,
    LinkEvent,
    MessageOrigin,
    OriginEvent,
    RoomEvent,
    SameFigures,
    ToldEvents,
)
from stompy_broker.message import Message, MessageHead, Redelivery, stamp
from stompy_broker.routing.interface import Browsed, QueueFigures
from stompy_broker.routing.message_state import MessageState

_EVENTS = Struct("<QQQ")
_WELCOME = Struct("<QQ")
_PAST = Struct("<II")
_VALUE = Struct("<BII")
_DELIVER = Struct("<BIHQBI")
_AGAIN, _FIRST = 1, 2
_ANSWER = Struct("<BQIBI")
_ROOM = Struct("<BIQQ")
_ORIGIN = Struct("<BQIQIH")
_ONE = Struct("<BIB")
_SHOWN = Struct("<QIQQIIBI")

_DELIVERED, _ANSWERED, _FAILED, _ROOMY, _ORIGINAL, _ACTIVE, _BACK = range(NAMED + 1, NAMED + 8)

_DONE, _ERROR, _NUMBER, _FIGURES, _SAME, _SHOW = range(6)
_NO_BODY, _DOUBTFUL = 1, 2


def write_welcome(group: int, visit: int, tenure: int, executed: int) -> bytes:
    """Write that an owner will carry out what a front tells, and how far it has done so."""
    return OPENING.pack(WELCOME, group, visit) + _WELCOME.pack(tenure, executed)


def read_welcome(message: bytes) -> tuple[int, int]:
    """The tenure of the owner, and the batch up to which it has carried out what it was told.

    Raises:
        VerbError: it is something else.
    """
    try:
        tenure, executed = _WELCOME.unpack_from(message, OPENING.size)
    except StructError as error:
        raise VerbError(f"a welcome makes no sense: {error}") from None
    return tenure, executed


def write_not_owner(group: int, visit: int) -> bytes:
    """Write that we do not own a group, and do nothing of what was told."""
    return OPENING.pack(NOT_OWNER, group, visit)


def write_owned(group: int) -> bytes:
    """Write that we own a group from now on."""
    return OPENING.pack(OWNED, group, 0)


class EventsWriter(TableWriter):
    """Writes what an owner tells in one visit."""

    def write(self, told: ToldEvents, now: float) -> list[bytes]:
        """Write it, in parts to be joined.

        Args:
            told: it.
            now: the time on the clock.
        """
        self._open(EVENTS)
        self._parts.append(_EVENTS.pack(told.executed, told.safe, told.safe_sequence))
        for event in told.events:
            if isinstance(event, DeliverEvent):
                self._deliver(event)
            else:
                self._other(event, now)
        parts, self._parts = self._parts, []
        return parts

    def _deliver(self, event: DeliverEvent) -> None:
        head, past, bodies = self._head(event.head), event.past, event.bodies
        received = int(event.stamp.partition(b":")[2])
        again = past is not None
        add = self._parts.append
        told = _AGAIN * again | _FIRST * event.first
        add(_DELIVER.pack(_DELIVERED, event.consumer, head, received, told, len(bodies)))
        if past is not None:
            add(_PAST.pack(*past))
        add(pack_numbers("Q", event.sequences))
        add(pack_numbers("I", map(len, bodies)))
        self._parts += bodies

    def _other(self, event: LinkEvent, now: float) -> None:
        match event:
            case AnswerEvent(batch, index, answer):
                self._answer(batch, index, answer, now)
            case FailEvent(consumer, error):
                octets = pack(error_row(error))
                self._parts += (_VALUE.pack(_FAILED, consumer, len(octets)), octets)
            case ActiveEvent(consumer, active):
                self._parts.append(_ONE.pack(_ACTIVE, consumer, active))
            case GiveBackEvent(consumer):
                self._parts.append(_ONE.pack(_BACK, consumer, 0))
            case RoomEvent(queue, used, high):
                name = self._name(queue)
                self._parts.append(_ROOM.pack(_ROOMY, name, used, high))
            case OriginEvent(origin):
                front = origin.front.encode()
                self._parts += (
                    _ORIGIN.pack(
                        _ORIGINAL,
                        origin.first,
                        origin.length,
                        origin.batch,
                        origin.start,
                        len(front),
                    ),
                    front,
                )

    def _answer(self, batch: int, index: int, answer: Answer, now: float) -> None:
        kind, octets = _DONE, b""
        if isinstance(answer, ProtocolError):
            kind, octets = _ERROR, pack(error_row(answer))
        elif isinstance(answer, QueueFigures):
            kind, octets = _FIGURES, pack(figures_row(answer, now))
        elif isinstance(answer, SameFigures):
            kind = _SAME
        elif isinstance(answer, Browsed):
            kind, octets = _SHOW, _shown(answer)
        elif answer is not None:
            kind, octets = _NUMBER, pack(answer)
        self._parts += (_ANSWER.pack(_ANSWERED, batch, index, kind, len(octets)), octets)


def _shown(browsed: Browsed) -> bytes:
    # Its heads stand in it: there may be more than the table has room for.
    heads: dict[MessageHead, int] = {}
    parts: list[bytes] = []
    for message in browsed.messages:
        body, past = message.body, message.redelivery
        parts.append(
            _SHOWN.pack(
                message.sequence,
                heads.setdefault(message.head, len(heads)),
                message.received_at if message.stamp else 0,
                message.expires,
                message.deliveries,
                message.failures,
                _NO_BODY * (body is None) | _DOUBTFUL * (past is not None),
                message.size - message.ram_on_disk,
            )
        )
        parts.append(body or b"")
    texts = [head_text(head) for head in heads]
    told = browsed.states, browsed.skipped, browsed.last, browsed.due
    about = [browsed.delayed, browsed.more, *told]  # groups are asked for at the owner
    return b"".join([pack([about, len(browsed.messages), texts]), b"\n", *parts])


class EventsReader(TableReader):
    """Reads what an owner tells in one visit."""

    def __init__(self) -> None:
        super().__init__()
        self._stamp, self._received = b"", -1

    def read(self, message: bytes, now: float) -> ToldEvents:
        """Read it.

        Args:
            message: it.
            now: the time on the clock.

        Raises:
            VerbError: it is something else.
        """
        self._octets, self._at = message, OPENING.size
        events: list[LinkEvent] = []
        try:
            executed, safe, safe_sequence = _EVENTS.unpack(self._cut(_EVENTS.size))
            while self._at < len(message):
                event = self._event(message[self._at], now)
                if event is not None:
                    events.append(event)
        except (StructError, ValueError, TypeError, IndexError) as error:
            raise VerbError(f"what an owner tells makes no sense: {error}") from None
        self._octets = b""
        return ToldEvents(executed, safe, safe_sequence, events)

    def _event(self, code: int, now: float) -> LinkEvent | None:
        cut = self._cut
        if code == _DELIVERED:
            _, consumer, head, received, told, count = _DELIVER.unpack(cut(_DELIVER.size))
            past = Redelivery(*_PAST.unpack(cut(_PAST.size))) if told & _AGAIN else None
            sequences, bodies = self._numbers("Q", count), self._bodies(count)
            at = self._stamp_of(received)
            first = bool(told & _FIRST)
            return DeliverEvent(consumer, self._known(head), at, past, sequences, bodies, first)
        if code == HEADED:
            self._read_head()
            return None
        if code == NAMED:
            self._read_name()
            return None
        if code == _ANSWERED:
            _, batch, index, kind, length = _ANSWER.unpack(cut(_ANSWER.size))
            end = self._at + length
            answer = self._answer(kind, cut(length), now)
            self._at = end
            return AnswerEvent(batch, index, answer)
        if code == _FAILED:
            _, consumer, length = _VALUE.unpack(cut(_VALUE.size))
            return FailEvent(consumer, error_of(unpack(cut(length))))
        if code == _ROOMY:
            _, queue, used, high = _ROOM.unpack(cut(_ROOM.size))
            return RoomEvent(self._names[queue], used, high)
        if code in (_ACTIVE, _BACK):
            _, consumer, active = _ONE.unpack(cut(_ONE.size))
            active_now = ActiveEvent(consumer, bool(active))
            return active_now if code == _ACTIVE else GiveBackEvent(consumer)
        if code == _ORIGINAL:
            _, first, number, batch, index, length = _ORIGIN.unpack(cut(_ORIGIN.size))
            return OriginEvent(MessageOrigin(first, number, cut(length).decode(), batch, index))
        raise ValueError(f"there is no event {code}")

    def _stamp_of(self, received: int) -> bytes:
        if received != self._received:
            self._stamp, self._received = stamp(received), received
        return self._stamp

    def _answer(self, kind: int, octets: bytes, now: float) -> Answer:
        if kind == _DONE:
            return None
        if kind == _SAME:
            return SameFigures()
        if kind == _ERROR:
            return error_of(unpack(octets))
        if kind == _FIGURES:
            return figures_of(unpack(octets), now)
        if kind == _NUMBER:
            return int(unpack(octets))
        return _read_shown(octets)


def _read_shown(octets: bytes) -> Browsed:
    line, _, _ = octets.partition(b"\n")
    (delayed, more, words, skipped, last, due), count, texts = unpack(line)
    heads = [head_of(text) for text in texts]
    at, messages = len(line) + 1, []
    for _ in range(count):
        row = _SHOWN.unpack_from(octets, at)
        sequence, head, received, expires, deliveries, failures, flags, length = row
        at += _SHOWN.size
        body = None if flags & _NO_BODY else octets[at : at + length]
        at += 0 if body is None else length
        past = Redelivery(deliveries, failures) if flags & _DOUBTFUL else None
        came = stamp(received) if received else b""
        message = Message(sequence, heads[head], body, came, past, length=length)
        message.expires = expires
        messages.append(message)
    states = tuple([MessageState(word) for word in words])
    return Browsed(messages, delayed, more, states, skipped, last, tuple(due))
