"""When: as people type it, a day and a time, or how long from now."""

from __future__ import annotations

import re
from datetime import datetime

from stompy.admin import CommandError, CommandErrorCode

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_FROM_NOW = re.compile(r"(?:in )?(\d{1,9}(?:\.\d{1,6})?) ?([smhdw])", re.ASCII)


def moment_of(text: str, now: float) -> float:
    """Read a moment, in milliseconds since 1970.

    Args:
        text: ``2027-01-01 09:00``, by the clock of this machine unless a zone is with it; or
            ``2h``, from now.
        now: what time it is at the broker.

    Raises:
        CommandError: it is none.
    """
    found = _FROM_NOW.fullmatch(text.strip())
    if found is not None:
        return now + float(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp() * 1000
    except (ValueError, OverflowError, OSError):
        raise CommandError(
            CommandErrorCode.BAD_REQUEST, f"“{text}” is no time such as 2027-01-01 09:00, or 2h"
        ) from None
