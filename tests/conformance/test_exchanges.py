"""`/exchange/…` and `/amq/queue/…` as RabbitMQ has them (the manual, *Destinations*)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.support.admin import observing
from tests.support.wire import Peer, cheap_hash, running_broker, stats, unique

from stompy_broker import RunningBroker

DECLARED = [
    {"name": "news", "type": "topic"},
    {"name": "tasks", "type": "direct"},
    {"name": "logs", "type": "fanout"},
    {"name": "sorted", "type": "headers"},
]


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(exchange=DECLARED) as broker:
        yield broker


def subscribe(peer: Peer, destination: str, id: str = "s", *lines: str) -> None:
    """SUBSCRIBE, and be sure that it was done."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{more}receipt:r-{id}\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == f"r-{id}"


def send(peer: Peer, destination: str, body: str, *lines: str) -> None:
    """SEND, and be sure that it was done."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:{destination}\n{more}receipt:sent\n\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "sent"


def test_the_topic_exchange_is_the_topics(connect: Connect) -> None:
    reader, sender, key = connect(), connect(), unique("k")
    subscribe(reader, f"/topic/{key}.*", "topic")
    send(sender, f"/exchange/amq.topic/{key}.1", "one")
    assert reader.expect("MESSAGE").body == b"one"
    subscribe(reader, f"/exchange/amq.topic/{key}.#", "exchange")
    send(sender, f"/topic/{key}.2", "two")
    assert {reader.expect("MESSAGE")["subscription"] for _ in range(2)} == {"topic", "exchange"}


@pytest.mark.parametrize("exchange", ["amq.direct", "tasks"])
def test_every_subscriber_of_a_key_gets_it_and_nobody_else(connect: Connect, exchange: str) -> None:
    reader, other, sender, key = connect(), connect(), connect(), unique("k")
    subscribe(reader, f"/exchange/{exchange}/{key}", "1")
    subscribe(reader, f"/exchange/{exchange}/{key}", "2")
    subscribe(other, f"/exchange/{exchange}/{key}.x")
    subscribe(other, f"/topic/{key}", "topic")
    subscribe(other, f"/topic/*.{key}", "star")
    send(sender, f"/exchange/{exchange}/{key}", "d")
    messages = [reader.expect("MESSAGE") for _ in range(2)]
    assert {one["subscription"] for one in messages} == {"1", "2"}
    assert {one["destination"] for one in messages} == {f"/exchange/{exchange}/{key}"}
    other.sync()


@pytest.mark.parametrize("exchange", ["amq.fanout", "logs"])
def test_a_fanout_does_not_look_at_the_key(connect: Connect, exchange: str) -> None:
    reader, sender = connect(), connect()
    subscribe(reader, f"/exchange/{exchange}", "plain")
    subscribe(reader, f"/exchange/{exchange}/a", "key")
    send(sender, f"/exchange/{exchange}/b", "d")
    messages = [reader.expect("MESSAGE") for _ in range(2)]
    assert {one["subscription"] for one in messages} == {"plain", "key"}
    assert {one["destination"] for one in messages} == {f"/exchange/{exchange}/b"}


def test_a_declared_topic_exchange_has_wildcards(connect: Connect) -> None:
    reader, sender = connect(), connect()
    subscribe(reader, "/exchange/news/de.*", "star")
    subscribe(reader, "/exchange/news/#", "all")
    send(sender, "/exchange/news/de.berlin", "1")
    assert {reader.expect("MESSAGE")["subscription"] for _ in range(2)} == {"star", "all"}
    send(sender, "/exchange/news/fr.paris", "2")
    assert reader.expect("MESSAGE")["subscription"] == "all"
    reader.sync()


def test_what_nobody_subscribed_to_is_dropped_and_counted(
    broker: RunningBroker, connect: Connect
) -> None:
    sender, key = connect(), unique("k")
    with observing(broker.port) as observer:
        page = observer.subscribe("broker")
        before = observer.page(page).rows[0].unroutable
        send(sender, f"/exchange/amq.direct/{key}", "d")
        observer.page_with(page, lambda page: page.rows[0].unroutable == before + 1)


def test_a_private_queue_leaves_nothing_over(broker: RunningBroker, connect: Connect) -> None:
    reader, before = connect(), len(broker.queues())
    subscribe(reader, "/exchange/amq.direct/left")
    reader.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0")
    reader.expect("RECEIPT")
    assert len(broker.queues()) == before


def test_a_durable_subscription_to_an_exchange_keeps_what_comes_meanwhile(
    broker: RunningBroker, connect: Connect
) -> None:
    key, id = unique("k"), unique("s")
    lines = ("durable:true", "auto-delete:false")
    with Peer.open(broker.port) as reader:
        subscribe(reader, f"/exchange/tasks/{key}", id, *lines)
        reader.send("DISCONNECT\nreceipt:bye\n\n\0")
        reader.expect("RECEIPT")
    send(connect(), f"/exchange/tasks/{key}", "kept")
    again = connect()
    subscribe(again, f"/exchange/tasks/{key}", id, *lines)
    message = again.expect("MESSAGE")
    assert (message.body, message["destination"]) == (b"kept", f"/exchange/tasks/{key}")
    again.send(
        f"UNSUBSCRIBE\nid:{id}\ndestination:/exchange/tasks/{key}\n{lines[0]}\n{lines[1]}\n"
        "receipt:u\n\n\0"
    )
    again.expect("RECEIPT")


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
@pytest.mark.parametrize(
    "destination", ["/exchange/nobody/k", "/exchange/nobody", "/exchange/tasks", "/exchange/"]
)
def test_an_exchange_that_is_not_there_is_a_bad_destination(
    connect: Connect, command: str, destination: str
) -> None:
    peer = connect()
    peer.send(f"{command}\nid:s\ndestination:{destination}\nreceipt:r\n\n\0")
    peer.expect_error("bad-destination", "r")


def test_in_a_transaction(connect: Connect) -> None:
    reader, sender, key = connect(), connect(), unique("k")
    subscribe(reader, f"/exchange/tasks/{key}")
    sender.send(
        "BEGIN\ntransaction:t\n\n\0"
        f"SEND\ndestination:/exchange/tasks/{key}\ntransaction:t\n\nd\0"
        "COMMIT\ntransaction:t\nreceipt:c\n\n\0"
    )
    sender.expect("RECEIPT")
    assert reader.expect("MESSAGE").body == b"d"


# -- headers exchanges -------------------------------------------------------------------------


def names(peer: Peer, count: int) -> set[str]:
    return {peer.expect("MESSAGE")["subscription"] for _ in range(count)}


@pytest.mark.parametrize("exchange", ["amq.headers", "amq.match", "sorted"])
def test_a_headers_exchange_goes_by_headers(connect: Connect, exchange: str) -> None:
    reader, sender, mark = connect(), connect(), unique("m")
    place = f"/exchange/{exchange}"
    subscribe(reader, place, "both", f"mark:{mark}", "type:report", "x-match:all")
    subscribe(reader, place, "any", f"mark:{mark}", "type:report", "x-match:any")
    subscribe(reader, place, "usual", f"mark:{mark}")
    subscribe(reader, place, "x", f"mark:{mark}", "x-way:1", "x-match:all-with-x")
    subscribe(reader, place, "no x", f"mark:{mark}", "x-way:1", "x-match:all")
    send(sender, f"{place}/ignored", "1", f"mark:{mark}", "type:report")
    assert names(reader, 4) == {"both", "any", "usual", "no x"}
    send(sender, place, "2", f"mark:{mark}", "type:other", "x-way:1")
    assert names(reader, 4) == {"any", "usual", "x", "no x"}
    send(sender, place, "3", "mark:other", "type:report")
    assert names(reader, 1) == {"any"}
    send(sender, place, "4", "mark:other")
    reader.sync()


def test_all_of_a_headers_exchange(connect: Connect) -> None:
    reader = connect()
    subscribe(reader, "/exchange/sorted", "all")
    send(connect(), "/exchange/sorted", "m", "a:b")
    message = reader.expect("MESSAGE")
    assert (message.body, message["destination"]) == (b"m", "/exchange/sorted")


def test_a_queue_of_a_name_is_bound_by_headers(broker: RunningBroker, connect: Connect) -> None:
    """What rabbitmq-stomp 145 asks for."""
    queue, lines = unique(), ("auto-delete:false", "durable:true", "code:100", "x-match:all")
    with Peer.open(broker.port) as reader:
        subscribe(reader, "/exchange/sorted/any", "sub-0", *lines, f"x-queue-name:{queue}")
        reader.send("UNSUBSCRIBE\nid:sub-0\nreceipt:u\n\n\0")
        reader.expect("RECEIPT")
    for code in (100, 200):
        send(connect(), "/exchange/sorted", str(code), f"code:{code}")
    again = connect()
    subscribe(again, f"/amq/queue/{queue}")
    assert again.expect("MESSAGE").body == b"100"
    again.sync()


@pytest.mark.parametrize(
    ("destination", "lines", "code"),
    [
        ("/exchange/amq.headers", "x-match:none\n", "bad-header"),
        ("/exchange/amq.headers", "x-match:any\n", "bad-header"),
        ("/exchange/amq.direct/k", "x-match:all\na:b\n", "not-supported"),
        ("/topic/t", "x-match:all\na:b\n", "not-supported"),
        ("/queue/q", "x-match:all\na:b\n", "not-supported"),
    ],
)
def test_x_match_where_it_means_nothing(
    connect: Connect, destination: str, lines: str, code: str
) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:s\ndestination:{destination}\n{lines}receipt:r\n\n\0")
    peer.expect_error(code, "r")


# -- /amq/queue/ -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
def test_a_queue_that_is_not_there_is_not_made(
    broker: RunningBroker, connect: Connect, command: str
) -> None:
    peer, name = connect(), unique()
    peer.send(f"{command}\nid:s\ndestination:/amq/queue/{name}\nreceipt:r\n\n\0")
    error = peer.expect_error("bad-destination", "r")
    assert f"there is no queue '{name}'".encode() in error.body
    assert name not in {row.name for row in broker.queues()}


def test_a_queue_that_is_there_is_the_same_queue(broker: RunningBroker, connect: Connect) -> None:
    peer, name = connect(), unique()
    send(peer, f"/queue/{name}", "1")
    send(peer, f"/amq/queue/{name}", "2", "x-max-length:1")
    assert stats(broker, name).ready == 2
    subscribe(peer, f"/amq/queue/{name}")
    messages = [peer.expect("MESSAGE") for _ in range(2)]
    assert [one.body for one in messages] == [b"1", b"2"]
    assert [one["destination"] for one in messages] == [f"/queue/{name}", f"/amq/queue/{name}"]


def test_in_a_transaction_it_is_looked_for_at_once(connect: Connect) -> None:
    peer = connect()
    peer.send(
        "BEGIN\ntransaction:t\n\n\0"
        f"SEND\ndestination:/amq/queue/{unique()}\ntransaction:t\nreceipt:s\n\n\0"
    )
    peer.expect_error("bad-destination", "s")


# -- who may ---------------------------------------------------------------------------------


ACL = [
    {"user": "ann", "actions": ["send", "receive"], "match": "/queue/>"},
    {"user": "ann", "actions": ["send", "receive"], "match": "/topic/>"},
    {"user": "ann", "actions": ["send"], "match": "/exchange/logs"},
    {"user": "bob", "match": "/exchange/>"},
    {"user": "bob", "match": "/queue/>"},
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningBroker]:
    users = {name: cheap_hash(name) for name in ("ann", "bob")}
    with running_broker(
        exchange=DECLARED, users=users, acl=ACL, security={"default_access": "deny"}
    ) as broker:
        yield broker


def ask(broker: RunningBroker, user: str, frame: str) -> str:
    """The command of the answer."""
    with Peer.open(broker.port, "1.2", f"login:{user}", f"passcode:{user}") as peer:
        peer.send(f"{frame}receipt:r\n\n\0")
        answer = peer.read()
        return answer.get("error-code") or answer.command


@pytest.mark.parametrize(
    ("user", "frame", "answer"),
    [
        ("ann", "SEND\ndestination:/exchange/logs/any\n", "RECEIPT"),
        ("ann", "SEND\ndestination:/exchange/logs\n", "RECEIPT"),
        ("ann", "SUBSCRIBE\nid:s\ndestination:/exchange/logs\n", "access-refused"),
        ("ann", "SEND\ndestination:/exchange/tasks/k\n", "access-refused"),
        ("ann", "SEND\ndestination:/exchange/amq.topic/k\n", "RECEIPT"),
        ("ann", "SEND\ndestination:/topic/k\n", "RECEIPT"),
        ("bob", "SEND\ndestination:/exchange/tasks/k\n", "RECEIPT"),
        ("bob", "SUBSCRIBE\nid:s\ndestination:/exchange/news/#\n", "RECEIPT"),
        ("bob", "SEND\ndestination:/topic/k\n", "access-refused"),
        ("bob", "SEND\ndestination:/exchange/amq.topic/k\n", "access-refused"),
    ],
)
def test_rules_name_exchanges_as_clients_do(
    guarded: RunningBroker, user: str, frame: str, answer: str
) -> None:
    assert ask(guarded, user, frame) == answer


def test_an_existing_queue_takes_no_right_to_create(guarded: RunningBroker) -> None:
    name = unique()
    assert ask(guarded, "ann", f"SEND\ndestination:/queue/{name}\n") == "access-refused"
    assert ask(guarded, "ann", f"SEND\ndestination:/amq/queue/{name}\n") == "bad-destination"
    assert ask(guarded, "bob", f"SEND\ndestination:/queue/{name}\n") == "RECEIPT"
    assert ask(guarded, "ann", f"SEND\ndestination:/amq/queue/{name}\n") == "RECEIPT"
    assert (
        ask(guarded, "ann", f"SUBSCRIBE\nid:s\ndestination:/amq/queue/{name}\nx-expires:1000\n")
        == "RECEIPT"
    )
