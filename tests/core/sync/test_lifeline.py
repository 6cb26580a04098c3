"""What outlives a connection, seen from inside: the moments that scenarios cannot hit."""

import itertools
import threading

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually

import stompy
from stompy.protocol.frame import AckMode
from stompy.session.address import parse_addresses
from stompy.session.state import ConnectionState
from stompy.session.wanted import WantedSubscription
from stompy.sync.connector import dial
from stompy.sync.lifeline import Lifeline
from stompy.transport.settings import ConnectionSettings

WANTED = WantedSubscription("s1", "/queue/q", AckMode.AUTO)


def new_lifeline(*, supervised: bool = True) -> Lifeline:
    return Lifeline(
        supervised=supervised, send_timeout=0.05, client_id=None, numbers=itertools.count(1)
    )


def converse(server: ScriptedServer):
    return dial(parse_addresses(server.url), lambda _: {}, ConnectionSettings())


def test_a_connection_that_ended_before_it_was_published_never_is():
    with ScriptedServer(Peer.welcome) as server:
        line = new_lifeline()
        line.connecting()
        epoch = line.adopt(converse(server))
        epoch.link.start()
        epoch.link.join(10)
        with pytest.raises(stompy.STOMPConnectionError, match="lost"):
            line.publish(epoch, set())
    assert not line.is_ready
    assert line.state is ConnectionState.CONNECTING


def test_a_connection_is_published_only_with_what_is_wanted():
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        over.wait(10)

    with ScriptedServer(script) as server:
        line = new_lifeline()
        line.connecting()
        epoch = line.adopt(converse(server))
        epoch.link.start()
        assert line.want(WANTED, None) is None  # the supervisor will do it
        assert not line.publish(epoch, set())
        with pytest.raises(stompy.STOMPConnectionError, match="no connection within"):
            line.sending()
        assert line.publish(epoch, {"s1"})
        assert line.sending() is epoch
        assert line.unwant("s1") is epoch
        line.close()
        line.stop()
        over.set()
        line.join(10)


def test_what_belongs_to_an_earlier_connection():
    over = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        over.wait(10)

    with ScriptedServer(Peer.welcome, script) as server:
        line = new_lifeline()
        line.connecting()
        first = line.adopt(converse(server))
        line.publish(first)
        line.follow("BEGIN", "t", first)
        line.asked("r1", first)
        first.link.start()
        eventually(lambda: line.state is ConnectionState.RECONNECTING)
        assert line.current(1) is None
        with pytest.raises(stompy.TransactionLost):
            line.sending_in("t")
        second = line.adopt(converse(server))
        second.link.start()
        line.publish(second, set())
        with pytest.raises(stompy.TransactionLost):
            line.sending_in("t")
        assert line.sending_in("another") is second
        assert line.asked_on("r1") is first
        line.answered("r1")
        assert line.asked_on("r1") is second
        assert (line.current(1), line.current(2)) == (None, second)
        line.close()
        line.stop()
        over.set()
        line.join(10)


def test_nothing_can_be_wanted_when_it_is_over():
    line = new_lifeline()
    with pytest.raises(stompy.STOMPConnectionError, match="not connected"):
        line.want(WANTED, None)
    line.connecting()
    line.gave_up(stompy.STOMPConnectionError("nobody there"))
    with pytest.raises(stompy.STOMPConnectionError, match="nobody there"):
        line.wait_ready(1)
