"""`docs/conformance.md`, *SEND, SUBSCRIBE, UNSUBSCRIBE*: what goes in, and who gets it."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Pair, unique

VERSIONS = ("1.0", "1.1", "1.2")


@pytest.mark.parametrize("destination", ["", "destination:\n"])
@pytest.mark.parametrize("version", VERSIONS)
def test_send_needs_a_destination(connect: Connect, version: str, destination: str):
    """S1, 1.2 *SEND*: the header is required, and an empty one is none."""
    peer = connect(version)
    peer.send(f"SEND\nreceipt:r\n{destination}\nbody\0")
    peer.expect_error("missing-header", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_headers_of_a_send_pass_through(connect: Connect, queue: str, version: str):
    """S2, 1.2 *SEND*: all the sender's headers, in their order, with their values."""
    peer = connect(version)
    headers = (
        "x:1\nz:2\na:3\ncontent-type:text/plain\ncorrelation-id:c\nreply-to:/queue/r\n"
        "priority:9\nexpires:0\ntype:t\nJMSXAppID:g\ntimestamp:12345\npersistent:false\n"
    )
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n{headers}\nbody\0")
    message = peer.expect("MESSAGE")
    assert headers.encode() in message.raw
    assert message.all("timestamp") == ["12345"]


def test_the_broker_adds_a_timestamp(connect: Connect, queue: str):
    """S2, 1.2 *MESSAGE*: milliseconds since the epoch, where the sender gave none."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\n\n\0")
    assert 1.6e12 < int(peer.expect("MESSAGE")["timestamp"]) < 1e13


@pytest.mark.parametrize("version", VERSIONS)
def test_what_speaks_to_the_broker_is_not_passed_on(connect: Connect, queue: str, version: str):
    """S2, 1.2 *SEND*: neither ``receipt`` nor ``transaction``, nor headers that MESSAGE owns."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0BEGIN\ntransaction:t\n\n\0")
    peer.send(
        f"SEND\ndestination:{queue}\nreceipt:r\ntransaction:t\nmessage-id:mine\nsubscription:9\n"
        "ack:9\nredelivered:true\ndelivery-count:9\nJMSXUserID:root\nx:1\n\n\0"
        "COMMIT\ntransaction:t\n\n\0"
    )
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    message = peer.expect("MESSAGE")
    for name in ("receipt", "transaction", "ack", "JMSXUserID"):
        assert name not in message
    assert message["message-id"] != "mine"
    assert message["x"] == "1"
    for name, value in {"subscription": "0", "redelivered": "false", "delivery-count": "1"}.items():
        assert message.all(name) == [value]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_receipt_stays_with_its_sender(connect: Connect, queue: str, at_once: bool):
    """S2: also when the rest of the header block is known from before."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    sends = [f"SEND\ndestination:{queue}\nreceipt:r{n}\nx:y\n\n\0" for n in range(6)]
    for send in ["".join(sends)] if at_once else sends:
        peer.send(send)
        for _ in range(6 if at_once else 1):
            frames = {frame.command: frame for frame in (peer.read(), peer.read())}
            assert sorted(frames) == ["MESSAGE", "RECEIPT"]
            assert "receipt" not in frames["MESSAGE"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_send_that_fails_is_answered_by_error(pair: Pair, connect: Connect, version: str):
    """S3, 1.2 *SEND*: ERROR, then close; nobody else notices."""
    peer = connect(version)
    peer.send("SEND\ndestination:/nowhere/a\nreceipt:r\n\nbody\0")
    error = peer.expect_error("bad-destination", receipt="r")
    assert b"/queue/" in error.body
    assert b"/topic/" in error.body
    pair.exchange()


@pytest.mark.parametrize("version", VERSIONS)
def test_subscribe_needs_a_destination(connect: Connect, version: str):
    """S4, 1.2 *SUBSCRIBE*: the header is required."""
    peer = connect(version)
    peer.send("SUBSCRIBE\nid:0\nreceipt:r\n\n\0")
    peer.expect_error("missing-header", receipt="r")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_subscribe_needs_an_id_since_1_1(connect: Connect, queue: str, version: str):
    """S4, 1.2 *SUBSCRIBE id Header*: the header is required."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\ndestination:{queue}\nreceipt:r\n\n\0")
    peer.expect_error("missing-header", receipt="r")


def test_in_1_0_the_id_may_be_missing(connect: Connect, queue: str):
    """S4, 1.0: MESSAGE then names no subscription."""
    peer = connect("1.0")
    peer.send(f"SUBSCRIBE\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\n\n\0")
    assert "subscription" not in peer.expect("MESSAGE")
    peer.send(f"SUBSCRIBE\ndestination:{queue}\nreceipt:r\n\n\0")
    peer.expect_error("duplicate-subscription", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_ids_are_unique_on_a_connection(connect: Connect, queue: str, version: str):
    """S5, 1.2 *SUBSCRIBE id Header*: an id in use is an error, whatever the destination."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}-other\nreceipt:r\n\n\0")
    peer.expect_error("duplicate-subscription", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_subscriptions_of_a_connection_are_told_apart(connect: Connect, topic: str, version: str):
    """S5, 1.2 *SUBSCRIBE id Header*: two ids on one destination are two subscriptions."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:a\ndestination:{topic}\n\n\0SUBSCRIBE\nid:b\ndestination:{topic}\n\n\0"
    )
    peer.send(f"SEND\ndestination:{topic}\n\n\0")
    assert {peer.expect("MESSAGE")["subscription"] for _ in range(2)} == {"a", "b"}


def test_ids_belong_to_their_connection(connect: Connect, topic: str):
    """S5, 1.2 *SUBSCRIBE id Header*: other connections may use the same."""
    one, two = connect("1.2"), connect("1.2")
    for peer in (one, two):
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{topic}\n\n\0")
        peer.sync()
    one.send(f"SEND\ndestination:{topic}\n\nhello\0")
    for peer in (one, two):
        assert peer.expect("MESSAGE")["subscription"] == "0"


@pytest.mark.parametrize("ack", ["", "ack:auto\n", "ack:client\n", "ack:client-individual\n"])
@pytest.mark.parametrize("version", VERSIONS)
def test_three_ack_modes(connect: Connect, queue: str, version: str, ack: str):
    """S6, 1.2 *SUBSCRIBE ack Header*: auto is the default; 1.0 has client-individual as well."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n{ack}\n\0SEND\ndestination:{queue}\n\n\0")
    peer.expect("MESSAGE")
    peer.close()
    other = connect("1.2")
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    if "client" in ack:
        assert other.expect("MESSAGE")["redelivered"] == "true"
    else:
        other.sync()


@pytest.mark.parametrize("ack", ["Auto", "", "none", "client_individual"])
@pytest.mark.parametrize("version", VERSIONS)
def test_other_ack_modes_are_refused(connect: Connect, queue: str, version: str, ack: str):
    """S6, 1.2 *SUBSCRIBE ack Header*: there are three values."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{ack}\nreceipt:r\n\n\0")
    peer.expect_error("bad-header", receipt="r")


@pytest.mark.parametrize(
    "destination",
    ["/nowhere/a", "/queue/", "/queue/>.a", "/topic/a.>.b", "/topic/a.#.b", "/reply-queue/x"],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_subscribe_that_fails_is_answered_by_error(
    pair: Pair, connect: Connect, version: str, destination: str
):
    """S7, 1.2 *SUBSCRIBE*: ERROR, then close; nobody else notices."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\nreceipt:r\n\n\0")
    peer.expect_error("bad-destination", receipt="r")
    pair.exchange()


@pytest.mark.parametrize("version", VERSIONS)
def test_unsubscribe_by_id(connect: Connect, queue: str, version: str):
    """S8, 1.2 *UNSUBSCRIBE*: by ``id``."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0")
    assert peer.read().raw == b"RECEIPT\nreceipt-id:r\n\n\0"


def test_in_1_0_unsubscribe_by_destination(connect: Connect, queue: str):
    """S8, 1.0 *UNSUBSCRIBE*: by ``destination``."""
    peer = connect("1.0")
    peer.send(f"SUBSCRIBE\ndestination:{queue}\n\n\0UNSUBSCRIBE\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n\n\0")
    peer.sync()


@pytest.mark.parametrize(
    ("version", "headers"),
    [("1.0", ""), ("1.1", ""), ("1.2", ""), ("1.2", "destination:/queue/a\n")],
)
def test_unsubscribe_must_name_one(connect: Connect, version: str, headers: str):
    """S8, 1.2 *UNSUBSCRIBE*: the ``id`` is required; 1.0 may name the destination instead."""
    peer = connect(version)
    peer.send(f"UNSUBSCRIBE\nreceipt:r\n{headers}\n\0")
    peer.expect_error("missing-header", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_unsubscribe_of_nothing(connect: Connect, queue: str, version: str):
    """S8, 1.2 *UNSUBSCRIBE*: an id that is not in use is an error; the second time as well."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send("UNSUBSCRIBE\nid:0\n\n\0UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0")
    peer.expect_error("unknown-subscription", receipt="r")


@pytest.mark.parametrize("kind", ["queue", "topic"])
@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_comes_after_unsubscribe(connect: Connect, version: str, kind: str):
    """S9, 1.2 *UNSUBSCRIBE*: no MESSAGE for a subscription that has ended."""
    peer, destination = connect(version), f"/{kind}/{unique()}"
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0"
        f"SEND\ndestination:{destination}\n\none\0"
        "UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0"
        f"SEND\ndestination:{destination}\n\ntwo\0"
    )
    assert peer.expect("MESSAGE").body == b"one"
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_id_may_be_used_again(connect: Connect, queue: str, version: str):
    """S10, 1.2 *UNSUBSCRIBE*: after UNSUBSCRIBE the id is free."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}-a\n\n\0UNSUBSCRIBE\nid:0\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}-b\n\n\0"
        f"SEND\ndestination:{queue}-a\n\na\0SEND\ndestination:{queue}-b\n\nb\0"
    )
    message = peer.expect("MESSAGE")
    assert (message["subscription"], message.body) == ("0", b"b")
    peer.sync()


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_late_ack_does_not_hit_the_next_subscription(
    connect: Connect, queue: str, version: str, command: str
):
    """S10, 1.2 *UNSUBSCRIBE*: it is for a subscription that is gone, and is ignored."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}-a\nack:client\n\n\0SEND\ndestination:{queue}-a\n\na\0"
    )
    late = peer.expect("MESSAGE")
    name = f"id:{late['ack']}" if version == "1.2" else f"message-id:{late['message-id']}"
    peer.send(
        "UNSUBSCRIBE\nid:0\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}-b\nack:client\n\n\0SEND\ndestination:{queue}-b\n\nb\0"
    )
    assert peer.expect("MESSAGE").body == b"b"
    peer.send(f"{command}\n{name}\nsubscription:0\nreceipt:r\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()
    peer.close()
    other = connect("1.2")
    for each in "ab":
        other.send(f"SUBSCRIBE\nid:{each}\ndestination:{queue}-{each}\n\n\0")
        message = other.expect("MESSAGE")
        assert (message.body, message["delivery-count"]) == (each.encode(), "2")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_late_ack_does_not_hurt_before_the_first_delivery(
    connect: Connect, queue: str, version: str
):
    """S10, 1.2 *UNSUBSCRIBE*: nor where the next subscription has got nothing yet."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}-a\nack:client\n\n\0SEND\ndestination:{queue}-a\n\na\0"
    )
    late = peer.expect("MESSAGE")
    name = f"id:{late['ack']}" if version == "1.2" else f"message-id:{late['message-id']}"
    peer.send(
        "UNSUBSCRIBE\nid:0\n\n\0"
        f"ACK\n{name}\nsubscription:0\nreceipt:1\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}-b\nack:client\n\n\0"
        f"ACK\n{name}\nsubscription:0\nreceipt:2\n\n\0"
    )
    assert [peer.expect("RECEIPT")["receipt-id"] for _ in range(2)] == ["1", "2"]
    peer.sync()
