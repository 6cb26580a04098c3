"""Without a screen: print what is known, wait for something, or record. For scripts.

Standard output is data and nothing else; words go to standard error. Textual is never imported.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from pathlib import Path

from stompy_monitor.conditions import Condition
from stompy_monitor.model.alarms import RULES, Rule
from stompy_monitor.model.model import Model
from stompy_monitor.report import Report
from stompy_monitor.sources.base import Phase, Target
from stompy_monitor.sources.feed import Feed, Tap, complete
from stompy_monitor.sources.recording import Recorder, Recording
from stompy_monitor.sources.replay import Replay

SNAPSHOT_SECONDS = 5.0
_SAME_TICK_SECONDS = 1.5
_LOOK_MS = 1000
_APART_MS = 900
"""What happens in a second is told from two looks that are so far apart, at least."""


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
    feed = Feed(target, model, interval_ms=interval_ms, tap=tap, whole=tap is None)
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
        if feed.status.phase is Phase.LIVE:
            raise Failure(Exit.UNREACHABLE, "the broker did not report in time") from None
        raise Failure(Exit.UNREACHABLE, feed.status.words or "no connection in time") from None
    feed.arrived.clear()
    status = feed.status
    if status.phase in _ENDS:
        raise Failure(_ENDS[status.phase], status.words)
    if status.phase is Phase.CONNECTING and status.words:
        raise Failure(Exit.UNREACHABLE, status.words)


async def first_set(feed: Feed, model: Model, seconds: float) -> None:
    """Wait until a set of every kind is here, if possible all of one moment.

    Raises:
        Failure: that did not come about.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    patient = loop.time() + min(_SAME_TICK_SECONDS, seconds)
    while not complete(model):
        here = bool(model.broker) and all(model.row_sets[kind].complete for kind in model.kinds)
        if here and loop.time() > patient:
            return
        await arrival(feed, until)


# -- what is done --------------------------------------------------------------------------------


def say(words: str) -> None:
    """A word to the person, on standard error."""
    print(f"stompy-monitor: {words}", file=sys.stderr)


async def once(
    target: Target,
    report: Report,
    conditions: Iterable[Condition],
    rules: Iterable[Rule] = RULES,
    seconds: float = SNAPSHOT_SECONDS,
) -> Exit:
    """Print one complete set, with rates and alarms: these need two looks.

    Raises:
        Failure: there is none.
    """
    model = Model(rules)
    async with connected(target, model, _LOOK_MS) as feed:
        await first_set(feed, model, seconds)
        with suppress(Failure):  # a broker that is busy: then without rates
            await _second_set(feed, model, seconds)
        print(report.write(model))
    return _judged(model, conditions)


def replace_what_cannot_be_shown() -> None:
    """A locale that has not all letters is no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


async def _second_set(feed: Feed, model: Model, seconds: float) -> None:
    until = asyncio.get_running_loop().time() + seconds
    row_sets = [model.row_sets[kind] for kind in model.kinds]
    first = {row_set.kind: row_set.up_ms or 0 for row_set in row_sets}
    while not (
        complete(model)
        and all((row_set.up_ms or 0) - first[row_set.kind] >= _APART_MS for row_set in row_sets)
    ):
        await arrival(feed, until)


async def recorded(
    recording: Recording,
    at: float | None,
    report: Report,
    conditions: Iterable[Condition],
    rules: Iterable[Rule] = RULES,
) -> Exit:
    """Print one set of a recording: of a moment, or its last one."""
    model = Model(rules)
    Replay(recording, model, at=recording.end if at is None else at, playing=False)
    print(report.write(model))
    return _judged(model, conditions)


def _judged(model: Model, conditions: Iterable[Condition]) -> Exit:
    code = Exit.FINE
    for condition in conditions:
        for name in condition.matches(model):
            say(f"{condition.text}: {name}")
            code = Exit.MATCHED
    return code


async def watch(
    target: Target,
    report: Report,
    conditions: Sequence[Condition],
    interval_ms: int,
    rounds: int,
    rules: Iterable[Rule] = RULES,
) -> Exit:
    """Print a set each interval, so many times, or for ever (0).

    Raises:
        Failure: the broker is gone.
    """
    model = Model(rules)
    async with connected(target, model, interval_ms) as feed:
        await first_set(feed, model, SNAPSHOT_SECONDS)
        done, tick = 0, -1
        while True:
            if model.tick != tick:
                tick = model.tick
                print(report.write(model), flush=True)
                done += 1
                code = _judged(model, conditions)
                if code or done == rounds:
                    return code
            seconds = SNAPSHOT_SECONDS + 3 * interval_ms / 1000
            await arrival(feed, asyncio.get_running_loop().time() + seconds)


async def wait(
    target: Target, condition: Condition, seconds: float, rules: Iterable[Rule] = RULES
) -> Exit:
    """Come back when a condition holds for some row.

    Raises:
        Failure: the broker is gone.
    """
    model = Model(rules)
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
    recorder = Recorder(path, {"url": Feed(target, model).status.url}, max_bytes)
    try:
        async with connected(target, model, interval_ms, recorder.add) as feed:
            said = None
            while True:
                await feed.arrived.wait()
                feed.arrived.clear()
                status = feed.status
                if status.phase in _ENDS and status.phase is not Phase.LOST:
                    raise Failure(_ENDS[status.phase], status.words)
                if status.phase != said:
                    said = status.phase
                    say(
                        f"{status.phase}, recording to {path}" if not status.words else status.words
                    )
    finally:
        recorder.close()
