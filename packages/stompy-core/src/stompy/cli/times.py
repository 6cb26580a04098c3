"""How a command line says times: how long from now, when, and where in a stream."""

from __future__ import annotations

import argparse
import re
from datetime import datetime, timedelta

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "": timedelta(seconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PART = r"(\d{1,12}(?:\.\d{1,9})?)(ms|[smhdw]?)"
_START = re.compile(
    r"first|last|next|first-unread|-?\d{1,19}|(offset|last|timestamp|age)=\S+", re.ASCII
)
_SPAN = re.compile(f"(?:{_PART})+", re.ASCII)


def span(text: str) -> timedelta:
    """How long: ``90`` seconds, ``15m``, ``1h30m``, ``7d``, ``500ms``.

    Raises:
        ArgumentTypeError: it is none.
    """
    parts = re.findall(_PART, text, re.ASCII)
    if not _SPAN.fullmatch(text) or (len(parts) > 1 and any(not unit for _, unit in parts)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 90, 15m, 1h30m, 7d or 500ms"
        )
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than there are dates") from None


def moment(text: str) -> datetime:
    """When: ``2027-01-01T09:00``, by this machine's clock unless a zone is with it.

    Raises:
        ArgumentTypeError: it is no time.
    """
    try:
        when = datetime.fromisoformat(text)
        return when if when.tzinfo is not None else when.astimezone()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2027-01-01T09:00 or 2027-01-01T09:00+01:00"
        ) from None


def start(text: str) -> int | str | datetime:
    """Where in a stream: ``first``, ``17``, ``-5``, ``age=2h``, ``2027-01-01T09:00``.

    Raises:
        ArgumentTypeError: it is no place.
    """
    if _START.fullmatch(text):
        return text if "=" in text or text[-1].isalpha() else int(text)
    try:
        return moment(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not first, last, next, a number, last=5, age=2h or a time such as "
            "2027-01-01T09:00"
        ) from None
