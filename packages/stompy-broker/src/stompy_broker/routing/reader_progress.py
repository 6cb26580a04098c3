"""How far a reader is with what it was given: the place before which everything is settled.

Deliveries are settled in any order. Where a reader stands is the first place that is not settled:
it is kept under the reader's name, so nothing before it comes again, and nothing behind it is lost.

Invariants:

* ``pending`` has the places that were given and not settled in front of others, ascending.
* ``ahead`` has those of them that are settled, and, of what is to be given again, what is settled
  already.
"""

from __future__ import annotations

from collections import deque

from stompy_broker.message import Redelivery, earlier_deliveries
from stompy_broker.routing.reader_message import ReaderMessage


class ReaderProgress:
    """What became of the deliveries to one reader.

    Attributes:
        pending: places that were given, from the first on that is not settled.
        ahead: places that are settled, although one before them is not.
        again_below: what stands before this place may have been given before.
    """

    __slots__ = ("_past", "again_below", "ahead", "pending")

    def __init__(self, again_below: int = 0) -> None:
        self.pending: deque[int] = deque()
        self.ahead: set[int] = set()
        self.again_below = again_below
        self._past: dict[int, tuple[int, int, float]] = {}

    def settled(self, place: int) -> None:
        """Take note that a delivery is settled."""
        pending, ahead = self.pending, self.ahead
        if not pending or pending[0] != place:
            ahead.add(place)
            return
        pending.popleft()
        if ahead:
            self.catch_up()

    def catch_up(self) -> None:
        """Pass by what is settled already."""
        pending, ahead = self.pending, self.ahead
        while pending and pending[0] in ahead:
            ahead.discard(pending.popleft())

    def rewind(self, place: int, back: list[ReaderMessage], due: dict[int, float]) -> int:
        """Have everything be given again that is not settled.

        Args:
            place: which would have been given next.
            back: what came back, with what is known of its deliveries.
            due: when some of it may be given again, on the clock, by place.

        Returns:
            The place from which on it is given.
        """
        first = self.pending[0] if self.pending else place
        self.pending.clear()
        self.again_below = max(self.again_below, place)
        for message in back:
            self._past[message.place] = (
                message.deliveries,
                message.failures,
                due.get(message.place, 0.0),
            )
        return first

    def is_settled(self, place: int) -> bool:
        """Whether what is to be given again is settled already; asked once."""
        if place in self.ahead:
            self.ahead.discard(place)
            return True
        return False

    def past_of(self, place: int) -> tuple[Redelivery | None, float]:
        """What is known of earlier deliveries, and when it may be given again, on the clock."""
        deliveries, failures, due = self._past.pop(place, (0, 0, 0.0))
        return earlier_deliveries(deliveries, failures, perhaps_more=True), due

    def forget(self) -> None:
        """Begin anew: reading goes on elsewhere."""
        self.pending.clear()
        self.ahead.clear()
        self._past.clear()
        self.again_below = 0
