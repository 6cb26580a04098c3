"""Messages a second, worked out from counters that are looked at now and then."""

from __future__ import annotations

from typing import Generic, TypeVar

from stompy.admin.json_types import Rate

K = TypeVar("K")

WINDOW = 0.9
"""Seconds over which a rate is taken, at least."""

STILL: Rate = {"in": 0.0, "out": 0.0, "ack": 0.0}


class Rates(Generic[K]):
    """Works out the rates of many things from their counters."""

    def __init__(self) -> None:
        self._looks: dict[K, tuple[float, int, int, int, Rate | None]] = {}

    def look(self, key: K, now: float, came: int, went: int, acked: int = 0) -> Rate | None:
        """Give the rates of one of them by its counters; None until there were two looks apart."""
        look = self._looks.get(key)
        if look is None:
            self._looks[key] = (now, came, went, acked, None)
            return None
        then, came_then, went_then, acked_then, rate = look
        seconds = now - then
        if seconds < WINDOW:
            return rate
        moved = (came - came_then, went - went_then, acked - acked_then)
        rate = STILL
        if any(moved):
            rate = {
                "in": round(moved[0] / seconds, 1),
                "out": round(moved[1] / seconds, 1),
                "ack": round(moved[2] / seconds, 1),
            }
        self._looks[key] = (now, came, went, acked, rate)
        return rate

    def keep(self, keys: set[K]) -> None:
        """Forget all but these things."""
        if len(self._looks) > len(keys):
            self._looks = {key: look for key, look in self._looks.items() if key in keys}

    def clear(self) -> None:
        """Forget everything: nobody looks any more."""
        self._looks.clear()
