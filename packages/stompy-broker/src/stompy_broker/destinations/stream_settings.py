"""What a policy says about streams: queues whose messages stay when they were read. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from stompy_broker.config_section import Section
from stompy_broker.durations import seconds_of

QUEUE_TYPE: Final = "x-queue-type"
"""The argument by which a first SEND or SUBSCRIBE makes a queue a stream, as with RabbitMQ, ..."""

STREAM: Final = "stream"
"""... and what it says then."""

_OTHER_TYPES = frozenset(("", "classic", "quorum", "queue"))
"""What it says of a queue that is none; RabbitMQ's two kinds of queue are one here."""

MAX_AGE: Final = "x-max-age"
"""The argument that says for how long messages stay."""

_LONGEST: Final = 100
"""Characters of an age; what is longer is none."""

_MOST_MS: Final = 10**15
"""What is longer is as good as for ever, and a database has numbers for it."""

_AGE = re.compile(r"(\d{1,9})\s*([YMDdhms])", re.ASCII)
_UNITS: Mapping[str, int] = {
    "Y": 365 * 86_400,
    "M": 30 * 86_400,
    "D": 86_400,
    "d": 86_400,
    "h": 3600,
    "m": 60,
    "s": 1,
}

_NEVER = {
    "x-message-ttl": "its messages do not end one by one; x-max-age says for how long they stay",
    "x-overflow": "it never refuses a message; the oldest ones go when it is too long",
    "x-last-value-key": "it keeps all values",
    "x-max-priority": "its messages have one order",
}
_UNLESS: Mapping[str, tuple[frozenset[str], str]] = {
    "auto-delete": (
        frozenset(("", "false", "0", "no")),
        "it stays when its readers leave; x-expires ends it when nobody uses it",
    ),
    "durable": (frozenset(("", "true", "1", "yes")), "it survives a restart"),
    "exclusive": (frozenset(("", "false", "0", "no")), "any number of readers may have it"),
}


def read_age(text: str) -> int:
    """Read an age as RabbitMQ writes it, or as words.

    Args:
        text: a number and Y, M (30 days), D, h, m (minutes) or s, such as ``7D``; or a span of time
            such as ``30 days`` or ``1 h 30 min``.

    Returns:
        Milliseconds.

    Raises:
        ValueError: it is none.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        try:
            return min(int(seconds_of(text[:_LONGEST]) * 1000), _MOST_MS)
        except ValueError:
            raise ValueError(
                "must be a number and Y, M, D, h, m or s, such as 7D or 12h, or a span of time "
                f"such as 30 days, not {text[:40]!r}"
            ) from None
    return min(int(found[1]) * _UNITS[found[2]] * 1000, _MOST_MS)


def _check_age(text: str) -> str:
    if text and not read_age(text):
        raise ValueError("must be longer than nothing; leave it out if messages stay for ever")
    return text


def read_type(text: str) -> str:
    """What a policy calls the type of queue that a header names.

    Raises:
        ValueError: there is none of that name.
    """
    word = text.strip().lower()
    if word in _OTHER_TYPES:
        return "queue"
    if word == STREAM:
        return STREAM
    raise ValueError(f"{QUEUE_TYPE}: must be classic, quorum or stream, not {text[:40]!r}")


def not_of_streams(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The first argument among headers that no stream can be set up by, and why; None = none."""
    for name, why in _NEVER.items():
        if headers.get(name, "").strip():
            return name, why
    for name, (idle, why) in _UNLESS.items():
        if headers.get(name, "").strip().lower() not in idle and name in headers:
            return name, why
    return None


class QueueTypeSettings(Section):
    """Whether queues are streams, and for how long their messages stay."""

    type: Literal["queue", "stream"] = Field(
        default="queue",
        description="What queues are that are made while it says so: a `queue`, whose messages go "
        "when they are settled, or a `stream`, whose messages stay, have offsets and are read by "
        "any number of readers. `x-queue-type` on a first SEND or SUBSCRIBE goes before it.",
    )
    max_age: Annotated[str, AfterValidator(_check_age)] = Field(
        default="",
        description="For how long messages of a stream stay: a number and `Y`, `M` (30 days), "
        "`D`, `h`, `m` (minutes) or `s`, such as `7D`, or in words, such as `30 days`. "
        "Empty = for ever. Beside it, `max_length` and `max_length_bytes` say how much stays of a "
        "stream.",
    )

    @property
    def is_stream(self) -> bool:
        """Whether it makes streams of queues."""
        return self.type == STREAM

    @property
    def max_age_ms(self) -> int:
        """For how many milliseconds messages of a stream stay; 0 = for ever."""
        return read_age(self.max_age) if self.max_age else 0
