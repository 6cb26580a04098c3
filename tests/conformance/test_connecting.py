"""`docs/conformance.md`, *Connecting*: from the first octet to CONNECTED."""

from __future__ import annotations

import re

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, cheap_hash, running_broker

from stompy.protocol import ClientProtocol
from stompy_broker import RunningBroker


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_stomp_is_connect(connect: Connect, version: str):
    """N1, 1.2 *CONNECT or STOMP Frame*: STOMP is taken exactly as CONNECT."""
    peer = connect(None)
    peer.send(f"STOMP\naccept-version:{version}\nhost:x\nlogin:joe\n\n\0")
    connected = peer.expect("CONNECTED")
    assert connected["version"] == version
    assert connected["user-name"] == "joe"
    peer.sync()


def test_stomp_without_accept_version_is_1_0(connect: Connect):
    """N1, 1.2 *CONNECT or STOMP Frame*: also where it is the wrong frame for the version."""
    peer = connect(None)
    peer.send("STOMP\n\n\0")
    assert peer.expect("CONNECTED")["version"] == "1.0"


def test_clients_say_connect(broker: RunningBroker):
    """N2, 1.2 *CONNECT or STOMP Frame*: old servers know nothing else."""
    data = ClientProtocol().connect({"host": "x"})
    assert data.startswith(b"CONNECT\n")
    with Peer(broker.port) as peer:
        peer.send(data)
        assert peer.expect("CONNECTED")["version"] == "1.2"


def test_clients_offer_their_versions_and_a_host():
    """N3, 1.2 *CONNECT or STOMP Frame*: ``accept-version`` and ``host`` are there."""
    lines = ClientProtocol().connect({"host": "x"}).split(b"\n")
    assert b"accept-version:1.0,1.1,1.2" in lines
    assert b"host:x" in lines


@pytest.mark.parametrize("host", ["", "host:/\n", "host:no.such.vhost\n", "host:\n"])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_host_may_be_anything_or_missing(connect: Connect, version: str, host: str):
    """N3, 1.2 *CONNECT or STOMP Frame*: we are lenient with clients that do not send it."""
    peer = connect(None)
    peer.send(f"CONNECT\naccept-version:{version}\n{host}\n\0")
    assert peer.expect("CONNECTED")["version"] == version


def test_without_accept_version_it_is_1_0(connect: Connect):
    """N4, 1.2 *Protocol Negotiation*: a client that names no version speaks 1.0."""
    peer = connect(None)
    peer.send("CONNECT\n\n\0")
    assert peer.expect("CONNECTED")["version"] == "1.0"
    peer.send("SUBSCRIBE\ndestination:/queue/no-id-in-1-0\nreceipt:1\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "1"


@pytest.mark.parametrize(
    ("offer", "version"),
    [
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.1,1.0", "1.1"),
        ("1.0,1.0", "1.0"),
        ("2.0,1.1,3", "1.1"),
        ("1.1, 1.2", "1.2"),
        (" 1.1 , 1.0 ", "1.1"),
        ("1.2,", "1.2"),
    ],
)
def test_the_highest_common_version_is_taken(connect: Connect, offer: str, version: str):
    """N5, 1.2 *Protocol Negotiation*: whatever the order; unknown ones mean nothing."""
    peer = connect(None)
    peer.send(f"CONNECT\naccept-version:{offer}\nhost:x\n\n\0")
    assert peer.expect("CONNECTED")["version"] == version


@pytest.mark.parametrize("offer", ["2.0", "1.3,0.9", "", "1", "1.2.1", "1.1;1.2"])
def test_without_a_common_version_the_supported_ones_are_named(connect: Connect, offer: str):
    """N6, 1.2 *Protocol Negotiation*: ERROR with ``version`` and a text, then close."""
    peer = connect(None)
    peer.send(f"CONNECT\naccept-version:{offer}\nhost:x\n\n\0")
    error = peer.expect_error("unsupported-version")
    assert error["version"] == "1.0,1.1,1.2"
    assert b"1.0,1.1,1.2" in error.body


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_connected_names_the_version(connect: Connect, version: str):
    """N7, 1.2 *CONNECTED Frame*: in 1.0 as well, where it does no harm."""
    assert connect(version).connected["version"] == version


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_connected_has_session_server_and_heart_beat(connect: Connect, version: str):
    """N8, 1.2 *CONNECTED Frame*: a session id of its own for each, name/version of the server."""
    one, two = connect(version).connected, connect(version).connected
    assert one["session"]
    assert one["session"] != two["session"]
    assert re.fullmatch(r"stompy-broker/\d+\.\d+\S*", one["server"])
    assert re.fullmatch(r"\d+,\d+", one["heart-beat"])
    assert one.body == b""


def test_the_server_may_hide():
    """N8, 1.2 *CONNECTED Frame*: ``server`` is optional."""
    with running_broker(security={"show_server": False}) as broker, Peer.open(broker.port) as peer:
        assert "server" not in peer.connected
        assert peer.connected["session"]


def test_an_unknown_virtual_host_is_the_default_one(connect: Connect, queue: str):
    """N9, 1.2 *CONNECT or STOMP Frame*: there is one host, whatever the client calls it."""
    one, two = connect(None), connect(None)
    one.send("CONNECT\naccept-version:1.2\nhost:alpha\n\n\0")
    two.send("CONNECT\naccept-version:1.2\nhost:beta\n\n\0")
    one.expect("CONNECTED")
    two.expect("CONNECTED")
    one.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    one.sync()
    two.send(f"SEND\ndestination:{queue}\n\nhello\0")
    assert one.expect("MESSAGE").body == b"hello"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_refused_client_is_told_and_closed(version: str):
    """N10, 1.2 *CONNECTED Frame*: ERROR, then close, in every version."""
    with running_broker(users={"joe": cheap_hash("secret")}) as broker:
        for login in ("login:joe\npasscode:wrong\n", "login:jim\npasscode:secret\n", ""):
            with Peer(broker.port) as peer:
                peer.send(f"CONNECT\naccept-version:{version}\nhost:x\n{login}\n\0")
                error = peer.expect_error("authentication-failed")
                assert error["message"] == "Authentication failed"
                assert b"secret" not in error.raw
                assert b"wrong" not in error.raw.replace(b"is wrong", b"")


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_connect_gets_no_receipt(connect: Connect, command: str):
    """N11, 1.2 *Header receipt*: CONNECT cannot ask for one."""
    peer = connect(None)
    peer.send(f"{command}\naccept-version:1.2\nhost:x\nreceipt:no\n\n\0")
    assert "receipt-id" not in peer.expect("CONNECTED")
    peer.sync()


def test_frames_may_follow_connect_at_once(connect: Connect, queue: str):
    """N12, 1.2 *Connecting*: what comes before CONNECTED was written is processed after it."""
    peer = connect(None)
    peer.send(
        "CONNECT\naccept-version:1.2\nhost:x\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:1\n\n\0"
        f"SEND\ndestination:{queue}\nx:\\c\n\nhello\0"
    )
    peer.expect("CONNECTED")
    assert peer.expect("RECEIPT")["receipt-id"] == "1"
    assert peer.expect("MESSAGE")["x"] == r"\c"


def test_frames_that_follow_connect_wait_for_the_password_check(queue: str):
    """N12, 1.2 *Connecting*: also where logging in takes a while, and not before it succeeded."""
    with running_broker(users={"joe": cheap_hash("secret")}) as broker:
        frames = f"SEND\ndestination:{queue}\nreceipt:1\n\nhello\0"
        with Peer(broker.port) as peer:
            peer.send("CONNECT\naccept-version:1.2\nlogin:joe\npasscode:secret\n\n\0", frames)
            peer.expect("CONNECTED")
            assert peer.expect("RECEIPT")["receipt-id"] == "1"
        assert [row.ready for row in broker.queues()] == [1]
        with Peer(broker.port) as peer:
            peer.send("CONNECT\naccept-version:1.2\nlogin:joe\npasscode:wrong\n\n\0", frames)
            peer.expect_error("authentication-failed")
        assert [row.ready for row in broker.queues()] == [1]


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE", "DISCONNECT", "CONNECTED"])
def test_the_first_frame_must_be_connect(connect: Connect, command: str):
    """N12, 1.2 *Connecting*: nothing is done for who has not connected."""
    peer = connect(None)
    peer.send(f"{command}\nid:0\ndestination:/queue/a\nreceipt:r\n\n\0")
    peer.expect_error("unexpected-frame", receipt="r")


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_client_connects_once(connect: Connect, version: str, command: str):
    """N12, 1.2 *Connecting*: a second CONNECT is an error."""
    peer = connect(version)
    peer.send(f"{command}\naccept-version:1.2\nhost:x\n\n\0")
    peer.expect_error("unexpected-frame")
