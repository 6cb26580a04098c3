"""Where a message of a queue is just now."""

from __future__ import annotations

from enum import StrEnum


class MessageState(StrEnum):
    """Where a message of a queue is just now."""

    READY = "ready"
    """It may be delivered."""
    UNACKED = "unacked"
    """A consumer has it, and has not settled it."""
    DELAYED = "delayed"
    """It waits for its time after it came back."""
    SCHEDULED = "scheduled"
    """It was sent to come later, and is not in the queue before."""
