"""Rows of clients who may leave while the rows are made, which takes steps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.support.steps import finished
from tests.support.wire import Peer, running_broker, until

from stompy.admin.rows import BrokerRow, Kind, Row
from stompy_broker.admin.snapshots.queues import AT_ONCE
from stompy_broker.admin.tasks import Steps
from stompy_broker.broker import Broker

MANY = AT_ONCE + 20


@pytest.mark.parametrize("kind", [Kind.BROKER, Kind.CONNECTIONS, Kind.SUBSCRIPTIONS])
def test_who_leaves_meanwhile_is_not_in_them(kind: Kind) -> None:
    with running_broker() as broker:
        peers = [Peer.open(broker.port) for _ in range(MANY)]
        for number, peer in enumerate(peers):
            peer.send(f"SUBSCRIBE\nid:1\ndestination:/topic/{number}\n\n\0")
            peer.send("SEND\ndestination:/topic/nobody\nreceipt:r\n\n\0")
            peer.expect("RECEIPT")

        def begin(inner: Broker) -> Steps[Sequence[Row]]:
            steps = inner.census.rows(kind, "", inner.census.moment())
            next(steps)
            return steps

        steps = broker._ask(begin)
        gone = peers[-10:]
        for peer in gone:
            peer.close()
        until(lambda: broker.connections() == MANY - len(gone), "some to go")
        rows = broker._ask(lambda _: finished(steps))
        for peer in peers[: -len(gone)]:
            peer.close()
    if kind is not Kind.BROKER:
        assert len(rows) == MANY - len(gone)
        return
    (row,) = rows
    assert isinstance(row, BrokerRow)
    assert row.subscriptions == MANY - len(gone)
    assert next(one["clients"] for one in row.listeners) == MANY - len(gone)
