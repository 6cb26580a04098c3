"""Taking over a log: reading it to its end, and fencing off whoever wrote to it before.

The record that begins the new tenure is appended with the expectation that the last entry is the
one that was read last. If it is stored, nobody was faster and nothing is unread: from then on the
log is ours, and who owned it before is told so at its next append. If it is refused, somebody has
written meanwhile, and that is read first.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from stompy_broker.cluster.log.index import Logged
from stompy_broker.cluster.log.log import Answer, Busy, Log, LogError, Stored
from stompy_broker.cluster.log.log_record import HEAD_BYTES, RecordHead, RecordKind, write_record
from stompy_broker.cluster.log.log_replay import Gap, LogReplay, TenureMark

log = logging.getLogger("stompy_broker.cluster")

_ATTEMPTS = 50
"""So often the end of the log may have moved on before we could write there."""

_PAUSE = 0.02
"""Seconds between two attempts."""

_READINGS = 3
"""So often a log is read again in which something is missing."""


_AT_ONCE = 0.01
"""So many seconds it is read before others have their turn."""


class LogDamagedError(LogError):
    """Something is missing in the log.

    Attributes:
        gaps: what.
    """

    def __init__(self, gaps: list[Gap]) -> None:
        shown = "; ".join(map(str, gaps[:3])) + (" …" if len(gaps) > 3 else "")  # noqa: PLR2004
        super().__init__(f"the log is damaged: {shown}")
        self.gaps = gaps


class LogTakenError(LogError):
    """Another broker was faster.

    Attributes:
        tenure: the last one that has begun.
    """

    def __init__(self, text: str, tenure: int) -> None:
        super().__init__(text)
        self.tenure = tenure


@dataclass(frozen=True, slots=True)
class Tenure:
    """The time in which one broker owns the log, as its beginning found things.

    Attributes:
        log: the log.
        number: which tenure it is.
        owner: the name of the broker.
        before: who had it before; empty = the log does not tell.
        replay: what was read; its owner is whoever takes the tenure.
        place: the last entry.
    """

    log: Log
    number: int
    owner: str
    before: str
    replay: LogReplay
    place: int


@dataclass(slots=True)
class TakeoverProgress:
    """How far a takeover is; whoever looks may do so while it goes on.

    Attributes:
        place: of the entry that was read last.
        fencing: called each time the log was read to its end, before the record is appended.
        refused: called when somebody has written meanwhile, and it reads on.
    """

    place: int = 0
    fencing: Callable[[], None] = lambda: None
    refused: Callable[[], None] = lambda: None


async def take_over(
    log_: Log,
    owner: str,
    *,
    after: int | None = None,
    accept_damage: bool = False,
    replay: LogReplay | None = None,
    progress: TakeoverProgress | None = None,
) -> Tenure:
    """Read the log to its end, and become its owner.

    Args:
        log_: the log.
        owner: the name of this broker.
        after: the tenure that is to end; whoever began another one meanwhile stays. None = any.
        accept_damage: whether to go on although something is missing. What was in there is lost,
            and what it took away comes back.
        replay: what was read before, if anything was. It is read on, and is nobody else's then.
        progress: is told how far it is.

    Raises:
        LogTakenError: another tenure has begun.
        LogDamagedError: something is missing.
        LogError: the log cannot be read or written, or somebody writes to it all the time.
    """
    replay = LogReplay() if replay is None else replay
    nonce = secrets.token_hex(8)
    progress = progress or TakeoverProgress()
    for _ in range(_ATTEMPTS):
        replay, gaps = await _read_to_end(log_, replay, progress)
        if after is not None and replay.tenure != after:
            whose = replay.owner or "unknown"
            raise LogTakenError(f"tenure {replay.tenure} has begun: {whose}", replay.tenure)
        if gaps and not accept_damage:
            raise LogDamagedError(gaps)
        for gap in gaps:
            log.error("the log is damaged, which was accepted: %s", gap)
        before, number = replay.owner, replay.tenure + 1
        head = RecordHead(
            RecordKind.TENURE,
            number,
            replay.next_number,
            replay.index.floor or replay.next_number,
            replay.index.highest,
            replay.doubtful if replay.left else replay.index.highest,
        )
        mark = TenureMark(owner, nonce, bool(gaps))
        parts = write_record(head, mark.write(), log_.part_bytes)
        progress.fencing()
        answer = await append_until_told(log_, parts, replay.last)
        if isinstance(answer, Stored):
            replay.last = answer.last
            replay.number, replay.tenure, replay.owner = head.number, number, owner
            replay.doubtful, replay.floor = head.doubtful, head.floor
            size = len(parts[0])
            places = range(answer.last, answer.last + 1)
            replay.index.add(Logged(head.number, places, size - HEAD_BYTES, size))
            replay.index.settle()
            return Tenure(log_, number, owner, before, replay, answer.last)
        progress.refused()
        # Perhaps we have read from a server that does not know the last ones yet.
        await asyncio.sleep(_PAUSE)
    raise LogError("somebody writes to the log all the time: its owner is alive")


async def _read_to_end(
    log_: Log, replay: LogReplay, progress: TakeoverProgress
) -> tuple[LogReplay, list[Gap]]:
    """Read on, and tell what is missing whichever server is asked."""
    async for place in read_on(log_, replay):
        progress.place = place
    gaps = replay.finish()
    for _ in range(_READINGS):
        if not gaps:
            break
        # What one server has lost another one may have.
        log.warning("something is missing in the log, which is read again: %s", gaps[0])
        replay = LogReplay()
        async for place in read_on(log_, replay):
            progress.place = place
        gaps = replay.finish()
    return replay, gaps


async def read_on(log_: Log, replay: LogReplay) -> AsyncIterator[int]:
    """Read a log from where a reading has come to; others have their turn meanwhile.

    Args:
        log_: the log.
        replay: what was read so far, and is read further.

    Yields:
        The place that it has come to, each time before others have their turn, and at the end.

    Raises:
        LogError: it cannot be read now. What was read until then stays read.
    """
    until = time.monotonic() + _AT_ONCE
    async for entry in log_.read(replay.last):
        replay.take(entry)
        if time.monotonic() >= until:
            yield replay.last
            await asyncio.sleep(0)
            until = time.monotonic() + _AT_ONCE
    yield replay.last


async def append_until_told(log_: Log, parts: list[bytes], expected: int) -> Answer:
    """Append entries, again and again, until it is known what came of it.

    The servers may be without a leader for a while; whoever has no time to wait sets a limit.
    """
    told = ""
    while True:
        answer = await _append(log_, parts, expected)
        if not isinstance(answer, Busy):
            return answer
        if answer.reason != told:
            told = answer.reason
            log.debug("the log is busy: %s", told)
        await asyncio.sleep(answer.seconds)


async def _append(log_: Log, parts: list[bytes], expected: int) -> Answer:
    told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    log_.append(parts, expected, partial(_settle, told.done, told.set_result))
    return await told


def _settle(is_done: Callable[[], bool], settle: Callable[[Answer], None], answer: Answer) -> None:
    if not is_done():
        settle(answer)
