"""A message with a duplicate id comes to a queue: it is taken, or dropped (**hot path**).

Whatever is answered with success leaves its id, in the same change of the store as the message; so
what is dropped as a duplicate was safe, or is so when its RECEIPT leaves. What is refused leaves
none. Messages that operators move, that are given up or that fire are published without a look
here: they were looked at when they came.

This is for queues of every class: `take_once` needs nothing of one but its verbs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stompy.admin.rows import Event
from stompy.errors import ProtocolError
from stompy_broker.dedup_headers import QUEUED
from stompy_broker.message import Message
from stompy_broker.routing.answers import when_safe
from stompy_broker.routing.duplicate_ids import DuplicateIds
from stompy_broker.routing.interface import (
    KEEP_GROUPS,
    Expire,
    Outcome,
    PublishOnce,
    Queue,
)
from stompy_broker.routing.services import Services
from stompy_broker.routing.unique_message import SHARE, UniqueMessage

_MESSAGE: Final = "message"
_DUPLICATE: Final = "message.duplicate"

Answered = Callable[[Outcome], None]
"""Takes what the message is a duplicate of: a number that clients call a message by; 0 = none."""


def take_once(
    queue: Queue, order: PublishOnce, services: Services, answer: Answered, destination: str = ""
) -> bool:
    """Put a message into a queue of this process, unless its id is known there.

    Args:
        queue: where to.
        order: the message.
        services: of the broker.
        answer: takes what it is a duplicate of, when it was taken or dropped.
        destination: whose ids are looked at, if not those of the queue.

    Returns:
        Whether it was dropped as a duplicate.
    """
    message, duplicate_id, done = order.message, order.duplicate_id, order.done
    now = services.wall()
    ids = services.duplicates.of(destination or queue.destination, queue.policy, queue.group.store)
    value = duplicate_id.value
    queued = duplicate_id.mode == QUEUED
    earlier = ids.queued.get(value, 0) if queued else ids.find(value, now)
    if earlier and order.put is None:
        drop_duplicate(ids, earlier, services, answer)
        if done is not None:
            when_safe(queue.group.store if queue.is_stored else None, message, done)
        return True
    if _is_refused(queue, order):
        return False
    stored = queue.is_stored and message.head.traits.persistent
    if queued:
        queue.control(SHARE)
        message = UniqueMessage(message, value, ids)
    sequence = message.sequence
    if order.put is None:
        _publish(queue, message, now)
    else:
        order.put(message)
    if not queued and not earlier:
        until = now + (duplicate_id.ttl or ids.ttl)
        shown = message.head.traits.message_id
        number = 0 if shown is None else int(shown)
        if number:
            ids.shown[sequence] = number
        if stored:
            ids.keep(value, sequence, until, number)
        else:
            ids.add(value, sequence, until, stored=False)
        services.duplicates.added()
    answer(0)
    if done is not None:
        when_safe(queue.group.store if stored else None, message, done)
    return False


def _is_refused(queue: Queue, order: PublishOnce) -> bool:
    """Tell the sender if a queue refuses a message that it may refuse; say whether it did."""
    refused = order.refused
    if refused is None or not queue.policy.refuses:
        return False
    refusals: list[ProtocolError] = []

    def admitted(error: ProtocolError | None = None, /) -> None:
        if error is not None:
            refusals.append(error)

    queue.admit(1, 0, admitted)
    if refusals:
        refused(refusals[0])
    return bool(refusals)


def _publish(queue: Queue, message: Message, now: int) -> None:
    traits = message.head.traits
    if traits.unusual:
        if traits.group is not None:
            queue.control(KEEP_GROUPS)
        if traits.can_expire:
            message.expires = message.head.ends_at(now)
            if message.expires <= now:
                queue.control(Expire(message))
                return
    queue.publish(message)


def drop_duplicate(ids: DuplicateIds, earlier: int, services: Services, answer: Answered) -> None:
    """Drop a message, and say what it is a duplicate of.

    Args:
        ids: of its destination.
        earlier: the sequence of the one that it is a duplicate of.
        services: of the broker.
        answer: takes what clients call that one.
    """
    ids.duplicates += 1
    services.duplicates.dropped += 1
    number = ids.shown.get(earlier, earlier) if ids.shown else earlier
    if _MESSAGE in services.events.detailed:
        services.events.tell(
            Event(
                type=_DUPLICATE,
                destination=ids.destination,
                detail={"duplicate_of": str(number)},
            )
        )
    answer(number)


def take_simply(queue: Queue, order: PublishOnce, services: Services, answer: Answered) -> bool:
    """Do what `take_once` does, and say if the queue need not be asked again.

    Who publishes to a queue of this process that refuses nothing may look at the ids itself.
    """
    dropped = take_once(queue, order, services, answer)
    ids = services.duplicates.find(queue.destination)
    if ids is not None and not queue.policy.refuses:
        ids.stores = queue.is_stored
        services.duplicates.simple[queue.name] = ids
    return dropped
