"""What a policy says about groups of messages. Pure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stompy_broker.config_section import Section
from stompy_broker.group_headers import GROUP
from stompy_broker.rate_limit import CountRateText


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
    fair_by: str = Field(
        default="",
        description="A header by whose values a queue is dealt in turn, such as `JMSXGroupID` or "
        "`customer`: each value that waits has one message, then each has its next one. Messages "
        "without it are each a value of their own. Empty = whatever came first.",
    )
    fair_unit: Literal["messages", "bytes"] = Field(
        default="messages",
        description="What counts in a turn of `fair_by`: one message, or 16 KiB.",
    )
    group_sticky: bool = Field(
        default=True,
        description="Whether one consumer gets all messages of a group. With `false` they begin in "
        "order, and several consumers may be at work on a group; so it always is with the values "
        "of another header that `fair_by` names.",
    )
    group_concurrency: int = Field(
        default=0,
        ge=0,
        description="How many messages of one group may be unsettled at once, whoever has them; "
        "0 = any number.",
    )
    group_rate: CountRateText = Field(
        default="",
        description="How many messages of one group are delivered in a time, such as `10/s` or "
        "`600/min`; what a second brings may come at once. What is beyond it waits, and others "
        "pass. Empty = any number.",
    )
    deliver_rate: CountRateText = Field(
        default="",
        description="The same for all messages of a queue together.",
    )

    @property
    def keeps_owners(self) -> bool:
        """Whether one consumer gets all messages of a group."""
        return self.group_sticky and self.fair_by in ("", *GROUP)

    @property
    def deals(self) -> bool:
        """Whether a queue has to look at each message and consumer before it hands out any."""
        return bool(self.fair_by or self.deliver_rate)
