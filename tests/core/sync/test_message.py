"""Messages that settle themselves, without anything behind them."""

import logging

import pytest

from stompy.errors import StaleMessageError, STOMPTimeout, TransactionLost, UnsupportedByBroker
from stompy.protocol.frame import STOMPFrame
from stompy.session.delivery import Settlement
from stompy.session.transactions import OpenTransactions
from stompy.sync.message import Message


class Subscription:
    """Settles in memory, or raises."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.calls: list[tuple[object, ...]] = []

    def ack(self, message: Message, transaction: str | None) -> None:
        self._settle(message, Settlement.ACKED, transaction)

    def nack(
        self,
        message: Message,
        requeue: bool,
        delay: float | None,
        reason: str | None,
        transaction: str | None,
        failed: bool,
        scope: str,
    ) -> None:
        how = (requeue, delay, reason, transaction, failed, scope)
        self._settle(message, Settlement.NACKED, *how)

    def _settle(self, message: Message, settlement: Settlement, *how: object) -> None:
        if self.failure is not None:
            raise self.failure
        if message._claim(settlement):
            self.calls.append((settlement.value, *how))


def message(subscription: Subscription, **headers: str) -> Message:
    frame = STOMPFrame("MESSAGE", b"body", {"message-id": "m1", **headers})
    return Message._delivered(frame, 3, subscription)


def test_it_is_the_frame_and_more():
    headers = {"redelivered": "true", "reply-to": "/queue/r", "correlation-id": "c"}
    one = message(Subscription(), **headers)
    assert (one.text, one["message-id"], one.id, one.epoch) == ("body", "m1", "m1", 3)
    assert (one.redelivered, one.reply_to, one.correlation_id) == (True, "/queue/r", "c")
    assert repr(one).startswith("<Message ")
    assert "unsettled" in repr(one)
    bare = Message._delivered(STOMPFrame("MESSAGE"), 1, Subscription())
    assert (bare.id, bare.redelivered, bare.reply_to, bare.correlation_id) == (
        "",
        False,
        None,
        None,
    )


def test_the_end_of_a_block_acks():
    subscription = Subscription()
    with message(subscription) as one:
        assert one.settlement is None
    assert subscription.calls == [("acked", None)]
    assert "acked" in repr(one)


def test_an_exception_refuses_with_its_type_and_goes_out():
    subscription = Subscription()
    with pytest.raises(KeyError), message(subscription):
        raise KeyError("x")
    assert subscription.calls == [("nacked", True, None, "KeyError", None, True, "message")]


def test_only_the_first_settlement_counts_and_the_second_leaves_a_warning(caplog):
    subscription = Subscription()
    with message(subscription) as one:
        one.nack(requeue=False, delay=2.0, reason="no", transaction="t")
    one.ack()
    assert subscription.calls == [("nacked", False, 2.0, "no", "t", True, "message")]
    assert [record.message for record in caplog.records] == [
        "message m1 is nacked already, so it is not acked too"
    ]


def test_a_stale_message_does_not_break_the_loop_that_its_block_stands_in(caplog):
    one = message(Subscription(StaleMessageError("stale")))
    with one:
        pass
    assert caplog.records[0].levelno == logging.WARNING
    with pytest.raises(StaleMessageError):
        one.ack()


def test_other_failures_to_ack_go_out_of_the_block():
    with pytest.raises(STOMPTimeout), message(Subscription(STOMPTimeout("full"))):
        pass


def test_a_failure_to_refuse_does_not_hide_the_reason(caplog):
    with pytest.raises(KeyError), message(Subscription(UnsupportedByBroker("would lose it"))):
        raise KeyError("x")
    assert "would lose it" in caplog.text


def test_what_was_settled_in_a_transaction_is_not_when_that_is_aborted():
    transactions = OpenTransactions()
    kept, undone = message(Subscription()), message(Subscription())
    for txn_id, one in (("t1", kept), ("t2", undone)):
        transactions.begin(txn_id, 1)
        one.ack(txn_id)
        transactions.settled(txn_id, one)
    transactions.end("t1", aborted=False)
    transactions.end("t2", aborted=True)
    transactions.end("t2", aborted=True)
    assert (kept.settlement, undone.settlement) == (Settlement.ACKED, None)


def test_a_transaction_is_lost_with_its_connection():
    transactions = OpenTransactions()
    transactions.begin("t", 1)
    transactions.check("t", 1)
    transactions.check("made by hand", 2)
    with pytest.raises(TransactionLost, match="'t'"):
        transactions.check("t", 2)
