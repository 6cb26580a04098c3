"""Where a message with a duplicate id goes: to the queue that looks at it, or a topic.

A topic has ids of its own, whoever subscribes to it. They are on disk if the message goes to any
queue that is, as a durable subscription's.
"""

from __future__ import annotations

from stompy.errors import ProtocolError
from stompy_broker.dedup_headers import DuplicateId
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.duplicate_check import Answered, drop_duplicate
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import PublishOnce
from stompy_broker.routing.router import Router
from stompy_broker.routing.sequences import STEP


def publish_once(
    router: Router,
    destination: Destination,
    head: MessageHead,
    body: bytes,
    duplicate_id: DuplicateId,
    done: Done | None,
    refused: Refused | None,
    answer: Answered,
) -> Watermark | None:
    """Route one message, unless its id is known where it goes; see `Router.publish`.

    Args:
        router: of the broker.
        destination: a queue or a topic.
        head: its headers.
        body: its body.
        duplicate_id: what its sender calls it.
        done: called when it is safe, or the one that it is a duplicate of, unless it is refused.
        refused: told when a queue refuses it; None = it was admitted before.
        answer: takes what it is a duplicate of, before ``done`` is called.

    Returns:
        What the sender has to wait for before it sends more; None when there is room.

    Raises:
        ProtocolError: it is refused, because the disk is full or there are too many queues.
    """
    if destination.kind is not DestinationKind.QUEUE:
        return _publish_to_topic(
            router, destination, head, body, duplicate_id, done, refused, answer
        )
    if refused is not None and router.blocking(destination, head) is not None:
        router.check_stalled(destination, head)
    name = destination.name
    queue = router.queues.get(name) or router.queue(name, capped=refused is not None)
    numbers = queue.sequences
    numbers.last = number = numbers.last + STEP
    message = Message(number, head, body, router.stamp)
    queue.control(PublishOnce(message, duplicate_id, done, refused), answer)
    own = queue.watermark
    return router.blocking(destination, head) or (own if own is not None and own.full else None)


def _publish_to_topic(
    router: Router,
    destination: Destination,
    head: MessageHead,
    body: bytes,
    duplicate_id: DuplicateId,
    done: Done | None,
    refused: Refused | None,
    answer: Answered,
) -> Watermark | None:
    """Route one message to the subscribers of a topic, unless its id is known there."""
    now = router.wall()
    home = router.groups.home
    policy = router.policies.find(destination.kind, destination.name)
    text = f"{DestinationKind.TOPIC.value}{destination.name}"
    ids = router.duplicates.of(text, policy, home.store)
    value = duplicate_id.value
    earlier = ids.find(value, now)
    stored = bool(router.stored_in(destination, head))
    full: Watermark | None = None
    if earlier:
        drop_duplicate(ids, earlier, router, answer)
    else:
        failed: list[ProtocolError] = []
        full = router.publish(
            destination, head, body, None, None if refused is None else failed.append
        )
        if failed:
            assert refused is not None
            refused(failed[0])
            return None
        sequence = home.sequences.take()
        until = now + (duplicate_id.ttl or ids.ttl)
        if stored:
            ids.keep(value, sequence, until, 0)
        else:
            ids.add(value, sequence, until, stored=False)
        router.duplicates.added()
        answer(0)
    if done is not None:
        if stored:
            router.groups.sync(done)
        else:
            done()
    return full
