"""Dead letters: where messages go that a queue gives up, and what is written on them.

Queues may give up messages to each other in a circle. A message that has come round without being
rejected by anybody would go on like that for ever, as fast as the broker can. So it carries the
queues that it has passed since, and is dropped when it is to come to one of them again, as in
RabbitMQ.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from stompy.admin.rows import Event
from stompy_broker.dedup_headers import without_duplicate_id
from stompy_broker.destinations.names import (
    BACKLOG,
    SHARE,
    Destination,
    DestinationKind,
    parse_destination,
)
from stompy_broker.destinations.policy import DEAD_LETTER
from stompy_broker.events import Events
from stompy_broker.log_throttle import LogThrottle
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.answers import Done
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Queue, QueueIdentity
from stompy_broker.routing.reader_message import OffsetMessage
from stompy_broker.routing.requests import TIMEOUT, Requests

log = logging.getLogger("stompy_broker.router")

DEAD_LETTER_PREFIX = "DLQ."

_SHARED = f"{BACKLOG}{SHARE}"
"""What belongs to a group has dead letters of its own; of other subscriptions, topics have."""

PATH = "x-death-path"
"""The queues that a message has passed since somebody rejected it, with commas between."""

_LONGEST_PATH = 4096
"""Characters of it; then it is as good as a circle."""

_BY_ITSELF = frozenset(("expired", "maxlen"))
"""Causes that need no consumer."""

_RETELL_MS = 60_000
"""Circles are told of at most this often."""

_NO_LONGER = frozenset(("expiration", "expires", "ttl"))
"""Headers that would end a dead letter as well."""

_DEEPEST = 16
"""Queues that push out each other's messages may do so in a circle; so far it is followed."""


class Fate(Enum):
    """What became of a message that a queue gave up."""

    DEAD_LETTERED = "it is a dead letter now"
    LEAVES = "it will be one at another broker, and is kept until that is safe"
    DROPPED = "it is gone"
    STAYS = "something went wrong, and the queue has to keep it"


class DeadLetter(NamedTuple):
    """A message on its way out of a queue.

    Attributes:
        group: of the queue.
        message: as it was in there.
        destination: where it goes.
        head: with which headers.
        depart: gives what to call when it is safe at another broker; None = it may be lost.
    """

    group: QueueGroup
    message: Message
    destination: Destination
    head: MessageHead
    depart: Callable[[], Done] | None


def target_of(queue: QueueIdentity | Queue, cause: str) -> str:
    """Where messages go that a queue gives up, `{name}` in it; empty = they are dropped.

    What a connection rejects of its own temporary queue is dropped, and what a dead-letter queue
    gives up, unless its policy names another place for it.
    """
    policy = queue.policy
    if queue.volatile and not queue.private:
        return ""
    target = DEAD_LETTER
    if cause == "expired":
        target = policy.expired_to
    elif cause == "maxlen" and policy.overflow == "drop-head":
        target = policy.overflow_to
    if target == DEAD_LETTER:
        return "" if queue.final else policy.dead_letter
    return target


class DeadLetters:
    """Makes dead letters.

    Args:
        publish: sends a dead letter on, out of a group; false: it goes to another broker.
        wall: gives the time in milliseconds since the epoch.
        events: told of each message, if somebody wants to know.
        requests: told of each message, for who waits for its reply.
    """

    def __init__(
        self,
        publish: Callable[[DeadLetter], bool],
        wall: Callable[[], int],
        events: Events,
        requests: Requests,
    ) -> None:
        self._publish = publish
        self._wall = wall
        self._throttle = LogThrottle(lambda: wall() / 1000)
        self._events = events
        self._requests = requests
        self._depth = 0
        self._pushing: set[str] = set()
        self._circled = 0  # dropped since it was told
        self._tell_at = 0

    def dead_letter(
        self,
        queue: QueueIdentity,
        group: QueueGroup,
        message: Message,
        cause: str,
        reason: str,
        depart: Callable[[], Done] | None = None,
    ) -> Fate:
        """Move a message that a queue of a group gives up to where its policy says, or drop it.

        If that is at another broker, and the message must not be lost, ``depart`` is called for
        what to call when it is safe there.

        A topic's messages are filed under the topic, not under the pattern that was subscribed.
        Whatever goes wrong with one message is said in the log, and is nobody else's trouble: a
        timer may be behind this, or somebody else's SEND.
        """
        try:
            return self._dead_letter(queue, group, message, cause, reason, depart)
        except Exception as error:
            suppressed = self._throttle.count(queue.destination)
            if suppressed is not None:
                log.exception(
                    "%s: %s cannot become a dead letter (%s): %s; it stays (and %d more)",
                    queue.destination,
                    message,
                    cause,
                    error,
                    suppressed,
                )
            return Fate.STAYS

    def _dead_letter(
        self,
        queue: QueueIdentity,
        group: QueueGroup,
        message: Message,
        cause: str,
        reason: str,
        depart: Callable[[], Done] | None,
    ) -> Fate:
        target, name = self._target(queue, message, cause)
        if self._requests.given_up(message, cause, reason):
            target, reason = "", "nobody waits for its reply any more"
        path = self._path(queue, message) if target and cause in _BY_ITSELF else ""
        if target in _passed(path) or len(path) > _LONGEST_PATH:
            self._tell_of_circle(queue, target)
            target = ""
        if "message" in self._events.detailed:
            self._tell(queue, message, cause, reason, is_kept=bool(target))
        if not target:
            return Fate.DROPPED
        head = self._head(queue, message, target, name, cause, reason, path)
        letter = DeadLetter(group, message, parse_destination(target), head, depart)
        self._depth += 1
        if cause == "maxlen":
            self._pushing.add(queue.destination)
        try:
            is_there = self._publish(letter)
        finally:
            self._depth -= 1
            if cause == "maxlen":
                self._pushing.discard(queue.destination)
        return Fate.DEAD_LETTERED if is_there else Fate.LEAVES

    def _target(self, queue: QueueIdentity, message: Message, cause: str) -> tuple[str, str]:
        """Where to, empty = nowhere; and the name to file it under."""
        pattern = target_of(queue, cause)
        if not pattern or self._depth >= _DEEPEST:
            return "", ""
        name = queue.name
        if name.startswith(_SHARED):
            name = name.removeprefix(BACKLOG)
        elif queue.private or queue.durable:
            name = parse_destination(message.head.headers()["destination"]).name
        target = pattern.replace("{name}", name)
        if target == queue.destination or target in self._pushing:
            # A queue that just makes room cannot take what another one pushes out for that.
            return "", ""
        return target, name

    def _path(self, queue: QueueIdentity, message: Message) -> str:
        """The queues that a message has passed by itself, with this one."""
        before = message.head.headers().get(PATH, "")
        return f"{before},{queue.destination}" if before else queue.destination

    def _tell_of_circle(self, queue: QueueIdentity, target: str) -> None:
        now = self._wall()
        self._circled += 1
        if now < self._tell_at:
            return
        why = f"it gives up messages to {target}, where they have been before"
        log.warning(
            "%s: %s; %d dropped, because they would go round for ever",
            queue.destination,
            why,
            self._circled,
        )
        self._events.tell(
            Event(type="queue.circle", severity="warn", destination=queue.destination, reason=why)
        )
        self._circled, self._tell_at = 0, now + _RETELL_MS

    def _head(
        self,
        queue: QueueIdentity,
        message: Message,
        target: str,
        name: str,
        cause: str,
        reason: str,
        path: str,
    ) -> MessageHead:
        headers = message.head.headers()
        headers.pop(PATH, None)
        headers.pop(TIMEOUT, None)  # it has been answered
        without_duplicate_id(headers)
        origin = headers["destination"]
        for header in _NO_LONGER & headers.keys():
            headers[f"original-{header}"] = headers.pop(header)
        if "x-first-death-queue" not in headers:
            # Where it came from by a route or a virtual topic it would come to others again.
            headers.pop("original-destination", None)
        headers.setdefault("original-destination", origin)
        headers.setdefault("x-first-death-queue", name)
        headers.setdefault("x-first-death-reason", cause)
        if queue.durable:
            headers.setdefault("original-subscription", queue.name.removeprefix(BACKLOG))
        elif not queue.private and parse_destination(origin).kind is DestinationKind.TOPIC:
            # A queue that a client has named and bound: nobody else is to get it again.
            headers.setdefault("original-subscription", queue.name)
        headers |= {
            "destination": target,
            "x-last-death-queue": name,
            "x-last-death-reason": cause,
            "x-death-count": str(message.deliveries),
            "x-death-time": str(self._wall()),
        }
        if reason:
            headers["x-death-info"] = reason
        if path:
            headers[PATH] = path
        head = MessageHead.from_headers(headers, message_id=message.message_id.encode())
        if isinstance(message, OffsetMessage):
            return MessageHead(
                message.offset_line + head.block, head.traits
            )  # it is none of a SEND
        return head

    def _tell(
        self, queue: QueueIdentity, message: Message, cause: str, reason: str, *, is_kept: bool
    ) -> None:
        happened = "dead_lettered" if is_kept else "dropped"
        self._events.tell(
            Event(
                type=f"message.{'expired' if cause == 'expired' else happened}",
                destination=queue.destination,
                message_id=message.message_id,
                reason=reason or cause,
                detail={
                    "cause": cause,
                    "deliveries": message.deliveries,
                    "failures": message.failures,
                },
            )
        )


def _passed(path: str) -> set[str]:
    """The queues of a path. No name has a comma and a slash in it."""
    return {f"/{part.removeprefix('/')}" for part in path.split(",/")} if path else set()
