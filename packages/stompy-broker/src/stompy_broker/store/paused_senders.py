"""Senders who have told a store much, and are read no further until it has room."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.store.base import Callback


class PausedSenders:
    """Who may not tell more just now, in the order of who asked.

    Args:
        has_room: whether the next one may go on.
        soon: calls something once in a later turn of the event loop.
    """

    def __init__(self, has_room: Callable[[], bool], soon: Callable[[Callback], object]) -> None:
        self._has_room = has_room
        self._soon = soon
        self._waiting: dict[Callback, None] = {}
        self._resuming = False

    def add(self, go_on: Callback) -> None:
        """Call ``go_on`` when there is room."""
        self._waiting[go_on] = None

    def forget(self, go_on: Callback) -> None:
        """Do not call ``go_on`` any more."""
        self._waiting.pop(go_on, None)

    def clear(self) -> None:
        """Call nobody any more."""
        self._waiting.clear()

    def resume(self) -> None:
        """Let them go on while there is room: one a turn, so that not all of them tell at once.

        To be called whenever there may be room again, also when nothing was written: what they
        told may have been settled meanwhile.
        """
        if self._waiting and not self._resuming:
            self._resuming = True
            self._soon(self._resume_one)

    def _resume_one(self) -> None:
        self._resuming = False
        if self._waiting and self._has_room():
            go_on = next(iter(self._waiting))
            del self._waiting[go_on]
            go_on()
            self.resume()
