"""What can be shown of a row: for each column its text, its order and its tone.

Widths are fixed by the kind of value, so that numbers never make a table jump; the columns of width
0, one or two of each view, take the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

from stompy_monitor.model import formats
from stompy_monitor.model.alarms import MARKS
from stompy_monitor.model.row_set import Row

_LONG = 1000 * 86_400_000
"""A thousand days, in milliseconds."""

SortKey = tuple[int, float, str]
"""Comparable among all values: a missing one comes first, numbers before text."""


class Rank(IntEnum):
    """From how wide a terminal on a column is shown without being asked for."""

    ALWAYS = 0
    NORMAL = 100
    WIDE = 160
    CHOSEN = 10_000


@dataclass(frozen=True)
class Column:
    """One column of a view.

    Attributes:
        name: as in JSON; filters and sorting go by it.
        title: over the column.
        width: in cells; 0 takes what is left, or half of it when there are two.
        rank: when it is shown.
        text: what a row shows.
        key: what it is ordered by.
        right: whether it stands at the right edge.
        tone: how it looks: a word that the theme has a colour for.
        trend: whether it is drawn from the history instead.
        ticks: whether it changes although nothing has happened, as an age does.
        sentence: whether it is cut at its end, not in the middle as names are.
        spread: whether it is shown only where there are several brokers.
    """

    name: str
    title: str
    width: int
    rank: Rank
    text: Callable[[Row], str]
    key: Callable[[Row], SortKey]
    right: bool = False
    tone: Callable[[Row], str] | None = None
    trend: bool = False
    ticks: bool = False
    sentence: bool = False
    spread: bool = False


def _text_key(name: str) -> Callable[[Row], SortKey]:
    def key(row: Row) -> SortKey:
        value = row.value(name)
        return (0, 0, "") if value is None else (1, 0, str(value).casefold())

    return key


def _number_key(name: str) -> Callable[[Row], SortKey]:
    def key(row: Row) -> SortKey:
        value = row.value(name)
        return (1, value, "") if isinstance(value, (int, float)) else (0, 0, "")

    return key


def _age_key(name: str) -> Callable[[Row], SortKey]:
    """By the moment since when, where it is known: that does not change while the age grows."""
    number = _number_key(name)

    def key(row: Row) -> SortKey:
        where = row.row_set.ages.get(name)
        if where is None:
            return number(row)
        since = row.values[where]
        return (1, -since, "") if isinstance(since, (int, float)) else (0, 0, "")

    return key


def text(name: str, title: str, width: int, rank: Rank = Rank.NORMAL) -> Column:
    """Words, cut in the middle."""

    def show(row: Row) -> str:
        value = row.value(name)
        return "" if value is None else str(value)

    return Column(name, title, width, rank, show, _text_key(name))


def broker() -> Column:
    """Make a column that says at which broker of several it is."""
    return replace(text("broker", "BROKER", 9, Rank.ALWAYS), spread=True)


def group() -> Column:
    """Make a column that says in which group of a cluster a queue is."""
    return replace(count("group", "GROUP", Rank.CHOSEN, 6), spread=True)


def state(name: str = "state", title: str = "STATE", width: int = 10) -> Column:
    """Make a column that says how something stands in one word, coloured when it is bad."""
    tones = {"lost": "critical", "nobody": "critical", "draining": "warn", "leader": "good"}
    tint = lambda row: tones.get(row.text(name), "")  # noqa: E731 -- said once
    return replace(text(name, title, width, Rank.ALWAYS), tone=tint)


def links() -> Column:
    """How many links of a member are up, of how many."""

    def show(row: Row) -> str:
        wanted = int(row.number("links_wanted"))
        return f"{int(row.number('links'))}/{wanted}" if wanted else ""

    tint = lambda row: "warn" if row.number("links") < row.number("links_wanted") else ""  # noqa: E731
    return Column("links", "LINKS", 6, Rank.ALWAYS, show, _number_key("links"), True, tint)


def number_name(name: str, title: str, width: int) -> Column:
    """A name that is a number, ordered as one."""

    def key(row: Row) -> SortKey:
        told = row.text(name)
        return (1, int(told), "") if told.isdecimal() else (0, 0, told)

    return replace(text(name, title, width, Rank.ALWAYS), key=key)


def progress() -> Column:
    """How a group stands, and how much of its log is read while it is taken over."""
    column = state(width=13)

    def show(row: Row) -> str:
        value = row.value("replayed_pct")
        part = f" {value:.0f} %" if isinstance(value, (int, float)) else ""
        return f"{row.text('state')}{part}"

    return replace(column, text=show)


def replay() -> Column:
    """How much of a group's log is read, while it is taken over."""

    def show(row: Row) -> str:
        value = row.value("replayed_pct")
        return f"{value:.0f} %" if isinstance(value, (int, float)) else ""

    key = _number_key("replayed_pct")
    return Column("replayed_pct", "REPLAY", 7, Rank.ALWAYS, show, key, True, lambda _: "accent")


def ident(name: str, title: str, width: int, rank: Rank = Rank.NORMAL) -> Column:
    """A name that ends in a number, by which it is ordered.

    In a cluster the broker stands behind it, after ``@``; a column of its own says so.
    """
    column = text(name, title, width, rank)

    def show(row: Row) -> str:
        return row.text(name).partition("@")[0]

    def key(row: Row) -> SortKey:
        head, _, number = show(row).rpartition("-")
        return (1, int(number), head) if number.isdecimal() else (0, 0, head)

    return replace(column, text=show, key=key)


def _numeric(
    name: str,
    title: str,
    width: int,
    rank: Rank,
    show: Callable[[float | None], str],
    tone: Callable[[Row], str] | None = None,
) -> Column:
    def cell(row: Row) -> str:
        value = row.value(name)
        return show(value if isinstance(value, (int, float)) else None)

    return Column(name, title, width, rank, cell, _number_key(name), True, tone)


def count(name: str, title: str, rank: Rank = Rank.NORMAL, width: int = 7) -> Column:
    """Make a column that says how many there are."""
    tint = lambda row: "" if row.number(name) else "dim"  # noqa: E731 -- said once
    return _numeric(name, title, max(width, len(title) + 1), rank, formats.number, tint)


def trouble(name: str, title: str, rank: Rank = Rank.NORMAL, tone: str = "warn") -> Column:
    """A number of things that should not be, coloured when there are any."""
    width = max(6, len(title) + 1)
    tint = lambda row: tone if row.number(name) else "dim"  # noqa: E731 -- said once
    return _numeric(name, title, width, rank, formats.number, tint)


def rate(name: str, title: str, rank: Rank = Rank.NORMAL) -> Column:
    """A number of things each second."""
    tint = lambda row: "" if row.number(name) else "dim"  # noqa: E731 -- said once
    return _numeric(name, title, max(7, len(title) + 1), rank, formats.rate, tint)


def age(name: str, title: str, rank: Rank = Rank.NORMAL) -> Column:
    """Make a column that says for how long it has been so."""
    width = max(8, len(title) + 1)
    column = _numeric(name, title, width, rank, formats.duration)
    return replace(column, key=_age_key(name), ticks=True)


def next_in() -> Column:
    """Make a column that says how long until a schedule is due."""

    def show(value: float | None) -> str:
        if value is None or value < _LONG:
            return formats.duration(value)
        return formats.duration(value).partition(" ")[0]  # days alone: there are many

    column = _numeric("next_in_ms", "NEXT IN", 9, Rank.ALWAYS, show)
    return replace(column, key=_number_key("next_at"), ticks=True)


def recurrence() -> Column:
    """Whether a schedule comes once, or when again."""
    return Column(
        "how", "HOW", 26, Rank.ALWAYS, recurrence_of, lambda row: (1, 0, recurrence_of(row))
    )


def recurrence_of(row: Row) -> str:
    """How a schedule comes again, in some words."""
    period, left = row.number("period_ms"), row.number("repeat_left")
    parts = [f"{row.text('cron')} {row.text('zone')}"] if row.text("cron") else []
    if period and (left or parts):
        more = "" if left < 0 else f", {formats.number(left)} more"
        parts.append(f"every {formats.duration(period)}{more}")
    return ", ".join(parts) or "once"


def size(name: str, title: str, rank: Rank = Rank.NORMAL) -> Column:
    """Make a column that says how many bytes there are."""
    return _numeric(name, title, 10, rank, formats.size)


def instant(name: str, title: str, rank: Rank = Rank.CHOSEN) -> Column:
    """Make a column that says when that was."""
    return _numeric(name, title, max(9, len(title) + 1), rank, formats.clock)


def date(name: str, title: str, rank: Rank = Rank.NORMAL) -> Column:
    """Make a column that says on which day, and when on it."""
    return _numeric(name, title, 20, rank, formats.moment)


def flag(name: str, title: str, rank: Rank = Rank.NORMAL, word: str = "yes") -> Column:
    """Whether; only the true ones are written."""
    show = lambda row: word if row.value(name) else ""  # noqa: E731 -- said once
    return Column(name, title, max(len(word), len(title)) + 1, rank, show, _number_key(name))


def _mark(row: Row) -> str:
    """The alarm, or that the row does not run as usual."""
    if row.severity:
        return MARKS[row.severity]
    return " =" if row.value("paused") or row.value("intake_paused") else MARKS[0]


def mark() -> Column:
    """The alarm of the row: two cells at its beginning."""
    return Column(
        "alarm",
        "",
        2,
        Rank.ALWAYS,
        _mark,
        lambda row: (1, row.severity, ""),
        tone=tone_of_alarm,
    )


def reason(rank: Rank = Rank.NORMAL) -> Column:
    """What is wrong, in words; it takes what is left, together with the name."""
    return Column(
        "reason",
        "ALARM",
        0,
        rank,
        lambda row: row.reason,
        lambda row: (1, row.severity, row.reason),
        tone=tone_of_alarm,
        sentence=True,
    )


def trend(name: str, title: str, rank: Rank = Rank.NORMAL, width: int = 12) -> Column:
    """The last minute of a level."""
    return Column(
        name,
        title,
        width,
        rank,
        lambda _: "",
        _number_key(name),
        tone=lambda _: "accent",
        trend=True,
    )


def tone_of_alarm(row: Row) -> str:
    """The tone of a row's alarm."""
    return ("", "warn", "critical")[row.severity]


def drain(rank: Rank = Rank.NORMAL) -> Column:
    """When the queue will be empty at this rate."""

    def show(row: Row) -> str:
        value = row.value("drain_eta_ms")
        return formats.drain(
            value if isinstance(value, (int, float)) else None, int(row.number("ready"))
        )

    def key(row: Row) -> SortKey:
        value = row.value("drain_eta_ms")
        endless = float("inf") if row.number("ready") else -1.0
        return (1, value if isinstance(value, (int, float)) else endless, "")

    return Column("drain_eta_ms", "DRAIN", 8, rank, show, key, True)


def state_of(row: Row) -> str:
    """What of a queue an operator has stopped, in one word."""
    if row.value("paused"):
        return "paused"
    return "no-intake" if row.value("intake_paused") else ""


def queue_name() -> Column:
    """The name of a queue, and behind it what is stopped."""

    def show(row: Row) -> str:
        state = state_of(row)
        return row.text("name") + (f"  ({state})" if state else "")

    return replace(text("name", "NAME", 0, Rank.ALWAYS), text=show)


def queue_state(rank: Rank = Rank.WIDE) -> Column:
    """Whether a queue runs, in one word."""

    def show(row: Row) -> str:
        return state_of(row) or "run"

    tint = lambda row: "" if show(row) == "run" else "warn"  # noqa: E731 -- said once
    return Column("paused", "STATE", 10, rank, show, lambda row: (1, 0, show(row)), tone=tint)


def standing(rank: Rank = Rank.NORMAL) -> Column:
    """How a subscription keeps up, or that it stands by: TURN needs a wide terminal."""

    def show(row: Row) -> str:
        if row.value("stuck"):
            return "stuck"
        if row.value("slow"):
            return "slow"
        return "standby" if turn_of(row) == "standby" else ""

    def key(row: Row) -> SortKey:
        return (1, 2 if row.value("stuck") else 1 if row.value("slow") else 0, "")

    tones = {"stuck": "critical", "slow": "warn", "standby": "dim"}
    tint = lambda row: tones.get(show(row), "")  # noqa: E731
    return Column("stuck", "STATE", 7, rank, show, key, tone=tint)


def turn_of(row: Row) -> str:
    """Whether a subscription is the one that gets everything, or stands by for it."""
    if row.value("active") is False:
        return "standby"
    return "active" if row.value("single_active") else ""


def turn(rank: Rank = Rank.NORMAL) -> Column:
    """Make a column that says who of several is active."""
    tint = lambda row: "dim" if turn_of(row) == "standby" else ""  # noqa: E731 -- said once
    return Column("active", "TURN", 8, rank, turn_of, lambda row: (1, 0, turn_of(row)), tone=tint)


def severity() -> Column:
    """How bad an event is."""
    tones = {"warn": "warn", "critical": "critical"}
    return Column(
        "severity",
        "LEVEL",
        8,
        Rank.ALWAYS,
        lambda row: row.text("severity"),
        _text_key("severity"),
        tone=lambda row: tones.get(row.text("severity"), ""),
    )


def destinations() -> Column:
    """What a transaction holds, by destination."""

    def show(row: Row) -> str:
        found = row.value("destinations")
        held = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        return ", ".join(str(item.get("name", "")) for item in held)

    return Column(
        "destinations", "DESTINATIONS", 0, Rank.ALWAYS, show, lambda row: (1, 0, show(row))
    )


def plain_reason() -> Column:
    """The reason of an alarm that is a row of its own."""
    return Column(
        "reason",
        "WHY",
        0,
        Rank.ALWAYS,
        lambda row: row.text("reason"),
        _text_key("reason"),
        tone=tone_of_alarm,
        sentence=True,
    )


def ack_mode(rank: Rank = Rank.NORMAL) -> Column:
    """How messages are settled; the long word is shortened."""

    def show(row: Row) -> str:
        return row.text("ack").removeprefix("client-")

    return Column("ack", "ACK", 10, rank, show, _text_key("ack"))
