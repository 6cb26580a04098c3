"""The queue of the messages that topics keep: the last one of each, for who subscribes later.

It is a queue like others for whoever sends to it, commits or restores: so what is kept is as safe
as a message. It has no consumers. Its messages say in their ``destination`` which topic they are
of; one without body has that topic forget what it kept. What there is stands in the table of the
broker (`stompy_broker.routing.retained_table`), where everybody may look.

Invariants:

* Each message in the table is accounted for, and in the store if it is persistent.
* What a message takes the place of leaves the store in the same turn, which is one change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Set
from functools import partial
from typing import Final

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import parse_destination, topic_text
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, Refused, nobody_asks
from stompy_broker.routing.bookkeeping import accounts_for
from stompy_broker.routing.companion_queue import CompanionQueue
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Expire,
    Order,
    Outcome,
    QueueFigures,
    QueueIdentity,
    QueueKind,
    Remove,
)
from stompy_broker.routing.paging import BodyReader, first_without_body
from stompy_broker.routing.retained_table import Entry
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings

log = logging.getLogger("stompy_broker.queue")

_TOLD: Final = 20
"""So many topics an event names."""

_NOT_BEFORE: Final = 1.0
"""Seconds between two looks at what has ended."""


class RetainedQueue(CompanionQueue):
    """The last messages of topics.

    Args:
        destination: its own, by which the store knows it.
        name: its own.
        policy: its own.
        kind: its own.
        services: clock, memory and table of the broker.
        group: store, disk and message-ids.

    Attributes:
        published: messages that came in.
    """

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> None:
        self._identity = QueueIdentity(destination, name, policy, *kind)
        self._group = group
        self._services = services
        self._created_at = services.wall()
        self.published = self._expired = self._removed = 0
        self._table = table = services.retained
        table.load = self._load
        kept = group.store if group.store.durable else None
        self._reader = reader = BodyReader(services.memory, group.store, self._have_read)
        self._waiting: list[Callable[[], None]] = []  # for bodies
        self._accounts = accounts_for(
            self._identity, services, services.memory, group.disk, kept, None, reader, shares=True
        )
        self._timer = services.clock.timer(self._expire)
        self._next_end = 0

    # -- what stands beside the verbs -------------------------------------------------------

    @property
    def group(self) -> QueueGroup:
        """What it has in common with other queues."""
        return self._group

    @property
    def sequences(self) -> Sequences:
        """What numbers its messages."""
        return self._group.sequences

    @property
    def unshared(self) -> bool:
        """Whether its messages must be its own: they may be stored."""
        return True

    @property
    def is_stored(self) -> bool:
        """Whether persistent messages in it survive."""
        return self._accounts.store is not None

    @property
    def watermark(self) -> Watermark | None:
        """Nothing of its own makes producers wait."""
        return None

    @property
    def delivered(self) -> int:
        """Nothing is delivered from here: subscribers get copies."""
        return 0

    # -- messages that come and go ----------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Have a message be the last one of its topic, or the topic forget what it kept."""
        self.published += 1
        topic = topic_of(message)
        before = self._table.drop(topic)
        if before is not None:
            self._accounts.let_go(before)
        ended = 0 < message.expires <= self._services.wall()
        if ended or message.body == b"":
            if before is not None:
                reason = "its time was over" if ended else "its sender had it forgotten"
                self._tell([topic], reason)
        else:
            self._accounts.keep(message)
            self._table.put(topic, message)
            self._table.kept += 1
            self._watch(message)
            if before is None and "retained" in self._services.events.detailed:
                event = Event(
                    type="retained.kept",
                    destination=topic_text(topic),
                    message_id=message.message_id,
                    detail={"bytes": message.size},
                )
                self._services.events.tell(event, keep=False)
        if done is None:
            return
        if self._accounts.store is None or not (message.head.persistent or _is_stored(before)):
            done()
        else:
            self._accounts.store.sync(done)

    def _forget(self, topics: Iterable[str], reason: str, user: str = "") -> int:
        """Have topics keep nothing any more; gives how many did."""
        gone = []
        for topic in topics:
            before = self._table.drop(topic)
            if before is not None:
                self._accounts.let_go(before)
                gone.append(topic)
        self._tell(gone, reason, user)
        return len(gone)

    def _tell(self, topics: list[str], reason: str, user: str = "") -> None:
        """Tell that topics keep nothing any more: one event, however many they are."""
        if topics:
            detail = {"topics": len(topics), "names": topics[:_TOLD]}
            destination = topic_text(topics[0]) if len(topics) == 1 else ""
            self._services.events.tell(
                Event(
                    type="retained.forgotten",
                    destination=destination,
                    reason=reason,
                    user=user,
                    detail=detail,
                )
            )

    # -- what ends by itself ----------------------------------------------------------------

    def _watch(self, message: Message) -> None:
        """Look when a message ends, if it does."""
        ends = message.expires
        if ends and (not self._next_end or ends < self._next_end):
            self._next_end = ends
            left = max(0.0, (ends - self._services.wall()) / 1000)
            self._timer.set(self._services.clock.now() + left)

    def _expire(self) -> None:
        """Forget what has ended."""
        now = self._services.wall()
        self._expired += self._forget(self._table.expired(now), "its time was over")
        ends = [one.expires for one in self._table.messages.values() if one.expires]
        self._next_end = min(ends, default=0)
        if self._next_end:
            left = max(_NOT_BEFORE, (self._next_end - now) / 1000)
            self._timer.set(self._services.clock.now() + left)

    # -- bodies -----------------------------------------------------------------------------

    def _load(self, entries: list[Entry], done: Callable[[], None]) -> None:
        """Have bodies read that are on disk only, and call back."""
        there = self._table.messages
        missing = [one for topic, one in entries if one.body is None and there.get(topic) is one]
        if not missing:
            done()
            return
        self._waiting.append(partial(self._load, entries, done))
        if self._reader.wanted is None:
            self._reader.begin(first_without_body(iter(missing)))

    def _have_read(self, lost: set[int]) -> None:
        if lost:
            gone = [topic for topic, one in self._table.messages.items() if one.sequence in lost]
            for topic in gone:
                log.error("%s: its retained message cannot be read, and is lost", topic_text(topic))
            self._forget(gone, "it cannot be read any more")
        waiting, self._waiting = self._waiting, []
        for again in waiting:
            again()

    # -- the other verbs --------------------------------------------------------------------

    def admit(self, count: int, before: int, done: Done) -> None:
        """Take more: whether there is room is asked where the topics are known."""
        done()

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, or what is known already."""
        figures = QueueFigures(
            settings=NO_SETTINGS,
            ready=len(self._table),
            delayed=0,
            unacked=0,
            consumers=0,
            bytes=self._accounts.bytes,
            in_use=True,
            full=False,
            published=self.published,
            delivered=0,
            acked=0,
            nacked=0,
            redelivered=0,
            expired=self._expired,
            dead_lettered=0,
            dropped=0,
            removed=self._removed,
            replaced=0,
            duplicates=0,
            duplicate_ids=0,
            unmatched=0,
            lines=(),
            groups=0,
            keys=0,
            idle_since=None,
            created_at=self._created_at,
            oldest_at=None,
            newest_at=None,
        )
        done(known if known == figures and known is not None else figures)

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Show nothing: the table shows what there is."""
        done(Browsed([], 0, more=False, last=self._group.sequences.last))

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        answer = done or nobody_asks
        if isinstance(order, Remove):
            meant = order.sequences
            gone = [topic for topic, one in self._table.messages.items() if one.sequence in meant]
            self._removed += len(gone)
            answer(self._forget(gone, "an operator had it forgotten"))
        elif isinstance(order, Expire):
            self.publish(order.message)
            answer(1)
        elif isinstance(order, Close):
            words = f"{self.destination} belongs to the broker, and stays"
            answer(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, words))
        else:
            answer(0)

    # -- what a store has kept --------------------------------------------------------------

    def configure(self, settings: QueueSettings) -> None:
        """Do nothing: it has no settings."""

    def restore(self, message: Message, due: int) -> None:
        """Take a message back that the store has kept."""
        before = self._table.put(topic_of(message), message)
        self._accounts.restore(message, self._group.store)
        if before is not None:  # none that is older was left there
            self._accounts.let_go(before)
        self._watch(message)

    def set_idle_since(self, when: float) -> None:
        """Do nothing: it is always in use."""

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take nothing out: no consumer has anything."""
        return []

    def take_held(self, message: Message, holder: int) -> None:
        """Take a message that comes in, and that nobody can have."""
        self.publish(message)

    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store: another broker has the messages from now on."""
        waiting = list(self._table.messages.items())
        lost = self._accounts.abandon([message for _, message in waiting], held)
        for topic, message in waiting:
            self._table.drop(topic)
            self._accounts.let_go(message)
        self._timer.end()
        self._reader.close()
        return lost

    def __repr__(self) -> str:
        """How many topics there are, and of what size."""
        return f"<RetainedQueue topics:{len(self._table)} bytes:{self._table.bytes}>"


def topic_of(message: Message) -> str:
    """The name of the topic that keeps a message."""
    return parse_destination(message.head.headers()["destination"]).name


def _is_stored(message: Message | None) -> bool:
    return message is not None and message.head.persistent
