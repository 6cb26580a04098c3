"""Durable subscriptions come back when the network has changed and the broker did not notice."""

from __future__ import annotations

import pytest
from tests.support.fault_proxy import FaultProxy
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.wire import running_broker, unique, until

import stompy
from stompy.lifecycle import ConnectionState
from stompy_broker.session import session

SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.05)


def refusal(peer: Peer, code: str) -> None:
    peer.welcome(server="stompy-broker/1")
    asked = peer.expect("SUBSCRIBE")
    peer.write(f"ERROR\nmessage:no\nerror-code:{code}\nreceipt-id:{asked['receipt']}\n\n^@")


def serve(peer: Peer) -> None:
    peer.welcome(server="stompy-broker/1")
    peer.receipt(peer.expect("SUBSCRIBE"))
    for frame in peer.serve():
        assert frame.command in ("UNSUBSCRIBE", "DISCONNECT")


def cut(peer: Peer) -> None:
    peer.welcome(server="stompy-broker/1")
    peer.receipt(peer.expect("SUBSCRIBE"))


@pytest.mark.parametrize("code", ["subscription-in-use", "store-unavailable", "limit-exceeded"])
def test_a_refusal_that_time_heals_is_tried_again_and_shown(make, code):
    shown = []

    def refuse(peer: Peer) -> None:
        refusal(peer, code)

    def refuse_again(peer: Peer) -> None:
        shown.append(client.health())
        refusal(peer, code)

    client = make()
    with ScriptedServer(cut, refuse, refuse_again, serve) as server:
        client.connect(server.url, reconnect=SWIFT, headers={"client-id": "me"})
        subscription = client.subscription("/topic/t", durable="news")
        until(lambda: client.health().epoch == 4 and client.health().ok, "its return")
        assert subscription.health().active
        client.disconnect()
    (health,) = shown
    assert not health.ok
    assert health.state is ConnectionState.RECONNECTING
    (row,) = health.subscriptions
    assert (row.active, str(row.last_error)) == (False, "no")


def test_the_first_refusal_is_the_caller_s(make):
    def refuse(peer: Peer) -> None:
        refusal(peer, "subscription-in-use")

    client = make()
    with ScriptedServer(refuse, serve_nobody) as server:
        client.connect(server.url, reconnect=SWIFT, headers={"client-id": "me"})
        with pytest.raises(stompy.STOMPError, match="no"):
            client.subscription("/topic/t", durable="news")
        client.wait_connected()
        assert client.health().subscriptions == ()
        client.disconnect()


def serve_nobody(peer: Peer) -> None:
    peer.welcome(server="stompy-broker/1")
    for frame in peer.serve():
        assert frame.command == "DISCONNECT"


def test_a_connection_that_the_broker_alone_still_has_gives_way(make, monkeypatch):
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.0)
    topic, reader = f"/topic/{unique()}", unique()
    client, producer = make(), make()
    with running_broker() as broker, FaultProxy(broker.port) as proxy:
        headers = {"client-id": reader}
        client.connect(proxy.url, reconnect=SWIFT, heart_beat=(0, 0), headers=headers)
        subscription = client.subscription(topic, durable="news")
        producer.connect(broker.url)
        proxy.passages[0].forsake()
        producer.message(topic, "meanwhile", confirm=True)
        message = subscription.get()
        assert message.text == "meanwhile"
        client.ack(message)
        client.disconnect()
        producer.disconnect()
