"""Numbers that messages are ordered by, and called by (**hot path**)."""

from __future__ import annotations

from typing import Final

STEP: Final = 1 << 10
"""From one number to the next; what is below tells groups apart (`stompy_broker.routing.group`)."""


class Sequences:
    """Numbers, each `STEP` beyond the one before.

    Where every message comes by, a number is taken by ``numbers.last += STEP``: compiled, `take`
    is as quick, but in plain Python a call would cost a fortieth of a message.

    Args:
        first: the first one.

    Attributes:
        last: the last one that was given out.
    """

    __slots__ = ("last",)

    def __init__(self, first: int) -> None:
        self.last = first - STEP

    def take(self) -> int:
        """Give out the next one."""
        self.last += STEP
        return self.last
