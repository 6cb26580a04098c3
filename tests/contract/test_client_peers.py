"""Clients learn of the brokers beside the one that they were given, and go there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.client_adapter import ClientAdapter
from tests.support.scripted_server import Peer, ScriptedServer, obedient
from tests.support.secure import ca_file, server_context
from tests.support.wire import fast_config, running_broker, unique, until

import stompy
from stompy.session.state import ConnectionState
from stompy_broker import RunningBroker, running

Make = Callable[[], ClientAdapter]

NEVER = stompy.Reconnect(delay=1e6, max_delay=1e6)
"""Pauses that no test lives to see the end of; those before them are drawn from nothing on."""
SWIFT = stompy.Reconnect(delay=0.0, max_delay=0.0)


def telling(peers: str, then: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """A script: welcome with this header, and go on as another one does."""

    def script(peer: Peer) -> None:
        peer.welcome(peers=peers)
        then(peer)

    return script


def cut(peer: Peer) -> None:
    peer.reset()


def end(peer: Peer) -> None:
    """What comes of the connection when a broker dies, once the client has said something."""
    peer.expect("SEND")
    peer.reset()


def serve(peer: Peer) -> None:
    for _ in peer.serve():
        pass


def leave(peers: str) -> Callable[[Peer], None]:
    """What a broker does that stops, once the client has said something."""

    def script(peer: Peer) -> None:
        peer.expect("SEND")
        told = peers.replace(":", r"\c")
        peer.write(f"ERROR\nmessage:bye\nerror-code:shutting-down\npeers:{told}\n\nbye^@")
        peer.until_closed()

    return script


def connected_to(client: ClientAdapter, url: str) -> None:
    def there() -> bool:
        health = client.health()
        return health.state is ConnectionState.CONNECTED and health.address == url

    until(there, f"a connection to {url}")


def test_what_is_learned_is_tried_when_the_given_one_is_gone(make: Make):
    client = make()
    with ScriptedServer(obedient) as second:
        with ScriptedServer(telling(second.url, end)) as first:
            client.connect(first.url, reconnect=SWIFT)
            assert client.health().peers == (second.url,)
            client.message("/queue/q", "x")
        connected_to(client, second.url)
        # A broker that tells nothing takes nothing away.
        assert client.health().peers == (second.url,)
        client.disconnect()


def test_who_is_sent_away_goes_to_a_peer_at_once(make: Make):
    client = make()
    with (
        ScriptedServer(obedient) as second,
        ScriptedServer(telling("", leave(second.url))) as first,
    ):
        client.connect(first.url, reconnect=NEVER)
        assert client.health().peers == ()
        client.message("/queue/q", "x")
        connected_to(client, second.url)
        assert client.health().peers == (second.url,)
        client.disconnect()


def refusing(others: Sequence[ScriptedServer]) -> Callable[[Peer], None]:
    """What a broker does that lets nobody in, because it leaves."""

    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        told = ",".join(other.url for other in others).replace(":", r"\c")
        peer.write(f"ERROR\nmessage:no\nerror-code:shutting-down\npeers:{told}\n\n^@")
        peer.until_closed()

    return script


def test_who_is_refused_by_one_that_leaves_goes_on_to_a_peer(make: Make):
    """Behind a load balancer, say, that has not noticed yet."""
    client = make()
    with ScriptedServer(obedient) as second:
        first = ScriptedServer(*[refusing([second])] * 2)  # it is asked again in the next round
        with first:
            client.connect(first.url, reconnect=NEVER)
        assert client.health().address == second.url
        client.disconnect()


def test_two_that_leave_and_tell_of_each_other_are_no_way_out(make: Make):
    client = make()
    others: list[ScriptedServer] = []
    second = ScriptedServer(refusing(others))
    first = ScriptedServer(*[refusing([second])] * 2)
    others.append(first)
    with first, second, pytest.raises(stompy.STOMPConnectionError, match="handshake"):
        client.connect(first.url, reconnect=NEVER)


def test_nothing_is_learned_without_reconnection(make: Make):
    client = make()
    with ScriptedServer(telling("stomp://127.0.0.1:1", serve)) as server:
        client.connect(server.url)
        assert client.health().peers == ()
        client.disconnect()


@pytest.mark.parametrize("way", ["policy", "address"])
def test_it_can_be_switched_off(make: Make, way: str):
    client = make()
    with ScriptedServer(telling("stomp://127.0.0.1:1", cut), obedient) as server:
        if way == "policy":
            client.connect(server.url, reconnect=stompy.Reconnect(delay=0.0, peers=False))
        else:
            options = "initialReconnectDelay=0&updateURIsSupported=false"
            client.connect(f"failover:({server.url})?{options}")
        until(lambda: client.health().epoch == 2, "the next connection")
        assert client.health().peers == ()
        client.disconnect()


def test_a_peer_gets_the_login_of_where_it_was_learned(make: Make):
    heard = []

    def second_script(peer: Peer) -> None:
        heard.append(peer.welcome())
        serve(peer)

    client = make()
    with ScriptedServer(second_script) as second:
        with ScriptedServer(telling(second.url, end)) as first:
            url = first.url.replace("//", "//ann:secret@") + "/shop"
            client.connect(url, reconnect=SWIFT)
            client.message("/queue/q", "x")
        connected_to(client, second.url + "/shop")
        client.disconnect()
    (connect,) = heard
    assert (connect["login"], connect["passcode"], connect["host"]) == ("ann", "secret", "shop")


def test_who_speaks_tls_is_sent_to_nobody_without(make: Make, tmp_path: Path):
    """Somebody listens there, and must not get the passcode."""
    tls = stompy.TLS(ca_file=ca_file(tmp_path))
    context = server_context("127.0.0.1")

    def dress(connection: socket.socket) -> socket.socket:
        return context.wrap_socket(connection, server_side=True)

    client = make()
    with (
        ScriptedServer() as clear,
        ScriptedServer(obedient, dress=dress) as second,
    ):
        secure = second.url.replace("stomp:", "stomps:")
        told = f"{clear.url},{secure}"
        with ScriptedServer(telling(told, end), dress=dress) as first:
            client.connect(
                first.url.replace("stomp:", "stomps:"),
                login="ann",
                passcode="secret",
                tls=tls,
                reconnect=SWIFT,
            )
            assert client.health().peers == (secure,)
            client.message("/queue/q", "x")
        connected_to(client, secure)
        client.disconnect()


def test_a_refusal_by_a_peer_is_not_the_end(make: Make):
    """What was learned may be wrong; the addresses of the application decide."""

    def refuse(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("ERROR\nmessage:no\nerror-code:authentication-failed\n\n^@")
        peer.until_closed()

    client = make()
    with (
        ScriptedServer(refuse) as second,
        ScriptedServer(telling("", leave(second.url)), obedient) as first,
    ):
        client.connect(first.url, reconnect=SWIFT)
        client.message("/queue/q", "x")
        until(lambda: client.health().epoch == 2, "the way back")
        connected_to(client, first.url)
        client.disconnect()


# -- real brokers ----------------------------------------------------------------------------------


def is_in_a_cluster(broker: RunningBroker, peers: Sequence[str]) -> None:
    """Tell a broker where the others are, as the cluster does."""
    broker._host.broker._context.peers = lambda: peers


def place(broker: RunningBroker) -> str:
    return f"127.0.0.1:{broker.port}"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_three_brokers_one_of_which_leaves(make: Make, version: str):
    with running_broker() as second, running_broker() as third:
        client = make()
        with running(fast_config()) as first:
            is_in_a_cluster(first, [place(second), place(third)])
            is_in_a_cluster(second, [place(first), place(third)])
            is_in_a_cluster(third, [place(first), place(second)])
            client.connect(first.url, reconnect=NEVER, versions=version)
            assert client.health().peers == (second.url, third.url)
            subscription = client.subscription(f"/queue/{unique()}")
        until(lambda: client.health().epoch == 2, "the next broker")
        assert client.health().address in (second.url, third.url)
        client.message(subscription.health().destination, "x", confirm=True)
        assert subscription.get().text == "x"
        client.disconnect()
