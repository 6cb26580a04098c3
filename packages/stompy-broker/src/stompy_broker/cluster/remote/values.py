"""Orders and answers as bytes and back: what is seldom, and need not be small."""

from __future__ import annotations

import json
from typing import Any

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.head_codec import read_head, write_head
from stompy_broker.destinations.names import parse_destination
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.routing.interface import (
    Browse,
    Close,
    Configure,
    Foresee,
    GiveUp,
    LineFigures,
    Move,
    Order,
    QueueFigures,
    Remove,
    Reschedule,
    Transfer,
    Unschedule,
)
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.selection import Selection
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.terms import PLAIN, Terms

_SETTINGS, _IDLE_SINCE = 0, QueueFigures._fields.index("idle_since")
_LINES = QueueFigures._fields.index("lines")


def pack(value: object) -> bytes:
    """Any value of JSON as bytes."""
    return json.dumps(value, separators=(",", ":")).encode()


def unpack(octets: bytes) -> Any:
    """What `pack` has written."""
    return json.loads(octets)


def error_row(error: ProtocolError) -> list[object]:
    """An error as a row of JSON."""
    return [error.code, error.Message, dict(error.frame_headers)]


def error_of(row: list[Any]) -> ProtocolError:
    """The error that a row tells of; a word that is not known here is a fault of the broker."""
    code, text, headers = row
    try:
        known = ErrorCode(code)
    except ValueError:
        known = ErrorCode.INTERNAL_ERROR
    return ProtocolError(known, str(text), headers=headers)


def terms_row(terms: Terms) -> list[object]:
    """What a consumer asks as a row of JSON; one that asks nothing has none.

    Of a stream it asks nothing: a cluster has none.
    """
    return [] if terms == PLAIN else list(terms._replace(reading=None))


def terms_of(row: list[Any]) -> Terms:
    """What a row asks of a queue."""
    return Terms(*row) if row else PLAIN


def figures_row(figures: QueueFigures, now: float) -> list[object]:
    """The figures of a queue, with the time since it is idle in place of the clock's."""
    row: list[object] = list(figures)
    row[_SETTINGS] = figures.settings.to_stored()
    since = figures.idle_since
    row[_IDLE_SINCE] = None if since is None else now - since
    return row


def figures_of(row: list[Any], now: float) -> QueueFigures:
    """The figures that a row tells, by the clock here."""
    row = list(row)
    row[_SETTINGS] = QueueSettings.from_stored(row[_SETTINGS])
    row[_LINES] = tuple([LineFigures(*line) for line in row[_LINES]])
    if row[_IDLE_SINCE] is not None:
        row[_IDLE_SINCE] = now - row[_IDLE_SINCE]
    return QueueFigures(*row)


def browse_row(wanted: Browse) -> list[object]:
    """A look as a row of JSON."""
    one = wanted.selection
    ids = None if one.ids is None else sorted(one.ids)
    states = None if wanted.states is None else sorted(wanted.states)
    which = [ids, one.headers, one.after, one.up_to, one.selector, one.since]
    return [which, wanted.skip, wanted.most, wanted.bodies, states, wanted.beyond]


def browse_of(row: list[Any]) -> Browse:
    """The look that a row asks for."""
    (ids, headers, after, up_to, selector, since), skip, most, bodies, words, beyond = row
    selection = Selection(
        None if ids is None else frozenset(ids),
        tuple((name, value) for name, value in headers),
        after,
        up_to,
        selector,
        since,
    )
    states = None if words is None else frozenset(map(MessageState, words))
    place = None if beyond is None else (int(beyond[0]), int(beyond[1]))
    return Browse(selection, skip, most, bodies, states, place)


def head_text(head: MessageHead) -> str:
    """A message's head as a text of JSON."""
    return write_head(head).decode("latin-1")


def head_of(text: str) -> MessageHead:
    """The head that a text tells."""
    return read_head(text.encode("latin-1"))


def order_row(order: Order) -> list[object]:
    """An order as a row of JSON. Two are verbs of their own.

    Raises:
        TypeError: it is one of those.
    """
    if isinstance(order, Remove):
        return ["remove", sorted(order.sequences)]
    if isinstance(order, Move):
        transfers = [
            [
                one.sequence,
                str(one.destination),
                head_text(one.head),
                one.deliveries,
                one.failures,
                None if one.body is None else one.body.decode("latin-1"),
            ]
            for one in order.transfers
        ]
        return ["move", transfers, order.copies, order.within]
    if isinstance(order, Unschedule):
        return ["unschedule", order.name]
    if isinstance(order, Reschedule):
        return ["reschedule", sorted(order.sequences), order.due]
    if isinstance(order, GiveUp):
        return ["give-up", sorted(order.sequences), order.cause, order.reason]
    if isinstance(order, Foresee):
        message = order.message
        return ["foresee", head_text(message.head), message.size, message.received_at]
    if isinstance(order, Configure):
        return ["configure", order.settings.to_stored(), order.first]
    if isinstance(order, Close):
        return ["close", order.unused, order.messages]
    raise TypeError(f"{order!r} is no order of this kind")


def order_of(row: list[Any]) -> Order:
    """The order that a row tells.

    Raises:
        ValueError: it tells none.
    """
    match row:
        case ["remove", sequences]:
            return Remove(frozenset(sequences))
        case ["move", transfers, copies, within]:
            return Move([_transfer(*one) for one in transfers], copies, within)
        case ["foresee", head, size, at]:
            message = Message(0, head_of(head), None, stamp(at))
            message.size = size
            return Foresee(message)
        case ["unschedule", name]:
            return Unschedule(name)
        case ["reschedule", sequences, due]:
            return Reschedule(frozenset(sequences), due)
        case ["give-up", sequences, cause, reason]:
            return GiveUp(frozenset(sequences), cause, reason)
        case ["configure", stored, first]:
            return Configure(QueueSettings.from_stored(stored), first)
        case ["close", unused, messages]:
            return Close(unused, messages)
    raise ValueError(f"{row!r} is no order")


def _transfer(
    sequence: int, destination: str, head: str, deliveries: int, failures: int, body: str | None
) -> Transfer:
    return Transfer(
        sequence,
        parse_destination(destination),
        head_of(head),
        deliveries,
        failures,
        None if body is None else body.encode("latin-1"),
    )
