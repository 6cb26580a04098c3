"""Destination names: what kind they are, and which names are refused.

=========================  ==================================================================
as written                 meaning
=========================  ==================================================================
``/queue/NAME``            a queue: each message goes to one consumer
``NAME``                   the same queue
``/stream/NAME``           the same queue, which has to be a stream: what is read stays in it
``/topic/NAME``            a topic: each message goes to every subscriber
``/temp-queue/NAME``       a queue of this connection alone, gone with it
``/temp-topic/NAME``       a topic that this connection made, and gives the address of to others
``/reply-queue/ID``        somebody else's temporary queue, as a ``reply-to`` header names it
``/remote-temp-queue/ID``  the same, as ActiveMQ writes it
``/reply-topic/ID``        somebody else's temporary topic, as a ``reply-to`` header names it
``/remote-temp-topic/ID``  the same, as ActiveMQ writes it
``queue://NAME``           as ``/queue/NAME``, and so are ``topic://``, ``temp-queue://`` and
                           ``temp-topic://``: JMS writes them
``/amq/queue/NAME``        a queue that has to be there already, as RabbitMQ writes it
``/exchange/NAME/KEY``     a topic of an exchange (`stompy_broker.destinations.exchange_names`)
=========================  ==================================================================

Words are separated by dots. In the name of a subscription ``*`` stands for one word and a last
``>`` or ``#`` for the rest, which may be nothing; in that of a topic words may be separated by
slashes as well (`stompy_broker.destinations.patterns`). Elsewhere these words are refused, because
they would be mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations import exchange_names
from stompy_broker.destinations.exchange_names import EXCHANGE
from stompy_broker.destinations.patterns import REST, WILDCARDS, is_slashed, words_of
from stompy_broker.destinations.stream_settings import QUEUE_TYPE, STREAM

MOST_WORDS = 128
"""In a name. What a subscription to a pattern costs grows with its words."""
MOST_PARTS = 64
"""Of a composite destination."""

RESERVED = "$"
"""Names beginning with this belong to the broker."""
TEMPORARY_TOPICS = "$temp."
"""Topics that are known by an address alone, those of ``/reply-topic/``."""
COMMANDS = "$SYS.command"
"""The queue that commands to the broker are sent to. Nothing ever waits in it."""
BACKLOG = "durable."
"""Queues whose names begin with this are backlogs of durable topic subscriptions."""
SHARE = "share."
"""Of these, the names of those begin with this that all members of a group share."""
SCHEDULED = "scheduled./"
"""Queues whose names begin with this hold what is to come later to a destination."""
RETAINED = "retained./topics"
"""The queue of the messages that topics keep for who subscribes later."""


class DestinationKind(Enum):
    """What a destination is."""

    QUEUE = "/queue/"
    TOPIC = "/topic/"
    TEMPORARY = "/temp-queue/"
    TEMPORARY_TOPIC = "/temp-topic/"
    REPLY = "/reply-queue/"


REPLY_TOPIC = "/reply-topic/"
"""What the address of a temporary topic begins with."""

STREAM_PREFIX = "/stream/"
"""What begins the destination of a queue that is a stream."""

_PREFIXES = {kind.value: (kind, "") for kind in DestinationKind} | {
    "/remote-temp-queue/": (DestinationKind.REPLY, ""),
    REPLY_TOPIC: (DestinationKind.TOPIC, TEMPORARY_TOPICS),
    "/remote-temp-topic/": (DestinationKind.TOPIC, TEMPORARY_TOPICS),
    STREAM_PREFIX: (DestinationKind.QUEUE, ""),
}
_STREAM_ARGUMENTS: Mapping[str, str] = {QUEUE_TYPE: STREAM}
_EXISTING = "/amq/queue/"
_UNSLASHED = tuple(prefix[1:] for prefix in (*_PREFIXES, _EXISTING, exchange_names.PREFIX))
"""What was meant for a prefix, and would be the beginning of the name of a queue."""
_OF_JMS = {f"{word}://": f"/{word}/" for word in ("queue", "topic", "temp-queue", "temp-topic")}
_VALID = (
    "/queue/, /topic/, /stream/, /temp-queue/, /temp-topic/, /reply-queue/, /reply-topic/, "
    "/exchange/, /amq/queue/"
)
_APOLLO = "/dsub/"


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination that was read and found valid.

    Attributes:
        kind: what it is.
        name: the part after the prefix.
        is_pattern: whether a wildcard stands in it.
        existing: whether it means a queue only if there is one already.
        stream: whether it means a queue only if that is a stream.
    """

    kind: DestinationKind
    name: str
    is_pattern: bool
    existing: bool = False
    stream: bool = False

    @property
    def plain(self) -> Destination:
        """The same, whether or not it has to be there already, and whatever it is."""
        if self.existing or self.stream:
            return replace(self, existing=False, stream=False)
        return self

    @property
    def arguments(self) -> Mapping[str, str] | None:
        """What it says of a queue that is made for it; None = nothing."""
        return _STREAM_ARGUMENTS if self.stream else None

    def setting_up(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of a frame, with what the destination says of the queue that is set up.

        Raises:
            ProtocolError: they say that it is something else.
        """
        if not self.stream:
            return headers
        said = headers.get(QUEUE_TYPE, "").strip().lower()
        if said not in ("", STREAM):
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{QUEUE_TYPE} is {said[:40]!r}, and {STREAM_PREFIX} means a {STREAM}",
            )
        return {**headers, **_STREAM_ARGUMENTS}

    @property
    def of_broker(self) -> bool:
        """Whether it is a topic of the broker itself."""
        reserved = self.kind is DestinationKind.TOPIC and self.name.startswith(RESERVED)
        return reserved and not self.name.startswith((EXCHANGE, TEMPORARY_TOPICS))

    @property
    def is_pattern_of_queues(self) -> bool:
        """Whether it stands for several queues."""
        return self.is_pattern and self.kind is DestinationKind.QUEUE

    @property
    def of_exchange(self) -> bool:
        """Whether it is a topic of an exchange."""
        return self.kind is DestinationKind.TOPIC and self.name.startswith(EXCHANGE)

    def __str__(self) -> str:
        """With its canonical prefix."""
        is_topic = self.kind is DestinationKind.TOPIC
        return topic_text(self.name) if is_topic else self.kind.value + self.name


def topic_text(name: str) -> str:
    """A topic or a pattern of topics as clients write it, by its name."""
    if name.startswith(EXCHANGE):
        return exchange_names.written(name)
    if name.startswith(TEMPORARY_TOPICS):
        return REPLY_TOPIC + name.removeprefix(TEMPORARY_TOPICS)
    return DestinationKind.TOPIC.value + name


def schedules_of(destination: str) -> str:
    """The name of the queue of what is to come later to a destination, or to several.

    Args:
        destination: with its canonical prefix; several with commas between.
    """
    return SCHEDULED[:-1] + destination


def scheduled_for(name: str) -> str:
    """The destination, or several, that the messages in such a queue are for; empty = it is none.

    Args:
        name: of the queue.
    """
    return name[len(SCHEDULED) - 1 :] if name.startswith(SCHEDULED) else ""


def is_companion(name: str) -> bool:
    """Whether a queue of that name holds what the broker keeps beside other destinations.

    Nobody knows it by that name: neither clients nor rows of queues.
    """
    return name.startswith(SCHEDULED) or name == RETAINED


def plain_spelling(text: str) -> str:
    """Write a destination with slashes that JMS writes as a URL; any other as it is."""
    scheme, separator, name = text.partition("://")
    prefix = _OF_JMS.get(scheme + separator)
    return text if prefix is None else prefix + name


@lru_cache(maxsize=4096)
def parse_destination(text: str) -> Destination:
    """Read a ``destination`` header. Recent answers are remembered.

    Raises:
        ProtocolError: an unknown prefix, no name, too many words, or control characters.
    """
    spelled, inside = plain_spelling(text), ""
    if spelled.startswith("/"):
        slash = spelled.find("/", 1) + 1
        name = spelled[slash:]
        known = _PREFIXES.get(spelled[:slash])
        if known is None:
            kind, name = _read_foreign(text)
        else:
            kind, inside = known
        if known is not None and kind is DestinationKind.TOPIC and name.startswith(EXCHANGE):
            raise _bad(text, f"is written {topic_text(name)!r}")
    elif spelled.startswith(_UNSLASHED):
        raise _bad(text, f"has no slash before its prefix; write '/{text}'")
    else:
        kind, name = DestinationKind.QUEUE, spelled
    if not name:
        raise _bad(text, "has no name after its prefix")
    if ",/" in name:
        raise _bad(text, "names several; one frame goes to one destination")
    if not name.isprintable():
        raise _bad(text, "holds characters that cannot be printed")
    slashed = kind is DestinationKind.TOPIC and is_slashed(name)
    words = words_of(name) if slashed else name.split(".")
    if len(words) > MOST_WORDS:
        between = "slashes" if slashed else "dots"
        raise _bad(text, f"has {len(words)} words between {between}; {MOST_WORDS} are the most")
    # RabbitMQ has no patterns of queues: there, a word like these is a word of a name.
    existing = text.startswith(_EXISTING)
    is_pattern = not existing and not WILDCARDS.isdisjoint(words)
    return Destination(kind, inside + name, is_pattern, existing, spelled.startswith(STREAM_PREFIX))


def _read_foreign(text: str) -> tuple[DestinationKind, str]:
    """Read a prefix that only other brokers have."""
    if text.startswith(_EXISTING):
        return DestinationKind.QUEUE, text.removeprefix(_EXISTING)
    if text.startswith(_APOLLO):
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"destination {text[:200]!r}: this broker does not do {_APOLLO}; SUBSCRIBE to the "
            "topic with a client-id and durable-subscription-name, or with x-queue-name",
        )
    if not text.startswith(exchange_names.PREFIX):
        raise _bad(text, f"has none of the prefixes {_VALID}")
    try:
        return DestinationKind.TOPIC, exchange_names.read_topic(text)
    except ValueError as error:
        raise _bad(text, str(error)) from None


def parts_of(text: str) -> tuple[str, ...]:
    """The parts of a composite destination; one that is none is its own only part.

    Parts are separated by commas, and each of them begins with a slash or as JMS writes it.
    Whether a part can be used, `sendable` and `check_subscribable` say.

    Raises:
        ProtocolError: too many parts, one of them twice, or one that is not written in full.
    """
    if ",/" not in text and "://" not in text:
        return (text,)
    parts = tuple(text.split(","))
    written = [plain_spelling(part) for part in parts]
    if not all(part.startswith("/") for part in written):
        return (text,)  # the name of one, or a mistake that `parse_destination` tells of
    if len(parts) > MOST_PARTS:
        raise _bad(text, f"has {len(parts)} parts; {MOST_PARTS} are the most")
    known: set[str] = set()
    for part in written:
        if part in known:
            raise _bad(text, f"names {part[:200]!r} twice")
        known.add(part)
    return parts


@lru_cache(maxsize=4096)
def sendable(text: str) -> Destination:
    """Read the destination of a SEND. Recent answers are remembered.

    Raises:
        ProtocolError: it cannot be read, has wildcards, or belongs to the broker.
    """
    destination = parse_destination(text)
    if destination.name == COMMANDS and destination.kind is DestinationKind.QUEUE:
        return destination
    if destination.is_pattern:
        raise _bad(text, "has a wildcard, and a message needs one destination")
    _check_blanks(destination)
    if not is_address(destination) or text.startswith(destination.kind.value):
        _check_not_reserved(destination)
    return destination


def check_subscribable(destination: Destination) -> None:
    """Whether a client may SUBSCRIBE to it.

    Raises:
        ProtocolError: a wildcard where there may be none, one for the rest that is not last,
            somebody else's temporary queue, or a queue that belongs to the broker.
    """
    if destination.kind is DestinationKind.REPLY or (
        destination.is_pattern and is_address(destination)
    ):
        raise _bad(str(destination), "belongs to the connection that made it")
    _check_blanks(destination)
    if destination.kind is not DestinationKind.TOPIC:
        if destination.is_pattern and destination.stream:
            raise _bad(
                f"{STREAM_PREFIX}{destination.name}", "has a wildcard; streams are read by name"
            )
        if destination.is_pattern and destination.kind is not DestinationKind.QUEUE:
            raise _bad(str(destination), "has a wildcard; topics and queues can have one")
        _check_not_reserved(destination)
    check_wildcards(destination)


def check_wildcards(destination: Destination) -> None:
    """Whether wildcards stand where they may.

    Raises:
        ProtocolError: one for the rest is not the last word.
    """
    if destination.kind is DestinationKind.TOPIC:
        _check_rest_is_last(destination.name, words_of(destination.name))
    else:
        check_pattern(destination.name)


def check_browsable(destination: Destination) -> None:
    """Whether a client may look at what waits there.

    Raises:
        ProtocolError: it is no queue, or belongs to the broker or to one connection.
    """
    if destination.kind is not DestinationKind.QUEUE:
        raise _bad(str(destination), "is no /queue/; only queues can be browsed")
    _check_blanks(destination)
    for reserved in (RESERVED, SCHEDULED, RETAINED):
        if destination.name.startswith(reserved):
            raise _bad(str(destination), f"begins with {reserved!r}, which belongs to the broker")
    check_pattern(destination.name)


def check_pattern(name: str) -> None:
    """Whether wildcards stand where they may, between dots.

    Raises:
        ProtocolError: ``>`` or ``#`` is not the last word.
    """
    _check_rest_is_last(name, name.split("."))


def is_address(destination: Destination) -> bool:
    """Whether it is somebody's temporary topic, as its address names it."""
    return destination.kind is DestinationKind.TOPIC and destination.name.startswith(
        TEMPORARY_TOPICS
    )


def _check_rest_is_last(name: str, words: list[str]) -> None:
    for word in words[:-1]:
        if word in REST:
            shown = "**" if is_slashed(name) and "**" in name.split("/")[:-1] else word
            raise _bad(name, f"has {shown!r} before its last word")


def _check_blanks(destination: Destination) -> None:
    # Only where clients name it: an operator can still purge and delete what has such a name.
    if destination.name != destination.name.strip():
        raise _bad(str(destination), "has a blank before or behind its name")
    _, comma, behind = destination.name.partition(", ")
    if comma and plain_spelling(behind.lstrip()).startswith("/"):
        raise _bad(
            str(destination), "has a blank after a comma; write several as /queue/a,/queue/b"
        )


def _check_not_reserved(destination: Destination) -> None:
    if destination.name.startswith(RESERVED) and not destination.of_exchange:
        raise _bad(str(destination), f"begins with {RESERVED!r}, which belongs to the broker")
    if destination.kind is DestinationKind.QUEUE and destination.name.startswith(BACKLOG):
        raise _bad(str(destination), "is for durable subscriptions; subscribe to the topic instead")
    if destination.kind is DestinationKind.QUEUE and destination.name.startswith(SCHEDULED):
        raise _bad(str(destination), "is for what is to come later, and belongs to the broker")
    if destination.kind is DestinationKind.QUEUE and destination.name == RETAINED:
        raise _bad(str(destination), "is for what topics keep, and belongs to the broker")


def _bad(text: str, why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_DESTINATION, f"destination {text[:200]!r} {why}")
