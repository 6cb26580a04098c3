"""What brokers tell each other of topics, replies and durable subscriptions, as values and bytes.

Pure. What goes by with every message is packed; the rest is rare, and JSON. The first byte of each
message is its kind, from 64 on (`Kind`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 -- its name says nothing by itself
from typing import Any, NamedTuple

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.head_codec import read_head, write_head
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.store.base import StoredSubscription


class CodecError(ValueError):
    """A message of another broker makes no sense."""


class Kind(IntEnum):
    """The first byte of a message."""

    INTEREST = 64
    INTEREST_KNOWN = 65
    MESSAGES = 66
    MESSAGES_TAKEN = 67
    REPLY = 68
    REPLY_TAKEN = 69
    CONTENTS = 70
    CONTENTS_KNOWN = 71
    CONTENTS_KNOWN_BY_ALL = 72
    DISOWNED = 73
    REQUEST = 74
    REQUEST_ANSWER = 75


class Interest(NamedTuple):
    """Which topics the sender wants.

    Attributes:
        number: of this change of what it wants.
        whole: whether all that was told before is to be forgotten.
        last: whether no more comes with this number.
        added: patterns that it wants.
        removed: patterns that it does not want any more.
    """

    number: int
    whole: bool
    last: bool
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class InterestKnown(NamedTuple):
    """What is published goes by what was told with this number."""

    number: int


class MessagesTaken(NamedTuple):
    """So many bytes of topics' messages were given to subscribers since the link is there."""

    size: int


class ReplyTaken(NamedTuple):
    """What became of a reply; the code is empty if it is well."""

    number: int
    code: str
    text: str


class Contents(NamedTuple):
    """What there is in a group that the sender owns.

    Attributes:
        group: its number.
        tenure: of the sender.
        number: of this change in what there is.
        whole: whether all that was told before is to be forgotten.
        last: whether no more comes with this number.
        kept: durable subscriptions, new or changed.
        dropped: names of those that were deleted.
        made: names of queues.
        ended: names of those that are no more.
    """

    group: int
    tenure: int
    number: int
    whole: bool
    last: bool
    kept: tuple[DurableSubscription, ...] = ()
    dropped: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


class ContentsKnown(NamedTuple):
    """What is published goes by what was told of a group with this number."""

    group: int
    tenure: int
    number: int


class ContentsKnownByAll(NamedTuple):
    """Nobody publishes any more who does not know what was told with this number."""

    group: int
    tenure: int
    number: int


class Disowned(NamedTuple):
    """The sender does not own a group any more."""

    group: int
    tenure: int


class RequestAction(IntEnum):
    """What a request wants."""

    SUBSCRIBE = 1
    DELETE = 2
    POSSESS = 3
    UNBIND = 4


class Request(NamedTuple):
    """What the owner of a group is asked to do with a durable subscription.

    Attributes:
        number: of the request, on its link.
        group: which group.
        action: what to do.
        again: whether it may have been done already.
        subscription: with what; for `RequestAction.POSSESS` its owner is who takes it, for
            `RequestAction.UNBIND` its pattern is what it is not to get any more.
    """

    number: int
    group: int
    action: RequestAction
    again: bool
    subscription: DurableSubscription


class RequestAnswer(NamedTuple):
    """What became of a request; the code is empty if it is well."""

    number: int
    code: str
    text: str


ELSEWHERE = "elsewhere"
"""A code of `RequestAnswer`: it was not done, because another broker owns the group."""


class Reply(NamedTuple):
    """A message to a temporary queue.

    Attributes:
        number: of the reply, on its link.
        name: of the queue, as others name it.
        may_be_refused: whether somebody waits for that.
        head: of the message.
        body: of the message.
    """

    number: int
    name: str
    may_be_refused: bool
    head: MessageHead
    body: bytes


class TopicMessages(NamedTuple):
    """Messages of topics, in the order in which they were published.

    Attributes:
        messages: they have no number of their own.
        size: what they count for in `MessagesTaken`.
    """

    messages: list[Message]
    size: int


Told = (
    Interest
    | InterestKnown
    | MessagesTaken
    | ReplyTaken
    | Contents
    | ContentsKnown
    | ContentsKnownByAll
    | Disowned
    | Request
    | RequestAnswer
)
"""What is told by JSON."""

AnyMessage = Told | Reply | TopicMessages


# -- what is rare ---------------------------------------------------------------------------


def _whole_number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{value!r} is no number")
    return value


def _yes_or_no(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{value!r} is neither yes nor no")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise TypeError(f"{value!r} is no list")
    return tuple([_text(one) for one in value])


def _subscription(value: Any) -> DurableSubscription:
    name, pattern, settings = value
    stored = StoredSubscription(_text(name), _text(pattern), _text(settings))
    return DurableSubscription.from_stored(stored)


def _subscriptions(value: Any) -> tuple[DurableSubscription, ...]:
    if type(value) is not list:
        raise TypeError(f"{value!r} is no list")
    return tuple([_subscription(one) for one in value])


def _action(value: Any) -> RequestAction:
    return RequestAction(_whole_number(value))


_Reader = Callable[[Any], Any]

_SHAPES: Mapping[Kind, tuple[Callable[..., Told], tuple[_Reader, ...]]] = {
    Kind.INTEREST: (Interest, (_whole_number, _yes_or_no, _yes_or_no, _texts, _texts)),
    Kind.INTEREST_KNOWN: (InterestKnown, (_whole_number,)),
    Kind.MESSAGES_TAKEN: (MessagesTaken, (_whole_number,)),
    Kind.REPLY_TAKEN: (ReplyTaken, (_whole_number, _text, _text)),
    Kind.CONTENTS: (
        Contents,
        (
            _whole_number,
            _whole_number,
            _whole_number,
            _yes_or_no,
            _yes_or_no,
            _subscriptions,
            _texts,
            _texts,
            _texts,
        ),
    ),
    Kind.CONTENTS_KNOWN: (ContentsKnown, (_whole_number,) * 3),
    Kind.CONTENTS_KNOWN_BY_ALL: (ContentsKnownByAll, (_whole_number,) * 3),
    Kind.DISOWNED: (Disowned, (_whole_number,) * 2),
    Kind.REQUEST: (Request, (_whole_number, _whole_number, _action, _yes_or_no, _subscription)),
    Kind.REQUEST_ANSWER: (RequestAnswer, (_whole_number, _text, _text)),
}
_KINDS = {shape: kind for kind, (shape, _) in _SHAPES.items()}


def _plain(value: object) -> object:
    if isinstance(value, DurableSubscription):
        stored = value.to_stored()
        return [stored.name, stored.pattern, stored.settings]
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def write(told: Told) -> bytes:
    """Write what is rare."""
    parts = [_plain(one) for one in told]
    return bytes([_KINDS[type(told)]]) + json.dumps(parts, separators=(",", ":")).encode()


def read(message: bytes) -> AnyMessage:
    """Read a message of any kind.

    Raises:
        CodecError: it makes no sense.
    """
    try:
        kind = Kind(message[0])
        if kind is Kind.MESSAGES:
            return _read_messages(message)
        if kind is Kind.REPLY:
            return _read_reply(message)
        shape, readers = _SHAPES[kind]
        values = json.loads(message[1:])
        if type(values) is not list:
            raise TypeError("it is no list")
        return shape(
            *[reader(value) for reader, value in zip(readers, values, strict=True)],
        )
    except (
        StructError,
        ValueError,
        TypeError,
        LookupError,
        RecursionError,
        ProtocolError,
    ) as error:
        raise CodecError(f"a message of kind {message[:1]!r} makes no sense: {error}") from None


def error_of(answer: ReplyTaken | RequestAnswer) -> ProtocolError | None:
    """Why something was refused; None = it was not."""
    if not answer.code:
        return None
    try:
        code = ErrorCode(answer.code)
    except ValueError:  # of a later version
        code = ErrorCode.LIMIT_EXCEEDED
    return ProtocolError(code, answer.text)


def code_and_text(error: ProtocolError | None) -> tuple[str, str]:
    """What `error_of` makes an error of again."""
    return ("", "") if error is None else (error.code, error.Message)


# -- what goes by with every message ----------------------------------------------------------

_ROW = Struct(">BQI")
_NEW_HEAD, _NEW_TIME = 1, 2
_LENGTH = Struct(">I")
_TIME = Struct(">Q")
_REPLY = Struct(">BQ?HI")

ROW_SIZE = _ROW.size
"""Bytes that a message costs beside its body, and its head where that is another one."""

_known_head = lru_cache(maxsize=1024)(read_head)
"""Reads a head; one object for those that come again and again."""


class Outgoing(NamedTuple):
    """A message of a topic on its way to other brokers. It is one object for all of them.

    Attributes:
        head: of the message, as `write_head` writes it; one object for all of the same head.
        received: when it came, in milliseconds since the epoch.
        expires: when it ends, or 0.
        body: of the message.
        size: what it counts for.
    """

    head: bytes
    received: int
    expires: int
    body: bytes
    size: int


_MESSAGES = bytes([Kind.MESSAGES])


def write_messages(outgoing: Iterable[Outgoing]) -> list[bytes]:
    """Write messages, as parts of one; a head and a time that repeat are written once."""
    parts = [_MESSAGES]
    head, received = b"", -1
    for one in outgoing:
        flags, extra = 0, b""
        if one.head is not head:
            head = one.head
            flags, extra = _NEW_HEAD, _LENGTH.pack(len(head)) + head
        if one.received != received:
            received = one.received
            flags |= _NEW_TIME
            extra += _TIME.pack(received)
        parts += (_ROW.pack(flags, one.expires, len(one.body)), extra, one.body)
    return parts


def _read_messages(octets: bytes) -> TopicMessages:
    at, end = 1, len(octets)
    head: MessageHead | None = None
    time = b""
    messages: list[Message] = []
    size = 0
    while at < end:
        flags, expires, length = _ROW.unpack_from(octets, at)
        at += ROW_SIZE
        if flags & _NEW_HEAD:
            (head_length,) = _LENGTH.unpack_from(octets, at)
            at += 4
            head = _known_head(octets[at : at + head_length])
            at += head_length
        if flags & _NEW_TIME:
            (received,) = _TIME.unpack_from(octets, at)
            time = stamp(received)
            at += 8
        if head is None or not time:
            raise ValueError("a message has no head or no time")
        if at + length > end:
            raise ValueError("it ends too soon")
        message = Message(0, head, octets[at : at + length], time)
        message.expires = expires
        at += length
        size += message.size
        messages.append(message)
    return TopicMessages(messages, size)


def write_reply(reply: Reply) -> list[bytes]:
    """Write a reply, as parts of one message."""
    name, head = reply.name.encode(), write_head(reply.head)
    row = _REPLY.pack(Kind.REPLY, reply.number, reply.may_be_refused, len(name), len(head))
    return [row, name, head, reply.body]


def _read_reply(octets: bytes) -> Reply:
    _, number, may_be_refused, name_length, head_length = _REPLY.unpack_from(octets)
    at = _REPLY.size + name_length
    if len(octets) < at + head_length:
        raise ValueError("it ends too soon")
    name = octets[_REPLY.size : at].decode()
    head = _known_head(octets[at : at + head_length])
    return Reply(number, name, may_be_refused, head, octets[at + head_length :])
