"""A message is handled once: what it does and that it was done are one transaction."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import stompy


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "orders.db", check_same_thread=False)
    connection.execute("CREATE TABLE orders (what TEXT)")
    connection.commit()
    yield connection
    connection.close()


def message(body: str, **headers: str) -> stompy.STOMPFrame:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return stompy.STOMPFrame(
        "MESSAGE", body.encode(), {"destination": "/queue/orders", "message-id": "m1", **named}
    )


def orders(database: sqlite3.Connection) -> list[str]:
    return [what for (what,) in database.execute("SELECT what FROM orders ORDER BY rowid")]


def handle(once: stompy.Ledger, database: sqlite3.Connection, one: stompy.STOMPFrame) -> bool:
    with once(one) as fresh:
        if fresh:
            database.execute("INSERT INTO orders VALUES (?)", [one.Body.decode()])
    return fresh


def test_a_message_is_handled_once(database: sqlite3.Connection) -> None:
    once = stompy.once(database)
    assert handle(once, database, message("a"))
    assert not handle(once, database, message("a"))
    assert handle(once, database, message("b", message_id="m2"))
    assert orders(database) == ["a", "b"]
    assert not database.in_transaction


def test_what_fails_was_not_handled(database: sqlite3.Connection) -> None:
    once = stompy.once(database)

    def fail() -> None:
        with once(message("a")):
            database.execute("INSERT INTO orders VALUES ('half')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert orders(database) == []
    assert handle(once, database, message("a"))


def test_it_is_on_disk_for_the_next_process(database: sqlite3.Connection, tmp_path: Path) -> None:
    assert handle(stompy.once(database), database, message("a"))
    again = sqlite3.connect(tmp_path / "orders.db")
    try:
        assert not handle(stompy.once(again), again, message("a"))
    finally:
        again.close()


def test_a_handler_is_called_once(database: sqlite3.Connection) -> None:
    once = stompy.once(database)

    @once.handler
    def store(one: stompy.STOMPFrame) -> str:
        """Store it."""
        database.execute("INSERT INTO orders VALUES (?)", [one.Body.decode()])
        return "stored"

    assert store.__name__ == "store"
    assert [store(message("a")), store(message("a"))] == ["stored", None]
    assert orders(database) == ["a"]


def test_a_handler_that_waits_is_refused(database: sqlite3.Connection) -> None:
    async def wait(_: stompy.STOMPFrame) -> None:
        """Never run."""

    with pytest.raises(TypeError, match="no await in its block"):
        stompy.once(database).handler(wait)


def test_the_senders_id_counts_before_that_of_the_broker(database: sqlite3.Connection) -> None:
    once = stompy.once(database)
    assert handle(once, database, message("a", dedup_id="order-17"))
    assert not handle(once, database, message("a", message_id="m9", dedup_id="order-17"))


def test_one_message_in_two_queues_is_handled_twice_and_by_two_names(
    database: sqlite3.Connection,
) -> None:
    once, other = stompy.once(database), stompy.once(database, name="billing")
    one, copy = message("a"), message("b", destination="/queue/copies")
    assert [handle(once, database, one), handle(once, database, copy)] == [True, True]
    assert [handle(other, database, one), handle(other, database, one)] == [True, False]


def test_the_application_may_say_what_names_a_message(database: sqlite3.Connection) -> None:
    once = stompy.once(database, key="order-id")
    assert handle(once, database, message("a", order_id="17"))
    assert not handle(once, database, message("a", order_id="17", message_id="m2"))
    with pytest.raises(ValueError, match="no header order-id"):
        handle(once, database, message("a"))
    by_body = stompy.once(database, name="by body", key=lambda one: one.Body.decode())
    assert handle(by_body, database, message("a"))
    assert not handle(by_body, database, message("a", message_id="m2"))


def test_an_id_of_one_delivery_is_refused(database: sqlite3.Connection) -> None:
    once = stompy.once(database)
    with pytest.raises(ValueError, match="another message-id each time"):
        handle(once, database, message("a", message_id="T_1@@session-Xy@@7"))
    assert handle(once, database, message("a", message_id="T_1@@session-Xy@@7", dedup_id="d"))


def test_after_a_time_it_is_forgotten(database: sqlite3.Connection) -> None:
    now = 0.0
    once = stompy.once(database, keep=timedelta(seconds=10), now=lambda: now)
    for number in range(20):
        assert handle(once, database, message("a", message_id=f"m{number}"))
    now = 10.0
    assert not handle(once, database, message("a", message_id="m0"))
    now = 11.0
    for number in range(20, 40):
        assert handle(once, database, message("a", message_id=f"m{number}"))
    (left,) = database.execute("SELECT count(*) FROM stompy_once").fetchone()
    assert left == 20
    assert handle(once, database, message("a", message_id="m0"))


def test_a_transaction_of_its_own_is_needed(database: sqlite3.Connection) -> None:
    once = stompy.once(database)
    database.execute("INSERT INTO orders VALUES ('before')")
    with pytest.raises(RuntimeError, match="open already"):
        handle(once, database, message("a"))
    database.rollback()
    with pytest.raises(RuntimeError, match="ended within the block"), once(message("a")):
        database.commit()
    with pytest.raises(ValueError, match="longer than nothing"):
        stompy.once(database, keep=0)


def test_it_goes_with_connections_that_begin_nothing_by_themselves(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "orders.db", isolation_level=None)
    try:
        database.execute("CREATE TABLE orders (what TEXT)")
        once = stompy.once(database)
        assert handle(once, database, message("a"))
        assert not handle(once, database, message("a"))
    finally:
        database.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="connections have no autocommit")
def test_it_goes_with_connections_that_are_always_in_a_transaction(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "orders.db", autocommit=False)  # type: ignore[call-overload,unused-ignore]
    try:
        database.execute("CREATE TABLE orders (what TEXT)")
        once = stompy.once(database)
        assert handle(once, database, message("a"))
        assert not handle(once, database, message("a"))
        database.rollback()
        assert orders(database) == ["a"]
    finally:
        database.close()


def test_of_several_threads_one_handles_it(database: sqlite3.Connection) -> None:
    once = stompy.once(database)
    together = threading.Barrier(8)

    def run() -> None:
        together.wait(10)
        for number in range(10):
            handle(once, database, message(str(number), message_id=f"m{number}"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(orders(database)) == sorted(map(str, range(10)))


def test_a_connection_of_another_thread_is_told_what_it_lacks() -> None:
    connection = sqlite3.connect(":memory:")
    once = stompy.once(connection)
    handler = once.handler(lambda message: None)
    raised: list[Exception] = []

    def run() -> None:
        try:
            handler(message("a"))
        except sqlite3.Error as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (error,) = raised
    assert "check_same_thread=False" in str(error)
    handler(message("a"))  # in its own thread all is well
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        handler(message("a"))
