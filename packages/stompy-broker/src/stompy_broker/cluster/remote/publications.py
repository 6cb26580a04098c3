"""What one front publishes, at the owner (**hot path**)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from stompy.errors import ProtocolError
from stompy_broker.cluster.remote.ownership import GuestTelling, Ownership
from stompy_broker.cluster.remote.verbs import (
    AnswerEvent,
    MessageOrigin,
    OnceVerb,
    PublishVerb,
    RoomEvent,
)
from stompy_broker.dedup_headers import DuplicateId
from stompy_broker.message import Message, MessageHead, Redelivery, earlier_deliveries
from stompy_broker.routing.answers import Refused
from stompy_broker.routing.interface import (
    KEEP_GROUPS,
    Expire,
    Outcome,
    PublishOnce,
    RestorableQueue,
)
from stompy_broker.routing.sequences import STEP

log = logging.getLogger("stompy_broker.cluster")


_REISSUED = 100_000
"""Of so many messages that came again it is known what they are called now."""


class Publications:
    """Puts what a front publishes into queues, and makes it wait when they are full.

    Args:
        telling: tells the front.
        owner: the group.

    Attributes:
        refused: batch, index and reason of what was refused, until somebody takes it from here.
    """

    def __init__(self, telling: GuestTelling, owner: Ownership) -> None:
        self.refused: list[tuple[int, int, ProtocolError]] = []
        self._telling = telling
        self._owner = owner
        self._full: dict[str, Callable[[], None]] = {}
        self._batch, self._index = 0, 0  # of the message that is published

    def publish(self, verb: PublishVerb, batch: int, start: int, *, doubtful: bool) -> bool:
        """Put messages into their queue; say whether they are stored.

        Args:
            verb: they.
            batch: the number of their batch.
            start: the index of the first of them.
            doubtful: whether they may have been delivered by another owner.
        """
        head, owner = verb.head, self._owner
        self._batch = batch
        queue = owner.queue(verb.queue)
        if queue is None:
            return False  # of a durable subscription that was deleted meanwhile
        if head.traits.group is not None:
            queue.control(KEEP_GROUPS)
        error = owner.refusal(head, queue) if verb.refusable else None
        if error is not None:
            self._refuse_all(start, start + len(verb.bodies), error)
            return False
        past = verb.past
        if doubtful and past is None:
            past = earlier_deliveries(0, 0, perhaps_more=True)
        if owner.awaited or doubtful:
            self._publish_again(verb, queue, start, past)
            owner.doubt()
        elif head.traits.can_expire:
            self._publish_expiring(verb, queue, start, past)
        else:
            self._publish_all(verb, queue, start, past)
        if verb.queue not in self._full:
            self._look_for_room(verb.queue, queue)
        return queue.is_stored and head.traits.persistent

    def publish_once(
        self,
        verb: OnceVerb,
        batch: int,
        index: int,
        answer: Callable[[Outcome], None],
        *,
        doubtful: bool,
    ) -> bool:
        """Put a message into its queue unless its id is known; say whether anything is stored.

        Args:
            verb: it.
            batch: the number of its batch.
            index: its own.
            answer: takes what it is a duplicate of, 0 = it was taken, or why it was refused.
            doubtful: whether it may have been delivered by another owner.
        """
        head, owner, name = verb.head, self._owner, self._telling.name
        self._batch, self._index = batch, index
        queue = owner.queue(verb.queue)
        if queue is None:
            return False
        error = owner.refusal(head, queue) if verb.refusable else None
        if error is not None:
            answer(error)
            return False
        awaited = owner.awaited.pop((name, batch, index), None)
        if awaited is None:
            number = owner.take_sequence()
            if owner.awaited or doubtful:
                if len(owner.reissued) < _REISSUED:
                    owner.reissued[name, batch, index] = number
                owner.doubt()
        else:
            number = awaited.sequence
            owner.pass_over(number)
        past = earlier_deliveries(0, 0, perhaps_more=doubtful)
        message = Message(number, head, verb.body, owner.stamp(), past)
        refused: Refused | None = answer if verb.refusable and awaited is None else None
        once = PublishOnce(message, DuplicateId(verb.value, verb.ttl), None, refused)
        if awaited is not None:
            once.put = partial(awaited.take, queue)

        def taken(outcome: Outcome) -> None:
            if not outcome:
                self._originate(head, number, 1, index + 1)
            answer(outcome)

        queue.control(once, taken)
        if verb.queue not in self._full:
            self._look_for_room(verb.queue, queue)
        return queue.is_stored and head.traits.persistent

    def _publish_all(
        self, verb: PublishVerb, queue: RestorableQueue, start: int, past: Redelivery | None
    ) -> None:
        head, owner = verb.head, self._owner
        refused = self._refuse if verb.refusable else None
        at, numbers, publish = owner.stamp(), owner.sequences, queue.publish
        first, length = numbers.last + STEP, 0
        for index, body in enumerate(verb.bodies, start):
            self._index = index
            number = numbers.last = numbers.last + STEP
            if number != first + length * STEP:  # a dead letter came between
                self._originate(head, first, length, index)
                first, length = number, 0
            length += 1
            publish(Message(number, head, body, at, past), None, refused)
        self._originate(head, first, length, start + len(verb.bodies))

    def _publish_expiring(
        self, verb: PublishVerb, queue: RestorableQueue, start: int, past: Redelivery | None
    ) -> None:
        """Publish what ends some time: by the clock here, not by that of the front."""
        owner = self._owner
        expires, at = owner.ends_at(verb.head), owner.stamp()
        for index, body in enumerate(verb.bodies, start):
            self._index = index
            number = owner.take_sequence()
            message = Message(number, verb.head, body, at, past)
            message.expires = expires
            self._originate(verb.head, number, 1, index + 1)
            if owner.is_over(expires):
                queue.control(Expire(message))
            else:
                queue.publish(message, None, self._refuse if verb.refusable else None)

    def _publish_again(
        self, verb: PublishVerb, queue: RestorableQueue, start: int, past: Redelivery | None
    ) -> None:
        """Publish while some of it may be with consumers already."""
        owner, name = self._owner, self._telling.name
        for index, body in enumerate(verb.bodies, start):
            awaited = owner.awaited.pop((name, self._batch, index), None)
            if awaited is not None:
                owner.pass_over(awaited.sequence)
                awaited.take(queue, Message(awaited.sequence, verb.head, body, owner.stamp()))
                continue
            if len(owner.reissued) < _REISSUED:
                owner.reissued[name, self._batch, index] = owner.sequences.last + STEP
            one = PublishVerb(verb.queue, verb.head, verb.refusable, past, [body], [])
            if verb.head.traits.can_expire:
                self._publish_expiring(one, queue, index, past)
            else:
                self._publish_all(one, queue, index, past)

    def _originate(self, head: MessageHead, first: int, length: int, end: int) -> None:
        """Take note of where messages come from: so many, up to an index."""
        if length and head.traits.persistent:
            start = end - length
            origin = MessageOrigin(first, length, self._telling.name, self._batch, start)
            self._owner.originated(origin)

    def _refuse(self, error: ProtocolError) -> None:
        self.refused.append((self._batch, self._index, error))
        self._telling.add(AnswerEvent(self._batch, self._index, error))

    def _refuse_all(self, start: int, end: int, error: ProtocolError) -> None:
        for index in range(start, end):
            self._index = index
            self._refuse(error)

    # -- room -------------------------------------------------------------------------------

    def _look_for_room(self, name: str, queue: RestorableQueue) -> None:
        blocking = self._owner.blocking(queue)
        if blocking is None:
            return
        high = 0 if blocking.held or blocking.high == float("inf") else int(blocking.high)

        def go_on() -> None:
            if self._full.pop(name, None) is not None:
                self._telling.add(RoomEvent(name, 0, 0))
                self._look_for_room(name, queue)

        self._full[name] = partial(blocking.forget, go_on)
        blocking.wait(go_on)
        self._telling.add(RoomEvent(name, max(1, int(blocking.used)), high))

    def forget(self) -> None:
        """Wait for no room any more: it is told anew, or has gone."""
        for forget in self._full.values():
            forget()
        self._full.clear()
