"""What a policy says about messages that others replace, push out, or that stay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field, model_validator

from stompy_broker.config_section import Section

LAST_VALUE: Final = "_AMQ_LVQ_NAME"
"""The header that says what a message is a value of, where no other is named; Artemis' own."""


class ValueSettings(Section):
    """Which messages of a queue stay, and which others replace."""

    last_value_key: str = Field(
        default="",
        description="A header whose value says what a message is a value of, such as `symbol`: of "
        "each value of it one message waits, the last one that came; it replaces the one before. "
        "Messages without it are as ever. Empty = none does. It holds for queues, but not for "
        "dead letters, and for messages that come while it says so.",
    )
    last_value: bool = Field(
        default=False,
        description="Whether the header `_AMQ_LVQ_NAME` says that, as with Artemis.",
    )
    last_value_position: Literal["end", "place"] = Field(
        default="end",
        description="Where a message stands that replaces another one: at the `end` of the queue, "
        "or at the `place` of the old one.",
    )
    ring_size: int = Field(
        default=0,
        ge=0,
        description="How many messages may wait in a queue; then the oldest has to go: the same as "
        '`max_length` with `overflow = "drop-head"`. 0 = no limit.',
    )

    non_destructive: bool = Field(
        default=False,
        description="Whether the messages of a queue stay when they are read: each consumer reads "
        "all of them, from the first one on, and its ACKs are for itself alone. They leave when "
        "their time is over, a newer value or the length of the queue pushes them out, or an "
        "operator takes them away. It holds for queues that are made while it says so.",
    )

    @model_validator(mode="before")
    @classmethod
    def _spell_out_ring(cls, given: object) -> object:
        """A ring is a queue of so many messages that pushes out the oldest."""
        if not isinstance(given, Mapping):
            return given
        size = given.get("ring_size")
        if not isinstance(size, int) or size <= 0:
            return given
        if given.get("max_length") not in (None, 0, size):
            raise ValueError("ring_size and max_length mean the same, and disagree")
        if given.get("overflow") not in (None, "drop-head"):
            raise ValueError("ring_size pushes out the oldest message; overflow says otherwise")
        return {**given, "max_length": size, "overflow": "drop-head"}

    @model_validator(mode="after")
    def _check_header(self) -> ValueSettings:
        if self.last_value and self.last_value_key not in ("", LAST_VALUE):
            raise ValueError(
                f"last_value means last_value_key = {LAST_VALUE!r}, and that is another one"
            )
        return self

    @property
    def alone_only(self) -> list[str]:
        """The settings that a member of a cluster does not do."""
        in_place = ["last_value_position"] if self.last_value_position != "end" else []
        return in_place + (["non_destructive"] if self.non_destructive else [])

    @property
    def value_header(self) -> str:
        """The header that says what a message is a value of; empty = newer ones replace none."""
        return LAST_VALUE if self.last_value else self.last_value_key
