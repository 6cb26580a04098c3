"""Topics bound to a queue that the client names (the manual, *A queue of your own for topics*)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.process import BrokerProcess
from tests.support.wire import Frame, Peer, cheap_hash, running_broker, stats, unique, until

from stompy_broker import RunningBroker

LASTING = "durable:true\nauto-delete:false\n"


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def name() -> str:
    return unique("own")


@pytest.fixture
def peers(broker: RunningBroker) -> Iterator[list[Peer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Peer.open(broker.port)) for _ in range(3)]


def subscribe(
    peer: Peer, destination: str, name: str, headers: str = LASTING, id: str = "0"
) -> None:
    peer.send(
        f"SUBSCRIBE\nid:{id}\ndestination:{destination}\nx-queue-name:{name}\n{headers}"
        f"receipt:s-{id}\n\n\0"
    )


def subscribed(
    peer: Peer, destination: str, name: str, headers: str = LASTING, id: str = "0"
) -> None:
    subscribe(peer, destination, name, headers, id)
    assert peer.expect("RECEIPT")["receipt-id"] == f"s-{id}"


def unsubscribed(peer: Peer, headers: str = "", id: str = "0") -> None:
    peer.send(f"UNSUBSCRIBE\nid:{id}\n{headers}receipt:u\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "u"


def publish(peer: Peer, destination: str, body: str) -> None:
    peer.send(f"SEND\ndestination:{destination}\nreceipt:p\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "p"


def consume(peer: Peer, name: str) -> None:
    peer.send(f"SUBSCRIBE\nid:q\ndestination:/queue/{name}\n\n\0")


def names(broker: RunningBroker) -> set[str]:
    return {row.name for row in broker.queues()}


def bound_to(broker: RunningBroker, name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = broker._ask(
        lambda broker: (
            broker._router.registry.durable.by_name[name].patterns
            if name in broker._router.registry.durable.by_name
            else ()
        )
    )
    return found


# -- the name is the value, whatever the id --------------------------------------------------------


def test_who_comes_back_with_another_id_finds_what_was_published(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/orders", name, id="first")
    unsubscribed(one, id="first")
    publish(sender, "/topic/orders", "away")
    subscribed(other, "/topic/orders", name, id="second")
    message = other.expect("MESSAGE")
    assert (message.body, message["destination"]) == (b"away", "/topic/orders")
    assert names(broker) == {name}
    assert stats(broker, name).ready == 0


def test_several_share_it(peers: list[Peer], name: str) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/orders", name, id="a")
    subscribed(other, "/topic/orders", name, id="b")
    for number in range(4):
        publish(sender, "/topic/orders", str(number))
    assert {frame.body for frame in bodies(one, 2) + bodies(other, 2)} == {b"0", b"1", b"2", b"3"}


def bodies(peer: Peer, count: int) -> list[Frame]:
    return [peer.expect("MESSAGE") for _ in range(count)]


@pytest.mark.parametrize("prefix", ["/queue/", "/amq/queue/"])
def test_its_backlog_is_the_queue_of_that_name(peers: list[Peer], name: str, prefix: str) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/orders", name)
    unsubscribed(one)
    publish(sender, "/topic/orders", "a")
    publish(sender, f"/queue/{name}", "b")
    other.send(f"SUBSCRIBE\nid:q\ndestination:{prefix}{name}\n\n\0")
    assert [frame.body for frame in bodies(other, 2)] == [b"a", b"b"]


def test_a_queue_that_is_there_is_bound_with_its_messages(peers: list[Peer], name: str) -> None:
    one, _, sender = peers
    publish(sender, f"/queue/{name}", "before")
    subscribed(one, "/topic/orders", name)
    publish(sender, "/topic/orders", "after")
    assert [frame.body for frame in bodies(one, 2)] == [b"before", b"after"]


@pytest.mark.parametrize("bad", ["durable.x", "$SYS.x", "a.*", "a.>", "#", " x", "a,/queue/b"])
def test_names_that_no_client_can_have(peers: list[Peer], bad: str) -> None:
    subscribe(peers[0], "/topic/orders", bad)
    assert peers[0].expect("ERROR")["error-code"] == "bad-header"


@pytest.mark.parametrize("headers", ["", LASTING])
def test_a_name_that_is_too_long_makes_no_queue(
    broker: RunningBroker, peers: list[Peer], headers: str
) -> None:
    subscribe(peers[0], "/topic/orders", "x" * 1025, headers)
    peers[0].expect_error("limit-exceeded", "s-0")
    assert [row.name for row in broker.queues()] == []


def test_one_too_many_makes_no_queue(name: str) -> None:
    with running_broker(limits={"durables": 1}) as broker, Peer.open(broker.port) as one:
        subscribed(one, "/topic/orders", name)
        with Peer.open(broker.port) as other:
            subscribe(other, "/topic/orders", f"{name}2")
            other.expect_error("limit-exceeded", "s-0")
        assert [row.name for row in broker.queues()] == [name]


def test_a_queue_has_one_name(peers: list[Peer], name: str) -> None:
    one, other, _ = peers
    subscribed(one, f"/queue/{name}", name)
    subscribe(other, f"/queue/{name}", "another")
    other.expect_error("bad-header", "s-0")


def test_of_several_names_it_is_the_one(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    """django-stomp gives those for RabbitMQ and ActiveMQ at once."""
    subscribed(peers[0], "/topic/t", name, LASTING + "activemq.subscriptionName:x\n")
    assert bound_to(broker, name) == ("t",)
    unsubscribed(peers[0], LASTING + f"activemq.subscriptionName:x\nx-queue-name:{name}\n")
    assert bound_to(broker, name) == ()


def test_it_is_shared_anyhow(peers: list[Peer], name: str) -> None:
    subscribe(peers[0], "/topic/t", name, LASTING + "share:x\n")
    peers[0].expect_error("bad-header", "s-0")


def test_a_name_that_another_kind_of_subscription_has(broker: RunningBroker) -> None:
    with Peer.open(broker.port, "1.2", "client-id:c") as one, Peer.open(broker.port) as other:
        one.send("SUBSCRIBE\nid:0\ndestination:/topic/t\ndurable-subscription-name:n\n\n\0")
        one.sync()
        subscribe(other, "/topic/t", "c.n")
        other.expect_error("bad-header", "s-0")


# -- several topics --------------------------------------------------------------------------------


def test_a_second_topic_is_bound_as_well_and_what_both_match_comes_once(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/a.*", name, id="a")
    subscribed(other, "/topic/a.b", name, id="b")
    assert bound_to(broker, name) == ("a.*", "a.b")
    unsubscribed(other, id="b")
    publish(sender, "/topic/a.b", "both")
    publish(sender, "/topic/a.c", "one")
    assert [frame.body for frame in bodies(one, 2)] == [b"both", b"one"]


def test_unsubscribe_with_the_same_headers_ends_one_binding(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, _, sender = peers
    subscribed(one, "/topic/a", name, id="a")
    subscribed(one, "/topic/b", name, id="b")
    unsubscribed(one, f"x-queue-name:{name}\n{LASTING}", id="a")
    assert bound_to(broker, name) == ("b",)
    publish(sender, "/topic/a", "not any more")
    publish(sender, "/topic/b", "b")
    assert one.expect("MESSAGE").body == b"b"
    unsubscribed(one, LASTING, id="b")
    assert bound_to(broker, name) == ()
    assert name not in names(broker)
    told: list[str] = broker._ask(
        lambda broker: [
            event.type
            for event in broker._router.events.recent
            if event.type.startswith("durable.") and event.subscription == name
        ]
    )
    assert told == ["durable.created", "durable.bound", "durable.unbound", "durable.deleted"]


def test_with_the_last_binding_a_queue_that_holds_something_stays(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/a", name)
    unsubscribed(one)
    publish(sender, "/topic/a", "kept")
    other.send(f"UNSUBSCRIBE\nid:x\ndestination:/topic/a\nx-queue-name:{name}\n{LASTING}\n\0")
    other.sync()
    assert bound_to(broker, name) == ()
    consume(other, name)
    assert other.expect("MESSAGE").body == b"kept"
    publish(sender, "/topic/a", "lost")
    other.sync()


def test_who_consumes_from_the_queue_only_leaves(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, _ = peers
    subscribed(one, "/topic/a", name)
    consume(other, name)
    other.send(f"UNSUBSCRIBE\nid:q\n{LASTING}\n\0")
    other.sync()
    assert bound_to(broker, name) == ("a",)


# -- without `durable` -----------------------------------------------------------------------------


def test_without_durable_the_queue_is_there_as_long_as_somebody_subscribes(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/a", name, "")
    subscribed(other, "/topic/a", name, "auto-delete:true\n")
    assert names(broker) == {name}
    publish(sender, "/topic/a", "1")
    publish(sender, "/topic/a", "2")
    assert {one.expect("MESSAGE").body, other.expect("MESSAGE").body} == {b"1", b"2"}
    unsubscribed(one)
    assert names(broker) == {name}
    other.close()
    until(lambda: not names(broker), "the queue to go")
    assert bound_to(broker, name) == ()


def test_a_queue_that_stays_cannot_be_had_for_a_while_nor_the_other_way_round(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, sender = peers
    publish(sender, f"/queue/{name}", "x")
    subscribe(one, "/topic/a", name, "")
    one.expect_error("bad-header", "s-0")
    subscribed(sender, "/topic/a", f"{name}2", "")
    subscribe(other, "/topic/a", f"{name}2")
    other.expect_error("bad-header", "s-0")


# -- the arguments of the queue --------------------------------------------------------------------


def test_arguments_hold_for_that_queue(broker: RunningBroker, peers: list[Peer], name: str) -> None:
    one, other, sender = peers
    arguments = (
        f"{LASTING}x-max-length:1\nx-overflow:reject-publish\nx-dead-letter-exchange:\n"
        f"x-dead-letter-routing-key:dead-{name}\nack:client-individual\n"
    )
    subscribed(one, "/topic/a", name, arguments)
    publish(sender, "/topic/a", "bad")
    one.send(f"NACK\nid:{one.expect('MESSAGE')['ack']}\nrequeue:false\n\n\0")
    one.sync()
    consume(other, f"dead-{name}")
    dead = other.expect("MESSAGE")
    assert (dead.body, dead["x-first-death-queue"]) == (b"bad", name)
    unsubscribed(one)
    publish(sender, "/topic/a", "fits")
    sender.send("SEND\ndestination:/topic/a\nreceipt:r\n\ntoo much\0")
    sender.expect_error("queue-full", "r")


def test_another_exchange_for_dead_letters_is_refused(peers: list[Peer], name: str) -> None:
    subscribe(peers[0], "/topic/a", name, f"{LASTING}x-dead-letter-exchange:other\n")
    peers[0].expect_error("not-supported", "s-0")


def test_it_is_deleted_when_nobody_comes_for_as_long_as_it_says(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, _, sender = peers
    subscribed(one, "/topic/a", name, f"{LASTING}x-expires:600\n")
    unsubscribed(one)
    publish(sender, "/topic/a", "for nobody")
    until(lambda: name not in names(broker), "the queue to go with what is in it")
    assert bound_to(broker, name) == ()


# -- who may ---------------------------------------------------------------------------------------


def test_a_queue_of_somebody_else_takes_the_right_to_receive_from_it() -> None:
    hashes = {user: cheap_hash(user) for user in ("ann", "bob")}
    acl = [
        {"user": "bob", "match": "/queue/private", "actions": ["receive"], "access": "deny"},
        {"user": "bob", "match": "/queue/made", "actions": ["create"], "access": "deny"},
    ]
    with running_broker(users=hashes, acl=acl) as broker:
        with Peer.open(broker.port, "1.2", "login:ann", "passcode:ann") as ann:
            publish(ann, "/queue/private", "secret")
            subscribed(ann, "/topic/a", "anns")
        for queue in ("private", "made", "anns"):
            with Peer.open(broker.port, "1.2", "login:bob", "passcode:bob") as bob:
                subscribe(bob, "/topic/a", queue)
                bob.expect_error("access-refused", "s-0")


# -- a crash ---------------------------------------------------------------------------------------


def test_bindings_survive_a_crash(tmp_path: Path, name: str) -> None:
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        subscribed(peer, "/topic/a", name, f"{LASTING}x-max-length:5\n", id="a")
        subscribed(peer, "/topic/b.*", name, id="b")
        unsubscribed(peer, id="a")
        unsubscribed(peer, id="b")
        publish(peer, "/topic/a", "before")
        broker.kill()
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        publish(peer, "/topic/b.c", "after")
        subscribed(peer, "/topic/a", name, id="other")
        assert [frame.body for frame in bodies(peer, 2)] == [b"before", b"after"]
        unsubscribed(peer, f"x-queue-name:{name}\ndestination:/topic/b.*\n{LASTING}", id="other")
        broker.kill()
    with BrokerProcess(tmp_path / "data") as broker, Peer.open(broker.port) as peer:
        publish(peer, "/topic/b.c", "unbound")
        publish(peer, "/topic/a", "bound")
        consume(peer, name)
        assert peer.expect("MESSAGE").body == b"bound"


def test_what_several_bound_queues_have_counts_once_and_goes(
    broker: RunningBroker, peers: list[Peer], name: str
) -> None:
    one, other, sender = peers
    subscribed(one, "/topic/a", f"{name}1", LASTING + "ack:client\n")
    subscribed(other, "/topic/a", f"{name}2", LASTING + "ack:client\n")

    def used() -> int:
        return broker._ask(  # type: ignore[no-any-return]
            lambda broker: broker._router.memory.used + broker._router.loans.used
        )

    before = used()
    publish(sender, "/topic/a", "x" * 100_000)
    last = [one.expect("MESSAGE")["ack"], other.expect("MESSAGE")["ack"]]
    assert 100_000 <= used() - before < 150_000
    one.send(f"ACK\nid:{last[0]}\n\n\0")
    other.send(f"ACK\nid:{last[1]}\n\n\0")
    one.sync()
    other.sync()
    assert used() == before
