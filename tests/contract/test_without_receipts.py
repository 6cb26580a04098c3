"""Brokers that give no receipts, such as Spring's simple one, can be lived with."""

from __future__ import annotations

import pytest
from tests.support.scripted_server import Heard, Peer, ScriptedServer
from tests.support.wire import until

import stompy
from stompy.session import resubscription

SWIFT = stompy.Reconnect(delay=0.01, max_delay=0.05)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(resubscription, "SOME_SECONDS", 0.05)
    monkeypatch.setattr(resubscription, "FEW_SECONDS", 0.05)


def mute(peer: Peer) -> None:
    """Gives each subscription a message, and no receipt."""
    peer.welcome()
    while (frame := peer.read()).command != "DISCONNECT":
        heard.append(frame)
        if frame.command == "SUBSCRIBE":
            peer.message(1, frame["id"], "hello")


heard: list[Heard] = []


def test_a_subscription_that_is_neither_confirmed_nor_refused_goes_on(make, caplog):
    client = make()
    with ScriptedServer(mute) as server:
        client.connect(server.url)
        first = client.subscription("/topic/a", ack_mode="auto")
        second = client.subscription("/topic/b", ack_mode="auto")
        assert [one.get().text for one in (first, second)] == ["hello", "hello"]
        with pytest.raises(stompy.STOMPTimeout, match="receipt"):
            client.message("/topic/a", "x", confirm=True, timeout=0.05)
        client.disconnect()
    assert caplog.text.count("seems to be one that gives no receipts") == 1


def test_such_a_subscription_comes_back(make):
    def cut(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SUBSCRIBE")

    client = make()
    with ScriptedServer(cut, mute) as server:
        client.connect(server.url, reconnect=SWIFT)
        subscription = client.subscription("/topic/a", ack_mode="auto")
        assert subscription.get().text == "hello"
        until(lambda: client.health().epoch == 2 and client.health().ok, "its return")
        client.disconnect()


@pytest.mark.parametrize("server", ["stompy-broker/1", "RabbitMQ/3.10.8"])
def test_brokers_that_are_known_to_confirm_have_to(make, server):
    def silent(peer: Peer) -> None:
        peer.welcome(server=server)
        while peer.read().command != "DISCONNECT":
            pass

    client = make()
    with ScriptedServer(silent) as scripted:
        client.connect(scripted.url)
        with pytest.raises(stompy.STOMPTimeout, match="/topic/a"):
            client.subscription("/topic/a", timeout=0.2)
        client.disconnect()


def test_who_asks_for_no_confirmation_is_asked_for_none(make):
    heard.clear()

    def cut(peer: Peer) -> None:
        peer.welcome()
        assert "receipt" not in peer.expect("SUBSCRIBE").headers

    client = make()
    with ScriptedServer(cut, mute) as server:
        client.connect(server.url, reconnect=SWIFT)
        subscription = client.subscription("/topic/a", ack_mode="auto", confirm=False)
        assert subscription.get().text == "hello"
        until(lambda: client.health().ok, "the connection")
        client.disconnect()
    (subscribe,) = [frame for frame in heard if frame.command == "SUBSCRIBE"]
    assert "receipt" not in subscribe.headers
