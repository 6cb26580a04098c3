"""What a NACK asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejection:
    """The outcome of a NACK.

    Attributes:
        requeue: whether the message may be delivered again; otherwise it is a dead letter.
        delay: seconds before that; None = as the policy says.
        reason: the consumer's own words, for the dead letter's headers.
    """

    requeue: bool = True
    delay: float | None = None
    reason: str = ""
