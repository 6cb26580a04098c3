"""What stands for another broker among the subscriptions of a topic, and sends it messages.

One object for each broker, under each of the patterns that it wants, so that a message goes there
once. What comes within one turn of the event loop is one message on the link. A message that
several brokers get is written down once.

The other end says what it has taken. What it has not taken is bounded: a part of it is on the link,
the rest waits here, and of that the oldest go when it grows too large. They are counted, and an
event tells it. What is on a link that breaks is lost, as a subscriber loses what its socket held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.cluster.head_codec import write_head
from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.topics.topic_codec import Outgoing, write_messages
from stompy_broker.destinations.policy import Policy
from stompy_broker.events import Events
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Order,
    Outcome,
    Queue,
    QueueFigures,
    QueueIdentity,
)
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.settings import NO_SETTINGS

ON_LINK: Final = 4 * 1024 * 1024
"""Bytes that may be on a link without having been taken. It covers what is on its way, ..."""
WAITING: Final = 32 * 1024 * 1024
"""... and so many more wait here, before the oldest go."""
_PIECE: Final = 256 * 1024
"""A message on the link has no more than about so many bytes, or one message of a topic."""
_HEADS: Final = 1024
"""Heads that are remembered as they are written."""
_TELL_SECONDS: Final = 60.0
"""That messages go is told at most this often, for each broker."""


class OutgoingMessages:
    """Writes each message down once, for however many brokers it is."""

    def __init__(self) -> None:
        self._heads: dict[MessageHead, bytes] = {}
        self._stamp, self._received = b"", 0
        self._body: bytes | None = None
        self._head: MessageHead | None = None
        self._last: Outgoing | None = None

    def of(self, message: Message) -> Outgoing:
        """A message as it goes to other brokers."""
        head, body, last = message.head, message.body, self._last
        if (
            last is not None
            and body is self._body
            and head is self._head
            and last.expires == message.expires
            and message.stamp is self._stamp
        ):
            return last  # for the next broker; or it is just the same
        written = self._heads.get(head)
        if written is None:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            written = self._heads[head] = write_head(head)
        if message.stamp is not self._stamp:
            self._stamp, self._received = message.stamp, message.received_at
        assert body is not None
        self._head, self._body = head, body
        self._last = Outgoing(written, self._received, message.expires, body, message.size)
        return self._last


class PeerTopics(Queue):
    """Another broker, as one subscription to all topics that it wants.

    Args:
        link: to it.
        home: the group of what belongs to no other group.
        messages: writes them down, for all brokers.
        soon: calls a function at the end of this turn of the event loop.
        now: gives the time in seconds.
        events: told that messages went because the broker does not keep up.
        on_link: bytes that may be on the link.
        waiting: bytes that may wait here.

    Attributes:
        dropped: messages that went.
    """

    __slots__ = (
        "_events",
        "_link",
        "_messages",
        "_most_on_link",
        "_most_waiting",
        "_now",
        "_on_link",
        "_soon",
        "_tell_at",
        "_told",
        "_waiting",
        "_waiting_size",
        "dropped",
        "group",
        "sent",
        "sequences",
    )
    group: QueueGroup
    sequences: Sequences
    unshared = False
    is_stored = False
    watermark: Watermark | None = None

    def __init__(
        self,
        link: Link,
        home: QueueGroup,
        messages: OutgoingMessages,
        soon: Callable[[Callable[[], None]], object],
        now: Callable[[], float],
        events: Events,
        *,
        on_link: int = ON_LINK,
        waiting: int = WAITING,
    ) -> None:
        name = link.peer
        self._identity = QueueIdentity(
            f"/topic/{name}", name, Policy(), False, False, False, True, False
        )
        self.group = home
        self.sequences = home.sequences
        self.sent = self.dropped = 0
        self._link = link
        self._messages = messages
        self._soon, self._now, self._events = soon, now, events
        self._most_on_link, self._most_waiting = on_link, waiting
        self._waiting: deque[Outgoing] = deque()
        self._waiting_size = 0
        self._on_link = 0
        self._told = 0  # how many of those that went were told
        self._tell_at = 0.0

    @property
    def delivered(self) -> int:
        """How many messages were sent to it."""
        return self.sent

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Send a message at the end of this turn, or when the broker has taken others."""
        one = self._messages.of(message)
        waiting = self._waiting
        if not waiting:
            self._soon(self.flush)
        waiting.append(one)
        self._waiting_size += one.size
        while self._waiting_size > self._most_waiting and len(waiting) > 1:
            self._waiting_size -= waiting.popleft().size
            self.dropped += 1
            self._tell()
        if done is not None:
            done()

    def flush(self) -> None:
        """Send as much as there may be on the link."""
        waiting = self._waiting
        while waiting and self._on_link < self._most_on_link:
            piece, size = [], 0
            while waiting and size < _PIECE and self._on_link < self._most_on_link:
                one = waiting.popleft()
                piece.append(one)
                size += one.size
                self._on_link += one.size
            self._waiting_size -= size
            self.sent += len(piece)
            self._link.send(write_messages(piece))
        if self.dropped != self._told:
            self._tell()

    def taken(self, size: int) -> None:
        """The broker has taken so many more bytes."""
        self._on_link = max(0, self._on_link - size)
        self.flush()

    def _tell(self) -> None:
        now = self._now()
        if now < self._tell_at:
            return
        self._tell_at = now + _TELL_SECONDS
        count, self._told = self.dropped - self._told, self.dropped
        self._events.tell(
            Event(
                type="cluster.topics_dropped",
                severity="warn",
                reason=f"{self.name} does not keep up",
                detail={"broker": self.name, "messages": count},
            )
        )

    # -- what nobody asks of it ---------------------------------------------------------------

    def admit(self, count: int, before: int, done: Done) -> None:
        """Admit them all: it refuses nothing."""
        done()

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Do nothing: a message whose time was over when it came needs not be sent."""
        if done is not None:
            done(0)

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Refuse a consumer: the broker has consumers of its own."""
        if done is not None:
            done(ProtocolError(ErrorCode.NOT_SUPPORTED, f"{self.destination} is another broker"))

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Do nothing: nobody was attached."""
        if done is not None:
            done()

    def resume(self, consumer: Consumer) -> None:
        """Do nothing: nobody was attached."""

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """Do nothing: nothing was delivered."""
        if done is not None:
            done()

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """Do nothing: nothing was delivered."""
        for _ in messages:
            if done is not None:
                done()
        then()

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give what waits to be sent, and what was."""
        waiting = len(self._waiting)
        figures = dict.fromkeys(QueueFigures._fields, 0) | {
            "ready": waiting,
            "bytes": self._waiting_size,
            "published": self.sent + self.dropped + waiting,
            "delivered": self.sent,
            "dropped": self.dropped,
        }
        never = {"idle_since": None, "oldest_at": None, "newest_at": None}
        there = {"settings": NO_SETTINGS, "in_use": True, "full": False, "lines": ()}
        done(QueueFigures(**(figures | never | there)))  # type: ignore[arg-type]  # by its fields

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Show nothing: it holds what is on its way."""
        done(Browsed([], 0, False))
