"""Connecting, and every way in which that can fail; all within the time-out."""

import socket
import threading
from contextlib import suppress
from time import monotonic

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, obedient

import stompy
from stompy.errors import STOMPConnectionError, STOMPError
from stompy.transport import blocking, lookup

LIMIT = 5.0  # far above every time-out used here, far below the default


def dead_address() -> tuple[str, int]:
    with ScriptedServer() as closed:
        return closed.address


@pytest.fixture
def names(monkeypatch):
    """Host names and what they stand for."""
    known: dict[str, list[tuple[str, int]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, **options):
        if host not in known:
            return real(host, port, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in known[host]]

    monkeypatch.setattr(lookup.socket, "getaddrinfo", getaddrinfo)
    return known


def test_a_refused_connection_names_address_phase_and_reason():
    address = dead_address()
    with pytest.raises(STOMPConnectionError) as caught:
        stompy.connect(address)
    assert str(caught.value) == (
        f"cannot connect to stomp://127.0.0.1:{address[1]} (TCP: Connection refused)"
    )


def test_all_addresses_are_tried_in_order_and_named():
    first, second = dead_address(), dead_address()

    def silent(peer: Peer) -> None:
        peer.expect("CONNECT")

    with ScriptedServer(silent) as server, pytest.raises(STOMPConnectionError) as caught:
        stompy.connect([first, server.address, f"stomp://me:s3cret@127.0.0.1:{second[1]}"])
    text = str(caught.value)
    places = [f"127.0.0.1:{port}" for port in (first[1], server.address[1], second[1])]
    assert [text.index(place) for place in places] == sorted(text.index(p) for p in places)
    assert "(handshake: the connection was closed without an answer)" in text
    assert text.count("TCP: Connection refused") == 2
    assert "s3cret" not in text


def test_a_name_without_address():
    with pytest.raises(STOMPConnectionError, match=r"\(DNS: "):
        stompy.connect(("no-such-host.invalid", 61613), timeout=LIMIT)


def test_a_name_that_no_host_can_have():
    with pytest.raises(STOMPConnectionError, match=r"\(DNS: "):
        stompy.connect(("x" * 300, 61613), timeout=LIMIT)


def test_a_name_that_takes_too_long_to_look_up(monkeypatch):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(LIMIT)
        raise OSError("too late")

    monkeypatch.setattr(lookup.socket, "getaddrinfo", hang)
    started = monotonic()
    try:
        with pytest.raises(STOMPConnectionError, match=r"\(DNS: no answer within the time-out\)"):
            stompy.connect(("slow.example", 61613), timeout=0.1)
        assert monotonic() - started < LIMIT
    finally:
        release.set()


def test_every_ip_address_of_a_name_is_tried(names):
    with ScriptedServer(obedient) as server:
        names["broker.example"] = [dead_address(), server.address]
        with stompy.connect(("broker.example", 61613)) as client:
            assert client.BrokerAddress == ("broker.example", 61613)


def test_a_name_with_no_ip_address(names):
    names["broker.example"] = []
    with pytest.raises(STOMPConnectionError, match="the name has no IP address"):
        stompy.connect(("broker.example", 61613))


def test_an_address_that_swallows_packets_leaves_time_for_the_next(names, monkeypatch):
    real = blocking._connect

    def connect(place, seconds):
        if place.address[0] == "192.0.2.1":
            shares.append(seconds)
            raise TimeoutError
        return real(place, seconds)

    shares: list[float] = []
    monkeypatch.setattr(blocking, "_connect", connect)
    with ScriptedServer(obedient) as server:
        names["broker.example"] = [("192.0.2.1", 1), server.address]
        stompy.connect(("broker.example", 61613), timeout=10.0).disconnect()
    assert 4 < shares[0] <= 5


def test_no_time_left_is_a_time_out():
    with pytest.raises(STOMPConnectionError, match=r"\(TCP: no answer within the time-out\)"):
        stompy.connect(dead_address(), timeout=0)


def test_a_silent_server_costs_one_timeout():
    def silent(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.until_closed()

    started = monotonic()
    with (
        ScriptedServer(silent) as server,
        pytest.raises(STOMPConnectionError, match=r"\(handshake: no answer within the time-out\)"),
    ):
        stompy.connect(server.address, timeout=0.1)
    assert monotonic() - started < LIMIT


def test_a_server_that_trickles_does_not_prolong_the_timeout():
    def trickle(peer: Peer) -> None:
        peer.expect("CONNECT")
        with suppress(ConnectionError):
            while not stop.wait(0.02):
                peer.write("\n")

    stop = threading.Event()
    started = monotonic()
    with ScriptedServer(trickle) as server:
        with pytest.raises(STOMPConnectionError, match="no answer within the time-out"):
            stompy.connect(server.address, timeout=0.1)
        assert monotonic() - started < LIMIT
        stop.set()


def test_a_reset_during_the_handshake():
    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.reset()

    with (
        ScriptedServer(script) as server,
        pytest.raises(STOMPConnectionError, match=r"\(handshake: .*(reset|[Bb]roken pipe)"),
    ):
        stompy.connect(server.address)


def test_an_error_in_answer_to_connect_is_final_and_in_the_brokers_words():
    def refuse(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write("ERROR\nmessage:Bad CONNECT\n\nAccess refused for user 'me'\n^@")

    with (
        ScriptedServer(refuse) as server,
        ScriptedServer() as never_asked,
        pytest.raises(STOMPError, match="Bad CONNECT: Access refused for user 'me'") as caught,
    ):
        stompy.connect([server.address, never_asked.address], login="me", passcode="s3cret")
    assert not isinstance(caught.value, STOMPConnectionError)
    assert caught.value.Frame["message"] == "Bad CONNECT"
    assert str(server.address[1]) in caught.value.__notes__[0]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("code", ["shutting-down", "limit-exceeded"])
def test_a_broker_that_is_full_or_stopping_is_passed_over(code):
    def busy(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write(f"ERROR\nmessage:not now\nerror-code:{code}\n\n^@")

    with (
        ScriptedServer(busy) as server,
        ScriptedServer(obedient) as other,
        stompy.connect([server.address, other.address]) as client,
    ):
        assert client.BrokerAddress == other.address


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server"),
        (b"AMQP\0\0\x09\x01", "an AMQP broker"),
        (b"\x15\x03\x01\0\x02\x02\x46", "a TLS port"),
        (b"SSH-2.0-OpenSSH\r\n", "an SSH server"),
        (b"INFO {}\r\n", "a NATS server"),
        (b"\0\0\1\x3c\1ActiveMQ\0\0\0\x0c\1", "an OpenWire port of ActiveMQ"),
        (b"RECEIPT\nreceipt-id:1\n\n\0", "answered CONNECT with 'RECEIPT'"),
        (b"CONNECTED\nversion:9.9\n\n\0", "chose version '9.9', which was not offered"),
        (b"no frame\n\n\n\0", "answered CONNECT with 'no frame'"),
        (b"", "closed without an answer"),
    ],
)
def test_an_answer_that_is_no_welcome(answer, reason):
    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write(answer)

    with (
        ScriptedServer(script) as server,
        pytest.raises(STOMPConnectionError, match=reason) as caught,
    ):
        stompy.connect(server.address)
    assert "(handshake: " in str(caught.value)


def test_a_foreign_server_that_says_nothing_more_is_named_after_the_timeout():
    def script(peer: Peer) -> None:
        peer.write(b"SSH-2.0-OpenSSH\r\n")
        peer.until_closed()

    with ScriptedServer(script) as server, pytest.raises(STOMPConnectionError, match="an SSH"):
        stompy.connect(server.address, timeout=0.1)


def test_a_connected_socket_is_tuned():
    with ScriptedServer(obedient) as server, stompy.connect(server.address) as client:
        connection = client._connection._socket
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getblocking() is False
