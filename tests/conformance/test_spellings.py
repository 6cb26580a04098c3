"""`docs/wire.md`, *Destinations*: what clients of other brokers write."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.conformance.test_several_queues import came, send, subscribe
from tests.support.wire import Peer, unique

VERSIONS = ("1.0", "1.1", "1.2")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_jms_writes_destinations_as_urls(connect: Connect, version: str, kind: str):
    """C1.8: `queue://X` and `topic://X` are the same with slashes."""
    name, colon = unique(), "\\c" if version == "1.2" else ":"
    if version == "1.1":
        colon = "\\c"
    peer, other = connect(version), connect(version)
    subscribe(peer, f"{kind}{colon}//{name}")
    other.send(f"SEND\ndestination:/{kind}/{name}\n\n1\0")
    assert came(peer, 1) == [(f"/{kind}/{name}", b"1")]
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    subscribe(peer, f"/{kind}/{name}", id="1")
    other.send(f"SEND\ndestination:{kind}{colon}//{name}\n\n2\0")
    assert came(peer, 1) == [(f"{kind}{colon}//{name}", b"2")]


@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_a_jms_reply_to_works(connect: Connect, kind: str):
    """C1.8: so that the text of a `JMSReplyTo` works, in both directions."""
    asker, worker, queue = connect(), connect(), f"/queue/{unique()}"
    subscribe(worker, queue)
    subscribe(asker, f"temp-{kind}\\c//answers")
    asker.send(f"SEND\ndestination:{queue}\nreply-to:temp-{kind}\\c//answers\n\n?\0")
    address = worker.expect("MESSAGE")["reply-to"]
    assert address.startswith(f"/reply-{kind}/")
    for number, spelled in enumerate((address, address.replace("reply-", "remote-temp-", 1))):
        worker.send(f"SEND\ndestination:{spelled}\n\n{number}\0")
        assert asker.expect("MESSAGE").body == b"%d" % number
    elsewhere = f"{kind}\\c//{unique()}"
    subscribe(asker, elsewhere, id="1")
    asker.send(f"SEND\ndestination:{queue}\nreply-to:{elsewhere}\n\n?\0")
    address = worker.expect("MESSAGE")["reply-to"]
    assert address == elsewhere
    worker.send(f"SEND\ndestination:{address}\n\nthere\0")
    assert asker.expect("MESSAGE").body == b"there"


@pytest.mark.parametrize("version", VERSIONS)
def test_everybody_who_subscribes_to_the_address_of_a_temporary_topic(
    connect: Connect, version: str
):
    """C1.8: like `/temp-queue/`, but everybody who subscribes to the reply address gets it."""
    owner, second, third, queue = connect(version), connect(version), connect(version), unique()
    subscribe(owner, "/temp-topic/news")
    subscribe(second, f"/queue/{queue}")
    owner.send(f"SEND\ndestination:/queue/{queue}\nreply-to:/temp-topic/news\n\n?\0")
    address = second.expect("MESSAGE")["reply-to"]
    subscribe(third, address)
    send(second, address, "1")
    owner.send("SEND\ndestination:/temp-topic/news\n\n2\0")
    for peer in (owner, third):
        assert came(peer, 2) == [(address, b"1"), (address, b"2")]


def test_temporary_topics_of_two_connections_are_two(connect: Connect):
    """C1.8: each connection has its own names."""
    one, two = connect(), connect()
    for peer in (one, two):
        subscribe(peer, "/temp-topic/news")
    send_and_get(one, "/temp-topic/news", "one")
    send_and_get(two, "/temp-topic/news", "two")
    one.sync()
    two.sync()


def send_and_get(peer: Peer, destination: str, body: str) -> None:
    """Send to oneself."""
    peer.send(f"SEND\ndestination:{destination}\n\n{body}\0")
    assert peer.expect("MESSAGE").body == body.encode()


def test_a_temporary_topic_ends_with_its_owner(connect: Connect):
    """C1.8: what comes later goes nowhere, and nobody is to blame."""
    owner, other, queue = connect(), connect(), f"/queue/{unique()}"
    subscribe(other, queue)
    subscribe(owner, "/temp-topic/t")
    owner.send(f"SEND\ndestination:{queue}\nreply-to:/temp-topic/t\n\n?\0")
    address = other.expect("MESSAGE")["reply-to"]
    owner.close()
    other.send(f"SEND\ndestination:{address}\nreceipt:r\n\nlate\0")
    assert other.expect("RECEIPT")["receipt-id"] == "r"


def test_in_a_transaction(connect: Connect):
    """9: a SEND to one's temporary topic waits for COMMIT."""
    peer = connect()
    subscribe(peer, "/temp-topic/t")
    peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/temp-topic/t\ntransaction:t\n\n1\0")
    peer.sync()
    peer.send("COMMIT\ntransaction:t\n\n\0")
    assert peer.expect("MESSAGE").body == b"1"


@pytest.mark.parametrize("text", ["/reply-topic/*", "/reply-topic/>", "/topic/$temp.>"])
def test_nobody_listens_to_all_of_them(connect: Connect, text: str):
    """C1.8: an address is known to those who were told."""
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{text}\nreceipt:r\n\n\0")
    peer.expect_error("bad-destination", receipt="r")


def test_a_temporary_topic_is_never_durable(connect: Connect):
    """R3: said by name, and not silently otherwise."""
    for destination in ("/temp-topic/t", "/reply-topic/x"):
        peer = connect("1.2", "client-id:c")
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\ndurable-subscription-name:d\n\n\0")
        peer.expect_error("not-supported")


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE\nid:0"])
def test_apollos_durable_subscriptions(connect: Connect, command: str):
    """C1.8: `/dsub/` is refused, with what to write."""
    peer = connect()
    peer.send(f"{command}\ndestination:/dsub/news\nreceipt:r\n\n\0")
    assert b"durable-subscription-name" in peer.expect_error("not-supported", receipt="r").body


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/{}/*", ["/{}/b", "/{}/b.c"], ["/{}", "/{}/b/c", "/{}.b"]),
        ("/{}/**", ["/{}", "/{}/b", "/{}/b/c"], ["/{}.b"]),
        ("/{}/#", ["/{}", "/{}/b/c"], []),
        ("/{}/*/c", ["/{}/b/c"], ["/{}/b/d", "/{}/b"]),
        ("/{}.*", ["/{}.b", "/{}.b/c"], ["/{}/b", "/{}"]),
    ],
)
def test_the_pattern_decides_what_separates_words(
    connect: Connect, pattern: str, matching: list[str], others: list[str]
):
    """C1.8: names are the same whichever separator a publisher uses."""
    name = unique("t").replace(".", "-")
    peer, other = connect(), connect()
    subscribe(peer, "/topic" + pattern.format(name))
    for text in (*others, *matching):
        send(other, "/topic" + text.format(name), text)
    expected = [("/topic" + text.format(name), text.encode()) for text in matching]
    assert came(peer, len(matching)) == expected
    peer.sync()


def test_a_rest_stands_last_between_slashes_too(connect: Connect):
    """C1.8: as between dots."""
    peer = connect()
    peer.send("SUBSCRIBE\nid:0\ndestination:/topic/a/**/b\n\n\0")
    assert b"'**' before its last word" in peer.expect_error("bad-destination").body


def test_no_message_is_sent_to_a_pattern_between_slashes(connect: Connect):
    """13: it would be a mistake."""
    peer = connect()
    peer.send("SEND\ndestination:/topic/a/*\n\n\0")
    peer.expect_error("bad-destination")
