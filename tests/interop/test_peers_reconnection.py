"""Subscriptions in hand, confirmations, requests and reconnection with the brokers of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.interop.peers import PeerBroker, unique
from tests.support.fault_proxy import FaultProxy
from tests.support.wire import until

import stompy
from stompy.session.address import parse_address
from stompy.session.dialects import Nack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.1)


@pytest.fixture
def proxy(peer: PeerBroker) -> Iterator[FaultProxy]:
    with FaultProxy(parse_address(peer.url).port) as proxy:
        yield proxy


@pytest.fixture
def client(peer: PeerBroker, proxy: FaultProxy) -> Iterator[stompy.STOMPClient]:
    address = parse_address(peer.url)
    with stompy.connect(
        proxy.url, address.login, address.passcode, host=address.vhost, reconnect=SWIFT
    ) as client:
        yield client


def test_messages_settle_themselves(peer, client):
    queue = unique()
    with client.subscription(queue, prefetch=10) as subscription:
        assert client.send_many(queue, map(str, range(100)), window=10) == 100
        for number in range(100):
            with subscription.get(10) as message:
                assert message.text == str(number)
        if peer.dialect.nack is Nack.REDELIVERS:
            client.message(queue, "again", confirm=True)
            subscription.get(10).nack()
            with subscription.get(10) as message:
                assert message.text == "again"
                assert message.redelivered
    client.message("/queue/sync", confirm=True)
    with client.subscription(queue) as empty, pytest.raises(stompy.STOMPTimeout):
        empty.get(0.3)


def test_requests_are_answered(peer, client):
    queue = unique()
    subscription = client.subscription(queue)

    def answer(message: stompy.Message) -> None:
        assert message.reply_to is not None
        headers = {"correlation-id": message.correlation_id}
        client.message(message.reply_to, message.text.upper(), headers=headers)

    serving = threading.Thread(target=subscription.handle, args=(answer,))
    serving.start()
    assert [client.request(queue, word).text for word in ("one", "two")] == ["ONE", "TWO"]
    subscription.unsubscribe()
    serving.join(10)


def test_subscriptions_return_and_nothing_is_lost(client, proxy):
    queue = unique()
    subscription = client.subscription(queue)
    client.message(queue, "before", confirm=True)
    old = subscription.get(10)
    proxy.passages[0].cut()
    until(lambda: client.health().epoch == 2, "the next connection")
    with pytest.raises(stompy.StaleMessageError):
        old.ack()
    client.message(queue, "after", confirm=True)
    seen = []
    for _ in range(2):
        with subscription.get(10) as message:
            seen.append(message.text)
    assert sorted(seen) == ["after", "before"]


def test_requests_go_on_over_the_next_connection(client, proxy):
    queue = unique()
    subscription = client.subscription(queue, ack_mode="auto")
    serving = threading.Thread(
        target=subscription.handle,
        args=(
            lambda message: client.message(
                message.reply_to, "yes", headers={"correlation-id": message.correlation_id}
            ),
        ),
    )
    serving.start()
    assert client.request(queue, "?").text == "yes"
    proxy.passages[0].cut()
    until(lambda: client.health().epoch == 2, "the next connection")
    client.wait_connected()
    assert client.request(queue, "?").text == "yes"
    subscription.unsubscribe()
    serving.join(10)


def test_a_frame_that_is_refused_fails_alone(peer, client):
    queue = unique()
    subscription = client.subscription(queue)
    if peer.name != "ActiveMQ":  # it makes a queue of any name
        with pytest.raises(stompy.STOMPError) as caught:
            client.message("/nonsense/x", confirm=True)
        assert not isinstance(caught.value, stompy.OutcomeUnknown)
    client.message(queue, "x", confirm=True)
    with subscription.get(10) as message:
        assert message.text == "x"
