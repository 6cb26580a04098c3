"""What operators may have a cluster do, as commands see it: an interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ClusterControl(Protocol):
    """Has groups of queues change their owner."""

    def move(self, group: int, broker: str, done: Callable[[str], None]) -> None:
        """Give a group to another broker, in good order, whoever owns it.

        Args:
            group: number of the group.
            broker: id of the broker that is to own it.
            done: called once, with nothing when that one owns it, else with what hindered it.
        """
        ...

    def drain(self, done: Callable[[str], None]) -> None:
        """Give all groups of this broker away, and take none until `undrain`.

        Args:
            done: called once, with nothing when it has no group, else with what hindered it.
        """
        ...

    def undrain(self) -> None:
        """Take groups again; those that were given away come back by and by."""
        ...

    def accept(self, group: int) -> None:
        """Go on although something is missing in the log of a group; what was there is lost.

        Args:
            group: number of the group.
        """
        ...
