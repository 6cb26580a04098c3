"""Durable topic subscriptions: three dialects, one thing (the manual, *Durable subscriptions*)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, cheap_hash, running_broker, stats, unique, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

VERSIONS = ("1.0", "1.1", "1.2")


@dataclass(frozen=True)
class Dialect:
    """How a client names a durable subscription.

    Attributes:
        connect: header lines of CONNECT.
        named: header lines of SUBSCRIBE, and of the UNSUBSCRIBE that deletes.
        shared: whether several may subscribe at once.
    """

    connect: tuple[str, ...]
    named: str
    shared: bool = False


DIALECTS = {
    "artemis": Dialect(("client-id:CLIENT",), "durable-subscription-name:news\n"),
    "activemq": Dialect(("client-id:CLIENT",), "activemq.subscriptionName:news\n"),
    "rabbitmq": Dialect((), "durable:true\nauto-delete:false\n", shared=True),
    "rabbitmq, short": Dialect((), "durable:true\n", shared=True),
    "rabbitmq, persistent": Dialect((), "persistent:true\n", shared=True),
}


class Reader:
    """A client with a subscription of its own, in one dialect."""

    def __init__(self, dialect: Dialect, topic: str) -> None:
        self.dialect = dialect
        self.topic = topic
        self.client = unique("client")

    @property
    def id(self) -> str:
        """The subscription id, which is a part of the name in RabbitMQ's dialect."""
        return f"sub-{self.client}"

    @property
    def queue(self) -> str:
        """The name of the backlog, as the broker's counters have it."""
        if self.dialect.shared:
            return f"durable.{self.id}@{self.topic.removeprefix('/topic/')}"
        return f"durable.{self.client}.news"

    def open(self, port: int, version: str = "1.2") -> Peer:
        """Connect."""
        lines = [line.replace("CLIENT", self.client) for line in self.dialect.connect]
        return Peer.open(port, version, *lines)

    def subscribe(self, peer: Peer, *headers: str) -> None:
        """SUBSCRIBE, and be sure that it was done."""
        peer.send(self.frame("SUBSCRIBE", *headers))
        assert peer.expect("RECEIPT")["receipt-id"] == "done"

    def delete(self, peer: Peer) -> None:
        """UNSUBSCRIBE for good."""
        peer.send(self.frame("UNSUBSCRIBE"))
        assert peer.expect("RECEIPT")["receipt-id"] == "done"

    def leave(self, peer: Peer) -> None:
        """UNSUBSCRIBE and come back later."""
        peer.send(f"UNSUBSCRIBE\nid:{self.id}\nreceipt:left\n\n\0")
        assert peer.expect("RECEIPT")["receipt-id"] == "left"

    def frame(self, command: str, *headers: str) -> str:
        """A frame with the name in it, and a receipt."""
        lines = "".join(f"{line}\n" for line in headers)
        return (
            f"{command}\nid:{self.id}\ndestination:{self.topic}\n{self.dialect.named}{lines}"
            "receipt:done\n\n\0"
        )


@pytest.fixture(params=DIALECTS)
def reader(request: pytest.FixtureRequest, topic: str) -> Reader:
    return Reader(DIALECTS[request.param], topic)


@pytest.fixture
def named(topic: str) -> Reader:
    return Reader(DIALECTS["artemis"], topic)


def publish(peer: Peer, topic: str, *bodies: object, headers: str = "") -> None:
    """SEND messages, and be sure that they are safe."""
    for body in bodies:
        peer.send(f"SEND\ndestination:{topic}\n{headers}\n{body}\0")
    peer.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_came_meanwhile_is_delivered_later_in_order(
    broker: RunningBroker, connect: Connect, reader: Reader, version: str
):
    """14: the backlog first, then what is new."""
    producer = connect("1.2")
    publish(producer, reader.topic, "too early")
    with reader.open(broker.port, version) as peer:
        reader.subscribe(peer)
        publish(producer, reader.topic, "live")
        assert peer.expect("MESSAGE")["destination"] == reader.topic
        peer.sync()
        reader.leave(peer)
    publish(producer, reader.topic, *range(20))
    assert stats(broker, reader.queue).ready == 20
    with reader.open(broker.port, version) as peer:
        reader.subscribe(peer)
        publish(producer, reader.topic, 20)
        assert peer.bodies(21) == [b"%d" % n for n in range(21)]
        peer.sync()


def test_a_lost_connection_ends_nothing(broker: RunningBroker, connect: Connect, reader: Reader):
    """14, 5: what was not acknowledged is delivered again, before what is new."""
    producer = connect("1.2")
    with reader.open(broker.port) as peer:
        reader.subscribe(peer, "ack:client-individual")
        publish(producer, reader.topic, 1, 2, 3)
        first, *_ = [peer.expect("MESSAGE") for _ in range(3)]
        peer.send(f"ACK\nid:{first['ack']}\nreceipt:a\n\n\0")
        peer.expect("RECEIPT")
        peer.reset()
    _until_free(broker, reader)
    publish(producer, reader.topic, 4)
    with reader.open(broker.port) as other:
        reader.subscribe(other, "ack:client-individual")
        messages = [other.expect("MESSAGE") for _ in range(3)]
    assert [message.body for message in messages] == [b"2", b"3", b"4"]
    assert [message["redelivered"] for message in messages] == ["true", "true", "false"]


def _until_free(broker: RunningBroker, reader: Reader) -> None:
    until(lambda: stats(broker, reader.queue).consumers == 0, "the subscriber to be gone")


def test_a_wildcard_may_be_durable(broker: RunningBroker, connect: Connect, reader: Reader):
    """14, 13: every topic that matches."""
    topic, reader.topic = reader.topic, f"{reader.topic}.*"
    with reader.open(broker.port) as peer:
        reader.subscribe(peer)
        reader.leave(peer)
        publish(connect("1.2"), f"{topic}.a", "a")
        publish(connect("1.2"), f"{topic}.b", "b")
        publish(connect("1.2"), f"{topic}.b.c", "c")
        reader.subscribe(peer)
        assert peer.bodies(2) == [b"a", b"b"]
        peer.sync()


@pytest.mark.parametrize("dialect", ["artemis", "activemq"])
def test_a_name_has_one_subscriber(
    broker: RunningBroker, connect: Connect, topic: str, dialect: str
):
    """14: a second one is refused, and the first one does not notice."""
    reader = Reader(DIALECTS[dialect], topic)
    with reader.open(broker.port) as peer, reader.open(broker.port) as second:
        reader.subscribe(peer)
        second.send(reader.frame("SUBSCRIBE"))
        second.expect_error("subscription-in-use", receipt="done")
        publish(connect("1.2"), topic, "body")
        assert peer.bodies(1) == [b"body"]
        peer.sync()
        reader.leave(peer)
        with reader.open(broker.port) as third:
            reader.subscribe(third)
            third.sync()


def test_names_belong_to_their_client_id(broker: RunningBroker, connect: Connect, topic: str):
    """14: the same name under another ``client-id`` is another subscription."""
    one, two = (Reader(DIALECTS["artemis"], topic) for _ in range(2))
    with one.open(broker.port) as first, two.open(broker.port) as second:
        one.subscribe(first)
        two.subscribe(second)
        publish(connect("1.2"), topic, "both")
        assert first.bodies(1) == second.bodies(1) == [b"both"]


def test_two_spellings_of_one_name(broker: RunningBroker, connect: Connect, topic: str):
    """14: ActiveMQ's header and Artemis' name the same subscription."""
    one, two = Reader(DIALECTS["artemis"], topic), Reader(DIALECTS["activemq"], topic)
    two.client = one.client
    with one.open(broker.port) as peer:
        one.subscribe(peer)
    _until_free(broker, one)
    publish(connect("1.2"), topic, "body")
    with two.open(broker.port) as peer:
        two.subscribe(peer)
        assert peer.bodies(1) == [b"body"]


def test_rabbitmq_s_form_is_shared(broker: RunningBroker, connect: Connect, topic: str):
    """14, 12: each message goes to one of those who share it, in turn."""
    reader = Reader(DIALECTS["rabbitmq"], topic)
    with reader.open(broker.port) as one, reader.open(broker.port) as two:
        reader.subscribe(one)
        reader.subscribe(two)
        publish(connect("1.2"), topic, *range(6))
        assert one.bodies(3) == [b"0", b"2", b"4"]
        assert two.bodies(3) == [b"1", b"3", b"5"]
        one.sync()
        two.sync()


@pytest.mark.parametrize(
    "headers",
    [
        "durable:true\nauto-delete:true\n",
        "auto-delete:false\n",
        "durable:false\nauto-delete:false\n",
    ],
)
def test_what_does_not_say_durable_is_not(
    broker: RunningBroker, connect: Connect, topic: str, headers: str
):
    """14: nor what says that it ends with its subscriber."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{topic}\n{headers}\n\0UNSUBSCRIBE\nid:0\n\n\0")
    peer.sync()
    publish(peer, topic, "nobody listens")
    assert not [row for row in broker.queues() if row.name.endswith(topic.removeprefix("/topic/"))]


def test_unsubscribe_with_the_name_deletes(broker: RunningBroker, connect: Connect, reader: Reader):
    """14: and what waits with it; without the name it only leaves."""
    producer = connect("1.2")
    with reader.open(broker.port) as peer:
        reader.subscribe(peer)
        reader.leave(peer)
        publish(producer, reader.topic, "kept")
        reader.subscribe(peer)
        assert peer.bodies(1) == [b"kept"]
        reader.delete(peer)
        assert reader.queue not in {row.name for row in broker.queues()}
        publish(producer, reader.topic, "lost")
        reader.subscribe(peer)
        publish(producer, reader.topic, "new")
        assert peer.bodies(1) == [b"new"]
        peer.sync()


def test_deleting_without_being_subscribed(broker: RunningBroker, connect: Connect, named: Reader):
    """14: as ActiveMQ's clients do it, on a connection that never subscribed."""
    with named.open(broker.port) as peer:
        named.subscribe(peer)
        named.leave(peer)
    publish(connect("1.2"), named.topic, "waits")
    with named.open(broker.port) as peer:
        named.delete(peer)
        assert named.queue not in {row.name for row in broker.queues()}
        peer.send(named.frame("UNSUBSCRIBE"))
        peer.expect_error("unknown-subscription", receipt="done")


def test_nobody_deletes_what_another_one_uses(broker: RunningBroker, named: Reader):
    """14: it is in use, and stays so."""
    with named.open(broker.port) as peer, named.open(broker.port) as other:
        named.subscribe(peer)
        other.send(named.frame("UNSUBSCRIBE"))
        other.expect_error("subscription-in-use", receipt="done")
        publish(peer, "/topic/" + unique(), "nothing")
        assert stats(broker, named.queue).consumers == 1


@pytest.mark.parametrize(
    "lines",
    [
        "durable-subscription-name:a\nactivemq.subscriptionName:b\n",
        "activemq.subcriptionName:a\nactivemq.subscriptionName:b\n",
        "durable:true\npersistent:false\n",
        "durable:true\npersistent:false\nx-queue-name:q\n",
        "prefetch-count:1\nactivemq.prefetchSize:2\n",
    ],
)
def test_two_spellings_that_differ_are_refused(connect: Connect, topic: str, lines: str):
    """Which of them is meant nobody knows, and the wrong one would lose messages."""
    peer = connect("1.2", "client-id:c")
    peer.send(f"SUBSCRIBE\nid:0\nack:client\ndestination:{topic}\n{lines}receipt:s\n\n\0")
    peer.expect_error("bad-header", "s")


@pytest.mark.parametrize("header", ["durable-subscription-name", "activemq.subscriptionName"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_needs_a_client_id(connect: Connect, topic: str, version: str, header: str):
    """14: nothing else tells whose name it is."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{topic}\n{header}:news\nreceipt:r\n\n\0")
    peer.expect_error("missing-header", receipt="r")


def test_rabbitmq_s_form_needs_an_id(connect: Connect, topic: str):
    """14: in 1.0, where the id may be missing otherwise."""
    peer = connect("1.0")
    named = DIALECTS["rabbitmq"].named
    peer.send(f"SUBSCRIBE\ndestination:{topic}\n{named}receipt:r\n\n\0")
    peer.expect_error("missing-header", receipt="r")


@pytest.mark.parametrize("header", ["durable-subscription-name", "activemq.subscriptionName"])
def test_a_queue_takes_no_name(connect: Connect, queue: str, header: str):
    """14: a queue keeps its messages anyway."""
    peer = connect("1.2", "client-id:c")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n{header}:news\nreceipt:r\n\n\0")
    peer.expect_error("bad-header", receipt="r")


def test_a_queue_may_be_called_durable(connect: Connect, queue: str):
    """14: RabbitMQ's headers say of a queue what it is."""
    peer = connect("1.2")
    named = DIALECTS["rabbitmq"].named
    peer.send(f"SEND\ndestination:{queue}\n\nbody\0")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n{named}\n\0")
    assert peer.bodies(1) == [b"body"]


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
def test_the_backlog_is_reached_in_no_other_way(
    broker: RunningBroker, connect: Connect, named: Reader, command: str
):
    """14: its queue belongs to the broker."""
    with named.open(broker.port) as peer:
        named.subscribe(peer)
    peer = connect("1.2")
    peer.send(f"{command}\nid:0\ndestination:/queue/{named.queue}\nreceipt:r\n\n\0")
    peer.expect_error("bad-destination", receipt="r")


def test_another_topic_replaces_the_subscription(
    broker: RunningBroker, connect: Connect, named: Reader
):
    """14: as in JMS, and what waited goes with the old one."""
    old, producer = named.topic, connect("1.2")
    with named.open(broker.port) as peer:
        named.subscribe(peer)
        named.leave(peer)
        publish(producer, old, "old")
        named.topic = f"{old}.new"
        named.subscribe(peer)
        publish(producer, old, "old")
        publish(producer, named.topic, "new")
        assert peer.bodies(1) == [b"new"]
        peer.sync()


def test_the_topic_does_not_change_under_a_subscriber(broker: RunningBroker, named: Reader):
    """14: who is there stays there."""
    with named.open(broker.port) as peer, named.open(broker.port) as other:
        named.subscribe(peer)
        old, named.topic = named.topic, f"{named.topic}.new"
        other.send(named.frame("SUBSCRIBE"))
        other.expect_error("subscription-in-use", receipt="done")
        publish(peer, unique("/topic/x"), "nothing")
        peer.send(f"SEND\ndestination:{old}\n\nbody\0")
        assert peer.bodies(1) == [b"body"]


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ({"max_length": 3}, [6, 7, 8]),
        ({"max_length_bytes": 3500}, [5, 6, 7, 8]),
        ({"max_length": 3, "overflow": "reject-publish-dlx"}, [0, 1, 2]),
        ({"backlog_messages": 3, "backlog_bytes": 3500}, list(range(9))),
    ],
)
def test_its_backlog_is_bounded_as_a_queue_is(limit: dict[str, object], left: list[int]):
    """14, 10: by length, where the policy says so, and else not at all; it is counted."""
    policy = Policy.model_validate({"match": "/topic/few", "overflow_to": "/queue/out"} | limit)
    with running_broker(policy=(policy,)) as broker:
        reader = Reader(DIALECTS["artemis"], "/topic/few")
        with reader.open(broker.port) as peer, Peer.open(broker.port) as producer:
            reader.subscribe(peer)
            reader.leave(peer)
            publish(producer, reader.topic, *(f"{n}{'x' * 800}" for n in range(9)))
            rows = {row.name: row for row in broker.queues()}
            out = rows["out"].ready if "out" in rows else 0
            dead = rows["DLQ.few"].ready if "DLQ.few" in rows else 0
            assert out + dead + len(left) == 9
            assert rows[reader.queue].dead_lettered == 9 - len(left)
            reader.subscribe(peer)
            assert [int(body[:1]) for body in peer.bodies(len(left))] == left
            peer.sync()


def test_a_full_backlog_may_refuse():
    """14, 11: then nobody gets the message, and COMMIT refuses the whole transaction."""
    policies = (
        Policy(match="/topic/r.a", max_length=2, overflow="reject-publish"),
        Policy(match="/topic/r.>", max_length=2),
    )
    with running_broker(policy=policies) as broker:
        readers = [Reader(DIALECTS["artemis"], topic) for topic in ("/topic/r.*", "/topic/r.a")]
        for reader in readers:
            with reader.open(broker.port) as peer:
                reader.subscribe(peer)
        with Peer.open(broker.port) as listener, Peer.open(broker.port) as producer:
            listener.send("SUBSCRIBE\nid:0\ndestination:/topic/r.>\n\n\0")
            listener.sync()
            publish(producer, "/topic/r.a", 0, 1)
            producer.send("SEND\ndestination:/topic/r.a\nreceipt:r\n\n2\0")
            producer.expect_error("queue-full", receipt="r")
            with Peer.open(broker.port) as second:
                second.send("BEGIN\ntransaction:t\n\n\0")
                for destination in ("/queue/q", "/topic/r.b", "/topic/r.a"):
                    second.send(f"SEND\ntransaction:t\ndestination:{destination}\n\nx\0")
                second.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
                second.expect_error("queue-full", receipt="c")
            assert listener.bodies(2) == [b"0", b"1"]
            listener.sync()
            assert {row.name: row.ready for row in broker.queues()} == {
                reader.queue: 2 for reader in readers
            }


def test_producers_may_wait_for_a_subscriber():
    """14, 11: with `max_bytes` in the policy of the topic."""
    with running_broker(policy=(Policy(match="/topic/full", max_bytes=10_000),)) as broker:
        reader = Reader(DIALECTS["artemis"], "/topic/full")
        with reader.open(broker.port) as peer, Peer.open(broker.port) as producer:
            reader.subscribe(peer)
            reader.leave(peer)
            # A frame behind it need not be read any more, so the SEND asks for its own receipt.
            producer.send(f"SEND\ndestination:{reader.topic}\nreceipt:0\n\n{'x' * 20_000}\0")
            assert producer.expect("RECEIPT")["receipt-id"] == "0"
            producer.send(f"SEND\ndestination:{reader.topic}\nreceipt:r\n\nmore\0")
            assert not producer.hears(0.2)
            reader.subscribe(peer)
            assert [len(body) for body in peer.bodies(2)] == [20_000, 4]
            assert producer.expect("RECEIPT")["receipt-id"] == "r"


# -- restarts -------------------------------------------------------------------------------------


def test_it_survives_a_restart(tmp_path: Path, reader: Reader):
    """14, 2: the subscription, its backlog, and the order."""
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with reader.open(broker.port) as peer:
            reader.subscribe(peer, "ack:client-individual")
            publish(peer, unique("/topic/x"), "nothing")
            reader.leave(peer)
            publish(peer, reader.topic, *range(5))
            reader.subscribe(peer, "ack:client-individual", "prefetch-count:2")
            first = peer.expect("MESSAGE")
            peer.expect("MESSAGE")
            peer.send(f"ACK\nid:{first['ack']}\nreceipt:a\n\n\0")
            while peer.read().command != "RECEIPT":
                pass
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with reader.open(broker.port) as peer:
            publish(peer, reader.topic, 5)
            reader.subscribe(peer)
            messages = [peer.expect("MESSAGE") for _ in range(5)]
            peer.sync()
            assert [message.body for message in messages] == [b"1", b"2", b"3", b"4", b"5"]
            assert messages[0]["redelivered"] == "true"
            assert messages[-1]["redelivered"] == "false"
            if not reader.dialect.shared:
                with reader.open(broker.port) as second:
                    second.send(reader.frame("SUBSCRIBE"))
                    second.expect_error("subscription-in-use", receipt="done")


def test_a_deleted_one_stays_deleted(tmp_path: Path, reader: Reader):
    """14: also its backlog."""
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with reader.open(broker.port) as peer:
            reader.subscribe(peer)
            reader.leave(peer)
            publish(peer, reader.topic, "gone")
            reader.subscribe(peer, "ack:client-individual")
            peer.expect("MESSAGE")
            reader.delete(peer)
    with running_broker(store={"data": str(tmp_path)}) as broker:
        assert reader.queue not in {row.name for row in broker.queues()}
        with reader.open(broker.port) as peer:
            reader.subscribe(peer)
            peer.sync()


def test_the_new_topic_is_the_one_that_survives(tmp_path: Path, named: Reader):
    """14: and nothing of the old one."""
    old = named.topic
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with named.open(broker.port) as peer:
            named.subscribe(peer)
            named.leave(peer)
            publish(peer, old, "old")
            named.topic = f"{old}.new"
            named.subscribe(peer)
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with named.open(broker.port) as peer:
            publish(peer, old, "old")
            publish(peer, named.topic, "new")
            named.subscribe(peer)
            assert peer.bodies(1) == [b"new"]
            peer.sync()


def test_what_is_not_persistent_does_not_survive(tmp_path: Path, reader: Reader):
    """14, 2: a message that says so lives as long as the broker."""
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with reader.open(broker.port) as peer:
            reader.subscribe(peer)
            reader.leave(peer)
            publish(peer, reader.topic, "short", headers="persistent:false\n")
            publish(peer, reader.topic, "long")
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with reader.open(broker.port) as peer:
            reader.subscribe(peer)
            assert peer.bodies(1) == [b"long"]
            peer.sync()


# -- whose they are -----------------------------------------------------------------------------

OWNERS = {
    "users": {name: cheap_hash(name[0]) for name in ("ann", "mallory")},
    "security": {"allow_anonymous": True},
}


def enter(broker: RunningBroker, name: str | None, reader: Reader) -> Peer:
    """A client under a login, or without, that calls itself what the reader does."""
    login = [] if name is None else [f"login:{name}", f"passcode:{name[0]}"]
    connect = [line.replace("CLIENT", reader.client) for line in reader.dialect.connect]
    return Peer.open(broker.port, "1.2", *login, *connect)


def subscribe(peer: Peer, reader: Reader) -> None:
    peer.send(
        f"SUBSCRIBE\nid:{reader.id}\ndestination:{reader.topic}\nack:client-individual\n"
        f"{reader.dialect.named}receipt:s\n\n\0"
    )


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("other", ["mallory", None])
@pytest.mark.parametrize("again", [False, True], ids=["running", "restarted"])
def test_a_durable_subscription_belongs_to_its_user(
    tmp_path: Path, dialect: Dialect, other: str | None, again: bool
) -> None:
    reader = Reader(dialect, f"/topic/{unique('t')}")
    sections = {**OWNERS, "store": {"data": str(tmp_path)}}
    unsubscribe = (
        f"UNSUBSCRIBE\nid:{reader.id}\ndestination:{reader.topic}\n{dialect.named}receipt:u\n\n\0"
    )
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(**sections))
        with enter(broker, "ann", reader) as ann:
            subscribe(ann, reader)
            ann.expect("RECEIPT")
        until(lambda: not broker.connections(), "ann to go")
        if again:
            stack.close()
            broker = stack.enter_context(running_broker(**sections))
        with enter(broker, "ann", reader) as ann:
            ann.send(f"SEND\ndestination:{reader.topic}\nreceipt:r\n\nfor ann\0")
            ann.expect("RECEIPT")
        with enter(broker, other, reader) as mallory:
            subscribe(mallory, reader)
            assert b"another user" in mallory.expect_error("access-refused", "s").body
        with enter(broker, other, reader) as mallory:
            mallory.send(unsubscribe)
            mallory.expect_error("access-refused", "u")
        # Nor by its name for another topic, which would end it.
        if not dialect.shared:
            with enter(broker, other, reader) as mallory:
                elsewhere = Reader(dialect, "/topic/elsewhere")
                elsewhere.client = reader.client
                subscribe(mallory, elsewhere)
                mallory.expect_error("access-refused", "s")
        with enter(broker, "ann", reader) as ann:
            subscribe(ann, reader)
            ann.expect("RECEIPT")
            assert ann.expect("MESSAGE").body == b"for ann"
            ann.send(unsubscribe)
            ann.expect("RECEIPT")
        with enter(broker, other, reader) as mallory:
            subscribe(mallory, reader)
            mallory.expect("RECEIPT")


def test_who_comes_without_login_is_one_owner() -> None:
    reader = Reader(DIALECTS["activemq"], f"/topic/{unique('t')}")
    with running_broker(**OWNERS) as broker:
        for name in (None, None, "ann"):
            with enter(broker, name, reader) as peer:
                subscribe(peer, reader)
                if name is None:
                    peer.expect("RECEIPT")
                else:
                    peer.expect_error("access-refused", "s")
            until(lambda: not broker.connections(), "it to go")


def test_one_that_was_made_without_users_belongs_to_the_first_that_comes(tmp_path: Path) -> None:
    reader = Reader(DIALECTS["artemis"], f"/topic/{unique('t')}")
    data = {"store": {"data": str(tmp_path)}}
    with running_broker(**data) as broker:
        for name in ("mallory", "ann"):  # names prove nothing here
            with enter(broker, name, reader) as peer:
                subscribe(peer, reader)
                peer.expect("RECEIPT")
            until(lambda: not broker.connections(), "it to go")
    for _ in range(2):
        with running_broker(**OWNERS, **data) as broker:
            for name, answer in (("ann", "RECEIPT"), ("mallory", "ERROR")):
                with enter(broker, name, reader) as peer:
                    subscribe(peer, reader)
                    peer.expect(answer)
                until(lambda: not broker.connections(), "it to go")
