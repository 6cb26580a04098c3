"""The times that a cron expression names in a time zone.

Clocks are set forward and back. An expression that names hours (``30 2 * * *``) goes by what the
clock on the wall shows: what falls into an hour that is left out comes once, right after it, and
what falls into an hour that comes twice comes in the first of them only. One for every hour
(``*/15 * * * *``) goes by the time that really passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from stompy.errors import ErrorCode, ProtocolError

SHORTHANDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Words for common expressions, and what they mean."""

_LONGEST: Final = 200
_SOME_DAY: Final = datetime(2000, 1, 1)
_FIELDS: Final = 6
_HOUR: Final = 2
_HOURS: Final = 24


class CronTimes:
    """When a cron expression is due; times are milliseconds since 1970.

    Args:
        text: the expression: five fields, or six with seconds first, or a word with ``@``.
        zone: the name of the time zone whose clock it means.

    Attributes:
        text: the expression as it was given.
        zone: the name of the time zone.

    Raises:
        ProtocolError: it is no expression, or one that never comes true, or there is no such zone.
    """

    __slots__ = ("_every_hour", "_fields", "_zone", "text", "zone")

    def __init__(self, text: str, zone: str) -> None:
        self.text = text
        self.zone = zone
        self._zone = zone_of(zone)
        self._fields = _fields_of(text)
        self._every_hour = self._fields.split()[_HOUR] == "*"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CronTimes):
            return NotImplemented
        return (self.text, self.zone) == (other.text, other.zone)

    def __hash__(self) -> int:
        return hash((self.text, self.zone))

    def __repr__(self) -> str:
        return f"CronTimes({self.text!r}, {self.zone!r})"

    def after(self, ms: int) -> int | None:
        """The first time that is later; None if there is none before the calendar ends."""
        second = ms // 1000
        try:
            start = datetime.fromtimestamp(second, self._zone)
            if self._every_hour:
                return _seconds(next(CronSim(self._fields, start))) * 1000
            for named in CronSim(self._fields, start.replace(tzinfo=None)):
                found = self._second_of(named)
                if found > second:
                    return found * 1000
        except (OverflowError, ValueError):  # beyond the year 9999
            pass
        return None

    def before(self, ms: int) -> int | None:
        """The last time that is not later; None if there is none since the calendar began."""
        return next(self.back(ms), None)

    def back(self, ms: int) -> Iterator[int]:
        """Give the times that are not later, last one first, until the calendar began."""
        second = ms // 1000
        try:
            start = datetime.fromtimestamp(second + 1, self._zone)
            if self._every_hour:
                for moment in CronSim(self._fields, start, reverse=True):
                    yield _seconds(moment) * 1000
                return
            wall = start.replace(tzinfo=None)
            if start.fold:  # the first of two equal hours showed later times, and has passed
                first = start.replace(fold=0)
                wall += (first.utcoffset() or _NO_TIME) - (start.utcoffset() or _NO_TIME)
            last = second + 1
            for named in CronSim(self._fields, wall, reverse=True):
                found = self._second_of(named)
                if found < last:
                    last = found
                    yield found * 1000
        except (OverflowError, ValueError):  # before the year 1
            pass

    def _second_of(self, wall: datetime) -> int:
        """When the clock shows that for the first time, or is set forward over it."""
        moment = wall.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
        if moment.astimezone(self._zone).replace(tzinfo=None) == wall:
            return _seconds(moment)
        # It never shows it. Read with the offset of before it lies after the change, and the
        # other way round.
        later = _seconds(moment)
        earlier = _seconds(wall.replace(tzinfo=self._zone, fold=1))
        offset = self._offset(later)
        while later - earlier > 1:
            middle = (later + earlier) // 2
            if self._offset(middle) == offset:
                later = middle
            else:
                earlier = middle
        return later

    def _offset(self, second: int) -> object:
        return datetime.fromtimestamp(second, self._zone).utcoffset()


_NO_TIME: Final = _SOME_DAY - _SOME_DAY


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """The time zone of a name, as the IANA has them: `Europe/Berlin`.

    Raises:
        ProtocolError: there is none.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # none, no name at all, or the name of a directory
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"there is no time zone {name[:40]!r}; they are called as in 'Europe/Berlin'",
        ) from None


@lru_cache(maxsize=1024)
def _fields_of(text: str) -> str:
    """The six fields of an expression that fires some day."""
    words = SHORTHANDS.get(text.strip().lower(), text).split()
    if len(words) == _FIELDS - 1:
        words.insert(0, "0")
    if len(text) > _LONGEST or len(words) != _FIELDS:
        known = ", ".join(SHORTHANDS)
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"a cron expression has five fields, or six with seconds first, in at most {_LONGEST} "
            f"characters, or is one of {known}; not {text[:80]!r}",
        )
    fields = " ".join(words)
    try:
        found = CronSim(fields, _SOME_DAY)
        # Written out or not: every hour is every hour.
        if len(found.hours) == _HOURS:
            words[_HOUR] = "*"
            fields = " ".join(words)
        next(found)
    except StopIteration:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"the cron expression {text!r} never comes true"
        ) from None
    except (CronSimError, AssertionError) as exc:
        reason = str(exc).lower() or "bad step"
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"the cron expression {text!r} means nothing, or never comes true: {reason}",
        ) from None
    return fields
