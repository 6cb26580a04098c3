"""Open transactions, and COMMIT as one change."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.routing.pressure import HARD, Pressure
from stompy_broker.session.transactions import Publication, Transactions


@pytest.fixture
def transactions() -> Transactions:
    return Transactions(Pressure(0), max_open=2, max_frames=3, max_bytes=100)


def test_ids_are_free_again_after_the_end(transactions: Transactions) -> None:
    transactions.begin("t", 0.0)
    with pytest.raises(ProtocolError, match="open already"):
        transactions.begin("t", 0.0)
    transactions.take("t")
    transactions.begin("t", 0.0)
    assert list(transactions) == ["t"]


def test_limits(transactions: Transactions) -> None:
    transactions.begin("a", 0.0)
    transactions.begin("b", 0.0)
    with pytest.raises(ProtocolError, match="2 transactions"):
        transactions.begin("c", 0.0)
    for _ in range(3):
        transactions.room("a", 10).operations.append(Publication(lambda done: done(), lambda: None))
    with pytest.raises(ProtocolError, match="3 frames"):
        transactions.room("a", 10)
    transactions.room("b", 100)
    with pytest.raises(ProtocolError, match="100 bytes"):
        transactions.room("b", 1)


@pytest.mark.parametrize("verb", ["find", "take", "room"])
def test_unknown_ids(transactions: Transactions, verb: str) -> None:
    with pytest.raises(ProtocolError, match="no transaction"):
        getattr(transactions, verb)("t")


def test_commit_applies_in_order_and_is_done_when_all_is(transactions: Transactions) -> None:
    transactions.begin("t", 0.0)
    waiting, applied, done = [], [], []
    for name in ("first", "second"):

        def publish(part_done: object, name: str = name) -> None:
            applied.append(name)
            waiting.append(part_done)

        transactions.room("t").operations.append(Publication(publish, lambda: None))
    transactions.take("t").commit(lambda: done.append(True))
    assert applied == ["first", "second"]
    waiting[0]()
    assert done == []
    waiting[1]()
    assert done == [True]


def test_an_empty_transaction_is_done_at_once(transactions: Transactions) -> None:
    transactions.begin("t", 0.0)
    done: list[bool] = []
    transactions.take("t").commit(lambda: done.append(True))
    assert done == [True]


def test_what_they_gather_counts_as_memory() -> None:
    memory = Pressure(100)
    transactions = Transactions(memory, max_open=9, max_frames=99, max_bytes=10**6)
    for name in "abc":
        transactions.begin(name, 0.0)
    transactions.room("a", 90)
    transactions.room("a")
    assert (memory.used, memory.full) == (90, False)
    transactions.room("b", 60)
    assert (memory.used, memory.full) == (150, True)
    went_on: list[bool] = []
    memory.wait(lambda: went_on.append(True))
    # It is not told to wait, because it could never commit, but there is an end to it.
    transactions.room("c", 100 * HARD - memory.used)
    with pytest.raises(ProtocolError, match="the broker is full, and 51 bytes wait"):
        transactions.room("c", 1)
    transactions.room("c")  # an ACK makes room
    assert memory.used == 100 * HARD
    transactions.take("a")
    assert not went_on
    transactions.release()
    assert (memory.used, went_on) == (110, [])
    transactions.abort_all()
    assert (memory.used, memory.full, went_on) == (0, False, [True])
