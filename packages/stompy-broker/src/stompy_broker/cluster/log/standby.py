"""A broker reads along in the logs of groups that it would take over, so that it has read them.

Whoever takes a group over has to know all that is alive in its log. Reading that takes seconds
when very many messages wait. So the broker that would get the group if its owner died has read it
before: then only the rest is left, which is as long as the pause between two readings.

What it follows is the log itself, not what is published to its subject. Both cost the network the
same, but something that was published may have been refused, may come again, and says nothing of
its place. An owner tells in each beat which entry is its last, twice a second and only while it
writes; when that is not the one that was read last, all behind that is read, from any server.
A group that nobody writes to costs nothing.

Nothing depends on it. What was read along is only a beginning: `take_over` reads on from there, is
refused if anything is unread, and reads all again if anything is missing. So a reading that cannot
go on is just forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from stompy_broker.cluster.log.log import Log, LogError
from stompy_broker.cluster.log.log_replay import LogReplay
from stompy_broker.cluster.log.takeover import read_on

log = logging.getLogger("stompy_broker.cluster")

MESSAGE_BYTES = 800
"""What is kept of a message takes about so much: 510 bytes if it shares its record and its headers
with others, 1,020 if it shares neither. Bodies are not kept."""

_AT_ONCE = 1
"""So many logs are read at the same time; nobody waits for it."""

_RETRY_SECONDS = 5.0
"""After how long a log is read again that could not be read."""

_REST_SECONDS = 600.0
"""After how long a reading is begun anew that was given up."""


@dataclass(slots=True, eq=False)
class _Along:
    """A log that is read along.

    Attributes:
        replay: what was read.
        task: reads on, just now.
        rest_until: it is not read before.
        complete: whether it was read to its end once.
        given_up: whether it is not read for a long time.
    """

    replay: LogReplay = field(default_factory=LogReplay)
    task: asyncio.Task[None] | None = None
    rest_until: float = 0.0
    complete: bool = False
    given_up: bool = False


class Standby:
    """Reads along in the logs of groups that other brokers own.

    Args:
        logs: of all groups, by number.
        most_bytes: how much memory that may take; 0 = nothing is read along.
    """

    def __init__(self, logs: Sequence[Log], most_bytes: int) -> None:
        self._logs = logs
        self._most = most_bytes // MESSAGE_BYTES
        self._groups: dict[int, _Along] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def follow(self, ends: Mapping[int, int], keep: Collection[int] = ()) -> None:
        """Read on where something is unread, and forget other groups.

        To be called a few times a second.

        Args:
            ends: the groups to read along, each with the place of its last entry as its owner has
                told it; 0 = it has not.
            keep: groups of which what was read stays, although they are not read on.
        """
        if not self._most:
            return
        for group in [one for one in self._groups if one not in ends and one not in keep]:
            self._stop(self._groups.pop(group))
        now = asyncio.get_running_loop().time()
        for group, end in ends.items():
            along = self._groups.get(group)
            if along is None:
                along = self._groups[group] = _Along()
            unread = not along.complete or end > along.replay.last
            if unread and along.task is None and now >= along.rest_until:
                along.given_up = False
                along.task = asyncio.create_task(
                    self._read(group, along), name=f"stompy-cluster-standby-{group}"
                )

    @property
    def places(self) -> dict[int, int]:
        """The last entry that was read of each group that is read along."""
        return {
            group: along.replay.last for group, along in self._groups.items() if not along.given_up
        }

    def give(self, group: int, last: int) -> LogReplay | None:
        """Hand over what was read of a group, to be read on; None = nothing was.

        Args:
            group: which.
            last: the place of the last entry in its log.
        """
        along = self._groups.pop(group, None)
        if along is None:
            return None
        self._stop(along)
        if along.replay.last > last:
            log.warning("group %d: its log ends before what was read along", group)
            return None
        return along.replay if along.replay.last else None

    async def close(self) -> None:
        """End all reading, and forget everything."""
        tasks = [along.task for along in self._groups.values() if along.task is not None]
        for along in self._groups.values():
            self._stop(along)
        self._groups.clear()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _stop(self, along: _Along) -> None:
        if along.task is not None:
            along.task.cancel()

    async def _read(self, group: int, along: _Along) -> None:
        """Read what is unread of a group."""
        try:
            async with self._room:
                first = not along.complete
                async for _ in read_on(self._logs[group], along.replay):
                    along.replay.settle()
                    self._mind_memory()
                    if along.given_up:
                        return
                if not along.replay.settle():
                    # Another server may have it, and whoever takes over asks them all. We would
                    # do so again and again.
                    log.warning("group %d: something is missing, so it is not read along", group)
                    self._give_up(along)
                elif first:
                    along.complete = True
                    log.info("group %d is read along", group)
        except LogError as error:
            log.debug("group %d cannot be read along now: %s", group, error)
            along.rest_until = asyncio.get_running_loop().time() + _RETRY_SECONDS
        except Exception:
            log.exception("fault in reading group %d along", group)
            self._give_up(along)
        finally:
            along.task = None

    def _mind_memory(self) -> None:
        """Give up the longest of them if all together are too long."""
        lengths = {group: len(along.replay.rows) for group, along in self._groups.items()}
        if sum(lengths.values()) <= self._most:
            return
        group = max(lengths, key=lengths.__getitem__)
        log.warning(
            "group %d is not read along any more: %d messages are too many, see cluster.standby",
            group,
            lengths[group],
        )
        self._give_up(self._groups[group])

    def _give_up(self, along: _Along) -> None:
        along.replay, along.complete, along.given_up = LogReplay(), False, True
        along.rest_until = asyncio.get_running_loop().time() + _REST_SECONDS
