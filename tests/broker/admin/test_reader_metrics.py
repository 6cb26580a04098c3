"""Metrics of the readers of streams."""

from __future__ import annotations

from tests.support.steps import finished
from tests.support.wire import Peer, running_broker

from stompy_broker.admin.reader_metrics import reader_families


def test_there_are_metrics_of_readers() -> None:
    with running_broker() as broker, Peer.open(broker.port) as peer:
        peer.send(
            "SUBSCRIBE\nid:0\ndestination:/stream/s\nack:client\nx-stream-consumer:ann\n\n\0"
            "SUBSCRIBE\nid:1\ndestination:/stream/s\nack:client\n\n\0"
            "SEND\ndestination:/stream/s\n\nx\0"
        )
        assert peer.bodies(2) == [b"x", b"x"]

        def lines(most: int) -> list[str]:
            families = broker._ask(
                lambda broker: finished(reader_families(list(broker._router), most))
            )
            return [line for family in families for line in family.lines]

        lag, behind = lines(10)
        assert lag == 'stompy_stream_lag_messages{queue="s",reader="ann"} 1\n'
        assert behind.startswith('stompy_stream_lag_seconds{queue="s",reader="ann"} ')
        assert lines(0) == []
