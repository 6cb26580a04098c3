"""Headers of other brokers that would change which messages come, or when, and are not done here.

To ignore them would give a client other messages than it asked for, with a receipt. So they are
refused by name, unless the configuration says that they may be ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import has_itself
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.events import Events
from stompy_broker.retain_headers import RETAIN

log = logging.getLogger("stompy_broker.session")

_SEND, _SUBSCRIBE, _NACK = "SEND", "SUBSCRIBE", "NACK"
_BROWSE = "BROWSE"
"""A SUBSCRIBE with ``browser:true``."""

_NO = frozenset(("", "false", "0", "no"))
_NOTHING = frozenset(("",))
_NONE = frozenset(("", "0"))
_UNLIMITED = frozenset(("", "-1"))

_QUEUES = frozenset((DestinationKind.QUEUE,))
_TOPICS = frozenset((DestinationKind.TOPIC,))
_SHARED = _QUEUES | _TOPICS
_BUT_SHARED = frozenset(DestinationKind) - _SHARED
_BUT_TOPICS = frozenset(DestinationKind) - _TOPICS
_BUT_QUEUES = frozenset(DestinationKind) - _QUEUES


@dataclass(frozen=True, slots=True)
class ForeignHeader:
    """Headers that mean one thing.

    Attributes:
        names: what they are called.
        commands: where they mean it.
        means: what they ask for.
        kinds: of destinations for which they do.
        idle: values that ask for nothing, in small letters.
        asks: if not empty, the only values that ask for something.
        auto: whether only with ``ack:auto``, where nothing is ever unsettled.
        unnamed: whether only where no ``x-queue-name`` says which queue is meant.
        alone: whether only where a subscription has its messages to itself (`has_itself`).
        unread: whether only where the queue is no stream.
    """

    names: tuple[str, ...]
    commands: tuple[str, ...]
    means: str
    kinds: Collection[DestinationKind] = _SHARED
    idle: Collection[str] = _NOTHING
    asks: Collection[str] = ()
    auto: bool = False
    unnamed: bool = False
    alone: bool = False
    unread: bool = False

    def wanted(self, name: str, value: str, destination: Destination | None) -> bool:
        """Whether a header asks for what is not done."""
        if destination is not None and destination.kind not in self.kinds:
            return False
        value = value.strip().lower()
        return value in self.asks if self.asks else value not in self.idle


_BOTH = (_SEND, _SUBSCRIBE)

NO_LOCAL = ("no-local", "activemq.noLocal")
"""Headers by which a subscription declines what its own client sends."""

SINGLE_ACTIVE = ("x-single-active-consumer", "activemq.exclusive")
"""Headers by which a consumer asks that one at a time gets all the messages."""

PRIORITY = ("x-priority", "activemq.priority")
"""Headers that say which consumers of a queue get messages before others."""

PENDING_LIMIT = ("pending-limit", "activemq.maximumPendingMessageLimit")
"""Headers that say how many messages of a topic may wait for a subscription."""

RETRIES = (
    "activemq.maximumRedeliveries",
    "activemq.initialRedeliveryDelay",
    "activemq.redeliveryDelay",
    "activemq.useExponentialBackOff",
    "activemq.backOffMultiplier",
    "activemq.maximumRedeliveryDelay",
)
"""Headers that say when and how often what is refused comes again, in milliseconds."""

OF_READERS = (
    "x-stream-offset",
    "x-stream-consumer",
    "x-stream-filter",
    "x-stream-automatic-offset-tracking",
    "x-stream-match-unfiltered",
    "activemq.retroactive",
)
"""Headers by which a SUBSCRIBE says where and what of a stream it reads."""

OF_STREAMS = frozenset((*OF_READERS, "x-stream-filter-value", "x-max-age", "share"))
"""All those that are done where a queue is a stream, and nowhere else."""

_NO_STREAM = (
    'and this is none; /stream/NAME, x-queue-type:stream or type = "stream" of a [[policy]] '
    "makes one"
)

_TO_EXCHANGE = "dead letters go to that exchange; x-dead-letter-routing-key alone names a queue"

FOREIGN: tuple[ForeignHeader, ...] = (
    ForeignHeader(
        ("browser-state", "browser-offset", "browser-limit", "browser-timestamp"),
        (_SUBSCRIBE,),
        "which messages are shown by a subscription with browser:true, which this is not",
        kinds=tuple(DestinationKind),
    ),
    ForeignHeader(
        ("browser-headers-only",),
        (_SUBSCRIBE,),
        "how messages are shown by a subscription with browser:true, which this is not",
        kinds=tuple(DestinationKind),
        idle=_NO,
    ),
    ForeignHeader(("exclusive",), (_SEND,), "nobody else may subscribe", kinds=_QUEUES, idle=_NO),
    ForeignHeader(
        ("x-delivery-limit",),
        _BOTH,
        "a message that failed so often is a dead letter; max_deliveries of a [[policy]] says so",
        kinds=_QUEUES,
        idle=_UNLIMITED,
    ),
    ForeignHeader(
        SINGLE_ACTIVE,
        (_SUBSCRIBE,),
        "one consumer at a time gets all the messages; this subscription to a topic has its "
        "messages to itself, unless it is durable or names a share",
        kinds=_TOPICS,
        idle=_NO,
        alone=True,
    ),
    ForeignHeader(
        SINGLE_ACTIVE,
        (_BROWSE,),
        "one consumer at a time gets all the messages; with browser:true nobody gets any",
        kinds=_QUEUES,
        idle=_NO,
    ),
    ForeignHeader(
        PRIORITY,
        (_SUBSCRIBE,),
        "consumers of a higher priority get the messages first; this subscription to a topic has "
        "its messages to itself, unless it is durable or names a share",
        kinds=_TOPICS,
        idle=_NONE,
        alone=True,
    ),
    ForeignHeader(
        PRIORITY,
        (_BROWSE,),
        "consumers of a higher priority get the messages first; with browser:true nobody gets any",
        kinds=_QUEUES,
        idle=_NONE,
    ),
    ForeignHeader(
        NO_LOCAL,
        (_SUBSCRIBE,),
        "what the same connection sends does not come: what only its sender waits for would stay "
        "in the queue for ever",
        kinds=_BUT_TOPICS,
        idle=_NO,
    ),
    ForeignHeader(
        ("consumer-window-size",),
        (_SUBSCRIBE,),
        "so many bytes may be unsettled; with ack:auto nothing is",
        kinds=tuple(DestinationKind),
        idle=_UNLIMITED,
        auto=True,
    ),
    ForeignHeader(
        PENDING_LIMIT,
        (_SUBSCRIBE,),
        "so many messages wait for a subscriber that is slow; a queue has max_length",
        kinds=_BUT_TOPICS,
        idle=_UNLIMITED,
    ),
    ForeignHeader(
        ("activemq.retroactive",),
        (_SUBSCRIBE,),
        f"messages of a stream that were sent before come as well, {_NO_STREAM}",
        kinds=_QUEUES,
        idle=_NO,
        unread=True,
    ),
    ForeignHeader(
        RETRIES,
        (_SUBSCRIBE,),
        "messages that are refused come back as it says; with ack:auto none is",
        kinds=tuple(DestinationKind),
        auto=True,
    ),
    ForeignHeader(
        ("x-delayed-retry-type", "x-delayed-retry-min", "x-delayed-retry-max"),
        (_SEND,),
        "messages that are refused come back as it says; a [[policy]] can say that",
        kinds=_BUT_QUEUES,
    ),
    ForeignHeader(
        (
            "x-delayed-retry-type",
            "x-delayed-retry-min",
            "x-delayed-retry-max",
            "x-max-length",
            "x-max-length-bytes",
            "x-overflow",
            "x-message-ttl",
            "x-last-value-key",
        ),
        (_SUBSCRIBE,),
        "it sets up a queue, and this is none; x-queue-name gives a topic subscription one, and a "
        "[[policy]] can say it for topics",
        kinds=_BUT_QUEUES,
        unnamed=True,
    ),
    ForeignHeader(
        ("share",),
        (_SUBSCRIBE,),
        "each message of a topic goes to one of a group; whoever consumes from a queue shares it",
        kinds=_BUT_TOPICS,
        unread=True,
    ),
    ForeignHeader(
        ("x-consumer-timeout",),
        (_SUBSCRIBE,),
        "what is not settled in time goes back; with ack:auto everything is settled at once",
        kinds=tuple(DestinationKind),
        idle=_NONE,
        auto=True,
    ),
    ForeignHeader(
        ("x-stream-offset", "x-stream-consumer", "x-stream-filter"),
        (_SUBSCRIBE,),
        f"messages of a stream come from there on, {_NO_STREAM}",
        kinds=tuple(DestinationKind),
        unread=True,
    ),
    ForeignHeader(
        ("x-stream-automatic-offset-tracking", "x-stream-match-unfiltered"),
        (_SUBSCRIBE,),
        f"messages of a stream come from there on, {_NO_STREAM}",
        kinds=tuple(DestinationKind),
        idle=_NO,
        unread=True,
    ),
    ForeignHeader(
        ("x-stream-consumer", "x-stream-automatic-offset-tracking"),
        (_BROWSE,),
        "the place of a reader of a stream is kept; with browser:true nobody reads",
        kinds=_QUEUES,
        idle=_NO,
    ),
    ForeignHeader(
        ("x-queue-type",),
        (_SUBSCRIBE,),
        "the queue is a stream, and this is none; x-queue-name gives a topic subscription one",
        kinds=_BUT_QUEUES,
        asks=("stream",),
        unnamed=True,
    ),
    ForeignHeader(
        ("x-max-age",),
        (_SEND,),
        f"messages of a stream that are older go, {_NO_STREAM}",
        kinds=_QUEUES,
        unread=True,
    ),
    ForeignHeader(
        ("x-max-age",),
        (_SUBSCRIBE,),
        f"messages of a stream that are older go, {_NO_STREAM}",
        kinds=tuple(DestinationKind),
        unread=True,
    ),
    ForeignHeader(
        ("x-last-value-key",),
        (_SEND,),
        "a message takes the place of the one with the same key, in a queue; for those of a topic "
        "no place is kept",
        kinds=_BUT_QUEUES,
    ),
    ForeignHeader(
        ("x-dead-letter-exchange",),
        (_SUBSCRIBE,),
        _TO_EXCHANGE,
        idle=("", "amq.direct"),
    ),
    ForeignHeader(
        ("x-dead-letter-exchange",),
        (_SEND,),
        _TO_EXCHANGE,
        kinds=_QUEUES,
        idle=("", "amq.direct"),
    ),
    ForeignHeader(
        RETAIN,
        (_SEND,),
        "the message is kept for who subscribes later; a queue keeps everything until somebody "
        "has it",
        kinds=_BUT_TOPICS,
        idle=_NO,
    ),
    ForeignHeader(
        ("retained",),
        (_SUBSCRIBE,),
        "what topics keep comes first; a queue keeps everything until somebody has it",
        kinds=_BUT_TOPICS,
        idle=_NO,
    ),
    ForeignHeader(
        ("reply-timeout",),
        (_SEND,),
        "the broker answers if nobody else does in time, for queues and topics",
        kinds=_BUT_SHARED,
        idle=_NONE,
    ),
    ForeignHeader(
        ("mandatory",),
        (_SEND,),
        "its RECEIPT says to how many places it goes, for queues and topics",
        kinds=_BUT_SHARED,
        asks=("true",),
    ),
    ForeignHeader(
        ("x-stream-filter-value",),
        (_SEND,),
        f"readers of a stream choose by it, {_NO_STREAM}",
        kinds=_QUEUES,
        unread=True,
    ),
    ForeignHeader(
        ("AMQ_SCHEDULER_ACTION",),
        (_SEND,),
        "the scheduler shows or removes what waits; the scheduled.* commands and "
        "x-schedule-cancel do that",
    ),
)
"""All that are known. What an application may use for its own data is not among them."""

NAMES = frozenset(name for foreign in FOREIGN for name in foreign.names)
"""What may stand in ``[compat] ignore``."""


def _by_name(command: str) -> dict[str, ForeignHeader]:
    found = [foreign for foreign in FOREIGN if command in foreign.commands]
    return {name: foreign for foreign in found for name in foreign.names}


_KNOWN = {command: _by_name(command) for command in (_SEND, _SUBSCRIBE, _NACK)}
_KNOWN[_BROWSE] = {
    name: foreign for name, foreign in _KNOWN[_SUBSCRIBE].items() if not name.startswith("browser-")
} | _by_name(_BROWSE)

OF_SEND = frozenset(_KNOWN[_SEND])
"""Those that a SEND may not have, at least not everywhere."""


class ForeignHeaders:
    """Refuses headers that ask for what is not done, unless they are ignored on purpose.

    Args:
        ignore: names of headers that are ignored.
        events: told of the first time that one is.
    """

    def __init__(self, ignore: Collection[str], events: Events) -> None:
        self._ignore = frozenset(ignore)
        self._events = events
        self._told: set[str] = set()

    def check(
        self,
        command: str,
        headers: Mapping[str, str],
        destination: Destination | None = None,
        *,
        is_stream: bool = False,
    ) -> None:
        """Check the headers of a frame.

        Args:
            command: of the frame; BROWSE for a SUBSCRIBE with ``browser:true``.
            headers: of the frame.
            destination: of the frame; None if it has none.
            is_stream: whether that is a stream.

        Raises:
            ProtocolError: one of them asks for something that is not done, and is not ignored.
        """
        for name, foreign in self._asking(command, headers, destination, is_stream):
            if name not in self._ignore:
                raise _refused(name, foreign)
            if name not in self._told:
                self._told.add(name)
                self._tell(name, foreign, command, destination)

    def refusal(
        self,
        command: str,
        headers: Mapping[str, str],
        destination: Destination | None = None,
        *,
        is_stream: bool = False,
    ) -> ProtocolError | None:
        """What `check` would raise; nobody is told of it. None = nothing."""
        for name, foreign in self._asking(command, headers, destination, is_stream):
            if name not in self._ignore:
                return _refused(name, foreign)
        return None

    @staticmethod
    def _asking(
        command: str,
        headers: Mapping[str, str],
        destination: Destination | None,
        is_stream: bool,
    ) -> Iterator[tuple[str, ForeignHeader]]:
        """The headers of a frame that ask for what is not done."""
        known = _KNOWN[command]
        for name in headers.keys() & known.keys():
            foreign = known[name]
            if foreign.auto and headers.get("ack", "auto") != "auto":
                continue
            if foreign.unnamed and headers.get("x-queue-name"):
                continue
            if foreign.unread and is_stream:
                continue
            if foreign.alone and not has_itself(headers):
                continue
            if foreign.wanted(name, headers[name], destination):
                yield name, foreign

    def _tell(
        self, name: str, foreign: ForeignHeader, command: str, destination: Destination | None
    ) -> None:
        where = "" if destination is None else str(destination)
        log.warning("%s %s: header %r is ignored (%s)", command, where, name, foreign.means)
        self._events.tell(
            Event(type="header.ignored", severity="warn", destination=where, reason=name)
        )


def _refused(name: str, foreign: ForeignHeader) -> ProtocolError:
    return ProtocolError(
        ErrorCode.NOT_SUPPORTED,
        f"this broker does not do the header {name!r} ({foreign.means}); "
        f'[compat] ignore = ["{name}"] in its configuration has it ignored',
    )
