"""Headers that are between a client and the broker, or that only the broker writes. Pure."""

from __future__ import annotations

from stompy_broker.dedup_headers import ORIGINAL
from stompy_broker.group_headers import FIRST_FOR_CONSUMER

BROKER_HEADERS = frozenset(
    (
        "receipt",
        "transaction",
        "message-id",
        "subscription",
        "ack",
        "redelivered",
        "delivery-count",
        "JMSXUserID",
        FIRST_FOR_CONSUMER,
        "durable",
        "auto-delete",
        "exclusive",
        "x-max-length",
        "x-max-length-bytes",
        "x-overflow",
        "x-message-ttl",
        "x-expires",
        "x-last-value-key",
        "x-dead-letter-routing-key",
        "x-dead-letter-exchange",
        "x-queue-type",
        "x-max-priority",
        "x-max-age",
        "x-stream-offset",
    )
)
"""Headers of a SEND that speak to the broker, or that only the broker may write on a MESSAGE.

They are not passed on; every other header is.
"""

DEATH_HEADERS = frozenset(
    (
        ORIGINAL,
        "original-destination",
        "original-expiration",
        "original-expires",
        "original-subscription",
        "original-ttl",
        "x-death-count",
        "x-death-info",
        "x-death-path",
        "x-death-time",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-queue",
        "x-last-death-reason",
    )
)
"""What the broker writes on a dead letter. Nobody else may, because `message.retry` goes by it."""
