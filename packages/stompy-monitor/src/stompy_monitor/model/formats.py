"""Numbers, sizes and times as people read them.

In tables a number has at most three significant digits and a unit, so that columns never jump.
Zero is ``0``; what is not known is ``–``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite

from rich.cells import cell_len, chop_cells

UNKNOWN = "–"
ENDLESS = "∞"

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_TENTHS_BELOW = 9.95
_WHOLE_BELOW = 999.5


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # a whole number with hundreds of digits
        return False


def number(value: float | None) -> str:
    """A count: ``640``, ``9.3k``, ``48.2k``, ``1.2M``."""
    if value is None or not _is_finite(value):
        return UNKNOWN
    if isinstance(value, int) and abs(value) < 1000:  # noqa: PLR2004 -- where units begin
        return str(value)
    return _scaled(float(value), 1000, ("", "k", "M", "G", "T"))


def rate(value: float | None) -> str:
    """Something per second: ``0``, ``0.3``, ``18``, ``12.4k``."""
    if value is None or not _is_finite(value):
        return UNKNOWN
    if value <= 0:
        return "0"
    if value < _TENTHS_BELOW:
        return f"{max(value, 0.1):.1f}"
    return number(round(value))


def size(value: float | None) -> str:
    """Bytes in binary units: ``512 B``, ``1.2 MiB``."""
    if value is None or not _is_finite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    return _scaled(float(value), 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    if value < 0:
        return "-" + _scaled(-value, base, units)
    for unit in units:
        if value < _WHOLE_BELOW or unit == units[-1]:
            break
        value /= base
    digits = 0 if value >= 99.95 or unit in ("", " B") else 1  # noqa: PLR2004 -- three digits
    return f"{value:.{digits}f}".removesuffix(".0") + unit


def duration(ms: float | None) -> str:
    """A length of time in at most two units: ``8 ms``, ``48s``, ``12m 04s``, ``3d 04h``."""
    if ms is None:
        return UNKNOWN
    if not _is_finite(ms):
        return ENDLESS
    ms = int(ms)
    if ms < _SECOND:
        return f"{ms} ms" if ms > 0 else "0"
    if ms < _MINUTE:
        return f"{ms // _SECOND}s"
    if ms < _HOUR:
        return f"{ms // _MINUTE}m {ms % _MINUTE // _SECOND:02d}s"
    if ms < _DAY:
        return f"{ms // _HOUR}h {ms % _HOUR // _MINUTE:02d}m"
    return f"{ms // _DAY}d {ms % _DAY // _HOUR:02d}h"


def drain(ms: float | None, waiting: int) -> str:
    """How long until a queue is empty; `ENDLESS` when it does not shrink."""
    if waiting == 0:
        return UNKNOWN
    return ENDLESS if ms is None else duration(ms)


def clock(at: float | None, *, local: bool = True) -> str:
    """The time of day of an instant in epoch milliseconds; `ENDLESS` beyond the calendar."""
    return _written(at, "%H:%M:%S", local)


def moment(at: float | None, *, local: bool = True) -> str:
    """Date and time of an instant in epoch milliseconds; `ENDLESS` beyond the calendar."""
    return _written(at, "%Y-%m-%d %H:%M:%S", local)


def _written(at: float | None, form: str, local: bool) -> str:
    if at is None:
        return UNKNOWN
    try:
        moment = datetime.fromtimestamp(at / _SECOND, UTC)
        return (moment.astimezone() if local else moment).strftime(form)
    except (ValueError, OverflowError, OSError):
        # Clients say when a message or a subscription ends, and some of them mean: never.
        return ENDLESS


def share(value: float | None) -> str:
    """A part of a whole, from 0 to 1, in per cent."""
    return UNKNOWN if value is None else f"{value * 100:.0f} %"


def middle_cut(text: str, cells: int) -> str:
    """The text in so many cells: what is too long loses its middle, as ends tell names apart."""
    if cell_len(text) <= cells:
        return text
    if cells <= 1:
        return "…"[:cells]
    head = (cells - 1) // 2
    tail = cells - 1 - head
    first = chop_cells(text, head)[0] if head else ""
    last = chop_cells(text[::-1], tail)[0][::-1]
    return f"{first}…{last}"
