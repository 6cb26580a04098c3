"""Messages of a queue that no consumer takes who is there: how many, and since when."""

from __future__ import annotations

from typing import Final

from stompy.admin.rows import Event
from stompy_broker.routing.interface import LineFigures, QueueIdentity
from stompy_broker.routing.parking import Parking
from stompy_broker.routing.services import Services

UNMATCHED_SECONDS: Final = 60.0
"""After so long it is told that messages wait that nobody takes."""

_MOST_LINES: Final = 1000
"""So many lines are told of at most."""


class UnmatchedWatch:
    """Watches over what nobody takes.

    Args:
        queue: whose messages they are.
        parking: they.
        services: of the broker.
    """

    __slots__ = ("_parking", "_queue", "_services", "_since", "_timer")

    def __init__(self, queue: QueueIdentity, parking: Parking, services: Services) -> None:
        self._queue = queue
        self._parking = parking
        self._services = services
        self._since: float | None = None
        self._timer = services.clock.timer(self._tell)

    def figures(self) -> tuple[int, tuple[LineFigures, ...]]:
        """How many messages nobody takes, and the figures of the lines."""
        parking = self._parking
        lines = [
            LineFigures(
                text,
                len(line.consumers),
                line.messages.count,
                line.matched,
                parking.skipped(line),
            )
            for text, line in list(parking.lines.items())[:_MOST_LINES]
        ]
        return parking.unmatched, tuple(lines)

    def look(self) -> None:
        """Note since when messages wait that nobody takes."""
        if not self._parking.unmatched:
            if self._since is not None:
                self._since = None
                self._timer.cancel()
        elif self._since is None:
            self._since = self._services.clock.now()
            self._timer.set(self._since + UNMATCHED_SECONDS)

    def end(self) -> None:
        """Watch over them no more."""
        self._timer.end()

    def _tell(self) -> None:
        """Tell that messages wait that nobody takes, once; and why, if a selector has failed."""
        unmatched = self._parking.unmatched
        if not unmatched:
            self._since = None
            return
        selectors = list(self._parking.lines)
        detail: dict[str, object] = {"unmatched": unmatched, "selectors": selectors[:20]}
        failed = {
            text: line.selector.fault
            for text, line in self._parking.lines.items()
            if line.selector is not None and line.selector.fault is not None
        }
        if failed:
            detail["failed"] = failed
        self._services.events.tell(
            Event(
                type="queue.unmatched",
                severity="warn",
                destination=self._queue.destination,
                reason=f"no consumer that is there takes {unmatched} of its messages",
                detail=detail,
            )
        )
