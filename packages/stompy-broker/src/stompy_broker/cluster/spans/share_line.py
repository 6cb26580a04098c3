"""The shares of one group, one after the other: an owner has one record in the hands of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stompy_broker.cluster.log.shared_store import SharedStore
from stompy_broker.cluster.remote.places import PlacedGroup
from stompy_broker.cluster.spans.share import Share


class ShareLine:
    """The line of one group.

    Args:
        group: it.
        soon: calls a function at the end of the present turn of the event loop.
    """

    def __init__(self, group: PlacedGroup, soon: Callable[[Callable[[], None]], object]) -> None:
        self._group = group
        self._soon = soon
        self._waiting: deque[Share] = deque()
        self._now: Share | None = None

    def add(self, share: Share) -> None:
        """Put a share to the end of the line."""
        share.ended_up = self._go_on
        self._waiting.append(share)
        self._begin()

    def _begin(self) -> None:
        while self._now is None and self._waiting:
            share = self._waiting.popleft()
            if share.ended:
                continue
            store: SharedStore | None = self._group.logged
            if store is None or store.fenced or not self._group.serving:
                share.lost(f"group {self._group.number} is not served here any more")
            else:
                self._now = share
                store.take_share(share)

    def _go_on(self, share: Share) -> None:
        if share is self._now:
            store = self._group.logged
            if store is not None and store.share is share:
                store.share = None
            self._now = None
            self._soon(self._begin)
