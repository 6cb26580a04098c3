"""A subscription that looks and takes nothing (the manual, *Browsing*)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, cheap_hash, running_broker, stats, unique, until

import stompy
from stompy_broker import RunningBroker
from stompy_broker.security.access import Action, Rule

VERSIONS = ("1.0", "1.1", "1.2")


def send(peer: Peer, destination: str, *bodies: object, headers: str = "") -> None:
    """SEND messages, and be sure that they are safe."""
    for body in bodies:
        peer.send(f"SEND\ndestination:{destination}\n{headers}\n{body}\0")
    peer.sync()


def browse(peer: Peer, destination: str, headers: str = "", *, id: str = "b") -> list[Frame]:
    """Browse, and give the messages and the end marker."""
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\nbrowser:true\n{headers}\n\0")
    return until_end(peer)


def until_end(peer: Peer) -> list[Frame]:
    """The messages that come up to the end marker, and that."""
    frames = [peer.expect("MESSAGE")]
    while "browser" not in frames[-1]:
        frames.append(peer.expect("MESSAGE"))
    return frames


def shown(frames: list[Frame]) -> list[tuple[bytes, str]]:
    """Bodies and states of what was shown."""
    return [(frame.body, frame["state"]) for frame in frames[:-1]]


def take(peer: Peer, destination: str, count: int, headers: str = "") -> list[Frame]:
    """Have messages delivered, without settling them."""
    peer.send(
        f"SUBSCRIBE\nid:c\ndestination:{destination}\nack:client-individual\n"
        f"prefetch-count:{count}\n{headers}\n\0"
    )
    return [peer.expect("MESSAGE") for _ in range(count)]


# -- 1: copies -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_what_waits_is_shown_in_order_and_stays(
    broker: RunningBroker, connect: Connect, queue: str, version: str
) -> None:
    sender, peer = connect(), connect(version)
    send(sender, queue, *range(5), headers="color:red\n")
    before = stats(broker, queue)
    frames = browse(peer, queue)
    assert shown(frames) == [(b"%d" % number, "ready") for number in range(5)]
    for frame in frames[:-1]:
        assert frame["subscription"] == "b"
        assert frame["destination"] == queue
        assert frame["color"] == "red"
        assert (frame["redelivered"], frame["delivery-count"]) == ("false", "0")
        assert "ack" not in frame
    assert stats(broker, queue) == before
    assert [frame.body for frame in take(connect(), queue, 5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_the_mode_is_ignored_and_no_credit_is_needed(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, *range(300))
    frames = browse(peer, queue, "ack:client-individual\nprefetch-count:1\n")
    assert len(frames) == 301
    assert all("ack" not in frame for frame in frames)


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("version", VERSIONS)
def test_to_settle_what_was_shown_is_no_error(
    broker: RunningBroker, connect: Connect, queue: str, version: str, command: str
) -> None:
    if (command, version) == ("NACK", "1.0"):
        pytest.skip("1.0 has no NACK")
    peer = connect(version)
    send(peer, queue, "stays")
    shown_id = browse(peer, queue)[0]["message-id"]
    name = f"id:{shown_id}" if version == "1.2" else f"subscription:b\nmessage-id:{shown_id}"
    peer.send(f"{command}\n{name}\nreceipt:r\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    assert (stats(broker, queue).ready, stats(broker, queue).acked) == (1, 0)


def test_the_receipt_comes_first(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, "m")
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\nreceipt:r\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    assert len(until_end(peer)) == 2


# -- 2: the end marker -------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_is_marked_as_activemq_does(connect: Connect, queue: str, version: str) -> None:
    peer = connect(version)
    send(peer, queue, 1, 2)
    end = browse(peer, queue)[-1]
    assert dict(end.headers) == {
        "subscription": "b",
        "destination": queue,
        "browser": "end",
        "browsed": "2",
        "message-id": "0",
        "content-length": "0",
    }
    assert end.body == b""


def test_then_it_is_silent_until_unsubscribe(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, 1)
    browse(peer, queue)
    send(peer, queue, 2)  # sync: nothing else came
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nreceipt:again\n\n\0")
    peer.expect_error("duplicate-subscription", "again")
    peer = connect()
    browse(peer, queue)
    peer.send("UNSUBSCRIBE\nid:b\nreceipt:u\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "u"
    assert len(browse(peer, queue)) == 3


# -- 3: a snapshot, and states ------------------------------------------------------------------


def test_what_comes_after_subscribe_is_not_shown(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, *range(2000))
    peer.send(
        f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\n\n\0",
        *(f"SEND\ndestination:{queue}\n\nlate\0" for _ in range(50)),
    )
    frames = until_end(peer)
    assert [frame.body for frame in frames[:-1]] == [b"%d" % number for number in range(2000)]


def test_what_left_before_its_turn_is_left_out(broker: RunningBroker, queue: str) -> None:
    body = "x" * 10_000
    with Peer.open(broker.port, receive_buffer=4096) as peer, Peer.open(broker.port) as other:
        send(other, queue, *(f"{number:06}{body}" for number in range(2000)))
        peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\n\n\0")
        assert peer.expect("MESSAGE").body.startswith(b"000000")
        other.send(f"SUBSCRIBE\nid:c\ndestination:{queue}\n\n\0")
        for _ in range(2000):
            other.expect("MESSAGE")
        until(lambda: stats(broker, queue).ready == 0, "the queue to be empty")
        time.sleep(1.1)  # what was taken in hand is looked for again after a second
        frames = until_end(peer)
        assert len(frames) < 1900
        assert frames[-1]["browsed"] == str(len(frames))  # the first one was read before


def test_expired_ones_are_not_shown(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, "ends", headers="expiration:1\n")
    send(peer, queue, "stays")
    assert shown(browse(peer, queue)) == [(b"stays", "ready")]


@pytest.mark.parametrize(
    ("word", "bodies"),
    [
        ("present", ["held", "waits"]),
        ("ready", ["waits"]),
        ("unacked", ["held"]),
        ("delayed", ["refused"]),
        ("all", ["held", "refused", "waits"]),
    ],
)
def test_states(connect: Connect, queue: str, word: str, bodies: list[str]) -> None:
    consumer, peer = connect(), connect()
    send(peer, queue, "held", "refused")
    _, refused = take(consumer, queue, 2)
    consumer.send(f"NACK\nid:{refused['ack']}\ndelay:600000\n\n\0")
    consumer.send("UNSUBSCRIBE\nid:c\n\n\0")  # "held" goes back, and is taken again
    consumer.sync()
    take(consumer, queue, 1)
    send(peer, queue, "waits")
    states = {"held": "unacked", "refused": "delayed", "waits": "ready"}
    frames = browse(peer, queue, f"browser-state:{word}\n")
    assert shown(frames) == [(body.encode(), states[body]) for body in bodies]


def test_ready_and_unacked_in_one_order(connect: Connect, queue: str) -> None:
    """As ActiveMQ has it: what is with a consumer is shown, where it would return to."""
    consumer, peer = connect(), connect()
    send(peer, queue, *range(4))
    first, second = take(consumer, queue, 2)
    consumer.send(f"NACK\nid:{first['ack']}\n\n\0")
    again = consumer.expect("MESSAGE")
    assert again.body == b"0"
    frames = browse(peer, queue)
    told = [(f.body, f["state"], f["redelivered"], f["delivery-count"]) for f in frames[:-1]]
    assert told == [
        (b"0", "unacked", "true", "2"),
        (b"1", "unacked", "false", "1"),
        (b"2", "ready", "false", "0"),
        (b"3", "ready", "false", "0"),
    ]
    assert second.body == b"1"
    assert shown(browse(peer, queue, "browser-state:ready\n", id="r")) == [
        (b"2", "ready"),
        (b"3", "ready"),
    ]


def test_what_a_transaction_has_settled_is_unacked(connect: Connect, queue: str) -> None:
    consumer, peer = connect(), connect()
    send(peer, queue, "m")
    (message,) = take(consumer, queue, 1)
    consumer.send(
        f"BEGIN\ntransaction:t\n\n\0ACK\nid:{message['ack']}\ntransaction:t\nreceipt:r\n\n\0"
    )
    consumer.expect("RECEIPT")
    assert shown(browse(peer, queue)) == [(b"m", "unacked")]


def test_priorities(connect: Connect, queue: str) -> None:
    consumer, peer = connect(), connect()
    for priority in (1, 9, 4, 9, 1):
        send(peer, queue, priority, headers=f"priority:{priority}\n")
    take(consumer, queue, 1)
    assert [body for body, _ in shown(browse(peer, queue))] == [b"9", b"9", b"4", b"1", b"1"]


def test_what_is_to_come_later_is_shown(connect: Connect, queue: str) -> None:
    peer, day = connect(), 86_400_000
    send(peer, queue, "now")
    send(peer, queue, "later", headers=f"x-delay:{day}\n")
    frames = browse(peer, queue, "browser-state:scheduled\n")
    assert shown(frames) == [(b"later", "scheduled")]
    assert int(frames[0]["due-at"]) > time.time_ns() // 1_000_000 + day // 2
    every = browse(peer, queue, "browser-state:all\n", id="all")
    assert shown(every) == [(b"now", "ready"), (b"later", "scheduled")]
    assert shown(browse(peer, queue, id="present")) == [(b"now", "ready")]


# -- 4: which, how many, how much -----------------------------------------------------------------


def test_offset_and_limit(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, *range(10))
    frames = browse(peer, queue, "browser-offset:3\nbrowser-limit:4\n")
    assert [frame.body for frame in frames[:-1]] == [b"3", b"4", b"5", b"6"]
    assert frames[-1]["browsed"] == "4"
    assert len(browse(peer, queue, "browser-limit:0\n", id="0")) == 1
    assert len(browse(peer, queue, "browser-offset:99\n", id="99")) == 1


def test_selector(connect: Connect, queue: str) -> None:
    """Offset and limit count what matches."""
    peer = connect()
    for number in range(20):
        send(peer, queue, number, headers=f"n:{number}\ncolor:{'red' if number % 2 else 'blue'}\n")
    frames = browse(
        peer, queue, "selector:color = 'red' AND n > 4\nbrowser-offset:1\nbrowser-limit:3\n"
    )
    assert [frame.body for frame in frames[:-1]] == [b"7", b"9", b"11"]
    assert len(browse(peer, queue, "selector:n > 99\n", id="none")) == 1
    peer.send(f"SUBSCRIBE\nid:x\ndestination:{queue}\nbrowser:true\nselector:n >\n\n\0")
    peer.expect_error("bad-selector")


def test_selector_finds_what_stands_deep(connect: Connect, queue: str) -> None:
    peer = connect()
    for number in range(3000):
        peer.send(f"SEND\ndestination:{queue}\nn:{number}\n\n{number}\0")
    peer.sync()
    frames = browse(peer, queue, "selector:n = 2990\n")
    assert [frame.body for frame in frames[:-1]] == [b"2990"]


def test_headers_only(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, "12345", headers="content-length:5\na:b\n")
    send(peer, queue, "123")
    frames = browse(peer, queue, "browser-headers-only:true\n")
    assert [(f["body-length"], f.all("content-length"), f.body) for f in frames[:-1]] == [
        ("5", ["0"], b""),
        ("3", ["0"], b""),
    ]
    assert frames[0]["a"] == "b"
    assert "timestamp" in frames[0]


def test_follow_shows_what_comes(connect: Connect, queue: str) -> None:
    peer, other = connect(), connect()
    send(other, queue, 1)
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:follow\n\n\0")
    assert shown(until_end(peer)) == [(b"1", "ready")]
    for number in range(2, 5):
        send(other, queue, number)
        assert peer.expect("MESSAGE").body == b"%d" % number
    peer.send("UNSUBSCRIBE\nid:b\n\n\0")
    peer.sync()


def test_follow_of_a_queue_that_comes_later(connect: Connect, queue: str) -> None:
    peer, other = connect(), connect()
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:follow\nbrowser-limit:2\n\n\0")
    assert len(until_end(peer)) == 1
    send(other, queue, 1, 2, 3)
    assert peer.bodies(2) == [b"1", b"2"]
    send(peer, queue, 4)


def test_since(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, "early")
    at = int(browse(peer, queue)[0]["timestamp"]) + 1
    until(lambda: time.time_ns() // 1_000_000 > at, "the clock to go on")
    send(peer, queue, "late")
    frames = browse(peer, queue, f"browser-timestamp:{at}\n", id="t")
    assert shown(frames) == [(b"late", "ready")]


@pytest.mark.parametrize(
    "header",
    [
        "browser-offset:x",
        "browser-limit:-1",
        "browser-state:gone",
        "browser-headers-only:perhaps",
        "browser-timestamp:yesterday",
    ],
)
def test_a_header_that_does_not_fit(connect: Connect, queue: str, header: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\n{header}\n\n\0")
    assert header.partition(":")[0].encode() in peer.expect_error("bad-header").body


@pytest.mark.parametrize("word", ["perhaps", "end"])
def test_browser_is_true_false_or_follow(connect: Connect, queue: str, word: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:{word}\n\n\0")
    assert b"follow" in peer.expect_error("bad-header").body


@pytest.mark.parametrize("name", ["browser-state:ready", "browser-limit:1"])
def test_they_say_nothing_without_browser(connect: Connect, queue: str, name: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:false\n{name}\n\n\0")
    assert b"browser" in peer.expect_error("not-supported").body


# -- 5: what may be browsed --------------------------------------------------------------------


def test_a_queue_that_is_not_there_is_not_made(
    broker: RunningBroker, connect: Connect, queue: str
) -> None:
    frames = browse(connect(), queue)
    assert frames[0]["browsed"] == "0"
    assert not broker.queue(queue).exists


def test_dead_letters_and_durable_subscriptions(
    broker: RunningBroker, connect: Connect, queue: str, topic: str
) -> None:
    peer, name = connect("1.2", f"client-id:{unique()}"), unique("d")
    send(peer, queue, "dead")
    (message,) = take(peer, queue, 1)
    peer.send(f"NACK\nid:{message['ack']}\nrequeue:false\n\n\0")
    peer.sync()
    letters = browse(peer, f"/queue/DLQ.{queue.removeprefix('/queue/')}")
    assert [frame.body for frame in letters[:-1]] == [b"dead"]
    peer.send(
        f"SUBSCRIBE\nid:d\ndestination:{topic}\ndurable-subscription-name:{name}\nreceipt:r\n\n\0"
    )
    peer.expect("RECEIPT")
    peer.send("UNSUBSCRIBE\nid:d\n\n\0")
    send(peer, topic, "kept")
    (backlog_name,) = [row.name for row in broker.queues() if row.name.endswith(name)]
    assert backlog_name.startswith("durable.")
    backlog = browse(peer, f"/queue/{backlog_name}", id="d")
    assert [frame.body for frame in backlog[:-1]] == [b"kept"]


def test_a_wildcard_shows_one_queue_after_the_other(connect: Connect, queue: str) -> None:
    peer = connect()
    for name in ("b", "a", "c.d", "a.x"):
        send(peer, f"{queue}.{name}", f"{name}1", f"{name}2")
    frames = browse(peer, f"{queue}.*")
    assert [frame.body for frame in frames[:-1]] == [b"a1", b"a2", b"b1", b"b2"]
    assert frames[0]["destination"] == f"{queue}.a"
    assert (frames[-1]["destination"], frames[-1]["browsed"]) == (f"{queue}.*", "4")
    some = browse(peer, f"{queue}.>", "browser-offset:3\nbrowser-limit:3\n", id="some")
    assert [frame.body for frame in some[:-1]] == [b"a.x2", b"b1", b"b2"]
    assert len(browse(peer, f"{queue}.none.*", id="none")) == 1


def test_follow_by_a_wildcard_finds_new_queues(connect: Connect, queue: str) -> None:
    peer, other = connect(), connect()
    send(other, f"{queue}.a", 1)
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}.*\nbrowser:follow\n\n\0")
    assert len(until_end(peer)) == 2
    send(other, f"{queue}.b", 2)
    assert peer.expect("MESSAGE").body == b"2"
    send(other, f"{queue}.a", 3)
    assert peer.expect("MESSAGE").body == b"3"
    peer.send("UNSUBSCRIBE\nid:b\n\n\0")
    peer.sync()


@pytest.mark.parametrize(
    "destination", ["/topic/t", "/temp-queue/t", "/queue/$SYS.command", "/queue/a.>.b"]
)
def test_what_cannot_be_browsed(connect: Connect, destination: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{destination}\nbrowser:true\n\n\0")
    peer.expect_error("bad-destination")


@pytest.fixture(scope="module")
def strict() -> Iterator[RunningBroker]:
    """A broker with somebody who may only look, and somebody who may only take."""
    acl = (
        Rule(user="looks", actions=(Action.BROWSE,)),
        Rule(user="takes", actions=(Action.RECEIVE, Action.CREATE)),
        Rule(user="both"),
        Rule(match="/topic/>"),
        Rule(access="deny"),
    )
    users = {name: cheap_hash(name) for name in ("looks", "takes", "both")}
    with running_broker(users=users, acl=acl) as broker:
        yield broker


def test_it_takes_the_action_browse(strict: RunningBroker, queue: str) -> None:
    def come(name: str) -> Peer:
        return Peer.open(strict.port, "1.2", f"login:{name}", f"passcode:{name}")

    with come("looks") as looks, come("takes") as takes, come("both") as both:
        send(both, queue, "m")
        assert shown(browse(looks, queue)) == [(b"m", "ready")]
        takes.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\n\n\0")
        takes.expect_error("access-refused")
        looks.send(f"SUBSCRIBE\nid:c\ndestination:{queue}\n\n\0")
        looks.expect_error("access-refused")


def test_who_looks_is_in_the_rows(broker: RunningBroker, connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, 1, 2, 3)
    browse(peer, queue, "selector:a IS NULL\n", id="looks")
    (row,) = [one for one in broker.snapshot("subscriptions") if one.destination == queue]
    assert (row.browser, row.subscription, row.delivered) == (True, "looks", 3)
    assert row.selector == "a IS NULL"
    (connection,) = [one for one in broker.snapshot("connections") if one.id == row.connection]
    assert connection.out_msgs == 3
    assert stats(broker, queue).consumers == 0


def test_an_operator_ends_it(broker: RunningBroker, connect: Connect, queue: str) -> None:
    """The client is not told, and its UNSUBSCRIBE is no error."""
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:follow\n\n\0")
    until_end(peer)
    (row,) = [one for one in broker.snapshot("subscriptions") if one.destination == queue]
    request = json.dumps({"cmd": "subscription.close", "args": {"id": row.id}})
    with stompy.connect(broker.url) as client:
        answer = client.request("/queue/$SYS.command", request).json
    assert answer["result"]["closed"] == 1
    assert queue not in [one.destination for one in broker.snapshot("subscriptions")]
    send(peer, queue, "is not shown")
    peer.send("UNSUBSCRIBE\nid:b\nreceipt:u\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "u"


# -- 6: pace ---------------------------------------------------------------------------------------


def test_bodies_on_disk(tmp_path: Path, queue: str) -> None:
    """What has left memory is read for who looks, and stays on disk."""
    limits = {"memory": "1MiB"}
    body = "x" * 50_000
    with (
        running_broker(store={"data": str(tmp_path)}, limits=limits) as broker,
        Peer.open(broker.port) as peer,
    ):
        send(peer, queue, *(f"{number:03}{body}" for number in range(60)))
        frames = browse(peer, queue)
        assert [int(frame.body[:3]) for frame in frames[:-1]] == list(range(60))
        assert stats(broker, queue).ready == 60


def test_who_reads_nothing_holds_up_nobody(broker: RunningBroker, queue: str) -> None:
    with Peer.open(broker.port, receive_buffer=4096) as idle, Peer.open(broker.port) as peer:
        send(peer, queue, *("x" * 10_000 for _ in range(1000)))
        idle.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\n\n\0")
        assert len(browse(peer, queue)) == 1001
        send(peer, queue, "goes on")
