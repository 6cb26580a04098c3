"""The log on a real server: the fence, and what is in doubt."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.looping import run, soon
from tests.support.nats import alone, house_server, open_log, settings_for, stopped

from stompy_broker.cluster.log.log import (
    Answer,
    Append,
    Busy,
    Fenced,
    LogError,
    Stored,
    StreamLog,
)
from stompy_broker.cluster.log.log_record import RecordHead, RecordKind, write_record
from stompy_broker.cluster.log.takeover import append_until_told, take_over
from stompy_broker.cluster.nats.client import InDoubt, NATSClient
from stompy_broker.cluster.nats.jetstream import AT_WORK, JetStream, Refused

NAMES = itertools.count(1)


@asynccontextmanager
async def a_log(url: str = "", name: str = "") -> AsyncIterator[StreamLog]:
    """A log of its own."""
    client = NATSClient(settings_for(url or house_server().url))
    await client.start()
    try:
        log = await open_log(JetStream(client), name or f"log{next(NAMES)}", replicas=1)
        yield log
        await log.close()
    finally:
        await client.close()


def with_log(main: Callable[[StreamLog], Coroutine[Any, Any, None]]) -> None:
    async def around() -> None:
        async with a_log() as log:
            await main(log)

    run(around)


def record(number: int, payload: bytes = b"", tenure: int = 7) -> list[bytes]:
    head = RecordHead(RecordKind.LEAVE, tenure, number, 1, 0)
    return write_record(head, payload, 1000)


async def append(log: StreamLog, parts: Sequence[bytes], expected: int) -> Answer:
    return await append_until_told(log, list(parts), expected)


async def everything(log: StreamLog, after: int = 0) -> list[bytes]:
    return [entry.octets async for entry in log.read(after)]


async def get(log: StreamLog, *places: int) -> Mapping[int, bytes]:
    found: list[Mapping[int, bytes]] = []
    log.get(places, found.append, lambda reason: None)
    await soon(lambda: found)
    return found[0]


def fenced_by(answer: Answer) -> str:
    assert isinstance(answer, Fenced)
    return answer.reason


def test_what_is_appended_is_read_in_order():
    async def main(log: StreamLog) -> None:
        assert await everything(log) == []
        first, second = record(1), record(2, bytes(5000))
        assert await append(log, first, 0) == Stored(1)
        assert await append(log, second, 1) == Stored(1 + len(second))
        assert await everything(log) == first + second
        assert await everything(log, 1) == second
        assert await get(log, 2, 1, 99) == {1: first[0], 2: second[0]}

    with_log(main)


def test_who_does_not_know_the_last_entry_is_fenced_and_told_by_whom():
    async def main(log: StreamLog) -> None:
        await append(log, record(1), 0)
        await append(log, record(2, tenure=8), 1)
        assert fenced_by(await append(log, record(2), 1)) == "tenure 8"
        assert fenced_by(await append(log, record(2), 0)) == "tenure 8"
        assert len(await everything(log)) == 2

    with_log(main)


def test_what_was_stored_although_nobody_said_so_is_not_stored_again():
    async def main(log: StreamLog) -> None:
        for parts in (record(1), record(2, bytes(5000))):
            expected = len(await everything(log))
            stored = await append(log, parts, expected)
            assert await append(log, parts, expected) == stored
        assert len(await everything(log)) == expected + len(parts)

    with_log(main)


def test_a_log_that_is_gone_is_nobodys():
    async def main(log: StreamLog) -> None:
        await append(log, record(1), 0)
        jetstream = log._jetstream
        await jetstream.delete(log.stream)
        await open_log(jetstream, log.stream.removeprefix("STOMPY_"), replicas=1)
        assert fenced_by(await append(log, record(2), 1)) == "nobody: the log is gone"

    with_log(main)


@pytest.mark.parametrize(
    ("outcome", "reason", "seconds"),
    [
        (Refused(AT_WORK, "wrong last sequence"), "wrong last sequence", 0.005),
        (Refused(10047, "insufficient storage"), "insufficient storage", 0.25),
        (Refused(0, "nobody listens there"), "nobody listens there", 0.25),
        (InDoubt("no answer in time"), "no answer in time", 0.0),
    ],
)
def test_what_is_only_busy(outcome: Any, reason: str, seconds: float):
    async def main(log: StreamLog) -> None:
        answers: list[Answer] = []
        log._appended([(log, Append(log, record(1), 0))], answers.extend, outcome)
        assert answers == [Busy(reason, seconds)]

    with_log(main)


def test_a_server_that_takes_less_than_the_one_before_is_busy():
    async def main(log: StreamLog) -> None:
        answers: list[Answer] = []
        log.append([bytes(9_000_000)], 0, answers.append)
        assert answers == []
        await soon(lambda: answers)
        assert isinstance(answers[0], Busy)

    with_log(main)


def test_what_is_trimmed_is_gone_and_the_fence_stays():
    async def main(log: StreamLog) -> None:
        for number in range(1, 4):
            await append(log, record(number), number - 1)
        log.trim(3)
        log.trim(3)
        while (await everything(log))[0] != record(3)[0]:
            pass  # reading takes turns of the loop
        assert await append(log, record(4), 3) == Stored(4)

    with_log(main)


def test_a_long_log_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stompy_broker.cluster.log.log._READ_COUNT", 3)

    async def main(log: StreamLog) -> None:
        parts = record(1, bytes(10_000))
        await append(log, parts, 0)
        assert len(parts) > 9
        assert await everything(log) == parts

    with_log(main)


def test_a_large_record_is_one(monkeypatch: pytest.MonkeyPatch):
    async def main(log: StreamLog) -> None:
        head = RecordHead(RecordKind.CHANGES, 1, 1, 1, 0)
        parts = write_record(head, bytes(20_000_000), log.part_bytes)
        assert len(parts) == 5
        assert await append(log, parts, 0) == Stored(5)
        assert await everything(log) == parts

    with_log(main)


def test_where_nobody_answers_reading_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("stompy_broker.cluster.log.log._READ_SECONDS", 0.1)

    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.start()
        try:
            async with a_log(server.url) as log:
                await append(log, record(1), 0)
                with stopped(server):
                    with pytest.raises(LogError, match="nobody answers"):
                        await everything(log)
                assert await everything(log) == record(1)
        finally:
            server.end()

    run(main)


def test_a_log_that_cannot_be_opened_says_why():
    async def main(log: StreamLog) -> None:
        with pytest.raises(LogError, match=r"log of the cluster x cannot be used: .*replicas"):
            await open_log(log._jetstream, "x", replicas=3)

    with_log(main)


def test_two_brokers_and_one_log():
    """The whole of it: who is deposed is fenced, whatever it has on its way."""

    async def main() -> None:
        name = f"log{next(NAMES)}"
        async with a_log(name=name) as here, a_log(name=name) as there:
            ann = await take_over(here, "ann")
            assert await append(here, record(2, tenure=1), ann.place) == Stored(2)
            bob = await take_over(there, "bob")
            assert (bob.number, bob.before, bob.replay.number) == (2, "ann", 3)
            assert fenced_by(await append(here, record(3, tenure=1), 2)) == "tenure 2"
            again = await take_over(here, "ann")
            assert (again.number, again.before) == (3, "bob")
            assert fenced_by(await append(there, record(4, tenure=2), bob.place)) == "tenure 3"

    run(main)
