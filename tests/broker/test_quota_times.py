"""Rates of users under virtual time: exactly as many as the time allows, and not one more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.support.wire import Peer, until

import stompy_broker
from stompy_broker import RunningBroker


@contextmanager
def broker_with(**quota: object) -> Iterator[RunningBroker]:
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "quota": [quota]}
    with stompy_broker.running(settings, time="virtual") as broker:
        yield broker


def published(broker: RunningBroker, queues: Sequence[str]) -> list[int]:
    rows = {row.name: row.published for row in broker.queues()}
    return [rows.get(queue, 0) for queue in queues]


def test_a_day_of_a_sender_that_may_send_ten_an_hour() -> None:
    with broker_with(send_rate="10/h") as broker, Peer.open(broker.port) as ann:
        ann.send("SEND\ndestination:/queue/q\n\nx\0" * 1000)
        until(lambda: published(broker, ["q"]) == [1], "the first")
        for hour in range(1, 25):
            broker.time.advance("1 hour")
            assert published(broker, ["q"]) == [1 + 10 * hour]


def test_several_senders_of_one_user_have_the_same_share() -> None:
    queues = [str(number) for number in range(5)]
    with broker_with(send_rate="60/min") as broker:
        peers = [Peer.open(broker.port) for _ in queues]
        for peer, queue in zip(peers, queues, strict=True):
            peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0" * 500)
        blocked = "SELECT state FROM connections WHERE state = 'blocked'"
        until(lambda: len(list(broker.sql(blocked))) == len(queues), "all of them to wait")
        before = sum(published(broker, queues))
        broker.time.advance("5 min")
        counts = published(broker, queues)
        assert sum(counts) == before + 300
        assert max(counts) - min(counts) <= 2, counts
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("ack", ["auto", "client"])
def test_an_hour_of_a_consumer_that_may_have_one_a_minute(ack: str) -> None:
    with broker_with(receive_rate="1/min") as broker, Peer.open(broker.port) as ann:
        ann.send(
            "SEND\ndestination:/queue/q\n\nx\0" * 100,
            f"SUBSCRIBE\nid:1\ndestination:/queue/q\nack:{ack}\n\n\0",
        )
        ann.bodies(1)
        for minute in range(1, 61):
            broker.time.advance("1 min")
            assert broker.queue("q").ready == 99 - minute
        ann.bodies(60)
