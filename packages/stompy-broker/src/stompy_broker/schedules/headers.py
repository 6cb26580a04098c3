"""How a SEND says when its message is to come, in the spellings of several brokers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.dedup_headers import DEBOUNCE, DUPLICATE_ID, DUPLICATE_MODE
from stompy_broker.schedules.cron_times import CronTimes
from stompy_broker.schedules.schedule_spec import ScheduleSpec

DELAY: Final = ("x-delay", "AMQ_SCHEDULED_DELAY", "x-opt-delivery-delay")
"""So many milliseconds later."""
AT: Final = ("x-deliver-at", "AMQ_SCHEDULED_TIME", "_AMQ_SCHED_DELIVERY", "x-opt-delivery-time")
"""At that time, in milliseconds since 1970."""
PERIOD: Final = ("x-repeat-every", "AMQ_SCHEDULED_PERIOD")
"""Again after so many milliseconds."""
REPEAT: Final = ("x-repeat-times", "AMQ_SCHEDULED_REPEAT")
"""So many times more, -1 for ever."""
CRON: Final = ("x-cron", "AMQ_SCHEDULED_CRON")
"""At the times of a cron expression."""
ZONE: Final = ("x-cron-zone",)
"""By whose clock the cron expression is meant."""
NAME: Final = ("x-schedule-id",)
"""What the sender calls the schedule."""
CANCEL: Final = ("x-schedule-cancel",)
"""The schedule of that name ends."""

OF_ID: Final = f"{DUPLICATE_ID[0]}:"
"""What the name of a schedule begins with that is one for each duplicate id."""

SCHEDULE_HEADERS: Final = frozenset((*DELAY, *AT, *PERIOD, *REPEAT, *CRON, *ZONE, *NAME, *CANCEL))
"""Headers of SEND that say when its message is to come; a message that comes has none of them."""

LEAST_PERIOD: Final = 100
"""The shortest time between two messages of one schedule, in milliseconds."""
LONGEST: Final = 36525 * 24 * 3600 * 1000
"""The longest delay and period: a hundred years, in milliseconds."""

LATEST: Final = 253_370_764_800_000
"""When the calendar of Python is about to end: the first day of the year 9999."""
_MOST_REPEATS: Final = 2**31 - 1
_LONGEST_NAME: Final = 200
_MOST_DIGITS: Final = 18
_UNITS: Final = {
    DELAY: " of milliseconds",
    PERIOD: " of milliseconds",
    AT: ", milliseconds since 1970",
    REPEAT: "",
}
_YES: Final = frozenset(("true", "1", "yes"))
_NO: Final = frozenset(("", "false", "0", "no"))


def read_schedule(headers: Mapping[str, str], zone: str = "UTC") -> ScheduleSpec | None:
    """Read when a message is to come.

    Args:
        headers: of its SEND.
        zone: by whose clock a cron expression is meant that names none.

    Returns:
        None if they say nothing about it.

    Raises:
        ProtocolError: they contradict one another, or mean nothing.
    """
    if SCHEDULE_HEADERS.isdisjoint(headers):
        return None
    name = _name(headers)
    if _cancels(headers, name):
        return ScheduleSpec(name=name, cancel=True)
    delay, at = _number(headers, DELAY), _number(headers, AT)
    if delay is not None and at is not None:
        raise _bad(f"{_there(headers, DELAY)} and {_there(headers, AT)}: only one of them can hold")
    period, repeat = _number(headers, PERIOD) or 0, _number(headers, REPEAT)
    cron = _cron(headers, zone)
    _check_times(headers, delay or 0, at or 0)
    _check_series(headers, period, repeat, cron)
    if delay is None and at is None and not period and cron is None:
        if name:
            raise _bad(f"{NAME[0]} names a schedule, and nothing says when it is due")
        return None
    spec = ScheduleSpec(delay or 0, max(at or 0, 0), period, repeat or 0, cron, name)
    if cron is not None and cron.after(spec.at) is None:
        raise _bad(f"{_there(headers, CRON)} never comes true after {_there(headers, AT)}")
    return spec


def _check_times(headers: Mapping[str, str], delay: int, at: int) -> None:
    if delay > LONGEST:
        raise _bad(f"{_there(headers, DELAY)} is {delay}, more than a hundred years ({LONGEST})")
    if at > LATEST:
        raise _bad(f"{_there(headers, AT)} is {at}, after the calendar ends ({LATEST})")


def _check_series(
    headers: Mapping[str, str], period: int, repeat: int | None, cron: CronTimes | None
) -> None:
    """Check how often it repeats.

    Raises:
        ProtocolError: too often, or it does not say how fast.
    """
    if period and not LEAST_PERIOD <= period <= LONGEST:
        raise _bad(
            f"{_there(headers, PERIOD)} must be from {LEAST_PERIOD} to {LONGEST} milliseconds, "
            f"not {period}"
        )
    if repeat is None:
        return
    if not -1 <= repeat <= _MOST_REPEATS:
        raise _bad(
            f"{_there(headers, REPEAT)} must be from 0 to {_MOST_REPEATS}, or -1 for ever, "
            f"not {repeat}"
        )
    # A cron expression goes on for ever by itself, so -1 says nothing new there.
    if not period and (repeat > 0 or (repeat < 0 and cron is None)):
        raise _bad(f"{_there(headers, REPEAT)} needs {PERIOD[0]}: how long until the next one")


def _name(headers: Mapping[str, str]) -> str:
    if headers.get(DUPLICATE_MODE) == DEBOUNCE:
        # Of one id there is one, whatever its header is called.
        return OF_ID + next((headers[name] for name in DUPLICATE_ID if headers.get(name)), "")
    name = headers.get(NAME[0], "")
    if name.startswith(OF_ID):
        raise _bad(f"{NAME[0]} begins like what the broker calls those of {DUPLICATE_MODE}")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise _bad(
            f"{NAME[0]} must be at most {_LONGEST_NAME} printable characters, not {name[:40]!r}"
        )
    return name


def _cancels(headers: Mapping[str, str], name: str) -> bool:
    word = headers.get(CANCEL[0], "").strip().lower()
    if word in _NO:
        return False
    if word not in _YES:
        raise _bad(f"{CANCEL[0]} must be true or false, not {word[:40]!r}")
    if not name:
        raise _bad(f"{CANCEL[0]} needs {NAME[0]}: which schedule is to end")
    return True


def _cron(headers: Mapping[str, str], zone: str) -> CronTimes | None:
    text, own_zone = "", headers.get(ZONE[0], "").strip()
    for header in CRON:
        given = " ".join(headers.get(header, "").split())
        if given and text and given != text:
            raise _disagree(headers, CRON)
        text = text or given
    if text:
        return CronTimes(text, own_zone or zone)
    if own_zone:
        raise _bad(f"{ZONE[0]} says by whose clock {CRON[0]} is meant, and there is none")
    return None


def _number(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    """The number that one of several headers has; an empty one says nothing."""
    found: int | None = None
    for name in names:
        text = headers.get(name, "").strip()
        if not text:
            continue
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _MOST_DIGITS:
            raise _bad(
                f"{name} must be a whole number{_UNITS[names]}, of at most {_MOST_DIGITS} "
                f"digits, not {text[:40]!r}"
            )
        if found is not None and found != int(text):
            raise _disagree(headers, names)
        found = int(text)
    return found


def _there(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Which of several names for one thing was used."""
    return next((name for name in names if headers.get(name)), names[0])


def _disagree(headers: Mapping[str, str], names: tuple[str, ...]) -> ProtocolError:
    said = " and ".join(f"{name} {headers[name][:40]!r}" for name in names if headers.get(name))
    return _bad(f"{said}: they mean the same, and say different things")


def _bad(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_HEADER, text)
