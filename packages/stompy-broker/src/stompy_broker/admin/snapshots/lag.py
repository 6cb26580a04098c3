"""By how much the event loop is late."""

from __future__ import annotations

import math
from collections import deque

from stompy.admin.json_types import Lag
from stompy_broker.timers import Clock

LAG_SECONDS, LAGS = 0.1, 100
"""How often the event loop's lateness is measured while somebody watches, and for how long."""


class LagMeter:
    """Measures by how much the event loop is late.

    Args:
        clock: rings.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer = clock.timer(self._ring)
        self._due: float | None = None
        self._lags: deque[float] = deque(maxlen=LAGS)

    def start(self) -> None:
        """Measure from now on, ten times a second."""
        if self._due is None:
            self._set()

    def stop(self) -> None:
        """Measure no more, and forget."""
        self._due = None
        self._timer.cancel()
        self._lags.clear()

    def _set(self) -> None:
        self._due = self._clock.now() + LAG_SECONDS
        self._timer.set(self._due)

    def _ring(self) -> None:
        if self._due is not None:
            self._lags.append(max(0.0, self._clock.now() - self._due))
            self._set()

    @property
    def lag(self) -> Lag | None:
        """By how much it was late lately, in milliseconds; None = not measured yet."""
        if not self._lags:
            return None
        lags = sorted(self._lags)
        return {
            "avg": round(1000 * sum(lags) / len(lags), 2),
            "p99": round(1000 * lags[math.ceil(0.99 * len(lags)) - 1], 2),
            "max": round(1000 * lags[-1], 2),
        }
