"""`docs/wire.md`, *Several at once*: SUBSCRIBE to all queues of a pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.conformance.test_message_ack import fill, left, settle
from tests.conformance.test_several_queues import came, send, subscribe
from tests.support.wire import Peer, cheap_hash, running_broker

from stompy_broker.routing import queue_patterns

VERSIONS = ("1.0", "1.1", "1.2")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("wildcard", ["*", ">", "#"])
def test_queues_that_there_are_and_those_to_come(
    connect: Connect, queue: str, version: str, wildcard: str
):
    """C1.7: takes part in every queue that matches now or is made later."""
    peer, other = connect(version), connect()
    send(other, f"{queue}.before", "1", "2")
    subscribe_headers = "ack:auto"
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}.{wildcard}\n{subscribe_headers}\n\n\0")
    assert came(peer, 2) == [(f"{queue}.before", b"1"), (f"{queue}.before", b"2")]
    send(other, f"{queue}.later", "3")
    send(other, f"{queue}", "4")
    send(other, f"{queue}.later.still", "5")
    send(other, f"{queue}.before", "6")
    expected = [(f"{queue}.later", b"3")]
    if wildcard != "*":
        expected += [(queue, b"4"), (f"{queue}.later.still", b"5")]
    expected += [(f"{queue}.before", b"6")]
    assert came(peer, len(expected)) == expected
    peer.sync()


def test_a_queue_is_joined_within_the_turn_that_makes_it(connect: Connect, queue: str):
    """C1.7: its first message waits for nothing."""
    peer = connect()
    subscribe(peer, f"{queue}.*")
    peer.send(f"SEND\ndestination:{queue}.new\nreceipt:r\n\n1\0")
    # Both in one turn, so the message is written before the receipt, which waits for no disk:
    # what goes straight to a consumer is never stored.
    assert peer.expect("MESSAGE").body == b"1"
    assert peer.expect("RECEIPT")["receipt-id"] == "r"


def test_one_credit_and_turns(connect: Connect, queue: str):
    """C1.7: one credit for all; round robin over queues that have something."""
    for name, count in (("a", 3), ("b", 1), ("c", 2)):
        fill(connect(), f"{queue}.{name}", count)
    peer = connect()
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}.>\nack:client-individual\nprefetch-count:1\n\n\0"
    )
    order = ""
    for _ in range(6):
        frame = peer.expect("MESSAGE")
        order += frame["destination"][-1]
        peer.sync()
        peer.send(settle("ACK", "1.2", frame))
    assert order == "abcaca"


@pytest.mark.parametrize("pattern", ["/queue/>", "/queue/*.n", "/queue/*", "/queue/#"])
def test_dead_letters_are_left_alone(pattern: str):
    """C1.7: never in `DLQ.` unless the pattern's first word says so."""
    with (
        running_broker() as broker,
        Peer.open(broker.port) as peer,
        Peer.open(broker.port) as other,
    ):
        send(other, "/queue/DLQ.n", "dead")
        subscribe(peer, pattern)
        name = "/queue/x" if pattern.endswith("/*") else "/queue/x.n"
        send(other, name, "mine")
        assert came(peer, 1) == [(name, b"mine")]
        send(other, "/queue/DLQ.m.n", "dead later")
        peer.sync()
        peer.send("UNSUBSCRIBE\nid:0\n\n\0")
        peer.sync()
        peer.send("SUBSCRIBE\nid:1\ndestination:/queue/DLQ.>\n\n\0")
        assert came(peer, 2) == [("/queue/DLQ.n", b"dead"), ("/queue/DLQ.m.n", b"dead later")]


@pytest.mark.parametrize(
    "pattern", ["/queue/durable.>", "/queue/$SYS.>", "/queue/>.a", "/queue/a.#.b", "/temp-queue/*"]
)
def test_patterns_that_cannot_be(connect: Connect, pattern: str):
    """C1.7: what one queue of that name could not be subscribed to, many cannot."""
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{pattern}\nreceipt:r\n\n\0")
    peer.expect_error("bad-destination", receipt="r")


def test_a_pattern_sets_up_no_queue(connect: Connect, queue: str):
    """R3: arguments are refused by name."""
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}.*\nx-max-length:3\n\n\0")
    assert b"x-max-length" in peer.expect_error("bad-header").body


@pytest.mark.parametrize("version", VERSIONS)
def test_unsubscribe_and_a_lost_connection(connect: Connect, queue: str, version: str):
    """5: what is not settled returns to its queue; nothing is joined any more."""
    peer, other = connect(version), connect()
    subscribe(peer, f"{queue}.*", "ack:client")
    send(other, f"{queue}.a", "1")
    send(other, f"{queue}.b", "2")
    assert len(came(peer, 2)) == 2
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    peer.sync()
    send(other, f"{queue}.c", "3")
    peer.sync()
    assert left(connect, f"{queue}.a") == [(b"1", "true")]
    assert left(connect, f"{queue}.b") == [(b"2", "true")]
    assert left(connect, f"{queue}.c") == [(b"3", "false")]
    subscribe(peer, f"{queue}.*", "ack:client")
    send(other, f"{queue}.d", "4")
    assert len(came(peer, 1)) == 1
    peer.reset()
    assert left(connect, f"{queue}.d") == [(b"4", "true")]


def test_together_with_names(connect: Connect, queue: str, topic: str):
    """C1.5.1, C1.7: a composite may have patterns; a queue that two parts name is taken once."""
    peer, other = connect(), connect()
    subscribe(peer, f"{queue}.a,{queue}.*,{topic}.>")
    for destination in (f"{queue}.a", f"{queue}.b", f"{topic}.c"):
        send(other, destination, destination[-1])
        assert came(peer, 1) == [(destination, destination[-1].encode())]
    peer.sync()


def test_a_queue_that_somebody_has_for_himself_is_left_out(connect: Connect, queue: str):
    """C1.2.4, C1.7: it is none of those that a pattern can have; by its name it is refused."""
    owner, peer, other = connect(), connect(), connect()
    subscribe(owner, f"{queue}.mine", "exclusive:true")
    send(other, f"{queue}.all", "1")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}.*\nreceipt:r\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    assert came(peer, 1) == [(f"{queue}.all", b"1")]
    owner.send(f"SUBSCRIBE\nid:1\ndestination:{queue}.later\nexclusive:true\nreceipt:l\n\n\0")
    assert owner.expect("RECEIPT")["receipt-id"] == "l"
    for name in ("mine", "later", "all"):
        send(other, f"{queue}.{name}", name)
    assert came(peer, 1) == [(f"{queue}.all", b"all")]
    assert came(owner, 2) == [(f"{queue}.mine", b"mine"), (f"{queue}.later", b"later")]
    peer.sync()
    late = connect()
    late.send(f"SUBSCRIBE\nid:0\ndestination:{queue}.all,{queue}.mine\nreceipt:r\n\n\0")
    late.expect_error("access-refused", receipt="r")


def test_a_queue_that_ends_with_its_consumers_may_be_joined(connect: Connect, queue: str):
    """C1.2.1, C1.7: who found it by a pattern is one of them."""
    owner, peer, other = connect(), connect(), connect()
    subscribe(peer, f"{queue}.*")
    subscribe(owner, f"{queue}.short", "auto-delete:true")
    owner.close()
    other.send(f"SEND\ndestination:{queue}.short\n\n1\0")
    assert came(peer, 1) == [(f"{queue}.short", b"1")]


@pytest.fixture(scope="module")
def guarded() -> Iterator[Callable[[str], Peer]]:
    """Clients of a broker with rules, by login."""
    users = {name: cheap_hash(name) for name in ("some", "every", "boss")}
    acl = [
        {"user": "boss"},
        {"user": "boss", "match": "/topic/>"},
        {"user": "some", "match": "/queue/a.secret", "access": "deny"},
        {"user": "some", "match": "/queue/a.>"},
        {"user": "some", "match": "/topic/>"},
        {"user": "every", "match": "/topic/hidden", "access": "deny"},
        {"user": "every", "match": "/queue/>"},
        {"user": "every", "match": "/topic/>"},
    ]
    policy = [{"match": "/topic/hidden", "dead_letter": "/queue/trash.hidden"}]
    peers: list[Peer] = []
    security = {"default_access": "deny"}
    with running_broker(users=users, security=security, acl=acl, policy=policy) as broker:

        def enter(login: str) -> Peer:
            peers.append(Peer.open(broker.port, "1.2", f"login:{login}", f"passcode:{login}"))
            return peers[-1]

        yield enter
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("pattern", ["a.*", "a.>", ">", "*.b"])
def test_rules_allow_all_or_none(guarded: Callable[[str], Peer], pattern: str):
    """C1.7: access rules as for topic wildcards."""
    peer = guarded("some")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/{pattern}\n\n\0")
    peer.expect_error("access-refused")


def test_what_the_rules_allow(guarded: Callable[[str], Peer]):
    """C1.7: and what they do."""
    peer, boss = guarded("some"), guarded("boss")
    subscribe(peer, "/queue/a.b.*")
    send(boss, "/queue/a.b.c", "1")
    assert came(peer, 1) == [("/queue/a.b.c", b"1")]


def test_rules_follow_a_message_into_a_pattern(guarded: Callable[[str], Peer]):
    """C1.7: dead letters of what one may not receive are not joined, now or later."""
    peer, boss = guarded("every"), guarded("boss")
    subscribe(peer, "/queue/trash.>")
    send(boss, "/queue/trash.hidden", "1")
    send(boss, "/queue/trash.open", "2")
    assert came(peer, 1) == [("/queue/trash.open", b"2")]
    peer.sync()
    late = guarded("every")
    late.send("SUBSCRIBE\nid:0\ndestination:/queue/trash.>\n\n\0")
    late.expect_error("access-refused")


def test_there_is_a_most(connect: Connect, queue: str, monkeypatch: pytest.MonkeyPatch):
    """C1.7: at most so many queues; said to whoever asks, and to whoever has too many later."""
    monkeypatch.setattr(queue_patterns, "MOST_JOINED", 3)
    monkeypatch.setattr("stompy_broker.session.joined_sources.MOST_JOINED", 3)
    peer, other = connect(), connect()
    subscribe(peer, f"{queue}.*")
    for number in range(3):
        send(other, f"{queue}.{number}", str(number))
        assert len(came(peer, 1)) == 1
    send(other, f"{queue}.one-more", "x")
    assert b"3 queues" in peer.expect_error("limit-exceeded").body
    again = connect()
    again.send(f"SUBSCRIBE\nid:0\ndestination:{queue}.*\n\n\0")
    again.expect_error("limit-exceeded")
    other.sync()
