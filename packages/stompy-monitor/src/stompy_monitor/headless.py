"""Without a screen: print what is known, wait for something, or record. For scripts.

Standard output is data and nothing else; words go to standard error. Textual is never imported.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from stompy_monitor import formats, views
from stompy_monitor.expression import (
    And,
    Compare,
    Expression,
    Matches,
    Not,
    Or,
    names_in,
    parse,
)
from stompy_monitor.feed import Feed, Tap, as_snapshot, complete
from stompy_monitor.model import KINDS, Model
from stompy_monitor.recording import Recorder
from stompy_monitor.source import Phase, Target
from stompy_monitor.table import Row, Table
from stompy_monitor.views import View

SNAPSHOT_SECONDS = 5.0
_SAME_TICK_SECONDS = 1.5
_PROPORTION = 120


class Exit(IntEnum):
    """The exit codes of the command."""

    FINE = 0
    MATCHED = 1
    """A ``--fail-if`` matched, or ``--wait`` was in vain."""
    USAGE = 2
    UNREACHABLE = 3
    """The broker cannot be reached, or the connection was lost."""
    REFUSED = 4
    """The login was refused, or it has not the right to look."""
    FOREIGN = 5
    """Not a broker that has admin topics."""
    INTERRUPTED = 130


class Failure(Exception):  # noqa: N818 -- carries an exit code, not a fault of ours
    """Why there is nothing to print.

    Attributes:
        code: the exit code.
    """

    def __init__(self, code: Exit, words: str) -> None:
        super().__init__(words)
        self.code = code


@asynccontextmanager
async def connected(
    target: Target, model: Model, interval_ms: int, tap: Tap | None = None
) -> AsyncIterator[Feed]:
    """A feed that runs while the block does; it is connected once, not for ever."""
    feed = Feed(target, model, interval_ms=interval_ms, tap=tap)
    running = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


_ENDS = {
    Phase.REFUSED: Exit.REFUSED,
    Phase.FORBIDDEN: Exit.REFUSED,
    Phase.FOREIGN: Exit.FOREIGN,
    Phase.LOST: Exit.UNREACHABLE,
}


async def arrival(feed: Feed, until: float) -> None:
    """Wait for the next message of the feed.

    Raises:
        Failure: there will be none, or none came in time.
    """
    left = until - asyncio.get_running_loop().time()
    try:
        await asyncio.wait_for(feed.arrived.wait(), max(0.0, left))
    except TimeoutError:
        if feed.link.phase is Phase.LIVE:
            raise Failure(Exit.UNREACHABLE, "the broker did not report in time") from None
        raise Failure(Exit.UNREACHABLE, feed.link.words or "no connection in time") from None
    feed.arrived.clear()
    link = feed.link
    if link.phase in _ENDS:
        raise Failure(_ENDS[link.phase], link.words)
    if link.phase is Phase.CONNECTING and link.words:
        raise Failure(Exit.UNREACHABLE, link.words)


async def first_set(feed: Feed, model: Model, seconds: float) -> None:
    """Wait until a set of every kind is here, if possible all of one moment.

    Raises:
        Failure: that did not come about.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    patient = loop.time() + min(_SAME_TICK_SECONDS, seconds)
    while not complete(model):
        here = bool(model.broker) and all(model.tables[kind].complete for kind in KINDS)
        if here and loop.time() > patient:
            return
        await arrival(feed, until)


# -- expressions with kinds ----------------------------------------------------------------------

_KINDS = {
    "queue": "queues",
    "topic": "topics",
    "connection": "connections",
    "subscription": "subscriptions",
    "transaction": "transactions",
    "durable": "durable",
    "broker": "broker",
}


@dataclass(frozen=True)
class Condition:
    """An expression whose names carry their kind, as ``queue.ready>1000``.

    Attributes:
        text: as it was given.
        kind: which rows it is about.
        expression: the same without the kinds.
    """

    text: str
    kind: str
    expression: Expression

    @classmethod
    def read(cls, text: str) -> Condition:
        """Read one.

        Raises:
            ValueError: it cannot be understood, or mixes kinds.
        """
        expression = parse(text)
        kinds = {name.partition(".")[0] for name in names_in(expression)}
        if len(kinds) != 1 or not kinds <= _KINDS.keys():
            known = ", ".join(f"{kind}." for kind in _KINDS)
            raise ValueError(f"“{text}”: each name begins with one and the same of {known}")
        (kind,) = kinds
        return cls(text, _KINDS[kind], _without_kind(expression, f"{kind}."))

    def matches(self, model: Model) -> list[str]:
        """The names of the rows for which it holds."""
        if self.kind == "broker":
            return (
                [model.name or "broker"] if self.expression.matches(_BrokerSubject(model)) else []
            )
        rows = model.tables[self.kind].rows.values()
        return [_label(row) for row in rows if not row.own and self.expression.matches(row)]


@dataclass(frozen=True)
class _BrokerSubject:
    model: Model

    @property
    def haystack(self) -> str:
        """Its name."""
        return self.model.name

    def value(self, name: str) -> object:
        """A number of the broker."""
        if name in self.model.rates:
            return self.model.rates[name]
        found: object = self.model.broker
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found


def _label(row: Row) -> str:
    return row.text("name") or row.text("destination") or row.key


def _without_kind(expression: Expression, prefix: str) -> Expression:
    match expression:
        case Compare() | Matches():
            return replace(expression, name=expression.name.removeprefix(prefix))
        case And(parts) | Or(parts):
            return type(expression)(tuple(_without_kind(part, prefix) for part in parts))
        case Not(inner):
            return Not(_without_kind(inner, prefix))
        case _:
            return expression


# -- how it is written ---------------------------------------------------------------------------


def as_json(model: Model, kinds: Sequence[str] = ()) -> str:
    """The contract's object, or those kinds of it."""
    snapshot = as_snapshot(model)
    wanted = {kind: rows for kind, rows in snapshot.items() if not kinds or kind in kinds}
    return json.dumps(wanted, ensure_ascii=False)


def as_text(model: Model, kinds: Sequence[str] = ()) -> str:
    """Aligned columns, one table for each kind that has rows."""
    parts = []
    if not kinds or "broker" in kinds:
        parts.append(_broker_text(model))
    for view in views.TABLES:
        shown = view.kind in kinds if kinds else view.kind in KINDS
        rows = [row for row in model.tables[view.kind].rows.values() if not row.own]
        if shown and (kinds or rows):
            parts.append(_table_text(view, model.tables[view.kind]))
    return "\n\n".join(parts)


def _broker_text(model: Model) -> str:
    number = model.broker_number
    facts = (
        ("broker", f"{model.name or '?'}, stompy-broker {model.broker.get('version', '?')}"),
        ("up", formats.duration(number("uptime_ms"))),
        ("connections", formats.number(number("connections"))),
        ("subscriptions", formats.number(number("subscriptions"))),
        ("transactions", formats.number(number("transactions"))),
        ("queues", formats.number(number("queues"))),
        ("ready", formats.number(number("messages_ready"))),
        ("unacked", formats.number(number("messages_unacked"))),
        ("alarms", ", ".join(_alarm_names(model)) or "none"),
    )
    return "\n".join(f"{label:<14}{value}" for label, value in facts)


def _alarm_names(model: Model) -> list[str]:
    alarms = model.broker.get("alarms")
    return [str(alarm.get("name")) for alarm in alarms] if isinstance(alarms, list) else []


def _shown(view: View, table: Table) -> tuple[list[str], list[list[str]]]:
    columns = [col for col in view.shown(_PROPORTION) if col.title and not col.trend]
    columns = [column for column in columns if column.name != "reason"]
    rows = sorted((row for row in table.rows.values() if not row.own), key=lambda row: row.key)
    return [column.title for column in columns], [[c.text(row) for c in columns] for row in rows]


def _table_text(view: View, table: Table) -> str:
    titles, rows = _shown(view, table)
    lines = [[titles[0] and view.name.upper(), *titles[1:]], *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(titles))]
    numeric = [all(_is_number(line[n]) for line in rows) for n in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(text: str) -> bool:
    return not text or text[0].isdigit() or text in ("–", "∞")


def as_csv(model: Model, kinds: Sequence[str]) -> str:
    """The rows of one kind, with every field."""
    table = model.tables[kinds[0]]
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(table.fields)
    writer.writerows(row.values for row in table.rows.values() if not row.own)
    return target.getvalue().removesuffix("\n")


# -- what is done --------------------------------------------------------------------------------

Write = Callable[[Model], str]


def say(words: str) -> None:
    """A word to the person, on standard error."""
    print(f"stompy-monitor: {words}", file=sys.stderr)


async def once(
    target: Target, write: Write, conditions: Iterable[Condition], seconds: float = SNAPSHOT_SECONDS
) -> Exit:
    """Print one complete set.

    Raises:
        Failure: there is none.
    """
    model = Model()
    async with connected(target, model, 250) as feed:
        await first_set(feed, model, seconds)
        print(write(model))
    return _judged(model, conditions)


def _judged(model: Model, conditions: Iterable[Condition]) -> Exit:
    code = Exit.FINE
    for condition in conditions:
        for name in condition.matches(model):
            say(f"{condition.text}: {name}")
            code = Exit.MATCHED
    return code


async def watch(
    target: Target, write: Write, conditions: Sequence[Condition], interval_ms: int, rounds: int
) -> Exit:
    """Print a set each interval, so many times, or for ever (0).

    Raises:
        Failure: the broker is gone.
    """
    model = Model()
    async with connected(target, model, interval_ms) as feed:
        await first_set(feed, model, SNAPSHOT_SECONDS)
        done, tick = 0, -1
        while True:
            if model.tick != tick:
                tick = model.tick
                print(write(model), flush=True)
                done += 1
                code = _judged(model, conditions)
                if code or done == rounds:
                    return code
            seconds = SNAPSHOT_SECONDS + 3 * interval_ms / 1000
            await arrival(feed, asyncio.get_running_loop().time() + seconds)


async def wait(target: Target, condition: Condition, seconds: float) -> Exit:
    """Come back when a condition holds for some row.

    Raises:
        Failure: the broker is gone.
    """
    model = Model()
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with connected(target, model, 250) as feed:
        await first_set(feed, model, min(SNAPSHOT_SECONDS, seconds))
        while not condition.matches(model):
            try:
                await arrival(feed, until)
            except Failure:
                if loop.time() < until:
                    raise
                say(f"{condition.text}: not within {seconds:g} s")
                return Exit.MATCHED
    return Exit.FINE


async def record(target: Target, path: Path, interval_ms: int, max_bytes: int) -> Exit:
    """Record until interrupted, over lost connections.

    Raises:
        Failure: the login was refused, or this is not our broker.
        OSError: the file cannot be written.
    """
    model = Model()
    recorder = Recorder(path, {"url": Feed(target, model).link.url}, max_bytes)
    try:
        async with connected(target, model, interval_ms, recorder.add) as feed:
            said = None
            while True:
                await feed.arrived.wait()
                feed.arrived.clear()
                link = feed.link
                if link.phase in _ENDS and link.phase is not Phase.LOST:
                    raise Failure(_ENDS[link.phase], link.words)
                if link.phase != said:
                    said = link.phase
                    say(f"{link.phase}, recording to {path}" if not link.words else link.words)
    finally:
        recorder.close()
