"""Spans of time as people write them: ``30 days``, ``1 h 30 min``, seconds, or a timedelta."""

from __future__ import annotations

import re
from datetime import timedelta
from math import isfinite
from typing import Final

Duration = str | float | timedelta
"""Seconds, or words such as ``2 days 12 hours``."""

_UNITS: Final = {
    "ms": 0.001,
    "millisecond": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "w": 604_800.0,
    "week": 604_800.0,
}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)[\s,]*")


def seconds_of(duration: Duration) -> float:
    """Give a span of time in seconds.

    Args:
        duration: seconds, words with units from ``ms`` to ``weeks``, or a timedelta.

    Raises:
        ValueError: it cannot be read, is negative, or has no end.
    """
    if isinstance(duration, timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, str):
        seconds = _read(duration)
    else:
        seconds = float(duration)
    if seconds < 0 or not isfinite(seconds):
        raise ValueError(f"time goes forward, by a while that ends: not by {duration!r}")
    return seconds


def _read(text: str) -> float:
    at, seconds = 0, 0.0
    words = text.strip().lower()
    while at < len(words):
        part = _PART.match(words, at)
        unit = (
            None if part is None else _UNITS.get(part[2]) or _UNITS.get(part[2].removesuffix("s"))
        )
        if part is None or unit is None:
            break
        seconds += float(part[1]) * unit
        at = part.end()
    if not words or at < len(words):
        raise ValueError(
            f"{text!r} is no span of time: write it as in '30 days', '1 h 30 min' or '500 ms'"
        )
    return seconds
