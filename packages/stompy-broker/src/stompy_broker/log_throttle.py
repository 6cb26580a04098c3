"""A line of the log that repeats is written once a minute, with how often it was not."""

from __future__ import annotations

from collections.abc import Callable

_SECONDS = 60.0
_MOST = 1_000
"""Things that are told apart; then all is forgotten."""


class LogThrottle:
    """Counts what is not worth a line of the log each time it happens.

    Args:
        now: gives the time in seconds.
        seconds: between two lines about the same thing.
    """

    def __init__(self, now: Callable[[], float], seconds: float = _SECONDS) -> None:
        self._now = now
        self._seconds = seconds
        self._rows: dict[str, tuple[float, int]] = {}

    def count(self, what: str) -> int | None:
        """Count that something happened, and decide whether the log should say so.

        Returns:
            How often it happened since the last line, if there is to be one now; None = not now.
        """
        now = self._now()
        row = self._rows.get(what)
        if row is not None and now < row[0] + self._seconds:
            self._rows[what] = (row[0], row[1] + 1)
            return None
        if row is None and len(self._rows) >= _MOST:
            self._rows.clear()
        self._rows[what] = (now, 0)
        return 0 if row is None else row[1]
