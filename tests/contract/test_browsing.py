"""Looking at a queue, with both clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.wire import running_broker, stats, unique

import stompy
from stompy_broker import RunningBroker


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def client(make: Callable[[], ClientAdapter], broker: RunningBroker) -> ClientAdapter:
    client = make()
    client.connect(broker.url)
    return client


@pytest.fixture
def queue() -> str:
    return f"/queue/{unique()}"


def texts(messages: list) -> list[str]:
    return [message.text for message in messages]


def fill(client: ClientAdapter, queue: str, count: int) -> None:
    for number in range(count):
        client.message(queue, str(number), headers={"n": number}, confirm=True)


def test_messages_are_shown_and_stay(client, broker, queue):
    fill(client, queue, 5)
    assert texts(client.browse(queue)) == ["0", "1", "2", "3", "4"]
    assert texts(client.browse(queue)) == ["0", "1", "2", "3", "4"]
    told = stats(broker, queue)
    assert (told.ready, told.delivered, told.consumers) == (5, 0, 0)


def test_options(client, queue):
    fill(client, queue, 20)
    assert texts(client.browse(queue, offset=2, limit=3)) == ["2", "3", "4"]
    assert texts(client.browse(queue, selector="n > 10", offset=1, limit=2)) == ["12", "13"]
    assert client.browse(queue, limit=0) == []
    assert client.browse(queue, state="unacked") == []
    (first,) = client.browse(queue, limit=1, headers_only=True)
    assert (first.Body, first["body-length"], first["state"]) == (b"", "1", "ready")
    assert client.browse(queue, since=10**14) == []
    assert len(client.browse(queue, headers={"browser-limit": 4}, limit=2)) == 4


def test_a_queue_that_is_not_there(client, broker, queue):
    assert client.browse(queue) == []
    assert not broker.queue(queue).exists


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"state": "gone"}, ValueError),
        ({"offset": -1}, ValueError),
        ({"limit": -1}, ValueError),
        ({"limit": "2"}, TypeError),
        ({"since": 1.5}, TypeError),
        ({"offset": None}, TypeError),
    ],
)
def test_what_cannot_be_meant(client, queue, options, error):
    with pytest.raises(error):
        client.browse(queue, **options)


def test_what_the_broker_refuses(client, queue):
    with pytest.raises(stompy.STOMPError, match=r"'n >'|column|selector"):
        client.browse(queue, selector="n >")


@pytest.mark.parametrize("server", ["RabbitMQ/3.12.1", "ActiveMQ-Artemis/2.31.0", "Strange/1"])
def test_a_broker_that_cannot(make, server):
    def broker(peer: Peer) -> None:
        peer.welcome(server=server)
        for _ in peer.serve():
            pass

    with ScriptedServer(broker) as scripted:
        client = make()
        client.connect(scripted.url)
        with pytest.raises(stompy.UnsupportedByBroker, match="cannot show messages"):
            client.browse("/queue/q")
        client.disconnect()


def test_activemq_is_told_no_more_than_it_knows(make):
    """What it does not do is done here, or refused."""

    def broker(peer: Peer) -> None:
        peer.welcome(server="ActiveMQ/5.17.2")
        asked = peer.expect("SUBSCRIBE")
        told = {name: value for name, value in asked.headers.items() if name.startswith("browser")}
        assert told == {"browser": "true"}
        assert asked["selector"] == "n > 0"
        peer.receipt(asked)
        for number in range(5):
            peer.message(number, asked["id"], str(number))
        peer.message(0, asked["id"], browser="end")
        peer.expect("UNSUBSCRIBE")
        for _ in peer.serve():
            pass

    with ScriptedServer(broker) as scripted:
        client = make()
        client.connect(scripted.url)
        for options in ({"state": "ready"}, {"follow": True}, {"headers_only": True}, {"since": 1}):
            with pytest.raises(stompy.UnsupportedByBroker, match="as a whole"):
                client.browse("/queue/q", **options)
        assert texts(client.browse("/queue/q", selector="n > 0", offset=1, limit=2)) == ["1", "2"]
        client.disconnect()


def test_a_connection_that_is_lost_on_the_way(make):
    """It does not begin anew behind the back of who has seen some."""

    def broker(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        asked = peer.expect("SUBSCRIBE")
        peer.receipt(asked)
        peer.message(1, asked["id"], "1")
        if not lost:
            lost.append(True)
            return
        for _ in peer.serve():
            pass

    lost: list[bool] = []
    with ScriptedServer(broker, broker) as scripted:
        client = make()
        client.connect(scripted.url, reconnect=stompy.Reconnect(delay=0.01, max_delay=0.05))
        with pytest.raises(stompy.STOMPConnectionError, match="while /queue/q was browsed"):
            client.browse("/queue/q")
        client.disconnect()


def test_follow_with_the_blocking_client(broker, queue):
    with stompy.connect(broker.url) as client, stompy.connect(broker.url) as sender:
        sender.message(queue, "0", confirm=True)
        browsing = client.browse(queue, follow=True)
        found = []
        for message in browsing:
            found.append(message.text)
            if len(found) == 4:
                break
            sender.message(queue, str(len(found)), confirm=True)
        assert found == ["0", "1", "2", "3"]
        assert stats(broker, queue).consumers == 0
        # Whoever leaves the loop has ended it: the connection is free.
        assert texts(list(client.browse(queue))) == found
