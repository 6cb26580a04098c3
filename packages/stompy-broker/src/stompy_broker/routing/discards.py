"""Messages that a queue gives up: the way out, and what happens when there is none.

Whatever goes wrong with one message costs that message its turn, and nobody anything else: not its
consumer, not those behind it, not whoever is in the call. It is never in no queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from stompy.admin.rows import Event
from stompy.admin.settlements import SettlementKind
from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.answers import Done
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.dead_letters import Fate, target_of
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.paging import BodyReader, DeadLetterReader
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.services import Services

log = logging.getLogger("stompy_broker.queue")

_ASIDE_SECONDS = 60.0
"""After so long a message is tried again that could not be written, or given up."""

Delay = Callable[[Message, float], None]
"""Puts a message where it waits for so many seconds."""


class Discards:
    """Gives up messages of one queue.

    Args:
        queue: it.
        services: of the broker.
        group: of the queue.
        accounts: of the queue.
        reader: of the queue.
        counts: of the queue.
        delay: puts a message back for later.

    Attributes:
        leaving: what waits for its body before it can be a dead letter, or is on its way to
            another broker.
    """

    __slots__ = (
        "_accounts",
        "_counts",
        "_delay",
        "_group",
        "_queue",
        "_reader",
        "_services",
        "leaving",
    )

    def __init__(
        self,
        queue: QueueIdentity,
        services: Services,
        group: QueueGroup,
        accounts: Accounts,
        reader: BodyReader,
        counts: Counts,
        delay: Delay,
    ) -> None:
        self._queue = queue
        self._services = services
        self._group = group
        self._accounts = accounts
        self._reader = reader
        self._counts = counts
        self._delay = delay
        self.leaving = DeadLetterReader(group.store, self._have_body)

    def give_up(self, message: Message, cause: str, reason: str = "") -> None:
        """Send a message of the queue to the dead letters, or nowhere."""
        if message.body is None and target_of(self._queue, cause):
            self._reader.forget(message)
            self.leaving.add(message, cause, reason)
            return
        fate = self._dispose(message, cause, reason, partial(self._depart, message))
        if fate is Fate.STAYS:
            self._set_aside(message)
        elif fate is not Fate.LEAVES:
            kind, sent_to = _told(fate, cause), ""
            if fate is Fate.DEAD_LETTERED:
                sent_to = target_of(self._queue, cause).replace("{name}", self._queue.name)
            self._accounts.give_up(message, kind, cause, reason, sent_to)

    def expire(self, message: Message) -> None:
        """Give up a message whose time is over."""
        self.give_up(message, "expired")

    def _depart(self, message: Message) -> Done:
        return self.leaving.depart(message, self._accounts.let_go)

    def _depart_from_nowhere(self, message: Message) -> Done:
        # It is safe here until it is safe there: its sender is told that it is safe.
        self._accounts.keep(message)
        return self._depart(message)

    def mark_under_way(self) -> None:
        """Have the store know that these may be elsewhere as well: the queue moves."""
        for message in self.leaving.under_way:
            self._accounts.mark_delivered(message, 0)

    def ends(self, message: Message) -> bool:
        """Give up a message whose turn comes too late, or once too often; say whether it was so."""
        if message.expires and message.expires <= self._services.wall():
            self.give_up(message, "expired")
            return True
        if not message.deliveries:
            return False
        if not self._queue.final and self._queue.policy.exhausted(message.failures):
            # A crash cut its last delivery short.
            self.give_up(message, "delivery_limit")
            return True
        self._counts.redelivered += 1
        return False

    def turn_away(self, message: Message, cause: str) -> None:
        """Send a message that came in to the dead letters, or nowhere: it does not stay."""
        depart = partial(self._depart_from_nowhere, message)
        if self._dispose(message, cause, "", depart) is Fate.STAYS:
            self._accounts.keep(message)
            self._set_aside(message)

    def cannot_write(self, message: Message, error: Exception) -> None:
        """Take a message out of the way that cannot be written: a fault of ours."""
        destination = self._queue.destination
        log.error("%s: %s cannot be written", destination, message, exc_info=error)
        if target_of(self._queue, "unwritable"):
            self.give_up(message, "unwritable", f"{type(error).__name__}: {error}")
        else:
            self._set_aside(message)

    def lose(self, message: Message) -> None:
        """Forget a message whose body the disk has lost, or damaged: nothing can be delivered."""
        destination = self._queue.destination
        log.error("%s: message %s has no body to deliver any more", destination, message)
        self.drop(message, "unreadable")

    def lose_some(self, lost: set[int], ready: ReadyList) -> None:
        """Forget messages like that, by sequence, wherever they wait."""
        if lost:
            for message in ready.take_out(lambda message: message.sequence in lost):
                self.lose(message)

    def drop(self, message: Message, cause: str) -> None:
        """Let a message go nowhere."""
        self._counts.dropped += 1
        self._accounts.give_up(message, SettlementKind.DROPPED, cause)

    def outdate(self, message: Message, *, in_place: bool = False) -> None:
        """Let a message go whose value is not the last one any more.

        Args:
            message: it.
            in_place: whether another one gets its place.
        """
        self._counts.replaced += 1
        events = self._services.events
        if "message" in events.detailed:
            events.tell(
                Event(
                    type="message.replaced",
                    destination=self._queue.destination,
                    message_id=message.message_id,
                )
            )
        self._accounts.give_up(message, SettlementKind.REPLACED)
        if in_place and self._accounts.store is not None:
            self._accounts.store.pass_on(message.sequence)

    def _dispose(
        self, message: Message, cause: str, reason: str, depart: Callable[[], Done]
    ) -> Fate:
        """Make a dead letter, or drop it."""
        # A timer may be behind this, long after anything was received; and a dead letter is not
        # older than its death.
        self._services.note_time()
        fate = self._services.dead_letters.dead_letter(
            self._queue,
            self._group,
            message,
            cause,
            reason,
            depart if self._accounts.store is not None and message.head.persistent else None,
        )
        if fate is Fate.STAYS:
            return fate
        counts = self._counts
        if cause == "expired":
            counts.expired += 1
        if fate is not Fate.DROPPED:
            counts.dead_lettered += 1
        elif cause != "expired":
            counts.dropped += 1
        return fate

    def _set_aside(self, message: Message) -> None:
        """Keep it for later: there is no place for it now."""
        if self._queue.private:
            self.drop(message, "unwritable")
        else:
            self._delay(message, _ASIDE_SECONDS)

    def _have_body(self, message: Message, cause: str, reason: str) -> None:
        if message.body is None:
            self.lose(message)
            return
        self._accounts.memory.used += message.size - message.ram_on_disk
        self.give_up(message, cause, reason)


def _told(fate: Fate, cause: str) -> SettlementKind:
    """How the history tells what became of a message."""
    if cause == "expired":
        return SettlementKind.EXPIRED
    return SettlementKind.DROPPED if fate is Fate.DROPPED else SettlementKind.DEAD_LETTERED
