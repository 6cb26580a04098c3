"""What a message may ask for beside its way: when it is delivered, how often, in which group. Pure.

The calls that send take these as keywords, among those that become headers, so that a message that
asks for none of them costs no more than before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias, TypedDict, TypeVar, cast
from zoneinfo import ZoneInfo

from stompy.session.arguments import FreeKeywords, with_fields
from stompy.session.commands import HeaderValue, merged
from stompy.session.dedup_ids import DedupIds
from stompy.session.dialects import Dialect

SendValue: TypeAlias = "HeaderValue | timedelta | datetime | ZoneInfo | None"
"""What the keywords of a sending call may be: a header, or one of the options below."""

FOREVER = -1
"""How ``every`` without ``times`` is written."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

F = TypeVar("F", bound=Callable[..., object])


class Sending(Protocol):
    """What is asked of a session here.

    Attributes:
        ids: makes the ids of messages.
    """

    ids: DedupIds

    @property
    def dialect(self) -> Dialect:
        """The ways of the last broker that answered."""
        ...


class SendWords(TypedDict, total=False):
    """The options as keywords, for calls that take no others."""

    delay: float | timedelta | None
    at: datetime | None
    cron: str | None
    zone: str | ZoneInfo | None
    every: float | timedelta | None
    times: int | None
    schedule_id: str | None
    group: str | int | None
    close_group: bool
    dedup: bool | str | None
    retain: bool
    filter_value: str | None


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What holds for one message; most messages ask for none of it.

    Attributes:
        delay: how long the broker keeps it before it is delivered.
        at: when it is delivered; at once if that has passed.
        cron: when it is delivered, again and again: five fields, or six with seconds first.
        zone: the time zone of ``cron``; None = the broker's.
        every: how long after a delivery the next one follows.
        times: how many deliveries there are; None = no end.
        schedule_id: its name as a schedule; a later one of that name takes its place.
        group: the messages of one group are delivered in order, one consumer at work on them.
        close_group: whether it is the last of its group, which then picks a consumer anew.
        dedup: whether the broker drops it if it had it before: by an id of the client's own, or by
            this one; None = as the client does it.
        retain: whether its topic keeps it for who subscribes later.
        filter_value: by which readers of a stream choose it.
    """

    delay: float | timedelta | None = None
    at: datetime | None = None
    cron: str | None = None
    zone: str | ZoneInfo | None = None
    every: float | timedelta | None = None
    times: int | None = None
    schedule_id: str | None = None
    group: str | int | None = None
    close_group: bool = False
    dedup: bool | str | None = None
    retain: bool = False
    filter_value: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            TypeError: something of the wrong kind.
            ValueError: a time or a number that cannot be, or what does not go together.
        """
        for name in ("delay", "every"):
            _check_span(name, getattr(self, name))
        _check_moment(self.at)
        for name in ("cron", "schedule_id", "filter_value"):
            _check_text(name, getattr(self, name), "text", (str,))
        _check_text("zone", self.zone, "a name such as 'Europe/Berlin', or a ZoneInfo", _ZONES)
        _check_text("group", self.group, "text or a whole number", (str, int))
        for name in ("close_group", "retain"):
            value = getattr(self, name)
            if value.__class__ is not bool:
                raise TypeError(f"{name}= is True or False, not {value!r}")
        if self.dedup.__class__ is not bool:
            _check_text("dedup", self.dedup, "True, False or an id, which is text", (str,))
        self._check_times()
        self._check_together()

    def _check_times(self) -> None:
        times: object = self.times
        if times is None:
            return
        if not isinstance(times, int) or isinstance(times, bool):
            raise TypeError(f"times= is a whole number of deliveries, not {times!r}")
        if times < 1:
            raise ValueError(f"times= is 1 or more, not {times}; leave it out for no end")

    def _check_together(self) -> None:
        if self.delay is not None and self.at is not None:
            raise ValueError("give delay= or at=, not both")
        if self.cron is not None and self.at is not None:
            raise ValueError("give at= for one time or cron= for many, not both")
        if self.zone is not None and self.cron is None:
            raise ValueError("zone= is that of cron=; a time given as at= has its own")
        if self.times is not None and self.every is None:
            raise ValueError("times= needs every=, the time between two deliveries")
        if self.cron is not None and self.every is not None and self.times is None:
            raise ValueError("every= beside cron= needs times=: how many follow one another")
        if self.close_group and self.group is None:
            raise ValueError("close_group= needs group=, the group that it closes")

    def headers_for(self, dialect: Dialect, ids: DedupIds | None = None) -> dict[str, HeaderValue]:
        """Make the headers of SEND for a broker.

        Args:
            dialect: the broker's.
            ids: makes the id of a message that is to have one.

        Raises:
            UnsupportedByBroker: it has no such thing.
        """
        wanted: dict[str, HeaderValue | None] = {
            "delay": _milliseconds(self.delay),
            "at": None if self.at is None else -((_EPOCH - self.at) // _MILLISECOND),
            "cron": self.cron,
            "zone": None if self.zone is None else str(self.zone),
            "every": _milliseconds(self.every),
            "times": self._further(),
            "schedule_id": self.schedule_id,
            "group": self.group,
            "close_group": -1 if self.close_group else None,
            "dedup": None if self.dedup is None else (ids or DedupIds()).id_for(self.dedup),
            "retain": "true" if self.retain else None,
            "filter_value": self.filter_value,
        }
        return {
            dialect.send_header(name): str(value)
            for name, value in wanted.items()
            if value is not None
        }

    def _further(self) -> int | None:
        """How many deliveries follow the first, as brokers count them."""
        if self.every is None:
            return None
        return FOREVER if self.times is None else self.times - 1


_ZONES = (str, ZoneInfo)

NAMES = frozenset(field.name for field in fields(SendOptions))
"""The keywords that are no headers."""

_NEAR = FreeKeywords("message()", " ".join(sorted(NAMES)))
"""Mistyped ones are looked for where there are others: alone, they may be anybody's headers."""


def keyword_headers(
    call: FreeKeywords,
    keywords: Mapping[str, SendValue],
    headers: Mapping[str, HeaderValue],
    session: Sending,
) -> dict[str, HeaderValue]:
    """The headers of a SEND that was given keywords.

    Args:
        call: which call takes them.
        keywords: options, and headers, which win over those beside them.
        headers: headers; they win over those that follow from options.
        session: the client's.

    Raises:
        TypeError: a keyword that is neither, or of the wrong kind.
        UnsupportedByBroker: the broker has no such thing.
        ValueError: an option that cannot be.
    """
    words, free = taken_apart(call, keywords)
    if not words:
        return merged(headers, free)
    made = SendOptions(**words).headers_for(session.dialect, session.ids)
    return {**made, **merged(headers, free)}


def option_headers(
    words: SendWords, headers: Mapping[str, HeaderValue], session: Sending
) -> Mapping[str, HeaderValue]:
    """The headers of a SEND that was given options; the same where there are none.

    Raises:
        TypeError: there is no such option, or one is of the wrong kind.
        UnsupportedByBroker: the broker has no such thing.
        ValueError: an option that cannot be.
    """
    if not words:
        return headers
    made = SendOptions(**words).headers_for(session.dialect, session.ids)
    return {**made, **merged(headers, {})}


def check_each(dedup: bool | str | None) -> None:
    """See whether ``dedup`` may be said of many messages at once.

    Raises:
        ValueError: it is one id, by which all but the first would be dropped.
    """
    if isinstance(dedup, str):
        raise ValueError(
            f"dedup={dedup!r} is the id of one message, and send_many() sends several; "
            "write dedup=True, or give each its own with post()"
        )


def each_id(dedup: bool | str | None, session: Sending) -> dict[str, HeaderValue]:
    """The header that gives one of many messages an id of its own.

    Raises:
        UnsupportedByBroker: the broker knows no such ids.
    """
    if dedup is None:
        return {}
    return SendOptions(dedup=dedup).headers_for(session.dialect, session.ids)


def cancel_headers(schedule_id: str, dialect: Dialect) -> dict[str, HeaderValue]:
    """The headers of a SEND that ends a schedule.

    Raises:
        TypeError: this is no name.
        UnsupportedByBroker: the broker knows no schedules by name.
        ValueError: an empty name.
    """
    named = SendOptions(schedule_id=schedule_id).headers_for(dialect)
    if not named:
        raise TypeError("schedule_id is the name of a schedule, not None")
    return {**named, dialect.send_header("cancel_schedule"): "true"}


def taken_apart(
    call: FreeKeywords, keywords: Mapping[str, SendValue]
) -> tuple[SendWords, dict[str, HeaderValue]]:
    """The options among the keywords of a call, and the headers.

    Raises:
        TypeError: one is neither.
    """
    words = {name: value for name, value in keywords.items() if name in NAMES}
    free = {name: value for name, value in keywords.items() if name not in NAMES}
    headers = cast("dict[str, HeaderValue]", free)
    if headers:
        call.check(headers)
        if words:
            _NEAR.check(headers)
    return cast("SendWords", words), headers


def with_send_options(call: F) -> F:
    """Show a call with these options, which it takes among its free keywords."""
    return with_fields(call, SendOptions)


# -- what cannot be meant ------------------------------------------------------------------------


def _check_span(name: str, span: object) -> None:
    if span is None:
        return
    if isinstance(span, timedelta):
        seconds = span.total_seconds()
    elif isinstance(span, int | float) and not isinstance(span, bool):
        seconds = span
    else:
        raise TypeError(
            f"{name}= is a number of seconds or a timedelta, not {span!r}; {_as_header(name, span)}"
        )
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name}= is 0 seconds or more, not {span!r}")


def _check_moment(at: object) -> None:
    if at is None:
        return
    if not isinstance(at, datetime):
        raise TypeError(
            "at= is a datetime with a time zone, such as datetime(2027, 1, 1, tzinfo=UTC), "
            f"not {at!r}; {_as_header('at', at)}"
        )
    if at.utcoffset() is None:
        raise ValueError(
            f"at= needs a time zone: {at.isoformat(' ')} is another moment in each; write "
            "datetime.now(UTC), or .astimezone() where this machine's zone is meant"
        )


def _check_text(name: str, value: object, what: str, kinds: tuple[type, ...]) -> None:
    if value is None:
        return
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{name}= is {what}, not {value!r}; {_as_header(name, value)}")
    if value == "":
        raise ValueError(f"{name}= is not empty")


def _as_header(name: str, value: object) -> str:
    return f"for a header of that name write headers={{{name!r}: {value!r}}}"


def _milliseconds(span: float | timedelta | None) -> int | None:
    """So many that no delivery is early."""
    if span is None:
        return None
    if isinstance(span, timedelta):
        return -(-span // _MILLISECOND)
    # What is a whole number of milliseconds stays one: 0.57 s are 569.9999… of them for floats.
    return math.ceil(round(span * 1000, 6))
