"""What a policy says about groups of messages. Pure."""

from __future__ import annotations

from pydantic import Field

from stompy_broker.config_section import Section


class GroupSettings(Section):
    """How the groups of messages of a destination are handed out."""

    group_in_flight: int = Field(
        default=0,
        ge=0,
        description="How many messages of one group its consumer may have unsettled; 1 = the next "
        "one goes out when the one before is settled. 0 = as many as its prefetch lets it have.",
    )
    group_rebalance: bool = Field(
        default=False,
        description="Whether groups move to a consumer that comes later, one by one, each while "
        "nothing of it is unsettled, until all have about as many. Else it gets new groups only.",
    )
