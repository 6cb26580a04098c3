"""Topic subscriptions that do not take everything (the manual, *Choosing on topics*)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, running_broker, stats, unique, until

from stompy_broker import RunningBroker


def subscribe(peer: Peer, topic: str, identity: str, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{identity}\ndestination:{topic}\nreceipt:s\n{more}\n\0")
    peer.expect("RECEIPT")


def publish(peer: Peer, topic: str, body: str, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:{topic}\nreceipt:p\n{more}\n{body}\0")


def bodies(peer: Peer, count: int) -> list[bytes]:
    return [peer.expect("MESSAGE").body for _ in range(count)]


@pytest.mark.parametrize("ack", ["auto", "client-individual"])
def test_a_selector_decides_when_a_message_is_published(
    connect: Connect, topic: str, ack: str
) -> None:
    red, some, all_ = connect(), connect(), connect()
    subscribe(red, topic, "r", "selector:color = 'red'", f"ack:{ack}")
    subscribe(some, topic, "s", "selector:n > 1 OR color = 'blue'", f"ack:{ack}")
    subscribe(all_, topic, "a", f"ack:{ack}")
    sender = connect()
    for number, color in enumerate(("red", "blue", "green", "red")):
        publish(sender, topic, f"{color}{number}", f"color:{color}", f"n:{number}")
    assert bodies(red, 2) == [b"red0", b"red3"]
    assert bodies(some, 3) == [b"blue1", b"green2", b"red3"]
    assert bodies(all_, 4) == [b"red0", b"blue1", b"green2", b"red3"]


@pytest.mark.parametrize("durable", ["", "durable:true"])
def test_a_selector_sees_when_a_message_ends(connect: Connect, topic: str, durable: str) -> None:
    reader, sender = connect(), connect()
    subscribe(reader, topic, unique("s"), "selector:JMSExpiration > 0", *filter(None, [durable]))
    publish(sender, topic, "for ever")
    publish(sender, topic, "for a minute", "ttl:60000")
    assert bodies(reader, 1) == [b"for a minute"]


def test_a_message_that_nobody_takes_is_confirmed(connect: Connect, topic: str) -> None:
    one, sender = connect(), connect()
    subscribe(one, topic, "s", "selector:color = 'red'")
    publish(sender, topic, "blue", "color:blue")
    assert sender.expect("RECEIPT")["receipt-id"] == "p"
    publish(sender, topic, "red", "color:red")
    assert bodies(one, 1) == [b"red"]


def test_subscriptions_are_found_by_the_constant_they_begin_with(
    connect: Connect, topic: str
) -> None:
    reader, sender = connect(), connect()
    for number in range(50):
        subscribe(reader, topic, f"s{number}", f"selector:customer = '{number}' AND n > 0")
    for number in (7, 49, 7):
        publish(sender, topic, "x", f"customer:{number}", "n:1")
        assert reader.expect("MESSAGE")["subscription"] == f"s{number}"
    publish(sender, topic, "x", "customer:8", "n:0")
    publish(sender, topic, "x", "customer:50", "n:1")
    publish(sender, topic, "x", "n:1")
    publish(sender, topic, "last", "customer:9", "n:1")
    assert reader.expect("MESSAGE").body == b"last"


@pytest.mark.parametrize("destination", ["{0}.a,{0}.b", "/exchange/amq.topic/{1}.*", "{0}.>"])
def test_it_holds_for_all_topics_of_a_subscription(
    connect: Connect, topic: str, destination: str
) -> None:
    reader, sender = connect(), connect()
    written = destination.format(topic, topic.removeprefix("/topic/"))
    subscribe(reader, written, "s", "selector:color = 'red'", "no-local:true")
    publish(reader, f"{topic}.a", "own", "color:red")
    assert reader.expect("RECEIPT")["receipt-id"] == "p"
    for word, color in (("a", "blue"), ("b", "red"), ("b", "blue"), ("a", "red")):
        publish(sender, f"{topic}.{word}", f"{word} {color}", f"color:{color}")
    assert sorted(bodies(reader, 2)) == [b"a red", b"b red"]


def test_a_temporary_topic_chooses_as_well(connect: Connect) -> None:
    reader, sender = connect(), connect()
    name = unique("t")
    subscribe(reader, f"/temp-topic/{name}", "s", "selector:color = 'red'")
    reader.send(f"SEND\ndestination:/topic/nobody\nreply-to:/temp-topic/{name}\n\n\0")
    asker = connect()
    subscribe(asker, f"/topic/{name}", "s")
    reader.send(f"SEND\ndestination:/topic/{name}\nreply-to:/temp-topic/{name}\n\n\0")
    address = asker.expect("MESSAGE")["reply-to"]
    for color in ("blue", "red"):
        publish(sender, address, color, f"color:{color}")
    assert bodies(reader, 1) == [b"red"]


def test_a_selector_that_cannot_be_read_names_the_column(connect: Connect, topic: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:s\ndestination:{topic}\nreceipt:s\nselector:color = \n\n\0")
    assert peer.expect_error("bad-selector", "s")["error-column"]


def test_unsubscribed_it_chooses_no_more(connect: Connect, topic: str) -> None:
    peer, sender = connect(), connect()
    subscribe(peer, topic, "s", "selector:color = 'red'")
    peer.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0")
    peer.expect("RECEIPT")
    subscribe(peer, topic, "s")
    publish(sender, topic, "blue", "color:blue")
    assert bodies(peer, 1) == [b"blue"]


def test_a_transaction_publishes_to_those_who_take_it(connect: Connect, topic: str) -> None:
    red, sender = connect(), connect()
    subscribe(red, topic, "r", "selector:color = 'red'")
    sender.send("BEGIN\ntransaction:t\n\n\0")
    for color in ("blue", "red"):
        sender.send(f"SEND\ndestination:{topic}\ntransaction:t\ncolor:{color}\n\n{color}\0")
    sender.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    sender.expect("RECEIPT")
    assert bodies(red, 1) == [b"red"]


# -- no-local ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no-local", "activemq.noLocal"])
def test_what_the_same_connection_sends_does_not_come(
    connect: Connect, topic: str, name: str
) -> None:
    one, other = connect(), connect()
    subscribe(one, topic, "s", f"{name}:true")
    subscribe(one, topic, "all", f"{name}:false")
    publish(one, topic, "own")
    assert {one.read().command, one.read().command} == {"RECEIPT", "MESSAGE"}
    one.send("BEGIN\ntransaction:t\n\n\0")
    one.send(f"SEND\ndestination:{topic}\ntransaction:t\n\nown too\0")
    one.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    assert {one.read().command, one.read().command} == {"RECEIPT", "MESSAGE"}
    publish(other, topic, "of another")
    got = [one.expect("MESSAGE") for _ in range(2)]
    assert {(m["subscription"], m.body) for m in got} == {
        ("s", b"of another"),
        ("all", b"of another"),
    }


def test_it_holds_for_a_message_to_several_destinations(connect: Connect, topic: str) -> None:
    one, other = connect(), connect()
    subscribe(one, topic, "s", "no-local:true")
    publish(one, f"{topic},/queue/{unique()}", "own")
    assert one.expect("RECEIPT")["receipt-id"] == "p"
    one.send("BEGIN\ntransaction:t\n\n\0")
    one.send(f"SEND\ndestination:{topic},/queue/{unique()}\ntransaction:t\n\nown too\0")
    one.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    one.expect("RECEIPT")
    publish(other, f"{topic},/queue/{unique()}", "of another")
    assert bodies(one, 1) == [b"of another"]


def test_two_names_that_disagree_are_refused(connect: Connect, topic: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:s\ndestination:{topic}\nno-local:true\nactivemq.noLocal:false\n\n\0")
    peer.expect_error("bad-header")


def test_no_local_on_a_queue_is_refused_and_says_why(connect: Connect, queue: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:s\ndestination:{queue}\nno-local:true\n\n\0")
    assert b"for ever" in peer.expect_error("not-supported").body


# -- pending-limit -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pending-limit", "activemq.maximumPendingMessageLimit"])
def test_so_many_messages_wait_for_a_subscriber_that_is_slow(
    connect: Connect, topic: str, name: str
) -> None:
    slow, sender = connect(), connect()
    subscribe(slow, topic, "s", f"{name}:3", "ack:client-individual", "prefetch-count:1")
    for number in range(10):
        publish(sender, topic, str(number))
        sender.expect("RECEIPT")
    seen = []
    for _ in range(4):
        message = slow.expect("MESSAGE")
        seen.append(message.body)
        slow.send(f"ACK\nid:{message['ack']}\n\n\0")
    assert seen == [b"0", b"7", b"8", b"9"]


def test_a_policy_bounds_what_a_subscriber_may_ask_for() -> None:
    topic = f"/topic/{unique('t')}"
    policy = [{"match": topic, "backlog_messages": 2}]
    with running_broker(policy=policy) as broker:
        slow = Peer.open(broker.port)
        subscribe(slow, topic, "s", "pending-limit:5", "ack:client", "prefetch-count:1")
        sender = Peer.open(broker.port)
        for number in range(6):
            publish(sender, topic, str(number))
            sender.expect("RECEIPT")
        seen = []
        for _ in range(3):
            message = slow.expect("MESSAGE")
            seen.append(message.body)
            slow.send(f"ACK\nid:{message['ack']}\n\n\0")
        assert seen == [b"0", b"4", b"5"]
        slow.close()
        sender.close()
        until(lambda: not broker.connections(), "both to go")


def test_pending_limit_on_a_queue_is_refused(connect: Connect, queue: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:s\ndestination:{queue}\npending-limit:1\n\n\0")
    peer.expect_error("not-supported")


# -- durable subscriptions ---------------------------------------------------------------------

CLIENT = "client-id:{0}"
NAMED = ("durable-subscription-name:news", "ack:client")
SHARED = ("durable:true", "auto-delete:false", "ack:client")


def receive_all(peer: Peer, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        message = peer.expect("MESSAGE")
        found.append(message.body)
        peer.send(f"ACK\nid:{message['ack']}\n\n\0")
    return found


@pytest.mark.parametrize("lines", [NAMED, SHARED])
def test_a_durable_one_keeps_only_what_it_takes(
    tmp_path: Path, topic: str, lines: tuple[str, ...]
) -> None:
    client = CLIENT.format(unique())
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with Peer.open(broker.port, "1.2", client) as peer:
            subscribe(peer, topic, "s", "selector:color = 'red'", *lines)
        until(lambda: not broker.connections(), "it to go")
        with Peer.open(broker.port) as sender:
            for number, color in enumerate(("red", "blue", "red")):
                publish(sender, topic, f"{color}{number}", f"color:{color}")
            sender.expect("RECEIPT")
        (backlog,) = [row for row in broker.queues() if row.name.startswith("durable.")]
        assert backlog.ready == 2
    with running_broker(store={"data": str(tmp_path)}) as broker:
        with Peer.open(broker.port) as sender:
            for number, color in enumerate(("red", "blue")):
                publish(sender, topic, f"{color}{number} again", f"color:{color}")
                sender.expect("RECEIPT")
        with Peer.open(broker.port, "1.2", client) as peer:
            subscribe(peer, topic, "s", "selector:color = 'red'", *lines)
            assert receive_all(peer, 3) == [b"red0", b"red2", b"red0 again"]


@pytest.mark.parametrize("lines", [NAMED, SHARED])
@pytest.mark.parametrize("other", ["selector:color = 'blue'", "selector:color  =  'red'", "x:y"])
def test_another_selector_ends_it_and_begins_anew(
    connect: Connect, topic: str, lines: tuple[str, ...], other: str
) -> None:
    client = CLIENT.format(unique())
    first, sender = connect("1.2", client), connect()
    identity = unique("s")
    subscribe(first, topic, identity, "selector:color = 'red'", *lines)
    # As long as somebody is subscribed, it is in use.
    second = connect("1.2", client + "x" if lines is SHARED else client)
    if lines is SHARED:
        second.send(f"SUBSCRIBE\nid:{identity}\ndestination:{topic}\n{lines[0]}\n{other}\n\n\0")
        second.expect_error("subscription-in-use")
    first.send("DISCONNECT\nreceipt:bye\n\n\0")
    first.expect("RECEIPT")
    publish(sender, topic, "before", "color:red")
    sender.expect("RECEIPT")
    third = connect("1.2", client)
    subscribe(third, topic, identity, other, *lines)
    for color in ("red", "blue"):
        publish(sender, topic, color, f"color:{color}")
    expected = {"x:y": b"red", "selector:color = 'blue'": b"blue"}
    assert receive_all(third, 1) == [expected.get(other, b"red")]
    third.send(f"UNSUBSCRIBE\nid:{identity}\n{lines[0]}\ndestination:{topic}\nreceipt:u\n\n\0")
    until(lambda: third.read().command == "RECEIPT", "its end")


def test_a_durable_one_declines_what_any_connection_of_its_client_sends(
    connect: Connect, broker: RunningBroker, topic: str
) -> None:
    name = unique()
    client = CLIENT.format(name)
    early, owner = connect("1.2", client), connect("1.2", client)
    subscribe(owner, topic, "s", "no-local:true", *NAMED)
    owner.send("DISCONNECT\nreceipt:bye\n\n\0")
    owner.expect("RECEIPT")
    late, other = connect("1.2", client), connect("1.2", client + "x")
    for peer, body in ((early, "own"), (late, "own too"), (other, "of another")):
        publish(peer, topic, body)
        peer.expect("RECEIPT")
    backlog = f"/queue/durable.{name}.news"
    assert stats(broker, backlog).ready == 1
    again = connect("1.2", client)
    subscribe(again, topic, "s", "no-local:true", *NAMED)
    assert receive_all(again, 1) == [b"of another"]
    again.send(f"UNSUBSCRIBE\nid:s\n{NAMED[0]}\nreceipt:u\n\n\0")
    again.expect("RECEIPT")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("no-local:true", "durable:true"), "missing-header"),
        (("pending-limit:1", "durable:true"), "not-supported"),
        (("no-local:true", "share:g"), "not-supported"),
        (("pending-limit:1", "share:g"), "not-supported"),
    ],
)
def test_what_a_durable_or_shared_one_cannot_be_asked_for(
    connect: Connect, topic: str, lines: tuple[str, ...], code: str
) -> None:
    peer, more = connect(), "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{unique()}\ndestination:{topic}\n{more}\n\0")
    peer.expect_error(code)


def test_members_of_a_group_choose_each_for_themselves(connect: Connect, topic: str) -> None:
    red, blue, sender = connect(), connect(), connect()
    subscribe(red, topic, "s", "share:g", "selector:color = 'red'")
    subscribe(blue, topic, "s", "share:g", "selector:color = 'blue'")
    for number in range(10):
        publish(sender, topic, str(number), f"color:{('red', 'blue')[number % 2]}")
    assert bodies(red, 5) == [b"0", b"2", b"4", b"6", b"8"]
    assert bodies(blue, 5) == [b"1", b"3", b"5", b"7", b"9"]


def test_a_queue_that_has_a_name_gets_what_the_first_selector_takes(
    connect: Connect, topic: str
) -> None:
    queue, reader, sender = unique("q"), connect(), connect()
    lines = ("durable:true", "auto-delete:false", f"x-queue-name:{queue}")
    subscribe(reader, topic, "s", "selector:color = 'red'", *lines)
    for color in ("blue", "red"):
        publish(sender, topic, color, f"color:{color}")
    assert bodies(reader, 1) == [b"red"]
    other = connect()
    more = "".join(f"{line}\n" for line in lines)
    other.send(f"SUBSCRIBE\nid:o\ndestination:{topic}\nselector:color = 'blue'\n{more}\n\0")
    assert b"another selector" in other.expect_error("bad-header").body
