"""Open transactions, and COMMIT as one change."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.routing.pressure import Loans
from stompy_broker.session.transactions import Publication, Transactions


@pytest.fixture
def transactions() -> Transactions:
    return Transactions(Loans(0), max_open=2, max_frames=3, max_bytes=100)


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
        transactions.room("a", 10).operations.append(
            Publication(lambda done: done(), lambda intake: None)
        )
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

        transactions.room("t").operations.append(Publication(publish, lambda intake: None))
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


def test_what_they_gather_is_a_loan() -> None:
    """Nobody waits for it; who has the most of it goes away with ERROR."""
    loans = Loans(100)
    greedy, modest = (
        Transactions(loans, max_open=9, max_frames=99, max_bytes=10**6) for _ in range(2)
    )
    greedy.begin("a", 0.0)
    greedy.begin("b", 0.0)
    modest.begin("a", 0.0)
    modest.begin("b", 0.0)
    greedy.room("a", 60)
    greedy.room("b", 30)
    greedy.room("a")
    assert (loans.used, loans.full) == (90, False)
    modest.room("a", 20)
    assert (loans.used, loans.full, loans.share) == (110, True, 25)
    with pytest.raises(ProtocolError, match="91 bytes of it wait for COMMIT"):
        greedy.room("b", 1)
    greedy.room("b")  # an ACK makes room
    modest.room("b", 5)
    greedy.take("a")
    assert (loans.used, loans.full, loans.holders) == (55, True, 3)
    greedy.release()
    assert not loans.full
    greedy.abort_all()
    modest.abort_all()
    assert (loans.used, loans.holders) == (0, 0)
