"""Reading along: what a standby knows when its group comes, whatever happened to the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from tests.support.house import make_message
from tests.support.logged import MemoryLog
from tests.support.looping import looped, run, soon
from tests.support.storage import Turns

from stompy_broker.cluster.log import standby as module
from stompy_broker.cluster.log.log import Entry, LogError
from stompy_broker.cluster.log.log_replay import LogReplay
from stompy_broker.cluster.log.standby import MESSAGE_BYTES, Standby
from stompy_broker.cluster.log.store import LoggedStore
from stompy_broker.cluster.log.takeover import LogTakenError, Tenure, take_over

ROOM = 1000 * MESSAGE_BYTES


class WatchedLog(MemoryLog):
    """A log in memory that says what was asked of it.

    Attributes:
        reads: behind which places it was read.
        broken: whether it cannot be read.
        hold: readers stop behind each entry until it is set.
    """

    def __init__(self) -> None:
        super().__init__(lambda action: None)
        self.reads: list[int] = []
        self.broken = False
        self.hold = asyncio.Event()
        self.hold.set()

    async def read(self, after: int) -> AsyncIterator[Entry]:
        """Everything behind a place."""
        self.reads.append(after)
        if self.broken:
            raise LogError("nobody answers")
        async for entry in super().read(after):
            yield entry
            await self.hold.wait()


class Owner:
    """Writes to a log as a broker does that owns it.

    Args:
        log: the log.
        tenure: of the owner.
    """

    def __init__(self, log: WatchedLog, tenure: Tenure) -> None:
        self.turns = Turns()
        self.log = log
        self.store = LoggedStore(tenure, self.turns.time.clock, self.turns.soon)

    async def _safe(self) -> None:
        told: list[bool] = []
        self.store.sync(lambda: told.append(True))
        while not told:
            self.turns.end()
            await asyncio.sleep(0)

    async def send(self, *sequences: int) -> None:
        """Append messages, in one record."""
        for sequence in sequences:
            self.store.append("/queue/q", make_message(sequence))
        await self._safe()

    async def settle(self, *sequences: int) -> None:
        """Remove messages, in one record."""
        for sequence in sequences:
            self.store.remove(make_message(sequence))
        await self._safe()

    def trim(self) -> None:
        """Delete what is below the floor that the last record names."""
        self.log.trim(self.store.index.records[0].places[0])


async def owned(log: WatchedLog, name: str = "ann") -> Owner:
    return Owner(log, await take_over(log, name))


async def read_along(standby: Standby, log: WatchedLog) -> None:
    """Have the standby come to the end of the log."""
    standby.follow({0: log.last})
    await soon(lambda: standby.places.get(0) == log.last)
    await quiet()


async def quiet() -> None:
    """Wait until nobody reads."""
    await soon(
        lambda: not any(task.get_name().startswith("stompy-cluster-standby") for task in tasks())
    )


def tasks() -> Iterable[asyncio.Task[object]]:
    return asyncio.all_tasks()


def alive(replay: LogReplay) -> list[int]:
    assert replay.rows.keys() == replay.index.messages.keys()
    return sorted(replay.rows)


@looped
async def test_what_was_read_along_is_not_read_again() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1, 2, 3)
    await read_along(standby, log)
    await ann.settle(2)
    await read_along(standby, log)
    await ann.send(4)
    at = standby.places[0]
    log.reads.clear()
    bob = await take_over(log, "bob", replay=standby.give(0, log.last))
    assert log.reads == [at]
    assert alive(bob.replay) == [1, 3, 4]
    assert (bob.number, bob.before, bob.replay.doubtful) == (2, "ann", 4)
    assert standby.places == {}
    await Owner(log, bob).send(5)
    await standby.close()


@looped
async def test_who_reads_along_knows_what_one_knows_who_reads_all() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    for turn in range(1, 30):
        await ann.send(2 * turn, 2 * turn + 1)
        await ann.settle(2 * turn - 6 if turn % 3 and turn > 3 else 2 * turn)
        if turn % 4 == 0:
            await read_along(standby, log)
        if turn % 10 == 0:
            ann.trim()
    along = (await take_over(log, "bob", replay=standby.give(0, log.last))).replay
    whole = (await take_over(log, "cid")).replay
    assert alive(along) == alive(whole)
    places = [[row.placed for row in replay.rows.values()] for replay in (along, whole)]
    assert places[0] == places[1]
    assert along.index.states == whole.index.states
    assert along.index.living_bytes == whole.index.living_bytes
    # Records that hold nothing alive at their beginning are let go of while one reads along, too.
    assert along.index.floor == whole.index.floor
    await standby.close()


@looped
async def test_nothing_is_read_while_nothing_was_written() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await read_along(standby, log)
    log.reads.clear()
    standby.follow({0: log.last})
    standby.follow({0: 0})  # an owner that does not say
    await quiet()
    assert log.reads == []
    await standby.close()


@looped
async def test_one_that_lags_behind_the_trimming_forgets_what_was_deleted() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await ann.send(2)
    await read_along(standby, log)
    await ann.settle(1)
    await ann.send(3)
    await ann.settle(2)
    await ann.send(4)
    ann.trim()  # the removals of 1 and 2 go with what they were about
    await read_along(standby, log)
    replay = standby.give(0, log.last)
    assert replay is not None
    assert alive(replay) == [3, 4]
    assert replay.finish() == []
    assert alive((await take_over(log, "bob", replay=replay)).replay) == [3, 4]
    await standby.close()


@looped
async def test_what_is_missing_is_not_passed_over() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    for number in range(1, 5):
        await ann.send(number)
    kept = log.entries.pop(3)
    standby.follow({0: log.last})
    await quiet()
    assert standby.places == {}
    log.reads.clear()
    standby.follow({0: log.last})
    await quiet()
    assert log.reads == []  # it would only miss it again
    log.entries = dict(sorted([*log.entries.items(), (3, kept)]))
    tenure = await take_over(log, "bob", replay=standby.give(0, log.last))
    assert alive(tenure.replay) == [1, 2, 3, 4]
    await standby.close()


@looped
async def test_a_record_that_one_server_has_damaged_is_read_again() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await read_along(standby, log)
    await ann.send(2)
    good, place = log.entries[log.last], log.last
    log.entries[place] = good[:-1] + bytes([good[-1] ^ 1])
    await ann.send(3)
    replay = standby.give(0, log.last)
    assert replay is not None
    read = log.read

    async def healing(after: int) -> AsyncIterator[Entry]:
        async for entry in read(after):
            yield entry
        log.entries[place] = good

    log.read = healing  # type: ignore[method-assign]
    assert alive((await take_over(log, "bob", replay=replay)).replay) == [1, 2, 3]
    await standby.close()


@looped
async def test_a_change_of_owner_is_read_like_anything_else() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await read_along(standby, log)
    bob = await owned(log, "bob")
    await bob.send(3)
    await read_along(standby, log)
    cid = await take_over(log, "cid", replay=standby.give(0, log.last))
    assert (cid.number, cid.before, alive(cid.replay)) == (3, "bob", [1, 3])
    await standby.close()


@looped
async def test_who_is_too_late_is_told_so() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await read_along(standby, log)
    await owned(log, "bob")
    with pytest.raises(LogTakenError, match="tenure 2 has begun: bob"):
        await take_over(log, "cid", after=1, replay=standby.give(0, log.last))
    await standby.close()


@looped
async def test_reading_ends_at_once_when_the_group_comes() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await ann.send(2)
    log.hold.clear()
    standby.follow({0: log.last})
    await soon(lambda: standby.places.get(0) == 1)
    replay = standby.give(0, log.last)
    assert replay is not None
    log.hold.set()
    await quiet()
    assert replay.last == 1  # nobody else reads on in it
    assert alive((await take_over(log, "bob", replay=replay)).replay) == [1, 2]
    await standby.close()


@looped
async def test_a_log_that_is_another_one_is_read_from_its_beginning() -> None:
    log = WatchedLog()
    ann, standby = await owned(log), Standby([log], ROOM)
    await ann.send(1)
    await read_along(standby, log)
    assert standby.give(0, log.last - 1) is None
    assert standby.give(1, 5) is None
    await standby.close()


@looped
async def test_groups_that_are_not_followed_are_forgotten_but_for_those_to_be_kept() -> None:
    first, second = WatchedLog(), WatchedLog()
    await (await owned(first)).send(1)
    await (await owned(second)).send(1)
    standby = Standby([first, second], ROOM)
    standby.follow({0: first.last, 1: second.last})
    await soon(lambda: standby.places == {0: first.last, 1: second.last})
    standby.follow({}, keep=[1])
    assert standby.places.keys() == {1}
    await standby.close()
    assert standby.places == {}


@looped
async def test_the_longest_one_is_given_up_when_they_are_too_long() -> None:
    first, second = WatchedLog(), WatchedLog()
    await (await owned(first)).send(*range(1, 8))
    await (await owned(second)).send(1, 2)
    standby = Standby([first, second], 8 * MESSAGE_BYTES)
    standby.follow({0: first.last, 1: second.last})
    await soon(lambda: standby.places.keys() == {1})
    await quiet()
    standby.follow({0: first.last, 1: second.last})
    await quiet()
    assert standby.places.keys() == {1}
    assert standby.give(0, first.last) is None
    await standby.close()


@looped
async def test_none_is_read_without_room() -> None:
    log = WatchedLog()
    await (await owned(log)).send(1)
    log.reads.clear()
    standby = Standby([log], 0)
    standby.follow({0: log.last})
    await quiet()
    assert (standby.places, log.reads) == ({}, [])


def test_a_log_that_cannot_be_read_is_left_in_peace_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        log = WatchedLog()
        ann, standby = await owned(log), Standby([log], ROOM)
        await ann.send(1)
        log.reads.clear()
        log.broken = True
        standby.follow({0: log.last})
        await quiet()
        standby.follow({0: log.last})
        await quiet()
        assert log.reads == [0]
        await standby.close()
        monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
        standby.follow({0: log.last})
        await quiet()
        log.broken = False
        await read_along(standby, log)
        assert standby.places == {0: log.last}
        await standby.close()

    run(main)
