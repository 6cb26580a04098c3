"""Open transactions, and COMMIT as one change."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from tests.support.house import Time, make_message, make_router

from stompy.errors import ProtocolError
from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.message import Message
from stompy_broker.routing.flow_control import Loans
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription
from stompy_broker.session.transactions import Publication, Settlement, Transactions


@pytest.fixture
def transactions() -> Transactions:
    return Transactions(Loans(0), max_open=2, max_frames=3, max_bytes=100)


def test_ids_are_free_again_after_the_end(transactions: Transactions) -> None:
    transactions.begin("t", 0.0)
    with pytest.raises(ProtocolError, match="open already"):
        transactions.begin("t", 0.0)
    transactions.close("t")
    transactions.begin("t", 0.0)
    assert list(transactions) == ["t"]


def test_limits(transactions: Transactions) -> None:
    transactions.begin("a", 0.0)
    transactions.begin("b", 0.0)
    with pytest.raises(ProtocolError, match="2 transactions"):
        transactions.begin("c", 0.0)
    for _ in range(3):
        transactions.reserve("a", 10).operations.append(
            Publication(lambda done: done(), lambda intake: None)
        )
    with pytest.raises(ProtocolError, match="3 frames"):
        transactions.reserve("a", 10)
    transactions.reserve("b", 100)
    with pytest.raises(ProtocolError, match="100 bytes"):
        transactions.reserve("b", 1)


@pytest.mark.parametrize("verb", ["find", "close", "reserve"])
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

        transactions.reserve("t").operations.append(Publication(publish, lambda intake: None))
    transactions.close("t").commit(lambda: done.append(True))
    assert applied == ["first", "second"]
    waiting[0]()
    assert done == []
    waiting[1]()
    assert done == [True]


def test_an_empty_transaction_is_done_at_once(transactions: Transactions) -> None:
    transactions.begin("t", 0.0)
    done: list[bool] = []
    transactions.close("t").commit(lambda: done.append(True))
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
    greedy.reserve("a", 60)
    greedy.reserve("b", 30)
    greedy.reserve("a")
    assert (loans.used, loans.full) == (90, False)
    modest.reserve("a", 20)
    assert (loans.used, loans.full, loans.share) == (110, True, 25)
    with pytest.raises(ProtocolError, match="91 bytes of it wait for COMMIT"):
        greedy.reserve("b", 1)
    greedy.reserve("b")  # an ACK makes room
    modest.reserve("b", 5)
    greedy.close("a")
    assert (loans.used, loans.full, loans.holders) == (55, True, 3)
    greedy.release()
    assert not loans.full
    greedy.abort_all()
    modest.abort_all()
    assert (loans.used, loans.holders) == (0, 0)


class Watched:
    """A subscription of which is counted how often it takes deliveries back."""

    def __init__(self, holder: AckSubscription) -> None:
        self._holder = holder
        self.taken_back = 0

    def unclaim(self, numbers: list[int]) -> None:
        self.taken_back += 1
        self._holder.unclaim(numbers)


def make_holder(mode: AckMode, messages: int) -> AckSubscription:
    """A subscription that has got so many messages."""
    router = make_router(Time())
    queue = router.queue("q")
    output = OutputBuffer(lambda: None, lambda: None)
    holder = AckSubscription(
        "0", queue, output, Version.V1_2, print, router=router, tag=7, mode=mode, prefetch=0
    )
    queue.attach(holder)
    holder.begin()
    for sequence in range(1, messages + 1):
        queue.publish(make_message(sequence))
    return holder


def owed(holder: AckSubscription) -> list[int]:
    """What it still has to settle, by place in the queue."""
    return [message.sequence for message in holder.unsettled()]


def test_abort_gives_back_all_that_a_subscription_claimed_at_once(
    transactions: Transactions,
) -> None:
    """One by one they were put in order among all others each time: 10,000 took 23 s."""
    holder = make_holder(AckMode.CLIENT_INDIVIDUAL, 5)
    watched: Any = Watched(holder)
    transactions.begin("t", 0.0)
    for number in (4, 2, 1):
        settlement = Settlement(watched, holder.claim(number), None)
        transactions.reserve("t").operations.append(settlement)
    assert owed(holder) == [3, 5]
    transactions.close("t").abort()
    assert (owed(holder), watched.taken_back) == ([1, 2, 3, 4, 5], 1)
    assert holder.oldest == 1


def test_a_cumulative_ack_takes_what_abort_has_brought_back() -> None:
    holder = make_holder(AckMode.CLIENT, 6)
    claimed = holder.claim(2)
    assert (claimed, holder.accept(2), holder.accept(3)) == ([1, 2], False, True)
    holder.unclaim(claimed)
    assert (holder.accept(4), owed(holder)) == (False, [1, 2, 4, 5, 6])
    assert holder.accept(1)
    holder.settle(holder.claim(4), None, None)
    assert (owed(holder), holder.claim(4), holder.accept(5)) == ([5, 6], [], True)


def test_cumulative_acks_look_at_what_they_settle_only() -> None:
    """From the beginning of a dictionary on they passed over all that had been there before."""

    class Untraversed(dict[int, Message]):
        def __iter__(self) -> NoReturn:
            pytest.fail("it was gone through")

    holder = make_holder(AckMode.CLIENT, 6)
    holder.unacked = Untraversed(holder.unacked)
    assert all(holder.accept(number) for number in (1, 2, 3))
    assert holder.claim(5) == [4, 5]
