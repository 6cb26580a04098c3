"""Durable subscriptions come back when the network has changed and the broker did not notice."""

from __future__ import annotations

import threading

import pytest
from tests.support.fault_proxy import FaultProxy
from tests.support.scripted_server import Heard, Peer, ScriptedServer
from tests.support.wire import running_broker, unique, until

import stompy
from stompy.session import wanted
from stompy.session.state import ConnectionState
from stompy_broker.session import session

SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.05)


def refusal(peer: Peer, code: str) -> None:
    peer.welcome(server="stompy-broker/1")
    asked = peer.expect("SUBSCRIBE")
    refuse_it(peer, asked, code)


def refuse_it(peer: Peer, asked: Heard, code: str) -> None:
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
def test_a_refusal_that_time_heals_is_tried_again_and_shown(make, monkeypatch, code):
    monkeypatch.setattr(wanted, "FIRST_RETRY", 0.01)
    shown = []

    def refuse(peer: Peer) -> None:
        refusal(peer, code)

    def refuse_again(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        asked = peer.expect("SUBSCRIBE")
        until(lambda: client.health().state is ConnectionState.CONNECTED, "that it is told")
        shown.append(client.health())
        refuse_it(peer, asked, code)

    client = make()
    with ScriptedServer(cut, refuse, refuse_again, serve) as server:
        client.connect(server.url, reconnect=SWIFT, headers={"client-id": "me"})
        subscription = client.subscription("/topic/t", durable="news")
        until(lambda: client.health().epoch == 4 and client.health().ok, "its return")
        assert subscription.health().active
        client.disconnect()
    (health,) = shown
    assert not health.ok
    (row,) = health.subscriptions
    assert (row.active, str(row.last_error)) == (False, "no")


def cut_both(peer: Peer) -> None:
    peer.welcome(server="stompy-broker/1")
    for _ in range(2):
        peer.receipt(peer.expect("SUBSCRIBE"))


def refuse_the_second(peer: Peer) -> None:
    peer.welcome(server="stompy-broker/1")
    first, second = peer.expect("SUBSCRIBE"), peer.expect("SUBSCRIBE")
    peer.receipt(first)
    refuse_it(peer, second, "subscription-in-use")


def test_the_other_subscriptions_go_on_meanwhile(make, monkeypatch):
    monkeypatch.setattr(wanted, "FIRST_RETRY", 0.05)
    go_on = threading.Event()

    def serve_the_first(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        first = peer.expect("SUBSCRIBE")
        peer.receipt(first)
        peer.message(1, first["id"], "meanwhile", ack="a1")
        second = None
        for frame in peer.serve():
            if frame.command == "SUBSCRIBE":
                second = frame
                assert go_on.wait(10)
                peer.receipt(frame)
                peer.message(2, frame["id"], "again", ack="a2")
        assert second is not None

    client = make()
    with ScriptedServer(cut_both, refuse_the_second, serve_the_first) as server:
        client.connect(server.url, reconnect=SWIFT, headers={"client-id": "me"})
        first = client.subscription("/queue/q")
        second = client.subscription("/topic/t", durable="news")
        message = first.get()
        assert message.text == "meanwhile"
        client.ack(message)
        health = client.health()
        assert (health.state, health.ok) == (ConnectionState.CONNECTED, False)
        assert [row.active for row in health.subscriptions] == [True, False]
        go_on.set()
        assert second.get().text == "again"
        until(lambda: client.health().ok, "its return")
        client.disconnect()


def test_one_that_was_put_off_can_be_given_up(make, monkeypatch):
    monkeypatch.setattr(wanted, "FIRST_RETRY", 60.0)
    heard = []

    def serve_the_first(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        peer.receipt(peer.expect("SUBSCRIBE"))
        heard.extend(frame.command for frame in peer.serve())

    client = make()
    with ScriptedServer(cut_both, refuse_the_second, serve_the_first) as server:
        client.connect(server.url, reconnect=SWIFT, headers={"client-id": "me"})
        client.subscription("/queue/q")
        second = client.subscription("/topic/t", durable="news")
        until(lambda: client.health().epoch == 3 and not client.health().attempts, "the third")
        client.wait_connected()
        second.unsubscribe()
        assert client.health().ok
        client.disconnect()
    assert heard == ["DISCONNECT"]


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
