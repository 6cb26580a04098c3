"""JetStream of a real server: streams, appending with an expectation, reading, purging."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.support.looping import run, soon
from tests.support.nats import alone, house_server, settings_for

from stompy_broker.cluster.nats.client import Answered, InDoubt, NATSClient, Unheard
from stompy_broker.cluster.nats.codec import NATSError, NATSMessage, NATSProtocolError
from stompy_broker.cluster.nats.jetstream import (
    WRONG_LAST_SEQUENCE,
    Appended,
    AppendOutcome,
    JetStream,
    JetStreamError,
    Refused,
    StreamSettings,
    _read_append,
    _read_state,
    read_sequence,
    read_status,
)

NUMBERS = itertools.count(1)


def with_stream(
    main: Callable[[JetStream, str], Coroutine[Any, Any, None]],
) -> None:
    """Run something with a stream of its own, whose subjects begin with its name."""

    async def around() -> None:
        client = NATSClient(settings_for(house_server().url))
        await client.start()
        jetstream, name = JetStream(client), f"JS{next(NUMBERS)}"
        try:
            await jetstream.provide(StreamSettings(name, [f"{name}.*"], 1))
            await main(jetstream, name)
            await jetstream.delete(name)
        finally:
            await client.close()

    run(around)


async def append(jetstream: JetStream, subject: str, expected: int, *parts: bytes) -> AppendOutcome:
    outcomes: list[AppendOutcome] = []
    jetstream.append([(subject, parts, expected)], outcomes.append)
    await soon(lambda: outcomes)
    return outcomes[0]


async def read(
    jetstream: JetStream, name: str, subject: str, after: int, count: int = 100
) -> tuple[list[tuple[int, bytes]], bool]:
    found: list[NATSMessage] = []
    number = jetstream.read(name, subject, after, found.append, count=count, most_bytes=10**7)
    await soon(lambda: found and found[-1].status)
    jetstream.client.unsubscribe(number)
    more = read_status(found.pop())
    assert more is not None
    return [(read_sequence(message), message.body) for message in found], more


def test_who_expects_something_else_stores_nothing():
    async def main(jetstream: JetStream, name: str) -> None:
        subject = f"{name}.a"
        assert await append(jetstream, subject, 0, b"1") == Appended(1)
        assert await append(jetstream, f"{name}.b", 0, b"b") == Appended(2)
        refused = await append(jetstream, subject, 0, b"2")
        assert isinstance(refused, Refused)
        assert refused.code == WRONG_LAST_SEQUENCE
        assert await append(jetstream, subject, 1, b"2") == Appended(3)
        assert await read(jetstream, name, subject, 0) == ([(1, b"1"), (3, b"2")], False)

    with_stream(main)


def test_several_are_stored_at_once_or_not_at_all():
    async def main(jetstream: JetStream, name: str) -> None:
        subject = f"{name}.a"
        parts = [b"%d" % number * 1000 for number in range(1, 4)]
        assert await append(jetstream, subject, 0, *parts) == Appended(3)
        refused = await append(jetstream, subject, 2, *parts)
        assert isinstance(refused, Refused)
        assert refused.code == WRONG_LAST_SEQUENCE
        found, _ = await read(jetstream, name, subject, 0)
        assert [body for _, body in found] == parts

    with_stream(main)


def test_reading_goes_piece_by_piece():
    async def main(jetstream: JetStream, name: str) -> None:
        subject = f"{name}.a"
        for number in range(5):
            await append(jetstream, subject, number, b"x")
        assert await read(jetstream, name, subject, 0, 2) == ([(1, b"x"), (2, b"x")], True)
        assert await read(jetstream, name, subject, 2, 3) == (
            [(3, b"x"), (4, b"x"), (5, b"x")],
            False,
        )
        assert await read(jetstream, name, subject, 5) == ([], False)
        assert await read(jetstream, name, f"{name}.other", 0) == ([], False)

    with_stream(main)


@pytest.mark.parametrize("leader", [False, True])
def test_one_message_is_read(leader: bool):
    async def main(jetstream: JetStream, name: str) -> None:
        body = bytes(range(256))
        await append(jetstream, f"{name}.a", 0, body)
        assert await jetstream.get(name, 1, leader=leader) == body
        assert await jetstream.get(name, 2, leader=leader) is None
        last = await jetstream.last(name, f"{name}.a")
        assert last == (1, body)
        assert await jetstream.last(name, f"{name}.b") is None

    with_stream(main)


def test_what_is_below_a_place_is_deleted_of_one_subject():
    async def main(jetstream: JetStream, name: str) -> None:
        for number in range(3):
            await append(jetstream, f"{name}.a", number, b"x")
        await append(jetstream, f"{name}.b", 0, b"x")
        outcomes: list[object] = []
        jetstream.purge(name, f"{name}.a", 3, outcomes.append)
        await soon(lambda: outcomes)
        assert await read(jetstream, name, f"{name}.a", 0) == ([(3, b"x")], False)
        assert (await jetstream.state(name)).messages == 2
        assert await append(jetstream, f"{name}.a", 3, b"y") == Appended(5)

    with_stream(main)


def test_a_stream_is_made_once_and_must_be_as_it_should_be():
    async def main(jetstream: JetStream, name: str) -> None:
        state = await jetstream.provide(StreamSettings(name, [f"{name}.*"], 1))
        assert (state.messages, state.last, len(state.servers)) == (0, 0, 1)
        with pytest.raises(JetStreamError, match=r"has num_replicas 1, not 3"):
            await jetstream.provide(StreamSettings(name, [f"{name}.*"], 3))
        with pytest.raises(JetStreamError, match="stream not found"):
            await jetstream.state("NONE")

    with_stream(main)


def test_a_server_without_jetstream_is_refused(tmp_path: Path):
    async def main() -> None:
        server = alone(tmp_path / "nats")
        server.text = "\n".join(
            line for line in server.text.splitlines() if not line.startswith("jetstream")
        )
        server.start()
        client = NATSClient(settings_for(server.url))
        try:
            await client.start()
            with pytest.raises(NATSError, match="runs without JetStream"):
                await JetStream(client).provide(StreamSettings("S", ["s"], 1))
            outcome = await append(JetStream(client), "s", 0, b"x")
            assert outcome == Refused(0, "nobody listens there")
        finally:
            await client.close()
            server.end()

    run(main)


def answer(body: bytes) -> Answered:
    return Answered(NATSMessage("a", 1, "", body))


def test_what_an_append_came_to():
    assert _read_append(answer(b'{"stream":"S","seq":5}')) == Appended(5)
    told = b'{"error":{"code":400,"err_code":10164,"description":"again"},"seq":0}'
    assert _read_append(answer(told)) == Refused(10164, "again")
    assert _read_append(Unheard("why")) == Refused(0, "why")
    assert _read_append(InDoubt("why")) == InDoubt("why")
    for nonsense in (b"", b"[]", b"{}", b'{"seq":"x"}', b'{"error":"x"}'):
        assert isinstance(_read_append(answer(nonsense)), InDoubt)


def test_answers_that_make_no_sense():
    async def main(jetstream: JetStream, name: str) -> None:
        with pytest.raises(NATSError, match=r"nobody listens|not found"):
            await jetstream.get("NONE", 1)

    with_stream(main)
    with pytest.raises(NATSProtocolError, match="its place"):
        read_sequence(NATSMessage("a", 1, "", b""))
    with pytest.raises(NATSError, match="status 408"):
        read_status(NATSMessage("a", 1, "", b"", 408))


def test_many_at_once_in_two_subjects_do_not_disturb_one_another():
    async def main(jetstream: JetStream, name: str) -> None:
        async def fill(subject: str) -> int:
            last = 0
            for _ in range(20):
                outcome = await append(jetstream, subject, last, b"x")
                while isinstance(outcome, Refused) and outcome.code != WRONG_LAST_SEQUENCE:
                    outcome = await append(jetstream, subject, last, b"x")
                assert isinstance(outcome, Appended)
                last = outcome.sequence
            return last

        await asyncio.gather(*(fill(f"{name}.{one}") for one in "abcd"))
        assert (await jetstream.state(name)).messages == 80

    with_stream(main)


def test_who_is_missing_and_who_is_behind():
    told = {
        "config": {},
        "state": {"messages": 1, "bytes": 2, "last_seq": 3},
        "cluster": {
            "leader": "a",
            "replicas": [
                {"name": "b", "current": True, "active": 500_000_000, "lag": 3},
                {"name": "c", "current": False, "offline": True, "active": 0, "lag": 5000},
                {"name": "d", "current": False, "active": 9_000_000_000},
                {"name": "e", "current": False, "active": 1, "lag": 5000},
            ],
        },
    }
    state = _read_state(told)
    assert state.standing("") == {
        "a": "leader",
        "b": "follower",
        "c": "lost",
        "d": "lost",
        "e": "behind",
    }
    assert set(state.standing("nobody leads").values()) == {"unknown"}
