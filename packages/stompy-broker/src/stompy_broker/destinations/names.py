"""Destination names: what kind they are, and which names are refused.

=========================  ==================================================================
as written                 meaning
=========================  ==================================================================
``/queue/NAME``            a queue: each message goes to one consumer
``NAME``                   the same queue
``/topic/NAME``            a topic: each message goes to every subscriber
``/temp-queue/NAME``       a queue of this connection alone, gone with it
``/reply-queue/ID``        somebody else's temporary queue, as a ``reply-to`` header names it
``/remote-temp-queue/ID``  the same, as ActiveMQ writes it
=========================  ==================================================================

Words are separated by dots. In the name of a topic subscription ``*`` stands for one word and a
last ``>`` or ``#`` for the rest, which may be nothing. Elsewhere these words are refused, because
they would be mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from stompy.errors import ErrorCode, ProtocolError

MOST_WORDS = 128
"""In a name. What a subscription to a pattern costs grows with its words."""

WILDCARDS = frozenset(("*", ">", "#"))
RESERVED = "$"
"""Names beginning with this belong to the broker."""
COMMANDS = "$SYS.command"
"""The queue that commands to the broker are sent to. Nothing ever waits in it."""
BACKLOG = "durable."
"""Queues whose names begin with this are backlogs of durable topic subscriptions."""


class DestinationKind(Enum):
    """What a destination is."""

    QUEUE = "/queue/"
    TOPIC = "/topic/"
    TEMPORARY = "/temp-queue/"
    REPLY = "/reply-queue/"


_PREFIXES = {kind.value: kind for kind in DestinationKind} | {
    "/remote-temp-queue/": DestinationKind.REPLY
}
_UNSLASHED = tuple(prefix[1:] for prefix in _PREFIXES)
"""What was meant for a prefix, and would be the beginning of the name of a queue."""
_VALID = "/queue/, /topic/, /temp-queue/, /reply-queue/"


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination that was read and found valid.

    Attributes:
        kind: what it is.
        name: the part after the prefix.
        is_pattern: whether a wildcard stands in it.
    """

    kind: DestinationKind
    name: str
    is_pattern: bool

    def __str__(self) -> str:
        """With its canonical prefix."""
        return self.kind.value + self.name


@lru_cache(maxsize=4096)
def parse_destination(text: str) -> Destination:
    """Read a ``destination`` header. Recent answers are remembered.

    Raises:
        ProtocolError: an unknown prefix, no name, too many words, or control characters.
    """
    if text.startswith("/"):
        slash = text.find("/", 1) + 1
        kind = _PREFIXES.get(text[:slash])
        if kind is None:
            raise _bad(text, f"has none of the prefixes {_VALID}")
        name = text[slash:]
    elif text.startswith(_UNSLASHED):
        raise _bad(text, f"has no slash before its prefix; write '/{text}'")
    else:
        kind, name = DestinationKind.QUEUE, text
    if not name:
        raise _bad(text, "has no name after its prefix")
    if ",/" in name:
        raise _bad(text, "names several; one frame goes to one destination")
    if not name.isprintable():
        raise _bad(text, "holds characters that cannot be printed")
    words = name.split(".")
    if len(words) > MOST_WORDS:
        raise _bad(text, f"has {len(words)} words between dots; {MOST_WORDS} are the most")
    return Destination(kind, name, not WILDCARDS.isdisjoint(words))


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
    _check_not_reserved(destination)
    return destination


def check_subscribable(destination: Destination) -> None:
    """Whether a client may SUBSCRIBE to it.

    Raises:
        ProtocolError: wildcards on a queue, a wildcard for the rest that is not last, somebody
            else's temporary queue, or a queue that belongs to the broker.
    """
    if destination.kind is DestinationKind.REPLY:
        raise _bad(str(destination), "belongs to the connection that made it")
    _check_blanks(destination)
    if destination.kind is not DestinationKind.TOPIC:
        if destination.is_pattern:
            raise _bad(str(destination), "has a wildcard; only topics can be subscribed by one")
        _check_not_reserved(destination)
    check_pattern(destination.name)


def check_pattern(name: str) -> None:
    """Whether wildcards stand where they may.

    Raises:
        ProtocolError: ``>`` or ``#`` is not the last word.
    """
    for word in name.split(".")[:-1]:
        if word in (">", "#"):
            raise _bad(name, f"has {word!r} before its last word")


def _check_blanks(destination: Destination) -> None:
    # Only where clients name it: an operator can still purge and delete what has such a name.
    if destination.name != destination.name.strip():
        raise _bad(str(destination), "has a blank before or behind its name")


def _check_not_reserved(destination: Destination) -> None:
    if destination.name.startswith(RESERVED):
        raise _bad(str(destination), f"begins with {RESERVED!r}, which belongs to the broker")
    if destination.kind is DestinationKind.QUEUE and destination.name.startswith(BACKLOG):
        raise _bad(str(destination), "is for durable subscriptions; subscribe to the topic instead")


def _bad(text: str, why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_DESTINATION, f"destination {text[:200]!r} {why}")
