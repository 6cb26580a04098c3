"""Headers that say to which group a message belongs: those of one group come in order. Pure.

**Hot path** of what has one: a block that never repeats is read for each message.

A group is a value that messages have in common: an order, a customer, a machine. Three names mean
the same; the broker passes all of them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError

GROUP: Final = ("JMSXGroupID", "_AMQ_GROUP_ID", "x-group-id")
"""Which group it is: what JMS calls it, Artemis' own name, and ours."""

GROUP_SEQUENCE: Final = "JMSXGroupSeq"
"""A number within the group that senders may give. It says nothing here but for one value, ..."""

CLOSES: Final = "-1"
"""... with which the group ends: the message after it may go to another consumer."""

FIRST_FOR_CONSUMER: Final = "JMSXGroupFirstForConsumer"
"""Written by the broker: the consumer has got none of this group before."""

JMS_GROUP: Final = (GROUP[0], GROUP_SEQUENCE)
"""How JMS says it: what most senders write."""

GROUP_HEADERS: Final = (*GROUP, GROUP_SEQUENCE)
"""All that a sender may say about groups."""

_MARKS: Final = tuple([f"{name}:".encode() for name in GROUP])


Grouping = tuple[str, bool]
"""A group, and whether it ends with the message."""


def group_told(headers: Mapping[str, str]) -> Grouping | None:
    """The group that headers name, and whether it ends; None = none.

    Raises:
        ProtocolError: they name several.
    """
    found: str | None = None
    for name in GROUP:
        value = headers.get(name)
        if value is None or value == found:
            continue
        if found is not None:
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{' and '.join([one for one in GROUP if one in headers])} mean the same, and "
                "disagree",
            )
        found = value
    return (found, headers.get(GROUP_SEQUENCE) == CLOSES) if found else None


def may_tell_group(block: bytes) -> bool:
    """Whether a header block may name a group, so that it is worth reading."""
    # One by one: no generator on the way of each message that a store gives back.
    return _MARKS[0] in block or _MARKS[1] in block or _MARKS[2] in block
