"""What a SUBSCRIBE to topics says of who else gets its messages, and whether they outlive it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError

NAME_HEADERS: Final = (
    "durable-subscription-name",
    "durable-subscriber-name",
    "activemq.subscriptionName",
    "activemq.subcriptionName",
)

QUEUE_NAME: Final = "x-queue-name"
"""The header that names the queue of a topic subscription."""

LASTING: Final = ("durable", "persistent")
"""RabbitMQ's words for a subscription that outlives its connection."""

_OF_SEVERAL: Final = ("share", QUEUE_NAME, *NAME_HEADERS)
"""Headers by which several may take from what a subscription to topics gets."""

_TRUE: Final = frozenset(("true", "1", "yes"))
_FALSE: Final = frozenset(("false", "0", "no", ""))


def is_lasting(headers: Mapping[str, str]) -> bool:
    """Whether a frame says, in RabbitMQ's words, that a subscription outlives its connection.

    Raises:
        ProtocolError: it says something that is neither yes nor no.
    """
    lasts = [_says(headers, name) for name in LASTING]
    return any(lasts) and not _says(headers, "auto-delete")


def has_itself(headers: Mapping[str, str]) -> bool:
    """Whether what a SUBSCRIBE to topics gets is for it alone: it is neither durable nor shared.

    Raises:
        ProtocolError: it says something that is neither yes nor no.
    """
    named = any(headers.get(name) for name in _OF_SEVERAL)
    return not named and not is_lasting(headers)


def contradicts_itself(headers: Mapping[str, str]) -> bool:
    """Whether RabbitMQ's words say of one subscription that it lasts, and that it does not."""
    return len({headers[name].lower() in _TRUE for name in LASTING if headers.get(name)}) > 1


def _says(headers: Mapping[str, str], name: str) -> bool:
    word = headers.get(name, "").lower()
    if word not in _TRUE and word not in _FALSE:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{name} must be true or false, not {word[:40]!r}"
        )
    return word in _TRUE
