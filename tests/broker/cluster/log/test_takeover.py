"""Taking over a log: one owner at a time, whoever comes and whatever is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.logged import MemoryLog

from stompy_broker.cluster.log.log import Answer, Busy, Entry, Fenced, LogError, Stored
from stompy_broker.cluster.log.log_record import RecordHead, RecordKind, write_record
from stompy_broker.cluster.log.takeover import (
    LogDamagedError,
    Tenure,
    append_until_told,
    take_over,
)


def no_turn(action: Callable[[], None]) -> None:
    raise AssertionError("there is a loop")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(no_turn)


def write(log: MemoryLog, tenure: Tenure, number: int, expected: int) -> Answer:
    """Append an empty record as the owner would."""
    head = RecordHead(RecordKind.LEAVE, tenure.number, number, 1, 0)
    parts = write_record(head, b"", log.part_bytes)
    return asyncio.run(append_until_told(log, parts, expected))


def test_the_first_one_takes_an_empty_log(log: MemoryLog):
    tenure = asyncio.run(take_over(log, "ann"))
    assert (tenure.number, tenure.owner, tenure.before, tenure.place) == (1, "ann", "", 1)
    assert tenure.replay.number == 1


def test_the_next_one_knows_who_was_before_and_fences_it_off(log: MemoryLog):
    ann = asyncio.run(take_over(log, "ann"))
    assert write(log, ann, 2, ann.place) == Stored(2)
    bob = asyncio.run(take_over(log, "bob"))
    assert (bob.number, bob.before, bob.place) == (2, "ann", 3)
    assert isinstance(write(log, ann, 3, 2), Fenced)
    assert write(log, bob, 4, bob.place) == Stored(4)


class Slowly:
    """A log that one of several brokers reads when it is its turn, if anybody conducts."""

    def __init__(self, log: MemoryLog, conducted: list[tuple[int, bool]]) -> None:
        self.part_bytes = log.part_bytes
        self.append = log.append
        self.get = log.get
        self.trim = log.trim
        self.turn = asyncio.Event()
        self._read = log.read
        self._conducted = conducted

    async def read(self, after: int) -> AsyncIterator[Entry]:
        async for entry in self._read(after):
            yield entry
        if self._conducted:
            await self.turn.wait()
            self.turn.clear()


async def conduct(log: MemoryLog, order: list[tuple[int, bool]], seen: Sequence[Slowly]) -> None:
    """Let brokers go on in some order; sometimes the log is busy."""
    while order:
        number, busy = order.pop(0)
        if busy:
            log.outages.append((Busy("", 0.0), bool(number % 2)))
        seen[number].turn.set()
        for _ in range(5):
            await asyncio.sleep(0)
    for one in seen:
        one.turn.set()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_of_those_who_come_at_once_each_has_its_own_tenure(order: list[tuple[int, bool]]):
    """Reading and appending of several are cut between one another in any way."""
    log = MemoryLog(no_turn)

    async def main() -> list[Tenure]:
        left = list(order)
        seen = [Slowly(log, left) for _ in range(4)]
        conductor = asyncio.create_task(conduct(log, left, seen))
        takeovers = (take_over(one, f"broker{n}") for n, one in enumerate(seen))
        tenures = await asyncio.gather(*takeovers)
        await conductor
        return tenures

    tenures = asyncio.run(main())
    assert len({tenure.number for tenure in tenures}) == 4
    last = max(tenures, key=lambda tenure: tenure.number)
    assert last.place == log.last
    assert asyncio.run(take_over(log, "check")).before == last.owner


def test_a_log_that_moves_on_all_the_time_has_an_owner(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stompy_broker.cluster.log.takeover._PAUSE", 0.0)
    ann = asyncio.run(take_over(log, "ann"))
    append, number = log.append, [1]

    def faster(parts: Sequence[bytes], expected: int, answer: Callable[[Answer], None]) -> None:
        number[0] += 1
        head = RecordHead(RecordKind.CHANGES, ann.number, number[0], 1, 0)
        append(write_record(head, bytes(28), log.part_bytes), expected, lambda answer: None)
        append(parts, expected, answer)

    monkeypatch.setattr(log, "append", faster)
    with pytest.raises(LogError, match="its owner is alive"):
        asyncio.run(take_over(log, "bob"))


def test_what_is_missing_is_not_passed_over_unless_it_was_accepted(
    log: MemoryLog, caplog: pytest.LogCaptureFixture
):
    ann = asyncio.run(take_over(log, "ann"))
    for number in (2, 3, 4):
        write(log, ann, number, number - 1)
    del log.entries[3]
    entries = dict(log.entries)
    with pytest.raises(LogDamagedError, match=r"the log is damaged: record 3: it is not there$"):
        asyncio.run(take_over(log, "bob"))
    assert log.entries == entries
    bob = asyncio.run(take_over(log, "bob", accept_damage=True))
    assert bob.number == 2
    assert "which was accepted: record 3" in caplog.text
    assert asyncio.run(take_over(log, "cid")).number == 3


def test_many_gaps_are_not_all_told_in_one_line(log: MemoryLog):
    ann = asyncio.run(take_over(log, "ann"))
    for number in range(2, 12):
        write(log, ann, number, number - 1)
    for place in (2, 4, 6, 8, 10):
        del log.entries[place]
    with pytest.raises(LogDamagedError, match=r"record 6: it is not there …$") as caught:
        asyncio.run(take_over(log, "bob"))
    assert len(caught.value.gaps) == 5


def test_what_one_server_has_lost_another_one_may_have(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    ann = asyncio.run(take_over(log, "ann"))
    for number in (2, 3):
        write(log, ann, number, number - 1)
    read, reads = log.read, [0]

    async def with_holes(after: int) -> AsyncIterator[Entry]:
        reads[0] += 1
        async for entry in read(after):
            if entry.place != 2 or reads[0] > 2:
                yield entry

    monkeypatch.setattr(log, "read", with_holes)
    assert asyncio.run(take_over(log, "bob")).number == 2


def test_a_server_that_does_not_know_the_end_yet_is_asked_again(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
):
    ann = asyncio.run(take_over(log, "ann"))
    write(log, ann, 2, 1)
    read, reads = log.read, [0]

    async def behind(after: int) -> AsyncIterator[Entry]:
        reads[0] += 1
        async for entry in read(after):
            if entry.place < 2 or reads[0] > 2:
                yield entry

    monkeypatch.setattr(log, "read", behind)
    tenure = asyncio.run(take_over(log, "bob"))
    assert (tenure.number, tenure.place, tenure.replay.number) == (2, 3, 3)
