"""Commands about connections, subscriptions and transactions, over real sockets."""

from __future__ import annotations

from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import unique

from stompy_broker import RunningBroker


def test_closing_a_connection_tells_it_why(broker: RunningBroker, admin: Observer) -> None:
    name = unique("client")
    with observing(broker.port, f"client-id:{name}") as other:
        rows = admin.ask("connection.list")["rows"]
        (row,) = [row for row in rows if row["client_id"] == name]
        assert [r["id"] for r in rows if r.get("self")] == [admin.ask("broker.info")["connection"]]
        closed = admin.ask("connection.close", client_id=name, reason="go home", dry_run=True)
        assert closed == {"matched": 1, "connections": [row["id"]]}
        admin.ask("connection.close", id=row["id"], reason="go home", expect=1)
        assert b"go home" in other.peer.expect_error("closed-by-operator").body
    ended = admin.ask("connection.closed")["rows"][-1]
    assert (ended["id"], ended["client_id"]) == (row["id"], name)
    assert "go home" in ended["reason"]
    fails(Code.NOT_FOUND, admin.ask, "connection.close", id=row["id"])
    fails(Code.BAD_REQUEST, admin.ask, "connection.close")


def test_a_subscription_that_is_closed_gives_back_what_it_holds(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        other.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
        admin.fill(queue, "x")
        other.peer.expect("MESSAGE")
        rows = admin.ask("subscription.list")["rows"]
        (row,) = [row for row in rows if row["destination"] == f"/queue/{queue}"]
        admin.ask("subscription.close", id=row["id"])
        assert admin.row(queue)["ready"] == 1
        fails(Code.NOT_FOUND, admin.ask, "subscription.close", id=row["id"])
        # The client does not know, and may end it as if nothing had happened.
        other.peer.send("UNSUBSCRIBE\nid:1\nreceipt:1\n\n\0")
        other.peer.expect("RECEIPT")


def test_a_transaction_that_is_aborted_cannot_be_committed(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        other.peer.send(
            f"BEGIN\ntransaction:{queue}\n\n\0"
            f"SEND\ndestination:/queue/{queue}\ntransaction:{queue}\n\nx\0"
        )
        other.peer.sync()
        rows = admin.ask("transaction.list")["rows"]
        (row,) = [row for row in rows if row["transaction"] == queue]
        assert (row["sends"], row["destinations"][0]["name"]) == (1, f"/queue/{queue}")
        assert admin.ask("transaction.abort", id=row["id"], dry_run=True)["aborted"] == 0
        assert admin.ask("transaction.abort", id=row["id"])["aborted"] == 1
        fails(Code.NOT_FOUND, admin.ask, "transaction.abort", id=row["id"])
        other.peer.send(f"COMMIT\ntransaction:{queue}\n\n\0")
        other.peer.expect_error("unknown-transaction")
