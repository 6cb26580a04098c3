"""A broker's queues on the SQLite store: bodies on disk, and starting again with what is there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.house import WALL, Taker, browsed, figures, make_head, make_message, take_part
from tests.support.process import BrokerProcess
from tests.support.storage import Shelf, contents, contents_of, short_wal

import stompy
from stompy.errors import ProtocolError
from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, stamp
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription
from stompy_broker.store import sqlite
from stompy_broker.store.base import StoredSubscription


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with short_wal():
        yield


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "data")
    yield shelf
    shelf.close()


# -- bodies on disk ------------------------------------------------------------------------------


def queue_of(shelf: Shelf, count: int, *, memory_mark: int, size: int = 1000) -> LocalQueue:
    """A queue with messages that are on disk, as a producer leaves it."""
    router = shelf.route(memory_mark=memory_mark)
    publish(router, range(count), size)
    shelf.sync()
    return router.queue("q")


def publish(router: Router, numbers: range, size: int = 1000, **headers: str) -> None:
    destination, head = parse_destination("/queue/q"), make_head(**headers)
    for number in numbers:
        router.publish(destination, head, (b"%d " % number).ljust(size))


def numbers(taker: Taker) -> list[int]:
    """What a taker got, and that all of it was there."""
    found = []
    for message in taker.taken:
        assert message.body is not None
        found.append(int(message.body))
    return found


def in_memory(queue: LocalQueue) -> int:
    return sum(message.body is not None for message in queue._ready)


def test_after_a_restart_bodies_are_read_as_consumers_need_them(shelf: Shelf):
    queue_of(shelf, 1000, memory_mark=1 << 30)
    shelf.reopen()
    router = shelf.route()
    queue, taker = router.queue("q"), Taker(10)
    assert figures(queue).ready == 1000
    assert in_memory(queue) == 0
    assert router.memory.used < 1000 * 400
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == 10)
    assert 0 < in_memory(queue) < 500
    taker.room = 990
    queue.resume(taker)
    shelf.turns.until(lambda: len(taker.taken) == 1000)
    assert numbers(taker) == list(range(1000))
    for message in taker.taken:
        queue.settle(message)
    assert (router.memory.used, router.groups.home.disk.used, figures(queue).bytes) == (0, 0, 0)


def test_beyond_half_the_memory_mark_bodies_stay_on_disk(shelf: Shelf):
    queue = queue_of(shelf, 2000, memory_mark=1_000_000)
    router = shelf.router
    assert router is not None
    assert 0 < router.memory.used < 800_000
    assert not router.memory.full
    assert in_memory(queue) < 500
    taker = Taker(2000, auto=True)
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == 2000)
    assert numbers(taker) == list(range(2000))
    assert (router.memory.used, router.groups.home.disk.used, figures(queue).bytes) == (0, 0, 0)


def test_producers_wait_only_until_the_disk_has_it(shelf: Shelf):
    router = shelf.route(memory_mark=200_000)
    publish(router, range(200))
    assert router.memory.full
    went_on: list[bool] = []
    router.memory.wait(lambda: went_on.append(True))
    shelf.sync()
    shelf.turns.until(lambda: went_on)
    assert not router.memory.full


def test_without_a_memory_mark_bodies_stay_in_memory(shelf: Shelf):
    assert in_memory(queue_of(shelf, 100, memory_mark=0)) == 100


def test_what_is_with_a_consumer_keeps_its_body(shelf: Shelf):
    """So that what it settles is settled in the same turn: a dead letter needs its body."""
    router = shelf.route(memory_mark=2000)
    queue, taker = router.queue("q"), Taker(5)
    take_part(queue, taker)
    publish(router, range(20))
    shelf.sync()
    assert numbers(taker) == list(range(5))
    assert in_memory(queue) == 0
    for message in taker.taken:
        queue.settle(message, Rejection(requeue=False))
    assert figures(router.queue("DLQ.q")).ready == 5
    shelf.reopen()
    router = shelf.route()
    assert (figures(router.queue("q")).ready, figures(router.queue("DLQ.q")).ready) == (15, 5)


def test_what_is_settled_while_it_is_written_keeps_its_body_until_then(shelf: Shelf):
    """A crash between the two batches must not bring it back empty."""
    assert shelf.directory is not None
    copies: list[Path] = []
    router = shelf.route()
    queue, taker = router.queue("q"), Taker(100)
    take_part(queue, taker)
    publish(router, range(50))
    settled = threading.Event()

    def wait_and_copy(statement: str, has_run: bool) -> None:
        if statement == "BEGIN IMMEDIATE" and not has_run:
            assert settled.wait(10)
        if statement == "COMMIT" and has_run:
            copies.append(shelf.copy(shelf.directory.parent / f"copy-{len(copies)}"))

    shelf.tap(wait_and_copy)
    safe: list[bool] = []
    shelf.store.sync(lambda: safe.append(True))
    shelf.turns.end()  # hands over; the writer waits
    for message in taker.taken:
        queue.settle(message)
    settled.set()
    shelf.sync()
    assert safe
    first, *_ = copies
    assert [int(kept.body or b"") for kept in contents_of(first).messages] == list(range(50))
    assert contents_of(copies[-1]).messages == ()


def hoarder_of(
    router: Router, queue: LocalQueue, mode: AckMode = AckMode.CLIENT_INDIVIDUAL
) -> AckSubscription:
    """A client's subscription without limit, whose client reads everything and settles nothing."""

    def refuse(reason: ProtocolError) -> None:
        raise reason

    def pour() -> None:
        output.take()
        output.burst = 0  # each time in another turn

    output = OutputBuffer(lambda: None, pour)
    hoarder = AckSubscription(
        "h", queue, output, Version.V1_2, refuse, router=router, tag=1, mode=mode, prefetch=0
    )
    queue.attach(hoarder)
    hoarder.begin()
    return hoarder


def test_a_consumer_without_limit_is_not_lent_everything(shelf: Shelf):
    """It gets no more than half the mark, holds up nobody, and goes on when it has settled some."""
    mark = 2_000_000
    queue = queue_of(shelf, 3000, memory_mark=mark)
    router = shelf.router
    assert router is not None
    hoarder, settled = hoarder_of(router, queue), 0
    shelf.turns.until(lambda: hoarder not in queue._waiting)
    while hoarder.delivered < 3000:
        assert mark / 2 < router.loans.used < mark / 2 + 70_000
        assert not router.memory.full
        assert router.loans.used == hoarder.lent
        for number in range(settled + 1, settled + 301):
            assert hoarder.accept(number)
        settled += 300
        hoarder.resume()
        shelf.turns.until(lambda: not hoarder.waiting or hoarder.delivered == 3000)
    assert [int(message.body or b"") for message in hoarder.unacked.values()][-1] == 2999


def test_what_a_hoarder_leaves_behind_stays_on_disk(shelf: Shelf):
    """Else the queues of others could read nothing until this one was consumed."""
    queue = queue_of(shelf, 3000, memory_mark=500_000)
    router = shelf.router
    assert router is not None
    hoarder = hoarder_of(router, queue)
    shelf.turns.until(lambda: not hoarder.waiting)
    held = hoarder.delivered
    hoarder.end()
    assert router.loans.used == 0
    assert in_memory(queue) < 600
    taker = Taker(held)
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == held)
    assert all(message.deliveries == 1 for message in taker.taken)
    assert numbers(taker) == list(range(held))
    queue.detach(taker)
    for message in taker.taken:
        queue.settle(message)
    take_part(queue, Taker(3000, auto=True))
    shelf.turns.until(lambda: not figures(queue).ready)
    assert (
        router.memory.used,
        router.loans.used,
        router.groups.home.disk.used,
        figures(queue).bytes,
    ) == (0, 0, 0, 0)


def test_priorities_hold_after_bodies_were_read_again(shelf: Shelf):
    router = shelf.route(memory_mark=1000)
    for number in range(300):
        publish(router, range(number, number + 1), priority=str(number % 10))
    shelf.sync()
    shelf.reopen()
    queue, taker = shelf.route().queue("q"), Taker(300)
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == 300)
    assert numbers(taker) == sorted(range(300), key=lambda n: (-(n % 10), n))


def test_a_body_that_the_disk_lost_is_told_and_passed_over(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
):
    queue_of(shelf, 10, memory_mark=1 << 30)
    shelf.reopen()
    queue, taker = shelf.route().queue("q"), Taker(10)
    shelf.sqlite.tables.connection.execute("DELETE FROM message WHERE sequence / 1024 % 2")
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == 5)
    assert figures(queue).bytes == sum(message.size for message in taker.taken)
    assert figures(queue).dropped == 5
    assert "5 bodies are not there" in caplog.text


def test_reading_is_tried_again(shelf: Shelf, caplog: pytest.LogCaptureFixture):
    queue_of(shelf, 3, memory_mark=1 << 30)
    shelf.reopen()
    queue, taker = shelf.route().queue("q"), Taker(3)
    errors = [sqlite3.OperationalError("disk I/O error"), KeyError("a fault of ours")]

    def fail(statement: str, has_run: bool) -> None:
        if statement.startswith("SELECT") and errors:
            raise errors.pop()

    shelf.tap(fail)
    take_part(queue, taker)
    for words in ("Traceback", "cannot be read: disk I/O error"):
        shelf.turns.until(lambda words=words: words in caplog.text)
        shelf.turns.time.advance(sqlite.RETRY_SECONDS)
    shelf.turns.until(lambda: len(taker.taken) == 3)


# -- restarting with what is there ---------------------------------------------------------------


def test_deliveries_that_a_crash_cut_short_count(shelf: Shelf):
    """A message that takes the broker down with it ends among the dead letters."""
    for start in range(10):
        router = shelf.route()
        if not start:
            publish(router, range(1))
        taker = Taker(1)
        take_part(router.queue("q"), taker)
        shelf.turns.until(lambda taker=taker: taker.taken)
        assert taker.taken[0].deliveries == start
        shelf.reopen()  # nobody has settled it
    router = shelf.route()
    taker, dead = Taker(1), Taker(1)
    take_part(router.queue("q"), taker)
    take_part(router.queue("DLQ.q"), dead)
    shelf.turns.until(lambda: dead.taken)
    assert not taker.taken
    headers = dead.taken[0].head.headers()
    assert (headers["x-first-death-reason"], headers["x-death-count"]) == ("delivery_limit", "10")


def test_a_crash_counts_against_the_first_of_each_consumer_and_once(shelf: Shelf):
    """However often the broker starts afterwards; what merely lay in a window never counts."""
    router = shelf.route()
    publish(router, range(6))
    takers = [Taker(3), Taker(3)]
    for taker in takers:
        take_part(router.queue("q"), taker)
    shelf.turns.until(lambda: all(len(taker.taken) == 3 for taker in takers))
    for _ in range(3):
        shelf.reopen()
        router = shelf.route()
        waiting = browsed(router.queue("q"))
        firsts = {min(numbers(taker)) for taker in takers}
        bodies = {m.sequence: n for n, m in enumerate(waiting)}
        assert {bodies[m.sequence] for m in waiting if m.failures} == firsts
        assert [m.failures for m in waiting if m.failures] == [1, 1]
        assert {m.deliveries for m in waiting} == {1}
        shelf.sync()


def test_a_delay_goes_on_after_a_restart(shelf: Shelf):
    router = shelf.route()
    queue, taker = router.queue("q"), Taker(2)
    take_part(queue, taker)
    publish(router, range(2))
    queue.settle(taker.taken[0], Rejection(delay=5.0))
    queue.settle(taker.taken[1], Rejection(delay=5000.0))
    shelf.reopen()
    queue, taker = shelf.route().queue("q"), Taker(2)
    take_part(queue, taker)
    shelf.turns.end()
    assert not taker.taken
    shelf.turns.time.advance(5.0)
    shelf.turns.until(lambda: taker.taken)
    assert [(int(m.body or b""), m.deliveries) for m in taker.taken] == [(0, 1)]


def test_queues_keep_their_set_up(shelf: Shelf):
    router = shelf.route()
    router.queue("q", {"x-max-length": "3"})
    publish(router, range(5))
    shelf.reopen()
    router = shelf.route()
    publish(router, range(5, 7))
    taker = Taker(10)
    take_part(router.queue("q"), taker)
    shelf.turns.until(lambda: len(taker.taken) == 3)
    assert numbers(taker) == [4, 5, 6]


def test_a_set_up_that_cannot_be_any_more_is_told_and_passed_over(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
):
    shelf.store.keep_queue("q", {"x-overflow": "explode"})
    shelf.reopen()
    router = shelf.route()
    assert router.queue("q").policy.overflow == "drop-head"
    assert "x-overflow" in caplog.text


def test_messages_of_a_deleted_subscription_are_dropped(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
):
    shelf.store.keep_subscription(StoredSubscription("a.b", "t", '{"shared":false,"expires":0}'))
    shelf.store.append("/queue/durable.a.b", make_message(1))
    shelf.store.append("/queue/durable.a.c", make_message(2))
    shelf.reopen()
    router = shelf.route()
    assert figures(router.queues["durable.a.b"]).ready == 1
    assert "durable.a.c" not in router.queues
    assert "1 messages of deleted subscriptions" in caplog.text
    shelf.reopen()
    assert [kept.sequence for kept in contents(shelf).messages] == [1]


def test_sequences_go_on_where_they_were_when_the_clock_goes_back(shelf: Shelf):
    router = shelf.route()
    shelf.turns.time.advance(1000)
    late = WALL * 2**21
    shelf.store.append("/queue/q", make_message(late, b"0"))
    shelf.reopen()
    router = shelf.route()
    publish(router, range(1, 2))
    taker = Taker(2)
    take_part(router.queue("q"), taker)
    shelf.turns.until(lambda: len(taker.taken) == 2)
    # Of one group, they are so far apart that those of others have room between them.
    assert [message.sequence for message in taker.taken] == [late, late + 2**10]


def test_a_queues_own_mark_counts_what_was_restored(shelf: Shelf):
    queue_of(shelf, 10, memory_mark=1 << 30)
    shelf.reopen()
    router = shelf.route(Policy.model_validate({"match": "/queue/q", "max_bytes": 5000}))
    publish(router, range(10, 11))
    queue, taker = router.queue("q"), Taker(100, auto=True)
    assert queue.watermark is not None
    assert queue.watermark.full
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == 11)
    assert (queue.watermark.full, queue.watermark.used) == (False, 0)


def test_what_is_there_is_settled_also_where_nothing_is_kept_any_more(shelf: Shelf):
    """A policy that says so since the restart; else the messages would come back for ever."""
    queue_of(shelf, 3, memory_mark=1 << 30)
    shelf.reopen()
    volatile = Policy(match="/queue/q", persistent=False)
    router, taker = shelf.route(volatile), Taker(4)
    publish(router, range(3, 4))
    queue = router.queue("q")
    take_part(queue, taker)
    shelf.turns.until(lambda: len(taker.taken) == 4)
    for message in taker.taken[:2]:
        queue.settle(message)
    assert (
        router.groups.home.disk.used
        == figures(queue).bytes
        == sum(message.size for message in taker.taken[2:])
    )
    shelf.reopen()
    router, taker = shelf.route(volatile), Taker(2)
    take_part(router.queue("q"), taker)
    shelf.turns.until(lambda: len(taker.taken) == 2)
    assert numbers(taker) == [2, 3]
    for message in taker.taken:
        router.queue("q").settle(message)
    shelf.reopen()
    router = shelf.route(volatile)
    publish(router, range(4, 5))
    shelf.reopen()
    assert contents(shelf).messages == ()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("heads", ["one", "all different"])
def test_a_million_messages_are_ready_in_ten_seconds(
    tmp_path: Path, heads: str, record_property: Callable[[str, object], None]
):
    """In seconds of processor time, so that it holds on a busy machine as well."""
    shelf = Shelf(tmp_path)
    head = make_head()
    for number in range(1_000_000):
        if heads != "one":
            head = make_head(number=str(number))
        message = Message(number + 1, head, b"x" * 100, stamp(WALL + number // 10))
        shelf.store.append(f"/queue/{number % 10}", message)
        if number % 20_000 == 0:
            shelf.sync()
    shelf.close()
    del shelf
    command = [sys.executable, "-m", "stompy_broker", "--port", "0", "--data", str(tmp_path)]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"stompy-broker ready")
            elapsed = time.monotonic() - begun
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        finally:
            process.kill()
    rss = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    record_property("seconds until ready", elapsed)
    record_property("seconds of processor time", cpu)
    record_property("MiB", rss)
    assert cpu < 10
    assert rss < 600


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_memory_does_not_grow_with_the_bodies_that_wait(tmp_path: Path):
    """300 MB wait, and the broker never has a third of them in memory: not when they come, not
    after a restart, and not when they go."""
    settings = '[limits]\nmemory = "32MiB"\n'
    count, size = 3_000, 100_000
    highest = 0
    with BrokerProcess(tmp_path / "data", settings) as broker:
        with stompy.connect(broker.url) as client:
            for number in range(count):
                receipt = client.message("/queue/q", b"%d " % number + b"x" * size, receipt=True)
                if number % 10 == 0:
                    assert receipt is not None
                    client.wait_for_receipt(receipt, timeout=30)
                    highest = max(highest, broker.memory())
        assert broker.stop() == 0
    with BrokerProcess(tmp_path / "data", settings) as broker:
        with stompy.connect(broker.url) as client:
            client.subscribe("/queue/q", "client-individual")
            for number in range(count):
                frame = client.recv(timeout=10)
                assert frame is not None
                assert frame.Body.startswith(b"%d " % number)
                if number % 10 == 0:
                    highest = max(highest, broker.memory())
    assert highest < 100_000_000 + 60_000_000  # the interpreter has some, too
