"""`docs/conformance.md`, *MESSAGE, ACK, NACK*: what names a message, and what settles it."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer

VERSIONS = ("1.0", "1.1", "1.2")


def settle(command: str, version: str, message: Frame, *headers: str) -> str:
    """ACK or NACK as a client of that version writes it."""
    if version == "1.2":
        names = f"id:{message['ack']}\n"
    elif version == "1.1":
        names = f"subscription:{message['subscription']}\nmessage-id:{message['message-id']}\n"
    else:
        names = f"message-id:{message['message-id']}\n"
    return f"{command}\n{names}" + "".join(f"{line}\n" for line in headers) + "\n\0"


def fill(peer: Peer, queue: str, count: int) -> None:
    """Send messages with bodies 1, 2, ..."""
    for number in range(1, count + 1):
        peer.send(f"SEND\ndestination:{queue}\n\n{number}\0")
    peer.sync()


def left(connect: Connect, queue: str) -> list[tuple[bytes, str]]:
    """What is in a queue, and whether it was delivered before."""
    peer = connect("1.2")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0BEGIN\ntransaction:end\nreceipt:end\n\n\0"
    )
    found = []
    while (frame := peer.read()).command == "MESSAGE":
        found.append((frame.body, frame["redelivered"]))
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_names_itself(connect: Connect, queue: str, version: str):
    """M1, 1.2 *MESSAGE*: destination, message-id, subscription; each message-id is unique."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:s\ndestination:{queue}\n\n\0")
    for _ in range(100):
        peer.send(f"SEND\ndestination:{queue}\n\n\0")
    messages = [peer.expect("MESSAGE") for _ in range(100)]
    assert {message["destination"] for message in messages} == {queue}
    assert {message["subscription"] for message in messages} == {"s"}
    assert len({message["message-id"] for message in messages}) == 100


@pytest.mark.parametrize(
    "destination", ["/queue/{}.a%2Fb/c", "/topic/{}.a/b", "bare-{}", "/queue/{} with blanks"]
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_destination_is_the_senders(
    connect: Connect, queue: str, version: str, destination: str
):
    """M2, 1.2 *MESSAGE*: as in SEND, octet by octet."""
    destination = destination.format(queue.removeprefix("/queue/"))
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0")
    peer.send(f"SEND\ndestination:{destination}\n\n\0")
    assert peer.expect("MESSAGE")["destination"] == destination


def test_a_pattern_does_not_show(connect: Connect, topic: str):
    """M2, 1.2 *MESSAGE*: not the pattern that was subscribed."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{topic}.>\n\n\0SEND\ndestination:{topic}.a\n\n\0")
    assert peer.expect("MESSAGE")["destination"] == f"{topic}.a"


@pytest.mark.parametrize("mode", ["auto", "client", "client-individual"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_ack_header(connect: Connect, queue: str, version: str, mode: str):
    """M3, 1.2 *MESSAGE*: only in 1.2, and only where an ACK is expected."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    assert ("ack" in peer.expect("MESSAGE")) == (version == "1.2" and mode != "auto")


@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_ack_in_the_version_s_own_words(connect: Connect, queue: str, version: str, mode: str):
    """M4, 1.2 *ACK*: 1.0 and 1.1 name the message, 1.2 the delivery."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    peer.send(settle("ACK", version, peer.expect("MESSAGE"), "receipt:r"))
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.close()
    assert left(connect, queue) == []


def test_1_2_takes_the_words_of_1_1(connect: Connect, queue: str):
    """M4, 1.2 *ACK*: lenient with clients that learned 1.1, or that send both."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
    fill(connect("1.2"), queue, 2)
    first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    peer.send(settle("ACK", "1.1", first))
    peer.send(settle("ACK", "1.2", second, "subscription:0", f"message-id:{second['message-id']}"))
    peer.sync()
    peer.close()
    assert left(connect, queue) == []


def test_1_0_may_name_the_subscription(connect: Connect, queue: str):
    """M4, 1.0: as 1.1 does."""
    peer = connect("1.0")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    peer.send(settle("ACK", "1.1", peer.expect("MESSAGE")))
    peer.sync()
    peer.close()
    assert left(connect, queue) == []


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.0", ""),
        ("1.1", "message-id:1\n"),
        ("1.1", "subscription:0\n"),
        ("1.1", "id:1-1\n"),
        ("1.2", ""),
        ("1.2", "message-id:1\n"),
        ("1.2", "id:\n"),
    ],
)
@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_an_ack_names_a_delivery(connect: Connect, command: str, version: str, headers: str):
    """M4, 1.2 *ACK*: what names it is required."""
    peer = connect(version)
    peer.send(f"{command}\nreceipt:r\n{headers}\n\0")
    peer.expect_error("missing-header", receipt="r")


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("1.0", "message-id:999"),
        ("1.1", "message-id:9999999999999999999\nsubscription:0"),
        ("1.1", "message-id:²\nsubscription:0"),
        ("1.1", "message-id:" + "9" * 5000 + "\nsubscription:0"),
        ("1.1", "message-id:not-one-of-ours\nsubscription:0"),
        ("1.2", "id:1-999"),
        ("1.2", "id:999-1"),
        ("1.2", "id:1-0"),
        ("1.2", "id:nonsense"),
        ("1.2", "id:1-" + "9" * 5000),
        ("1.2", "id:" + "9" * 5000 + "-1"),
        ("1.2", "id:²-1"),
    ],
)
def test_a_delivery_that_was_never_made(
    connect: Connect, queue: str, version: str, names: str, command: str
):
    """M4, 1.2 *ACK*: is an error."""
    peer = connect(version)
    if version != "1.0":  # who names no subscription may mean one that has ended
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
        peer.send(f"SEND\ndestination:{queue}\n\n\0")
        peer.expect("MESSAGE")
    peer.send(f"{command}\n{names}\nreceipt:r\n\n\0")
    peer.expect_error("unknown-ack", receipt="r")


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("version", VERSIONS)
def test_settling_twice_is_harmless(
    connect: Connect, queue: str, version: str, mode: str, command: str
):
    """M4, 1.2 *ACK*: a delivery that is settled already is ignored, and the receipt is given."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    message = peer.expect("MESSAGE")
    peer.send(settle("ACK", version, message))
    peer.send(settle(command, version, message, "receipt:r"))
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()
    peer.close()
    assert left(connect, queue) == []


def test_settling_twice_in_the_words_of_1_1(connect: Connect, queue: str):
    """M4, 1.2 *ACK*: the same where 1.2 is lenient."""
    peer = connect("1.2")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    message = peer.expect("MESSAGE")
    peer.send(settle("ACK", "1.1", message))
    peer.send(settle("ACK", "1.1", message, "receipt:r"))
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()


@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("version", VERSIONS)
def test_nack_has_the_headers_of_ack(connect: Connect, queue: str, version: str, mode: str):
    """M5, 1.2 *NACK*: and 1.0, which has none, may use it."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\n\n\0SEND\ndestination:{queue}\n\n1\0"
    )
    peer.send(settle("NACK", version, peer.expect("MESSAGE")))
    again = peer.expect("MESSAGE")
    assert (again.body, again["redelivered"]) == (b"1", "true")


@pytest.mark.parametrize("version", VERSIONS)
def test_ack_in_client_mode_covers_what_came_before(connect: Connect, queue: str, version: str):
    """M6, 1.2 *SUBSCRIBE ack Header*: the message named and all before it."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
    fill(connect("1.2"), queue, 5)
    messages = [peer.expect("MESSAGE") for _ in range(5)]
    peer.send(settle("ACK", version, messages[2]))
    peer.sync()
    peer.close()
    assert left(connect, queue) == [(b"4", "true"), (b"5", "true")]


@pytest.mark.parametrize("version", VERSIONS)
def test_ack_in_client_mode_leaves_other_subscriptions_alone(
    connect: Connect, queue: str, version: str
):
    """M6, 1.2 *SUBSCRIBE ack Header*: cumulative within one subscription only."""
    peer = connect(version)
    for each in "ab":
        peer.send(f"SUBSCRIBE\nid:{each}\ndestination:{queue}-{each}\nack:client\n\n\0")
        peer.send(f"SEND\ndestination:{queue}-{each}\n\n{each}\0")
    first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    assert (first.body, second.body) == (b"a", b"b")
    peer.send(settle("ACK", version, second))
    peer.sync()
    peer.close()
    assert left(connect, f"{queue}-a") == [(b"a", "true")]
    assert left(connect, f"{queue}-b") == []


@pytest.mark.parametrize("version", VERSIONS)
def test_client_individual_is_never_cumulative(connect: Connect, queue: str, version: str):
    """M7, 1.2 *SUBSCRIBE ack Header*: one ACK, one message."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
    fill(connect("1.2"), queue, 4)
    messages = [peer.expect("MESSAGE") for _ in range(4)]
    peer.send(settle("ACK", version, messages[3]), settle("ACK", version, messages[1]))
    peer.sync()
    peer.close()
    assert left(connect, queue) == [(b"1", "true"), (b"3", "true")]


@pytest.mark.parametrize("version", VERSIONS)
def test_nack_in_client_mode_covers_what_came_before(connect: Connect, queue: str, version: str):
    """M8, 1.2 *NACK*: as ACK does; and not what came after it."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
    fill(connect("1.2"), queue, 4)
    messages = [peer.expect("MESSAGE") for _ in range(4)]
    peer.send(settle("NACK", version, messages[2]))
    again = [peer.expect("MESSAGE") for _ in range(3)]
    assert [message.body for message in again] == [b"1", b"2", b"3"]
    assert {message["redelivered"] for message in again} == {"true"}
    peer.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_nack_in_client_individual_mode_covers_one(connect: Connect, queue: str, version: str):
    """M8, 1.2 *NACK*: not cumulative in ``client-individual`` mode."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\n\n\0")
    fill(connect("1.2"), queue, 3)
    messages = [peer.expect("MESSAGE") for _ in range(3)]
    peer.send(settle("NACK", version, messages[1]))
    assert peer.expect("MESSAGE").body == b"2"
    peer.sync()


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_lost_connection_gives_back(connect: Connect, queue: str, version: str, end: str):
    """M9, 1.2 *SUBSCRIBE ack Header*: what was not acknowledged goes to somebody else."""
    peer, other = connect(version), connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0SEND\ndestination:{queue}\n\n1\0"
    )
    first = peer.expect("MESSAGE")
    assert (first["redelivered"], first["delivery-count"]) == ("false", "1")
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
    other.sync()
    getattr(peer, end)()
    again = other.expect("MESSAGE")
    assert again["message-id"] == first["message-id"]
    assert (again["redelivered"], again["delivery-count"]) == ("true", "2")


@pytest.mark.parametrize("version", VERSIONS)
def test_auto_means_settled_when_sent(connect: Connect, queue: str, version: str):
    """M10, 1.2 *SUBSCRIBE ack Header*: nothing comes back."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:auto\n\n\0SEND\ndestination:{queue}\n\n\0"
    )
    peer.expect("MESSAGE")
    peer.close()
    assert left(connect, queue) == []


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize(
    ("version", "words"), [("1.0", "1.0"), ("1.0", "1.1"), ("1.1", "1.1"), ("1.2", "1.1")]
)
def test_ack_of_an_auto_subscription_is_ignored(
    connect: Connect, queue: str, version: str, words: str, command: str
):
    """M11, 1.2 *ACK*: undefined; here it does nothing, and the receipt is given."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\n\n\0")
    peer.send(settle(command, words, peer.expect("MESSAGE"), "receipt:r"))
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.sync()


@pytest.mark.parametrize("mode", ["auto", "client"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_receipt_comes_before_the_first_message(
    connect: Connect, queue: str, version: str, mode: str
):
    """M12, 1.2 *SUBSCRIBE*: a client that waits for it need not put messages aside."""
    fill(connect("1.2"), queue, 3)
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\nreceipt:r\n\n\0")
    assert peer.read().raw == b"RECEIPT\nreceipt-id:r\n\n\0"
    assert peer.bodies(3) == [b"1", b"2", b"3"]


def test_disconnect_waits_for_what_a_single_ack_has_to_settle(connect: Connect, queue: str):
    """M7, 1.2 *DISCONNECT*: its receipt tells that all frames before it were processed."""
    peer, count = connect("1.2"), 5000
    fill(peer, queue, count)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\nprefetch-count:0\n\n\0")
    *_, last = [peer.expect("MESSAGE") for _ in range(count)]
    peer.send(settle("ACK", "1.2", last), "DISCONNECT\nreceipt:bye\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "bye"
    other = connect("1.2")
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    other.sync()
