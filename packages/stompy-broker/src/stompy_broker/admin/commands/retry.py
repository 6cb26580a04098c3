"""Dead letters that are tried again: where each goes, and what is still written on it there."""

from __future__ import annotations

from collections.abc import Mapping

from stompy_broker.admin.commands.base import conflict
from stompy_broker.admin.commands.selection import read_header
from stompy_broker.destinations.names import Destination, DestinationKind, sendable
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.durable import DurableSubscription

_OF_A_DEATH = frozenset(
    (
        "x-last-death-queue",
        "x-last-death-reason",
        "x-death-count",
        "x-death-time",
        "x-death-info",
        "original-destination",
        "original-subscription",
        "original-ttl",
        "original-expires",
        "original-expiration",
    )
)
"""Headers that a message loses when it is tried again."""

_LONGEST_COUNT = 9

_read_origin = read_header("origin")
_read_subscription = read_header("original-subscription")
_read_queue = read_header("x-last-death-queue")
_read_deaths = read_header("x-death-count")


def origin_of(message: Message) -> Destination:
    """Find where a dead letter came from.

    Raises:
        CommandError: it does not say.
    """
    origin = _read_origin(message)
    if not origin:
        raise conflict(f"message {message.message_id} does not say where it came from")
    return sendable(origin)


def backlog_of(
    message: Message, subscriptions: Mapping[str, DurableSubscription]
) -> Destination | None:
    """Find where a dead letter goes that one durable subscription gave up: to that one only.

    Args:
        message: the dead letter.
        subscriptions: the durable ones that there are, by name.

    Raises:
        CommandError: there is no such subscription any more.
    """
    name = _read_subscription(message)
    if not name:
        return None
    known = subscriptions.get(name)
    if known is None and _read_queue(message) == name:
        # It was bound to topics, and is a queue still, or again.
        return Destination(DestinationKind.QUEUE, name, is_pattern=False)
    if known is None:
        raise conflict(
            f"message {message.message_id} belongs to the durable subscription {name!r}, which "
            "is gone; message.move sends it elsewhere, also to all subscribers of its topic"
        )
    return Destination(DestinationKind.QUEUE, known.queue, is_pattern=False)


def deliveries_of(message: Message, *, revived: bool) -> int:
    """How often a message was delivered, also before it became the dead letter that is revived."""
    deaths = (_read_deaths(message) or "") if revived else ""
    known = deaths.isascii() and deaths.isdigit() and len(deaths) <= _LONGEST_COUNT
    return message.deliveries + (int(deaths) if known else 0)


def headers_at(message: Message, destination: Destination, *, revives: bool) -> dict[str, str]:
    """Give the headers of a message at its new place.

    Args:
        message: as it was.
        destination: the new place.
        revives: whether it was a dead letter, and is none there.
    """
    headers = message.head.headers()
    if revives:
        headers = {name: value for name, value in headers.items() if name not in _OF_A_DEATH}
    headers["destination"] = str(destination)
    headers.pop("x-death-path", None)  # somebody wants it where it goes now
    keep_end(message, headers)
    return headers


def keep_end(message: Message, headers: dict[str, str]) -> None:
    """Have headers say when a message ends, in place of how long it lives from when it comes."""
    if message.expires:
        for name in ("ttl", "expiration"):
            headers.pop(name, None)
        headers["expires"] = str(message.expires)


def head_of(message: Message, headers: Mapping[str, str], *, is_copy: bool = False) -> MessageHead:
    """Make the head of a message that has other headers now. A copy has an id of its own."""
    message_id = None if is_copy else message.message_id.encode()
    return MessageHead.from_headers(headers, message_id=message_id)
