"""What our clients add to STOMP, with the brokers of others: requests, confirmations, reconnection.

Both clients do the same; see ``tests/contract``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from benchmarks import foreign
from tests.contract.conftest import ADAPTERS
from tests.interop.peers import OURS, SETTLED, PeerBroker, running_peer, unique
from tests.support.client_adapter import ClientAdapter

import stompy
from stompy.session.dialects import Nack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BROKERS = [
    OURS,
    pytest.param("RabbitMQ", marks=pytest.mark.interop),
    pytest.param("ActiveMQ", marks=pytest.mark.interop),
]
KEPT = {"persistent": "true"}

Make = Callable[[], ClientAdapter]


@pytest.fixture(scope="module", params=BROKERS)
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PeerBroker]:
    with running_peer(request.param, tmp_path_factory.mktemp("peer")) as peer:
        yield peer


@pytest.fixture(params=ADAPTERS)
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[ClientAdapter] = []

    def make() -> ClientAdapter:
        made.append(ADAPTERS[request.param]())
        return made[-1]

    yield make
    for client in made:
        with suppress(stompy.STOMPException):
            client.disconnect()
        client.close()


@pytest.fixture
def client(make: Make, peer: PeerBroker) -> ClientAdapter:
    client = make()
    client.connect(peer.url)
    return client


def test_messages_are_shown_and_stay(client, peer):
    """Or the broker cannot, and that is said before anything is sent."""
    queue = unique()
    for number in range(6):
        client.message(queue, str(number), headers={**KEPT, "n": number}, confirm=True)
    if not peer.dialect.browses:
        with pytest.raises(stompy.UnsupportedByBroker, match=peer.name):
            client.browse(queue)
        return
    for _ in range(2):
        assert [message.text for message in client.browse(queue)] == list("012345")
    assert [one.text for one in client.browse(queue, selector="n > 1", offset=1, limit=2)] == [
        "3",
        "4",
    ]
    assert client.browse(unique()) == []
    held = client.subscription(queue, prefetch=1)
    assert held.get().text == "0"
    assert [message.text for message in client.browse(queue)] == list("012345")
    held.unsubscribe()


def test_a_request_gets_its_reply(client, make, peer):
    queue = unique()
    service = make()
    service.connect(peer.url)
    requests = service.subscription(queue)

    def answer(request) -> None:
        service.reply(request, request.text.upper())

    serving = requests.handle(answer)
    assert [client.request(queue, word).text for word in ("one", "two")] == ["ONE", "TWO"]
    with pytest.raises(stompy.STOMPTimeout):
        client.request(unique(), "nobody", timeout=0.2)
    assert client.request(queue, "three").text == "THREE"
    requests.unsubscribe()
    serving.join()


def test_confirmed_and_pipelined_sending(client):
    queue = unique()
    assert client.message(queue, "one", confirm=True, headers=KEPT)
    assert client.send_many(queue, map(str, range(500)), window=64) == 500
    posted = [client.post(queue, "x") for _ in range(10)]
    client.flush()
    assert all(confirmation.result() for confirmation in posted)
    subscription = client.subscription(queue, ack_mode="auto")
    assert len([subscription.get() for _ in range(511)]) == 511


def test_what_a_broker_refuses_is_rejected(client):
    with pytest.raises(stompy.STOMPError) as caught:
        client.message(unique(), "x", confirm=True, headers={"transaction": "never begun"})
    assert not isinstance(caught.value, stompy.STOMPConnectionError)
    assert caught.value.Frame is not None, "the broker's own words are missing"


def test_a_message_settles_itself(client, peer):
    queue = unique()
    client.message(queue, "good", confirm=True, headers=KEPT)
    client.message(queue, "bad", confirm=True, headers=KEPT)
    subscription = client.subscription(queue, prefetch=1)
    client.within(subscription.get())
    bad = subscription.get()
    with pytest.raises(KeyError):
        client.within(bad, KeyError())
    if peer.dialect.nack is Nack.REDELIVERS:
        again = subscription.get()
        assert (again.text, again.redelivered) == ("bad", True)
        client.ack(again)
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(timeout=SETTLED)


def test_prefetch(client):
    queue = unique()
    client.send_many(queue, map(str, range(5)))
    subscription = client.subscription(queue, prefetch=2)
    first = subscription.get()
    subscription.get()
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(timeout=SETTLED)
    client.ack(first)
    assert subscription.get().text == "2"


def test_a_durable_subscription_ends_for_good_only_when_told_to(make, peer):
    topic, name = unique("/topic/"), unique("")

    def subscribed():
        client = make()
        client.connect(peer.url, headers={"client-id": name})
        return client, client.subscription(topic, id="audit", durable=name)

    client, subscription = subscribed()
    subscription.unsubscribe()
    client.message(topic, "while nobody was there", confirm=True, headers=KEPT)
    client.disconnect()
    client, subscription = subscribed()
    message = subscription.get()
    assert message.text == "while nobody was there"
    client.ack(message)
    subscription.unsubscribe(for_good=True)
    client.message(topic, "after the end", confirm=True, headers=KEPT)
    client.disconnect()
    client, subscription = subscribed()
    with pytest.raises(stompy.STOMPTimeout):
        subscription.get(timeout=SETTLED)
    subscription.unsubscribe(for_good=True)


def test_a_transaction(client):
    queue, answers = unique(), unique()
    client.message(queue, "order", confirm=True, headers=KEPT)
    order = client.subscription(queue).get()
    transaction = client.transaction()
    transaction.message(answers, "bill")
    client.ack(order, transaction=transaction.id)
    transaction.commit()
    assert client.subscription(answers).get().text == "bill"


@pytest.mark.parametrize("name", BROKERS)
def test_a_broker_that_goes_and_comes_back(name: str, make: Make, tmp_path: Path):
    port, queue, client = foreign.free_port(), unique(), make()
    with running_peer(name, tmp_path, port) as peer:
        swift = stompy.Reconnect(delay=0.05, max_delay=0.2)
        client.connect(peer.url, reconnect=swift, heart_beat=(1000, 1000))
        subscription = client.subscription(queue, id="mine")
        client.message(queue, "held", confirm=True, headers=KEPT)
        held = subscription.get()
    with running_peer(name, tmp_path, port):
        client.wait_connected(60)
        again = subscription.get(timeout=60)
        assert again.text == "held"
        with pytest.raises(stompy.StaleMessageError):
            client.ack(held)
        client.ack(again)
        client.message(queue, "after", confirm=True, headers=KEPT)
        assert subscription.get().text == "after"
        assert [one.id for one in client.health().subscriptions] == ["mine"]
