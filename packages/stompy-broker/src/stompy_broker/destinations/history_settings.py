"""What a policy says about the past of a queue. Pure."""

from __future__ import annotations

from pydantic import ByteSize, Field, field_validator

from stompy_broker.config_section import Section
from stompy_broker.durations import seconds_of


class HistorySettings(Section):
    """How long what has left a queue can still be looked at."""

    history: str = Field(
        default="",
        description="For how long is kept what leaves a queue: each message, who had it and when, "
        "and how that ended, such as `24h` or `30 days`. Empty = nothing is kept, and what was "
        "kept before goes. For queues of `/queue/` only, and not in a cluster.",
    )
    history_bytes: ByteSize = Field(
        default=ByteSize(0),
        description="How large that may become for each queue; the oldest goes first. "
        "0 = any size.",
    )

    @field_validator("history")
    @classmethod
    def _check_history(cls, value: str) -> str:
        if value and not seconds_of(value):
            raise ValueError("must be a span of time, such as '24h', or empty")
        return value

    @property
    def history_ms(self) -> int:
        """For how many milliseconds is kept what leaves a queue; 0 = nothing is."""
        return int(seconds_of(self.history) * 1000) if self.history else 0
