"""Connecting again, against scripted servers: what is sent in which order, and when to stop.

What is decided, and in which order of events, `tests/core/session/test_session.py` has.
"""

import gc
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually, obedient

import stompy
from stompy.protocol.frame import STOMPFrame
from stompy.session.confirmations import AwaitedReceipt
from stompy.session.session import SessionSettings
from stompy.session.state import ConnectionState, StateChange
from stompy.session.wanted import WantedSubscription
from stompy.sync import session
from stompy.sync.connector import dial
from stompy.sync.inbox import Inbox

SWIFT = stompy.Reconnect(delay=0.0)


def cut(peer: Peer) -> None:
    """A script: welcome, and good-bye without a word."""
    peer.welcome()


def test_subscriptions_come_first_with_their_ids_and_then_what_waited():
    heard = []
    lost = threading.Event()

    def first(peer: Peer) -> None:
        peer.welcome()
        for _ in range(2):
            peer.receipt(peer.expect("SUBSCRIBE"))
        peer.expect("SUBSCRIBE")
        lost.wait(10)

    def second(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        asked = [peer.read() for _ in range(3)]
        heard.extend(asked)
        peer.connection.settimeout(0.1)
        with pytest.raises(TimeoutError):  # nothing else before all of them are confirmed
            peer.read()
        peer.connection.settimeout(10)
        for frame in asked:
            peer.receipt(frame)
        heard.extend(peer.serve())

    with ScriptedServer(first, second) as server:
        with stompy.connect(server.address, reconnect=SWIFT) as client:
            one = client.subscription("/queue/one", prefetch=5)
            two = client.subscription("/queue/two", ack_mode="auto", id="mine")
            client.subscribe("/queue/three", ack_mode="client")
            lost.set()
            eventually(lambda: client.state is ConnectionState.RECONNECTING)
            client.message("/queue/x", "waits for the subscriptions")
            client.wait_connected()
            assert client.health().ok
        assert [frame.command for frame in heard] == ["SUBSCRIBE"] * 3 + ["SEND", "DISCONNECT"]
        assert [frame["id"] for frame in heard[:2]] == [one.id, two.id] == [one.id, "mine"]
        assert [frame["ack"] for frame in heard[:3]] == ["client-individual", "auto", "client"]


def test_what_ended_while_subscriptions_were_restored_is_not_kept():
    heard = []
    restoring, ended = threading.Event(), threading.Event()

    def first(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))

    def second(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SUBSCRIBE")
        restoring.set()
        ended.wait(10)
        peer.receipt(frame)
        heard.extend(peer.serve())

    with ScriptedServer(first, second) as server:
        with stompy.connect(server.address, reconnect=SWIFT) as client:
            handle = client.subscription("/queue/one")
            assert restoring.wait(10)
            handle.unsubscribe()
            late = client.subscription("/queue/late")
            ended.set()
            client.wait_connected()
            assert client.health().ok
            assert [row.id for row in client.health().subscriptions] == [late.id]
        assert [frame.command for frame in heard] == ["UNSUBSCRIBE", "SUBSCRIBE", "DISCONNECT"]
        assert heard[0]["id"] == handle.id


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ("ERROR\nmessage:Bad CONNECT\n\nwrong passcode^@", stompy.STOMPError, "wrong passcode"),
        ("CONNECTED\nversion:9.9\n\n^@", stompy.ConnectionImpossible, "not offered"),
    ],
)
def test_what_is_wrong_everywhere_stops_it_with_a_typed_error(answer, kind, words):
    def second(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write(answer)

    changes: list[StateChange] = []
    with ScriptedServer(cut, second) as server:
        client = stompy.connect(server.address, reconnect=SWIFT, on_state=changes.append)
        eventually(lambda: client.state is ConnectionState.DISCONNECTED)
        with pytest.raises(kind, match=words):
            client.wait_connected()
        with pytest.raises(kind, match=words):
            client.recv(1)
        with pytest.raises(kind, match=words):
            client.message("/queue/x")
        eventually(lambda: len(changes) == 4)
        assert isinstance(changes[-1].error, kind)


def test_it_goes_on_nevertheless_when_told():
    def second(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("ERROR\nmessage:not yet\n\n^@")

    policy = stompy.Reconnect(delay=0.0, keep_trying=True)
    with (
        ScriptedServer(cut, second, obedient) as server,
        stompy.connect(server.address, reconnect=policy) as client,
    ):
        eventually(lambda: client.health().epoch == 2)
        client.wait_connected()


def test_a_broker_that_is_stopping_is_no_reason_to_stop():
    def stopping(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("ERROR\nmessage:bye\nerror-code:shutting-down\n\n^@")

    with (
        ScriptedServer(cut, stopping, obedient) as server,
        stompy.connect(server.address, reconnect=SWIFT) as client,
    ):
        eventually(lambda: client.health().epoch == 2)
        client.wait_connected()


@pytest.mark.parametrize("server_name", ["stompy-broker/1", "RabbitMQ/3.10.8"])
def test_a_subscription_that_is_refused_does_not_end_one_connection_after_the_other(server_name):
    names_frames = server_name.startswith("stompy")

    def refuse(peer: Peer) -> None:
        peer.welcome(server=server_name)
        while (frame := peer.expect("SUBSCRIBE"))["destination"] != "/bad":
            if not names_frames:
                peer.receipt(frame)
        named = f"receipt-id:{frame['receipt']}\n" if names_frames else ""
        peer.write(f"ERROR\nmessage:no\n{named}\n^@")

    def accept_all(peer: Peer) -> None:
        peer.welcome(server=server_name)
        for _ in range(3):
            peer.receipt(peer.expect("SUBSCRIBE"))

    with (
        ScriptedServer(accept_all, refuse, obedient) as server,
        stompy.connect(server.address, reconnect=SWIFT) as client,
    ):
        destinations = ("/good", "/bad", "/fine")
        good, bad, fine = [client.subscription(destination) for destination in destinations]
        eventually(lambda: client.health().epoch == 3)
        client.wait_connected()
        assert good.health().active
        assert fine.health().active
        with pytest.raises(stompy.STOMPError, match="no"):
            bad.get(1)
        assert [row.destination for row in client.health().subscriptions] == ["/good", "/fine"]


def test_pauses_are_those_of_the_policy(monkeypatch):
    asked = []

    def half() -> float:
        asked.append(0.5)
        return 0.0

    monkeypatch.setattr(session.random, "random", half)
    policy = stompy.Reconnect(delay=60.0, max_delay=60.0, attempts=2)
    with ScriptedServer(cut) as server:
        client = stompy.connect(server.address, reconnect=policy)
        server.done.wait(10)
    eventually(lambda: client.state is ConnectionState.DISCONNECTED)
    with pytest.raises(stompy.STOMPConnectionError, match="gave up after 2 rounds"):
        client.wait_connected()
    assert len(asked) == 2


def test_the_first_connection_is_tried_as_often_as_said():
    def refuse(peer: Peer) -> None:
        peer.expect("CONNECT")

    with ScriptedServer(refuse, refuse, obedient) as server:
        policy = stompy.Reconnect(delay=0.0, startup_attempts=3)
        with stompy.connect(server.address, reconnect=policy) as client:
            assert client.health().epoch == 1
    with ScriptedServer(refuse) as server, pytest.raises(stompy.STOMPConnectionError):
        stompy.connect(server.address, reconnect=SWIFT)


def test_what_a_callback_raises_is_counted_and_stops_nothing(caplog):
    def observe(change: StateChange) -> None:
        raise ValueError(change.state)

    with (
        ScriptedServer(cut, obedient) as server,
        stompy.connect(server.address, reconnect=SWIFT, on_state=observe) as client,
    ):
        eventually(lambda: client.health().observer_errors == 4)
        assert client.is_connected
    assert "state callback failed at reconnecting" in caplog.text


def test_a_callback_runs_on_no_io_thread_and_may_call_the_client():
    names = []

    def observe(change: StateChange) -> None:
        names.append(threading.current_thread().name)
        if change.state is ConnectionState.RECONNECTING:
            with pytest.raises(stompy.STOMPConnectionError, match="callback cannot wait"):
                client.message("/queue/x")
        if change.epoch == 2 and change.state is ConnectionState.CONNECTED:
            client.disconnect()

    with ScriptedServer(cut, obedient) as server:
        client = stompy.STOMPClient()
        client.connect(server.address, reconnect=SWIFT, on_state=observe)
        eventually(lambda: client.state is ConnectionState.CLOSED)
        eventually(lambda: len(names) == 5)
    assert set(names) == {"stompy supervisor"}
    assert client.health().observer_errors == 0


def test_a_forgotten_client_ends_while_it_reconnects():
    with ScriptedServer(cut) as server:
        policy = stompy.Reconnect(delay=1000.0, max_delay=1000.0)
        client = stompy.connect(server.address, reconnect=policy)
        driver = client._session
        eventually(lambda: driver.state is ConnectionState.RECONNECTING)
        supervising = driver.supervisor
        del client
        gc.collect()
        supervising.join(10)
        assert not supervising.is_alive()


def test_waiting_for_a_connection_is_bounded():
    with ScriptedServer(cut) as server:
        policy = stompy.Reconnect(delay=1000.0, max_delay=1000.0)
        client = stompy.connect(server.address, reconnect=policy, send_timeout=0.05)
        eventually(lambda: client.state is ConnectionState.RECONNECTING)
        with pytest.raises(stompy.STOMPTimeout, match="no connection within"):
            client.wait_connected(0.05)
        with pytest.raises(stompy.STOMPConnectionError, match="no connection within"):
            client.message("/queue/x")
        with pytest.raises(stompy.STOMPTimeout):
            client.recv(0.05)
        with pytest.raises(stompy.STOMPError, match="connected already"):
            client.connect(server.address)
        client.close()


def test_a_client_may_connect_again_after_its_end():
    with ScriptedServer(obedient, obedient) as server:
        client = stompy.STOMPClient()
        for _ in range(2):
            client.connect(server.address, reconnect=SWIFT)
            client.disconnect()
            assert client.state is ConnectionState.CLOSED


@pytest.mark.parametrize("keep_trying", [False, True])
def test_a_certificate_that_is_not_trusted_any_more_stops_it(monkeypatch, keep_trying):
    rounds = []

    def distrust(addresses, headers_for, settings):
        rounds.append(addresses)
        if len(rounds) == 1:
            return dial(addresses, headers_for, settings)
        raise stompy.STOMPCertificateError("expired")

    monkeypatch.setattr("stompy.sync.client.dial", distrust)
    policy = stompy.Reconnect(delay=0.0, attempts=3, keep_trying=keep_trying)
    with ScriptedServer(cut) as server:
        client = stompy.connect(server.address, reconnect=policy)
        eventually(lambda: client.state is ConnectionState.DISCONNECTED)
    kind = stompy.STOMPConnectionError if keep_trying else stompy.STOMPCertificateError
    with pytest.raises(kind, match="expired"):
        client.message("/queue/x")
    assert len(rounds) == (4 if keep_trying else 2)


def closing_late(answer: str, dialling: threading.Event, closed: threading.Event):
    """A script: a broker that answers CONNECT only after the client has been disconnected."""

    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        dialling.set()
        closed.wait(10)
        peer.write(answer)
        if answer:
            peer.until_closed()

    return script


@pytest.mark.parametrize("answer", ["CONNECTED\nversion:1.2\n\n^@", ""])
def test_an_attempt_under_way_at_disconnect_is_the_last_and_leaves_no_connection(answer):
    dialling, closed = threading.Event(), threading.Event()
    with (
        ScriptedServer(cut, closing_late(answer, dialling, closed)) as server,
        ScriptedServer() as silent,
    ):
        addresses = [server.address, silent.address]
        client = stompy.connect(addresses, reconnect=SWIFT, timeout=30)
        client.subscribe("/queue/q")
        assert dialling.wait(10)
        supervising = client._session.supervisor
        client.disconnect()
        closed.set()
        eventually(lambda: not supervising.is_alive(), "the end of the supervisor")
        assert client.state is ConnectionState.CLOSED


@pytest.mark.parametrize("reconnect", [False, SWIFT])
@pytest.mark.parametrize("answer", ["CONNECTED\nversion:1.2\n\n^@", ""])
def test_disconnect_also_ends_connecting_for_the_first_time(answer, reconnect):
    dialling, closed = threading.Event(), threading.Event()
    client = stompy.STOMPClient()
    with (
        ScriptedServer(closing_late(answer, dialling, closed)) as server,
        ScriptedServer() as silent,
        ThreadPoolExecutor() as pool,
    ):
        addresses = [server.address, silent.address]
        connecting = pool.submit(client.connect, addresses, reconnect=reconnect, timeout=30)
        assert dialling.wait(10)
        client.disconnect()
        client.close()
        closed.set()
        with pytest.raises(stompy.STOMPConnectionError, match="closed before"):
            connecting.result(10)
        assert not client.is_connected


def new_session(**settings: object) -> session.Session:
    """A session that never connects."""
    return session.Session(SessionSettings(**settings), None, None, itertools.count(1))


class Box:
    """A receiver that is full, or not."""

    _full = _overfull = False
    _waiting = 0


def test_a_full_receiver_holds_up_the_reader_unless_somebody_waits_for_an_outcome():
    driver, box, inbox = new_session(), Box(), Inbox(lambda: None)
    driver.core.adopt("s1", box)
    assert not driver.is_full(inbox)
    box._full = True
    assert driver.is_full(inbox)
    mine = AwaitedReceipt("r1")
    driver.expect(mine)
    waiting = threading.Thread(target=driver.wait, args=(lambda: mine.done, 10, "nothing came"))
    waiting.start()
    eventually(lambda: not driver.is_full(inbox))
    box._overfull = True
    assert driver.is_full(inbox)
    frame = STOMPFrame("RECEIPT", headers={"receipt-id": "r1"})
    driver.received(mock.Mock(), [frame], 10, None)
    waiting.join(10)
    assert not waiting.is_alive()
    assert driver.is_full(inbox)


def test_waiting_is_bounded():
    driver = new_session()
    with pytest.raises(stompy.STOMPTimeout, match=r"nothing came within 0\.01 s"):
        driver.wait(lambda: False, 0.01, "nothing came")
    driver.wait(lambda: True, 0, "at once")


def test_nothing_can_be_wanted_when_it_is_over():
    driver = new_session()
    wanted = WantedSubscription("s1", "/queue/q", stompy.AckMode.AUTO)
    with pytest.raises(stompy.STOMPConnectionError, match="not connected"):
        driver.want(wanted, None)
    driver.core.connect(0.0)
    driver.core.give_up(stompy.STOMPConnectionError("nobody there"), 0.0)
    with pytest.raises(stompy.STOMPConnectionError, match="nobody there"):
        driver.wait_ready(1)
