"""A message for many durable subscribers has its body on disk once."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.house import Taker, backlog_of, make_head, take_part
from tests.support.storage import Shelf, contents, contents_of, short_wal

from stompy_broker.destinations.names import sendable
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.router import Router
from stompy_broker.store.directory import FILE
from stompy_broker.store.inspection import inspected


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "data")
    yield shelf
    shelf.close()


def subscribed(shelf: Shelf, count: int) -> Router:
    router = shelf.route()
    for number in range(count):
        backlog_of(router, DurableSubscription(f"c.{number}", "t", shared=False))
    return router


def publish(router: Router, body: bytes) -> None:
    router.publish(sendable("/topic/t"), make_head("/topic/t"), body)


def backlog(router: Router, number: int, room: int = 100) -> Taker:
    """Consume what waits for one of the subscribers."""
    taker = Taker(room)
    take_part(router.queues[router.registry.durable.by_name[f"c.{number}"].queue], taker)
    return taker


def settle_all(router: Router, number: int, taker: Taker) -> None:
    queue = router.queues[router.registry.durable.by_name[f"c.{number}"].queue]
    for message in taker.taken:
        queue.settle(message)
    taker.taken.clear()


def rows(shelf: Shelf, table: str = "body") -> int:
    (count,) = shelf.sqlite.tables.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def sound(directory: Path) -> None:
    with inspected(directory) as inspection:
        assert inspection.check() == []


def test_it_takes_the_room_of_one(tmp_path: Path):
    shelf = Shelf(tmp_path / "data")
    router = subscribed(shelf, 100)
    for number in range(20):
        publish(router, bytes([number]) * 20_000)
    shelf.close()
    directory = tmp_path / "data"
    assert (directory / FILE).stat().st_size < 20 * 20_000 + 100 * 20 * 400
    sound(directory)
    with inspected(directory) as inspection:
        stats = inspection.stats()
        assert [queue.messages for queue in stats.queues] == [20] * 100
        assert stats.queues[0].bytes > 20 * 20_000
        assert {len(message.body) for message in inspection.export()} == {20_000}
    again = Shelf(directory)
    router = again.route()
    for number in (0, 99):
        taker = backlog(router, number)
        again.turns.until(lambda taker=taker: len(taker.taken) == 20)
        assert [message.body for message in taker.taken] == [bytes([n]) * 20_000 for n in range(20)]
    again.close()


def test_the_body_goes_with_the_last_message(shelf: Shelf):
    router = subscribed(shelf, 3)
    publish(router, b"x" * 1000)
    shelf.sync()
    assert rows(shelf) == 1
    for number in range(3):
        assert rows(shelf) == 1
        settle_all(router, number, backlog(router, number))
        shelf.sync()
    assert (rows(shelf), rows(shelf, "message")) == (0, 0)


def test_what_is_settled_before_it_was_written_does_not_count(shelf: Shelf):
    router = subscribed(shelf, 3)
    publish(router, b"x" * 1000)
    first = backlog(router, 0)
    settle_all(router, 0, first)
    shelf.sync()
    assert (rows(shelf), rows(shelf, "message")) == (1, 2)
    publish(router, b"y" * 1000)
    settle_all(router, 0, first)
    settle_all(router, 1, backlog(router, 1))
    shelf.sync()
    # One subscriber has the first and the second, and is the only one who has either.
    assert (rows(shelf), rows(shelf, "message")) == (1, 2)


def test_rows_of_queues_and_of_small_bodies_are_as_they_were(shelf: Shelf):
    router = subscribed(shelf, 2)
    publish(router, b"small")
    for _ in range(2):
        router.publish(sendable("/queue/q"), make_head(), bytes(1000) + b"x")
    shelf.sync()
    assert rows(shelf) == 0
    kinds = shelf.sqlite.tables.connection.execute("SELECT DISTINCT typeof(body) FROM message")
    assert kinds.fetchall() == [("blob",)]


def test_a_batch_that_fails_and_is_tried_again_counts_once(shelf: Shelf):
    router = subscribed(shelf, 3)
    errors = [sqlite3.OperationalError("disk I/O error")] * 2

    def fail(statement: str, has_run: bool) -> None:
        if statement == "COMMIT" and not has_run and errors:
            raise errors.pop()

    shelf.tap(fail)
    publish(router, b"x" * 1000)
    safe: list[bool] = []
    shelf.store.sync(lambda: safe.append(True))
    while not safe:
        shelf.turns.end()
        shelf.turns.time.advance(1)
    settle_all(router, 0, backlog(router, 0))
    shelf.sync()
    assert rows(shelf) == 1
    counted = shelf.sqlite.tables.connection.execute("SELECT messages FROM body").fetchone()
    assert counted == (2,)


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_at_any_moment_leaves_the_counts_right(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    shelf = Shelf(tmp_path / "data")
    router = subscribed(shelf, 4)
    takers = {}
    for step in range(40):
        action = chance.randrange(4)
        if action <= 1:
            publish(router, chance.randbytes(chance.choice((10, 500, 9000))))
        elif action == 2:
            number = chance.randrange(4)
            taker = takers.get(number) or takers.setdefault(number, backlog(router, number, 1000))
            shelf.turns.until(lambda: True)
            settle_all(router, number, taker)
        else:
            shelf.sync()
        if step % 5 == 4:
            shelf.sync()
            copy = shelf.copy(tmp_path / f"copy{step}")
            there = rows(shelf, "message")
            sound(copy)
            assert len(contents_of(copy).messages) == there
            sound(copy)
    shelf.reopen()
    found = contents(shelf)
    assert all(kept.body is not None for kept in found.messages)
    shelf.close()
    sound(tmp_path / "data")
