"""How many messages are to come later to each destination, as rows tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stompy_broker.admin.asking import KnownFigures
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import parts_of, scheduled_for
from stompy_broker.routing.interface import Queue

_NOTHING: Mapping[str, int] = {}


class ScheduledCounts:
    """Asks the queues in which messages wait that are to come later."""

    def __init__(self) -> None:
        self._known = KnownFigures()

    def read(self, queues: Sequence[Queue]) -> Steps[Mapping[str, int]]:
        """How many are to come, by destination; what is to come to several counts for each.

        Args:
            queues: any; only those are asked in which such messages wait.
        """
        waiting = [queue for queue in queues if scheduled_for(queue.name)]
        if not waiting:
            return _NOTHING
        figures = yield from self._known.read(waiting)
        self._known.keep(waiting)
        found: dict[str, int] = {}
        for queue, told in zip(waiting, figures, strict=True):
            for destination in parts_of(scheduled_for(queue.name)):
                found[destination] = found.get(destination, 0) + told.delayed
        return found

    def clear(self) -> None:
        """Forget what was known."""
        self._known.clear()
