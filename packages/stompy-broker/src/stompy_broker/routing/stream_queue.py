"""A stream: messages that stay, and that any number of readers read, each at its own pace.

It is a queue for whoever sends to it, subscribes to it, settles or asks: so a message of a stream
is as safe as any other, and a COMMIT that has part in one is one change. What it is not: nobody
takes a message away by reading it. The oldest ones go when there is too much (`StreamRetention`).

Invariants:

* A message has the offset that it got when it was published: 0, 1, 2 …, without gaps.
* What is told of a stream in one turn of the event loop, messages as well as places of readers, is
  one change of the store of its group.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Set
from functools import partial
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import OVERHEAD, Message
from stompy_broker.routing.answers import Done, Refused, nobody_asks
from stompy_broker.routing.attendance import Attendance
from stompy_broker.routing.batching import AT_ONCE, BatchedWork
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.duplicate_check import take_once
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Configure,
    Expire,
    GiveUp,
    Move,
    Order,
    Outcome,
    PublishOnce,
    QueueFigures,
    QueueIdentity,
    QueueKind,
    Remove,
    RestorableQueue,
    Withdraw,
)
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.sequences import Sequences
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.routing.stream_browsing import StreamBrowser
from stompy_broker.routing.stream_orders import ForgetReader, Seek, StreamFigures, Truncate
from stompy_broker.routing.stream_readers import StreamReaders
from stompy_broker.routing.stream_retention import StreamRetention
from stompy_broker.routing.stream_source import StreamSource

log = logging.getLogger("stompy_broker.queue")

STREAM_LOG: Final = "stream."
"""How the names of the logs of streams begin; the destination follows."""


class StreamQueue(RestorableQueue):
    """One stream.

    Args:
        destination: as clients write it.
        name: without prefix.
        policy: how it behaves.
        kind: what it is for.
        services: clock, memory and dead letters of the broker.
        group: store, disk and message-ids.

    Attributes:
        published: messages that came in.
    """

    __slots__ = (
        "_attendance",
        "_batches",
        "_browser",
        "_bytes",
        "_closed",
        "_counts",
        "_created_at",
        "_ends",
        "_intake",
        "_log",
        "_newest",
        "_readers",
        "_retention",
        "_services",
        "_settings",
        "_source",
        "_space",
        "group",
        "published",
        "sequences",
        "watermark",
    )

    group: QueueGroup
    sequences: Sequences
    watermark: Watermark | None

    def __init__(
        self,
        destination: str,
        name: str,
        policy: Policy,
        kind: QueueKind,
        services: Services,
        group: QueueGroup,
    ) -> None:
        self._identity = identity = QueueIdentity(destination, name, policy, *kind)
        self.group = group
        self.sequences = group.sequences
        self.watermark = None
        self.published = 0
        self._services = services
        self._settings, self._created_at = NO_SETTINGS, services.wall()
        self._closed = False
        self._newest: Message | None = None
        self._log = name_of_log = f"{STREAM_LOG}{destination}"
        logs = group.store.logs
        ends = logs.ends_of(name_of_log)
        # What is kept counts where it is: on the disk, or in memory.
        self._space = group.disk if group.store.durable else services.memory
        self._bytes = ends.bytes
        self._space.used += ends.bytes
        self._counts = counts = Counts()
        self._batches = BatchedWork(services.work_budget)
        self._attendance = Attendance(identity, services.clock.now())
        self._source = source = StreamSource(name_of_log, group.store, services.memory, ends)
        self._readers = StreamReaders(identity, source, services, group, counts, name_of_log)
        self._browser = StreamBrowser(name_of_log, logs, source, services)
        self._retention = StreamRetention(
            identity, source, name_of_log, logs, services.clock, services.wall, self._count_space
        )

    @property
    def unshared(self) -> bool:
        """Whether its messages must be its own: they are stored."""
        return True

    @property
    def is_stored(self) -> bool:
        """Whether messages in it survive: all do, where any do."""
        return self.group.store.durable

    @property
    def delivered(self) -> int:
        """Deliveries to all readers."""
        return self._readers.totals()[0]

    # -- messages that come -----------------------------------------------------------------

    def publish(
        self, message: Message, done: Done | None = None, refused: Refused | None = None
    ) -> None:
        """Take a message as the last one."""
        if not self._closed:
            self.published += 1
            self._newest = message
            size = message.size - OVERHEAD
            self._bytes += size
            space = self._space
            space.used += size
            if space.used >= space.high:
                space.went_over()
            self._source.append(message)
            if self._retention.watches:
                self._retention.grew()
        if done is not None:
            self.group.store.sync(done)

    def admit(self, count: int, before: int, done: Done) -> None:
        """Take any message: where there is too much the oldest ones go."""
        done()

    def _count_space(self) -> None:
        """Count what the log takes by now: the store gives room back in steps."""
        taken = 0 if self._closed else self.group.store.logs.ends_of(self._log).bytes
        self._space.used += taken - self._bytes
        self._bytes = taken
        self._space.check()

    # -- readers ----------------------------------------------------------------------------

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Let a consumer read."""
        error = self._readers.refusal(consumer)
        error = error or (self._attendance.refusal(consumer) if done is not None else None)
        if error is not None:
            if done is not None:
                done(error)
            else:
                consumer.fail(error)
            return
        settings = self._attendance.come(consumer, self._settings)
        if settings is not self._settings:
            self.control(Configure(settings))
        self._readers.come(consumer)
        if done is not None:
            done()

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Let a consumer go; others of its name are given what it has not settled."""
        was_last = self._attendance.go(consumer, self._services.clock.now())
        self._readers.go(consumer, list(unsettled), lost=lost)
        if was_last and self._attendance.ends(self._settings, lost=lost):
            self._services.queue_left(self.name, done or nobody_asks)
        elif done is not None:
            done()

    def resume(self, consumer: Consumer) -> None:
        """Go on: a consumer has room again."""
        self._readers.resume(consumer)

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """End a delivery: the reader goes on, or is given the message again."""
        is_kept = self._readers.settle(message, rejection)
        if done is None:
            return
        if is_kept:
            self.group.store.sync(done)
        else:
            done()

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """End many deliveries and then call ``then``: in steps, unless they are few."""
        plain = rejection is None and done is None
        if plain and isinstance(messages, list) and len(messages) <= AT_ONCE:
            if messages:
                self._readers.accept_all(messages)
            then()
            return
        self._batches.do(messages, lambda message: self.settle(message, rejection, done), then)

    # -- now and then -----------------------------------------------------------------------

    @property
    def _in_use(self) -> bool:
        """Whether anybody reads, or anything is kept: also where it was, once it is empty."""
        return bool(self._attendance.consumers) or self._source.next > 0 or self._readers.keeps_any

    def stats(
        self, done: Callable[[QueueFigures], None], known: QueueFigures | None = None
    ) -> None:
        """Give the counters, or what is known already."""
        source, counts = self._source, self._counts
        delivered, redelivered, acked, nacked, unacked = self._readers.totals()
        figures = QueueFigures(
            settings=self._settings,
            ready=source.next - source.first,
            delayed=0,
            unacked=unacked,
            consumers=len(self._attendance.consumers),
            bytes=self._bytes,
            in_use=self._in_use,
            full=self.watermark is not None and self.watermark.full,
            published=self.published,
            delivered=delivered,
            acked=acked,
            nacked=nacked,
            redelivered=redelivered,
            expired=0,
            dead_lettered=counts.dead_lettered,
            dropped=counts.dropped,
            removed=counts.removed,
            replaced=0,
            duplicates=counts.duplicates,
            duplicate_ids=self._services.duplicates.count(self.destination),
            unmatched=0,
            lines=(),
            groups=0,
            keys=0,
            idle_since=self._attendance.idle_since,
            created_at=self._created_at,
            oldest_at=self._oldest_at(),
            newest_at=None if self._newest is None else self._newest.received_at,
            next_offset=source.next,
            readers=self._readers.count,
        )
        done(known if figures == known and known is not None else figures)

    def _oldest_at(self) -> int | None:
        """When the first message came that is there; of one on disk, about."""
        source = self._source
        if source.first == source.next:
            return None
        return source.oldest_at or self.group.store.logs.ends_of(self._log).oldest or None

    def figures(self) -> StreamFigures:
        """Where it begins and ends, and its readers."""
        source = self._source
        return StreamFigures(
            source.first,
            source.next,
            source.end,
            self._bytes,
            source.tail_bytes,
            tuple(self._readers.figures()),
        )

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        """Look at messages, or at the readers."""
        if wanted.stream and wanted.ages:
            self._readers.learn_ages(partial(self._tell, done))
        elif wanted.stream:
            self._tell(done)
        else:
            self._browser.browse(wanted, self.group, done)

    def _tell(self, done: Callable[[Browsed], None]) -> None:
        done(Browsed([], 0, more=False, stream=self.figures()))

    def control(self, order: Order, done: Callable[[Outcome], None] | None = None) -> None:
        """Carry out an order."""
        answer = done or nobody_asks
        if isinstance(order, PublishOnce):
            self._counts.duplicates += take_once(self, order, self._services, answer)
        elif isinstance(order, Configure):
            self.group.store.keep_queue(self.name, order.settings.to_stored())
            self.configure(order.settings)
            answer(0)
        elif isinstance(order, Close):
            self._end(order, answer)
        elif isinstance(order, Expire):
            self.publish(order.message)  # whatever it says of its end
            answer(1)
        elif isinstance(order, Withdraw):
            self._readers.stand_back(order.consumers)
            answer(len(order.consumers))
        elif isinstance(order, Truncate):
            answer(self._truncate(order.before))
        elif isinstance(order, Seek):
            self._seek(order, answer)
        elif isinstance(order, ForgetReader):
            answer(self._forget(order.name))
        elif isinstance(order, Move) and order.copies:
            self._browser.copy(order, answer)
        else:
            answer(self._refusal(order))

    def _refusal(self, order: Order) -> Outcome:
        """Refuse what takes messages away; there is nothing of the rest here."""
        if not isinstance(order, Remove | GiveUp | Move):
            return 0
        return ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"{self.destination} is a stream: its messages stay, and the oldest ones go by "
            "max_age, max_length and max_length_bytes of its policy, or by stream.truncate",
        )

    def _truncate(self, before: int) -> int:
        source = self._source
        gone = min(max(before, source.first), source.next) - source.first
        if gone:
            source.cut(before)
            self._counts.removed += gone
            self._count_space()
        return gone

    def _seek(self, order: Seek, answer: Callable[[Outcome], None]) -> None:
        if not self._readers.seek(order.name, order.start, answer):
            answer(
                ProtocolError(
                    ErrorCode.UNKNOWN_SUBSCRIPTION,
                    f"nobody reads {self.destination} under the name {order.name[:60]!r}",
                )
            )

    def _forget(self, name: str) -> Outcome:
        forgotten = self._readers.forget(name)
        if forgotten is None:
            return ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                f"somebody reads {self.destination} under the name {name[:60]!r}",
            )
        return int(forgotten)

    def configure(self, settings: QueueSettings) -> None:
        """Have these settings from now on."""
        before, self._settings = self._settings, settings
        readers = self._readers
        readers.paused = settings.paused
        if before.paused and not settings.paused:
            readers.hand_out()
        if settings.intake_paused != before.intake_paused:
            self.watermark = self.watermark or Watermark(0)
            if settings.intake_paused:
                self.watermark.hold()
            else:
                self.watermark.open()

    def renew_policy(self, policy: Policy) -> None:
        """Behave by another policy; a stream it stays, whatever that says."""
        self._identity.policy = policy
        self._retention.renew(policy)

    def _end(self, order: Close, answer: Callable[[Outcome], None]) -> None:
        now = self._services.clock.now()
        if self._closed or self._attendance.stays(order, self._in_use, now):
            answer(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, f"{self.destination} is in use"))
            return
        gone = self._source.next - self._source.first
        self._close()
        self.group.store.logs.drop(self._log)
        answer(gone)

    def _close(self) -> None:
        self._closed = True
        self._retention.close()
        self._readers.close()
        self._source.close()
        self._count_space()

    # -- what a store has kept --------------------------------------------------------------

    def restore(self, message: Message, due: int) -> None:
        """Take no message of a queue: where there are some, that is none of these."""
        log.error(
            "%s is a stream: message %s, which is none of it, stays in the data directory",
            self.destination,
            message,
        )

    def set_idle_since(self, when: float) -> None:
        """Nobody has taken part since then, on the clock."""
        self._attendance.idle_since = when

    # -- what moves between brokers: streams do not -----------------------------------------

    def adopt(self, sequences: Set[int]) -> list[Message]:
        """Take nothing out: consumers have copies."""
        return []

    def take_held(self, message: Message, holder: int) -> None:
        """Take a message: whoever has it, it stays."""
        self.publish(message)

    def abandon(self, held: Iterable[Message]) -> int:
        """End without a word to the store."""
        self._close()
        return 0

    def __repr__(self) -> str:
        """Name and offsets."""
        return f"<StreamQueue {self.destination} {self._source.first}-{self._source.next}>"
