"""Messages on their way through a client: what was delivered, and what becomes of it. Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from stompy.errors import StaleMessageError
from stompy.protocol.frame import STOMPFrame

logger = logging.getLogger("stompy")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DRAIN_SECONDS = 5.0
"""How long the end of a subscription waits for handlers that are at work."""


class OnError(StrEnum):
    """What becomes of a message whose handler raised."""

    NACK = "nack"
    """It is refused and delivered again."""
    DEAD_LETTER = "dead-letter"
    """It is refused for good."""
    STOP = "stop"
    """It is refused, and the subscription ends with the exception."""


OnErrorWord = OnError | Literal["nack", "dead-letter", "stop"]
"""The same as callers write it."""


class Settlement(StrEnum):
    """What became of a message on our side."""

    ACKED = "acked"
    NACKED = "nacked"
    STALE = "stale"
    """It could not be settled any more; the broker delivers it again."""

    __hash__ = str.__hash__  # else in Python, and each message is counted


class Delivery(STOMPFrame):
    """A MESSAGE together with what is needed to settle it.

    Attributes:
        epoch: the number of the connection it came over.
        settlement: what became of it; None until then.
    """

    __slots__ = ("epoch", "settlement")

    epoch: int
    settlement: Settlement | None

    @property
    def id(self) -> str:
        """The ``message-id`` header, or nothing if it has none."""
        return self.Headers.get("message-id", "")

    @property
    def destination(self) -> str:
        """The ``destination`` header: where the message was sent."""
        return self.Headers.get("destination", "")

    @property
    def redelivered(self) -> bool:
        """Whether the broker says that it delivered this message before."""
        return self.Headers.get("redelivered") == "true"

    @property
    def reply_to(self) -> str | None:
        """Where an answer is expected, or None."""
        return self.Headers.get("reply-to")

    @property
    def correlation_id(self) -> str | None:
        """The ``correlation-id`` header, which belongs into an answer, or None."""
        return self.Headers.get("correlation-id")

    @property
    def group(self) -> str | None:
        """The group whose messages come in order, ``JMSXGroupID``; None if it is in none."""
        return self.Headers.get("JMSXGroupID")

    @property
    def scheduled_at(self) -> datetime | None:
        """When a message that was scheduled was due, or None."""
        due = self.Headers.get("scheduled-at", "")
        return _EPOCH + timedelta(milliseconds=int(due)) if due.isdecimal() else None

    @property
    def job_id(self) -> str | None:
        """What the broker calls the schedule that this came from, ``scheduledJobId``, or None."""
        return self.Headers.get("scheduledJobId")

    def _claim(self, settlement: Settlement) -> bool:
        """Whether this settlement is to be sent: only the first one is."""
        if self.settlement is None:
            self.settlement = settlement
            return True
        logger.warning(
            "message %s is %s already, so it is not %s too", self.id, self.settlement, settlement
        )
        return False

    def _stale(self, why: str) -> StaleMessageError:
        """Mark it as one that cannot be settled any more; give the exception that says so."""
        self.settlement = Settlement.STALE
        return StaleMessageError(
            f"message {self.id} of {self.destination} cannot be settled, because {why}: "
            "the broker delivers it again"
        )

    def __repr__(self) -> str:
        """The frame, and what became of it."""
        shown = super().__repr__().removeprefix("<STOMPFrame MESSAGE").removesuffix(">")
        return f"<Message{shown} {self.settlement or 'unsettled'}>"


def strip(messages: Iterable[Delivery], names: Iterable[str]) -> None:
    """Take headers away that say nothing to a consumer, and would do harm if sent on."""
    for message in messages:
        for name in names:
            message.Headers.pop(name, None)
