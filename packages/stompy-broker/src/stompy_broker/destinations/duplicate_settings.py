"""What a policy says about messages that come twice. Pure."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from stompy_broker.config_section import Section


class DuplicateSettings(Section):
    """For how long the duplicate ids of a destination are known."""

    dedup_window: PositiveInt = Field(
        default=20_000,
        description="How many duplicate ids (`dedup-id` and its like) are known of a destination: "
        "the last ones. A message with one of them is dropped, and its SEND succeeds.",
    )
    dedup_ttl: PositiveFloat = Field(
        default=3600.0,
        description="For how many seconds a duplicate id is known; `dedup-ttl` on SEND goes "
        "before it.",
    )
