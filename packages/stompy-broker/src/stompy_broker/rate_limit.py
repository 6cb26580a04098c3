"""How much of something there may be in a time, as ``10/s`` or ``10MiB/min`` says it. Pure."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

_TEXT = re.compile(r"(\d{1,15})\s*([KMGT]i?B|B)?\s*/\s*(s|min|h|d)", re.ASCII)
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}


class Rate(NamedTuple):
    """So much in so many seconds.

    Attributes:
        amount: how many messages or bytes; at least one.
        seconds: in which time.
    """

    amount: int
    seconds: int = 1

    @property
    def burst(self) -> float:
        """How many may come at once, after a pause: what a second brings, and at least one."""
        return max(1.0, self.amount / self.seconds)


def read_rate(text: str) -> Rate:
    """Read a rate: a number, perhaps a unit of bytes, and per what time.

    Args:
        text: such as ``10/s``, ``600/min``, ``5000/h``, ``10 MiB/s``.

    Raises:
        ValueError: it is none.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError(f"must be a rate, such as '10/s', '600/min' or '5MiB/s', not {text!r}")
    return Rate(int(found[1]) * _BYTES[found[2] or "B"], _SECONDS[found[3]])


def _check(text: str) -> str:
    if text:
        read_rate(text)
    return text


def _check_count(text: str) -> str:
    if text and "B" in text:
        raise ValueError(f"counts messages, not bytes: write '10/s', not {text!r}")
    return _check(text)


RateText = Annotated[str, AfterValidator(_check)]
"""A setting that is a rate of bytes; empty = no limit."""
CountRateText = Annotated[str, AfterValidator(_check_count)]
"""A setting that is a rate of whole things, as messages are; empty = no limit."""
