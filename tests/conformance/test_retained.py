"""Messages that topics keep for who subscribes later (the manual, *Retained messages*)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.broker_process import BrokerProcess
from tests.support.wire import Frame, Peer, fast_config, running_broker, unique

import stompy_broker

VERSIONS = ("1.0", "1.1", "1.2")


def keep(peer: Peer, topic: str, body: str, *lines: str) -> None:
    """Send a message that its topic is to keep, and wait until it is safe."""
    publish(peer, topic, body, "x-retain:true", *lines)


def publish(peer: Peer, topic: str, body: str, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:{topic}\nreceipt:p\n{more}\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "p"


def subscribe(peer: Peer, topic: str, *lines: str, identity: str = "s") -> None:
    """Subscribe, and read the RECEIPT, which comes before the first message."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:{identity}\ndestination:{topic}\nreceipt:s\n{more}\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "s"


def shown(peer: Peer, topic: str, *lines: str, identity: str = "s") -> list[Frame]:
    """Subscribe, and read all that comes before what is published then."""
    subscribe(peer, topic, *lines, identity=identity)
    end = f"/topic/{unique('end')}"
    peer.send(f"SUBSCRIBE\nid:end\ndestination:{end}\n\n\0SEND\ndestination:{end}\n\n\0")
    found = []
    while (frame := peer.expect("MESSAGE"))["subscription"] != "end":
        found.append(frame)
    peer.send("UNSUBSCRIBE\nid:end\n\n\0")
    return found


def bodies(frames: list[Frame]) -> list[str]:
    return [frame.body.decode() for frame in frames]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("line", ["x-retain:true", "ActiveMQ.Retain:true", "retain:true"])
def test_the_last_message_comes_first(
    connect: Connect, topic: str, version: str, line: str
) -> None:
    sender, there, late = connect(version), connect(version), connect(version)
    subscribe(there, topic)
    for body in ("1", "2"):
        publish(sender, topic, body, line, "color:red")
    publish(sender, topic, "3")
    live = [there.expect("MESSAGE") for _ in range(3)]
    assert bodies(live) == ["1", "2", "3"]
    for frame in live:
        asked = {"x-retain", "retain", "ActiveMQ.Retain", "ActiveMQ.Retained"}
        assert asked.isdisjoint(name for name, _ in frame.headers)
    (one,) = shown(late, topic)
    publish(sender, topic, "4")
    assert (one.body, late.expect("MESSAGE").body) == (b"2", b"4")
    assert (one["retain"], one["ActiveMQ.Retained"]) == ("true", "true")
    assert (one["color"], one["destination"], one["redelivered"]) == ("red", topic, "false")
    assert "x-retain" not in one
    assert "ActiveMQ.Retain" not in one
    assert one["timestamp"] == live[1]["timestamp"]


def test_it_is_the_same_message_for_all_who_come(connect: Connect, topic: str) -> None:
    keep(connect(), topic, "1")
    ids = {shown(connect(), topic)[0]["message-id"] for _ in range(3)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("{t}.a", ["a"]),
        ("{t}.*", ["a", "b"]),
        ("{t}.>", ["self", "a", "b", "b.c"]),
        ("{t}.#", ["self", "a", "b", "b.c"]),
        ("{t}.*.c", ["b.c"]),
        ("{t}.b.>", ["b", "b.c"]),
        ("{t}/*", ["/x"]),
        ("{t}/**", ["self", "/x", "/x/y"]),
        ("{t}.c", []),
    ],
)
def test_patterns_of_all_dialects_show_what_they_match(
    connect: Connect, pattern: str, wanted: list[str]
) -> None:
    name, sender = unique("t"), connect()
    for rest in ("", ".b", ".a", ".b.c", "/x", "/x/y"):
        keep(sender, f"/topic/{name}{rest}", rest.removeprefix(".") or "self")
    # Sent again, it is the last one: they come in the order in which they were sent.
    keep(sender, f"/topic/{name}.b", "b")
    keep(sender, f"/topic/{name}.b.c", "b.c")
    keep(sender, f"/topic/{name}/x", "/x")
    keep(sender, f"/topic/{name}/x/y", "/x/y")
    found = bodies(shown(connect(), f"/topic/{pattern.format(t=name)}"))
    assert found == wanted


def test_an_empty_one_is_live_and_has_the_topic_forget(connect: Connect, topic: str) -> None:
    sender, there = connect(), connect()
    keep(sender, topic, "1")
    assert bodies(shown(there, topic)) == ["1"]
    keep(sender, topic, "")
    empty = there.expect("MESSAGE")
    assert empty.body == b""
    assert "retain" not in empty
    assert shown(connect(), topic) == []
    keep(sender, topic, "")
    keep(sender, topic, "2")
    assert bodies(shown(connect(), topic)) == ["2"]


def test_who_declines_gets_what_is_live_only(connect: Connect, topic: str) -> None:
    keep(connect(), topic, "1")
    for number, line in enumerate(("retained:false", "activemq.retroactive:false")):
        assert shown(connect(), topic, line, identity=f"n{number}") == []
    for line in ("retained:true", "activemq.retroactive:true"):
        assert bodies(shown(connect(), topic, line)) == ["1"]


@pytest.mark.parametrize(
    ("command", "lines", "code"),
    [
        ("SEND", "x-retain:true\nActiveMQ.Retain:false\n", "bad-header"),
        ("SEND", "x-retain:false\nretain:true\n", "bad-header"),
        ("SEND", "x-retain:perhaps\n", "bad-header"),
        ("SUBSCRIBE", "retained:false\nactivemq.retroactive:true\n", "bad-header"),
        ("SUBSCRIBE", "retained:perhaps\n", "bad-header"),
    ],
)
def test_what_disagrees_is_refused(
    connect: Connect, topic: str, command: str, lines: str, code: str
) -> None:
    peer, body = connect(), "x" if command == "SEND" else ""
    peer.send(f"{command}\nid:s\ndestination:{topic}\nreceipt:r\n{lines}\n{body}\0")
    peer.expect_error(code, receipt="r")
    assert shown(connect(), topic) == []


@pytest.mark.parametrize("destination", ["/queue/{n}", "/temp-queue/{n}", "/temp-topic/{n}"])
def test_only_topics_that_last_keep_messages(connect: Connect, destination: str) -> None:
    peer = connect()
    where = destination.format(n=unique())
    peer.send(f"SEND\ndestination:{where}\nreceipt:r\nx-retain:true\n\nx\0")
    assert b"x-retain" in peer.expect_error("not-supported", receipt="r").body


def test_a_temporary_topic_of_somebody_else_keeps_nothing(connect: Connect, queue: str) -> None:
    owner, other = connect(), connect()
    subscribe(owner, "/temp-topic/t")
    owner.send(f"SEND\ndestination:{queue}\nreply-to:/temp-topic/t\n\n\0")
    subscribe(other, queue)
    address = other.expect("MESSAGE")["reply-to"]
    assert address.startswith("/reply-topic/")
    other.send(f"SEND\ndestination:{address}\nretain:true\nreceipt:r\n\nx\0")
    other.expect_error("not-supported", receipt="r")


def test_other_words_of_retain_are_an_application_s_own(connect: Connect, topic: str) -> None:
    sender, there = connect(), connect()
    subscribe(there, topic)
    publish(sender, topic, "1", "retain:True")
    assert there.expect("MESSAGE")["retain"] == "True"
    publish(sender, topic, "2", "retain:30 days", "x-retain:true")
    assert there.expect("MESSAGE")["retain"] == "30 days"
    assert bodies(shown(connect(), topic)) == ["2"]


def test_what_is_passed_on_with_all_headers_is_not_kept_again(connect: Connect) -> None:
    topic, other, peer = f"/topic/{unique('a')}", f"/topic/{unique('b')}", connect()
    keep(peer, topic, "1")
    (one,) = shown(peer, topic)
    passed = [f"{name}:{one[name]}" for name in ("retain", "ActiveMQ.Retained")]
    there = connect()
    subscribe(there, other)
    publish(peer, other, "1", *passed)
    assert there.expect("MESSAGE")["ActiveMQ.Retained"] == "true"
    assert shown(connect(), other) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ack", ["client", "client-individual"])
def test_they_are_settled_and_paced_like_others(connect: Connect, version: str, ack: str) -> None:
    if version == "1.0" and ack == "client-individual":
        pytest.skip("1.0 has no such mode")
    name, sender, peer = unique("t"), connect(), connect(version)
    for number in range(3):
        keep(sender, f"/topic/{name}.{number}", str(number))
    subscribe(peer, f"/topic/{name}.*", f"ack:{ack}", "prefetch-count:1")
    publish(sender, f"/topic/{name}.9", "9")
    for body in ("0", "1", "2", "9"):
        frame = peer.expect("MESSAGE")
        assert frame.body.decode() == body
        by = f"id:{frame['ack']}" if version == "1.2" else f"message-id:{frame['message-id']}"
        peer.send(f"ACK\nsubscription:s\n{by}\n\n\0")


def test_a_refused_one_comes_again_in_its_place(connect: Connect) -> None:
    name, sender, peer = unique("t"), connect(), connect()
    for number in range(2):
        keep(sender, f"/topic/{name}.{number}", str(number))
    subscribe(peer, f"/topic/{name}.*", "ack:client-individual", "prefetch-count:1")
    first = peer.expect("MESSAGE")
    peer.send(f"NACK\nid:{first['ack']}\n\n\0")
    again = peer.expect("MESSAGE")
    assert (again.body, again["redelivered"]) == (b"0", "true")
    assert again["message-id"] == first["message-id"]


def test_selectors_choose_among_them(connect: Connect) -> None:
    name, sender = unique("t"), connect()
    for color in ("red", "blue"):
        keep(sender, f"/topic/{name}.{color}", color, f"color:{color}")
    assert bodies(shown(connect(), f"/topic/{name}.*", "selector:color = 'blue'")) == ["blue"]
    assert bodies(shown(connect(), f"/topic/{name}.*", "selector:retain = TRUE")) == ["red", "blue"]


def durable(name: str) -> tuple[str, ...]:
    return ("durable:true", f"durable-subscription-name:{name}", "client-id:c")


def test_a_durable_subscription_is_shown_them_once_when_it_is_made(
    connect: Connect, topic: str
) -> None:
    sender, lines = connect(), durable(unique("d"))
    keep(sender, topic, "1")
    reader = connect("1.2", f"client-id:{unique('c')}")
    client = reader.connected
    assert client is not None
    assert bodies(shown(reader, topic, *lines)) == ["1"]
    reader.send("UNSUBSCRIBE\nid:s\n\n\0")
    reader.sync()
    keep(sender, topic, "2")
    # It was live for the subscription, and is not shown once more.
    assert [(f.body, "retain" in f) for f in shown(reader, topic, *lines)] == [(b"2", False)]


def test_a_queue_that_topics_are_bound_to_gets_them_when_it_is_bound(connect: Connect) -> None:
    name, queue, peer = unique("t"), unique("q"), connect()
    for part in ("a", "b"):
        keep(peer, f"/topic/{name}.{part}", part)
    lines = (f"x-queue-name:{queue}", "durable:true", "auto-delete:false")
    for part, wanted in (("a", ["a"]), ("b", ["b"]), ("a", [])):
        assert bodies(shown(peer, f"/topic/{name}.{part}", *lines)) == wanted
        peer.send("UNSUBSCRIBE\nid:s\n\n\0")
        peer.sync()
    named = f"x-queue-name:{unique('q')}"
    assert shown(connect(), f"/topic/{name}.a", named, *lines[1:], "retained:false") == []


def test_those_who_share_are_shown_them_once_together(connect: Connect) -> None:
    topic, sender, share = f"/topic/{unique('t')}", connect(), f"share:{unique('g')}"
    keep(sender, topic, "1")
    one, two = connect(), connect()
    assert bodies(shown(one, topic, share)) == ["1"]
    assert shown(two, topic, share) == []


def test_several_topics_of_one_subscription(connect: Connect) -> None:
    name, sender = unique("t"), connect()
    for part in ("a", "b"):
        keep(sender, f"/topic/{name}.{part}", part)
    both = f"/topic/{name}.a,/topic/{name}.b"
    assert sorted(bodies(shown(connect(), both))) == ["a", "b"]


def test_several_topics_of_one_message(connect: Connect) -> None:
    name, sender = unique("t"), connect()
    keep(sender, f"/topic/{name}.a,/topic/{name}.b", "1")
    found = shown(connect(), f"/topic/{name}.*")
    assert [(f["destination"].rpartition(".")[2], f.body) for f in found] == [
        ("a", b"1"),
        ("b", b"1"),
    ]
    assert len({f["message-id"] for f in found}) == 1
    sender.send(f"SEND\ndestination:/topic/{name}.a,/queue/{name}\nx-retain:true\nreceipt:r\n\nx\0")
    sender.expect_error("not-supported", receipt="r")


def test_a_transaction_keeps_at_its_commit(connect: Connect, topic: str) -> None:
    sender = connect()
    sender.send("BEGIN\ntransaction:t\n\n\0")
    for body in ("1", "2"):
        publish(sender, topic, body, "x-retain:true", "transaction:t")
    assert shown(connect(), topic) == []
    sender.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    sender.expect("RECEIPT")
    assert bodies(shown(connect(), topic)) == ["2"]
    sender.send("BEGIN\ntransaction:t\n\n\0")
    publish(sender, topic, "3", "x-retain:true", "transaction:t")
    sender.send("ABORT\ntransaction:t\nreceipt:a\n\n\0")
    sender.expect("RECEIPT")
    assert bodies(shown(connect(), topic)) == ["2"]


def test_a_duplicate_is_not_kept(connect: Connect, topic: str) -> None:
    """What is sent again because its receipt was lost is older than what is kept by now."""
    sender = connect()
    for number, body in enumerate(("1", "2", "1")):
        sender.send(
            f"SEND\ndestination:{topic}\nx-retain:true\ndedup-id:{body}\nreceipt:{number}\n\n"
            f"{body}\0"
        )
        receipt = sender.expect("RECEIPT")
        assert (receipt["receipt-id"], receipt.get("duplicate")) == (
            str(number),
            "true" if number == 2 else None,
        )
    assert bodies(shown(connect(), topic)) == ["2"]
    both = f"{topic}.a,{topic}.b"
    for _ in range(2):
        sender.send(f"SEND\ndestination:{both}\nx-retain:true\ndedup-id:c\nreceipt:c\n\nc\0")
        assert sender.expect("RECEIPT")["receipt-id"] == "c"
    assert bodies(shown(connect(), f"{topic}.*")) == ["c", "c"]


def test_what_has_ended_is_not_shown() -> None:
    with running_broker(times={"shutdown": 0.0}) as broker, Peer.open(broker.port) as peer:
        keep(peer, "/topic/t.long", "long", "ttl:3600000")
        keep(peer, "/topic/t.over", "over", "expires:1000")
        assert bodies(shown(peer, "/topic/t.*")) == ["long"]


def test_it_ends_in_its_time() -> None:
    with (
        stompy_broker.running(fast_config(), time="virtual") as broker,
        Peer.open(broker.port) as peer,
    ):
        keep(peer, "/topic/t", "1", "ttl:60000")
        assert bodies(shown(peer, "/topic/t")) == ["1"]
        broker.time.advance("2 min")
        assert shown(peer, "/topic/t", identity="u") == []


def test_a_schedule_keeps_when_it_fires() -> None:
    with (
        stompy_broker.running(fast_config(), time="virtual") as broker,
        Peer.open(broker.port) as peer,
    ):
        keep(peer, "/topic/t", "1", "x-delay:60000")
        assert shown(peer, "/topic/t") == []
        peer.send("UNSUBSCRIBE\nid:s\n\n\0")
        broker.time.advance("2 min")
        assert bodies(shown(peer, "/topic/t", identity="u")) == ["1"]


def test_a_virtual_topic_keeps_and_its_queues_do_not_tell(connect: Connect) -> None:
    name, sender = unique("v"), connect()
    topic, queue = f"/topic/VirtualTopic.{name}", f"/queue/Consumer.A.VirtualTopic.{name}"
    consumer = connect()
    subscribe(consumer, queue)
    keep(sender, topic, "1")
    frame = consumer.expect("MESSAGE")
    assert {"x-retain", "retain"}.isdisjoint(name for name, _ in frame.headers)
    assert bodies(shown(connect(), topic)) == ["1"]
    assert shown(connect(), f"/queue/Consumer.B.VirtualTopic.{name}") == []


def test_exchanges_keep_by_their_keys(connect: Connect) -> None:
    key, sender = unique("k"), connect()
    keep(sender, f"/exchange/amq.direct/{key}", "direct")
    keep(sender, f"/exchange/amq.topic/{key}.a", "topic")
    assert bodies(shown(connect(), f"/exchange/amq.direct/{key}")) == ["direct"]
    assert bodies(shown(connect(), f"/topic/{key}.*")) == ["topic"]
    assert shown(connect(), f"/topic/{key}") == []


def test_limits_of_number_and_size() -> None:
    limits = {"retained": 2, "retained_bytes": 2000}
    with running_broker(limits=limits) as broker, Peer.open(broker.port) as peer:
        keep(peer, "/topic/a", "1")
        keep(peer, "/topic/b", "1")
        keep(peer, "/topic/a", "2")
        with Peer.open(broker.port) as other:
            other.send("SEND\ndestination:/topic/c\nx-retain:true\nreceipt:r\n\nx\0")
            assert b"limits.retained)" in other.expect_error("limit-exceeded", "r").body
        with Peer.open(broker.port) as other:
            large = "x" * 1800
            other.send(f"SEND\ndestination:/topic/a\nx-retain:true\nreceipt:r\n\n{large}\0")
            assert b"limits.retained_bytes" in other.expect_error("limit-exceeded", "r").body
        with Peer.open(broker.port) as other:
            other.send("BEGIN\ntransaction:t\n\n\0")
            keep(other, "/topic/b", "", "transaction:t")
            for name in ("c", "d"):
                keep(other, f"/topic/{name}", "x", "transaction:t")
            other.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
            other.expect_error("limit-exceeded", "c")
        keep(peer, "/topic/b", "")
        keep(peer, "/topic/c", "3")
        assert bodies(shown(peer, "/topic/*")) == ["2", "3"]


def test_more_than_a_backlog_holds() -> None:
    policy = {"match": "/topic/>", "backlog_messages": 5}
    with running_broker(policy=[policy]) as broker, Peer.open(broker.port) as peer:
        for number in range(40):
            peer.send(f"SEND\ndestination:/topic/t.{number}\nx-retain:true\n\n{number}\0")
        with Peer.open(broker.port) as reader:
            peer.sync()
            assert bodies(shown(reader, "/topic/t.*")) == [str(n) for n in range(40)]


def test_each_message_comes_once_while_others_publish(connect: Connect) -> None:
    """Somebody who comes meanwhile sees each from one on, and the one before as it was kept."""
    topic, sender, count = f"/topic/{unique('t')}", connect(), 400
    frames = "".join(
        f"SEND\ndestination:{topic}\nx-retain:true\nn:{number}\n\n{number}\0"
        for number in range(count)
    )
    readers = [connect() for _ in range(5)]
    cut = len(frames) // 6
    for number, reader in enumerate(readers):
        sender.send(frames[number * cut : (number + 1) * cut])
        reader.send(f"SUBSCRIBE\nid:s\ndestination:{topic}\nack:auto\n\n\0")
    sender.send(frames[5 * cut :])
    for reader in readers:
        got: list[tuple[int, bool]] = []
        while not got or got[-1][0] < count - 1:
            frame = reader.expect("MESSAGE")
            got.append((int(frame.body), "retain" in frame))
        numbers = [number for number, _ in got]
        assert numbers == list(range(numbers[0], count))
        assert [kept for _, kept in got[1:]] == [False] * (len(got) - 1)
        assert got[0] == (numbers[0], numbers[0] > 0 or got[0][1])


def test_a_policy_says_that_nothing_is_stored(tmp_path: Path) -> None:
    settings = {
        "store": {"data": str(tmp_path / "data")},
        "policy": [{"match": "/topic/memory.>", "persistent": False}],
    }
    with running_broker(**settings) as broker, Peer.open(broker.port) as peer:
        for topic in ("memory.a", "disk.a"):
            keep(peer, f"/topic/{topic}", topic)
        assert bodies(shown(peer, "/topic/*.a")) == ["memory.a", "disk.a"]
    with running_broker(**settings) as broker, Peer.open(broker.port) as peer:
        assert bodies(shown(peer, "/topic/*.a")) == ["disk.a"]


def test_they_survive_a_crash_once_the_receipt_has_left(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path)
    try:
        with Peer.open(broker.port) as peer:
            keep(peer, "/topic/x.a", "1")
            keep(peer, "/topic/x.a", "2", "color:red")
            keep(peer, "/topic/x.b", "memory only", "persistent:false")
            keep(peer, "/topic/x.c", "gone")
            keep(peer, "/topic/x.c", "")
            keep(peer, "/topic/x.d", "in memory after all")
            keep(peer, "/topic/x.d", "x", "persistent:false")
            keep(peer, "/topic/x.e.long", "x" * 100_000)
        broker.kill()
        broker.restart()
        with Peer.open(broker.port) as peer, Peer.open(broker.port) as sender:
            found = shown(peer, "/topic/x.>")
            assert [f.body for f in found] == [b"2", b"x" * 100_000]
            assert (found[0]["color"], found[0]["retain"]) == ("red", "true")
            assert found[0]["redelivered"] == "false"
            keep(sender, "/topic/x.a", "3")
        broker.kill()
        broker.restart()
        with Peer.open(broker.port) as peer:
            assert bodies(shown(peer, "/topic/x.a")) == ["3"]
    finally:
        broker.end()
