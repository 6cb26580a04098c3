"""Streams over real sockets (the manual, *Streams*)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.admin import observing
from tests.support.process import BrokerProcess
from tests.support.wire import Frame, Peer, cheap_hash, running_broker, unique, until

from stompy_broker import RunningBroker, running
from stompy_broker.destinations.policy import Policy

VERSIONS = ["1.0", "1.1", "1.2"]


@pytest.fixture(scope="module", params=["memory", "disk"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBroker]:
    data = str(tmp_path_factory.mktemp("streams")) if request.param == "disk" else ""
    policies = [
        Policy(match="/queue/log.>", type="stream"),
        Policy(match="/queue/short.>", max_deliveries=2, redelivery_delay=0.0),
    ]
    with running_broker(store={"data": data}, policy=policies) as broker:
        yield broker


@pytest.fixture
def peer(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


@pytest.fixture
def other(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


@pytest.fixture
def stream() -> str:
    return f"/stream/{unique('s')}"


def send(peer: Peer, destination: str, *bodies: str, headers: str = "") -> None:
    """Send messages; they are safe when this returns."""
    for body in bodies:
        receipt = f"receipt:{unique('r')}\n" if body == bodies[-1] else ""
        peer.send(f"SEND\ndestination:{destination}\n{headers}{receipt}\n{body}\0")
    peer.expect("RECEIPT")


def subscribe(
    peer: Peer, destination: str, headers: str = "", *, id: str = "0", ack: str = "auto"
) -> Frame:
    """Subscribe; gives the RECEIPT."""
    peer.send(
        f"SUBSCRIBE\nid:{id}\ndestination:{destination}\nack:{ack}\n{headers}receipt:s-{id}\n\n\0"
    )
    receipt = peer.expect("RECEIPT")
    assert receipt["receipt-id"] == f"s-{id}"
    return receipt


def unsubscribe(peer: Peer, id: str = "0") -> None:
    peer.send(f"UNSUBSCRIBE\nid:{id}\nreceipt:u-{id}\n\n\0")
    while (frame := peer.read()).command == "MESSAGE":
        pass
    assert frame["receipt-id"] == f"u-{id}"


def ack(peer: Peer, message: Frame, *lines: str, command: str = "ACK") -> None:
    """Settle a delivery, and wait until that is safe."""
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"{command}\nid:{message['ack']}\n{more}receipt:a\n\n\0")
    if not any(line.startswith("transaction") for line in lines):
        assert peer.expect("RECEIPT")["receipt-id"] == "a"
    else:
        peer.expect("RECEIPT")


def read(peer: Peer, count: int) -> list[tuple[int, str]]:
    """Offsets and bodies of the next messages."""
    frames = [peer.expect("MESSAGE") for _ in range(count)]
    return [(int(frame["x-stream-offset"]), frame.body.decode()) for frame in frames]


def start_from(
    broker: RunningBroker, stream: str, offset: str, count: int
) -> list[tuple[int, str]]:
    with Peer.open(broker.port) as peer:
        subscribe(peer, stream, f"x-stream-offset:{offset}\n")
        found = read(peer, count)
        peer.sync()
        return found


# -- what a stream is ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_any_number_of_readers_read_all_that_is_in_it(
    broker: RunningBroker, stream: str, version: str
) -> None:
    with Peer.open(broker.port, version) as writer:
        send(writer, stream, "a", "b", "c")
    for _ in range(3):
        with Peer.open(broker.port, version) as reader:
            subscribe(reader, stream, "x-stream-offset:first\n")
            assert read(reader, 3) == [(0, "a"), (1, "b"), (2, "c")]
            reader.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_readers_settle_for_themselves(broker: RunningBroker, stream: str, version: str) -> None:
    with Peer.open(broker.port, version) as one, Peer.open(broker.port, version) as two:
        send(one, stream, "a", "b")
        for peer in (one, two):
            subscribe(peer, stream, "x-stream-offset:first\n", ack="client-individual")
            for _ in range(2):
                message = peer.expect("MESSAGE")
                name, value = ("id", "ack") if version == "1.2" else ("message-id", "message-id")
                peer.send(f"ACK\n{name}:{message[value]}\nsubscription:0\n\n\0")
            peer.sync()


def test_without_an_offset_only_what_is_still_to_come_is_read(peer: Peer, stream: str) -> None:
    send(peer, stream, "before")
    subscribe(peer, stream)
    peer.send(f"SEND\ndestination:{stream}\n\nafter\0")
    assert read(peer, 1) == [(1, "after")]


@pytest.mark.parametrize(
    ("offset", "bodies"),
    [
        ("first", "abcde"),
        ("last", "e"),
        ("offset=2", "cde"),
        ("3", "de"),
        ("last=2", "de"),
        ("-4", "bcde"),
        ("-99", "abcde"),
        ("age=1h", "abcde"),
        ("timestamp=1", "abcde"),
    ],
)
def test_reading_begins_where_it_is_told(
    broker: RunningBroker, peer: Peer, stream: str, offset: str, bodies: str
) -> None:
    send(peer, stream, *"abcde")
    found = start_from(broker, stream, offset, len(bodies))
    assert found == list(enumerate("abcde"))[-len(bodies) :]


@pytest.mark.parametrize("offset", ["next", "offset=99", "timestamp=9999999999", ""])
def test_or_at_the_end(broker: RunningBroker, peer: Peer, stream: str, offset: str) -> None:
    send(peer, stream, "a", "b")
    with Peer.open(broker.port) as reader:
        subscribe(reader, stream, f"x-stream-offset:{offset}\n")
        send(peer, stream, "c")
        assert read(reader, 1) == [(2, "c")]


def test_retroactive_is_from_the_first_message(peer: Peer, stream: str) -> None:
    send(peer, stream, "a")
    subscribe(peer, stream, "activemq.retroactive:true\n")
    assert read(peer, 1) == [(0, "a")]


def test_a_slow_reader_holds_up_nobody(broker: RunningBroker, peer: Peer, stream: str) -> None:
    send(peer, stream, *"abc")
    with Peer.open(broker.port) as slow:
        subscribe(slow, stream, "x-stream-offset:first\nprefetch-count:1\n", ack="client")
        held = slow.expect("MESSAGE")
        assert start_from(broker, stream, "first", 3) == list(enumerate("abc"))
        slow.sync()
        ack(slow, held)
        assert slow.expect("MESSAGE").body == b"b"


@pytest.mark.parametrize(
    "destination", ["/queue/{name}", "{name}", "/stream/{name}", "/amq/queue/{name}"]
)
def test_it_is_the_queue_of_that_name(peer: Peer, destination: str) -> None:
    name = unique("s")
    send(peer, f"/stream/{name}", "a")
    send(peer, destination.replace("{name}", name), "b")
    subscribe(peer, f"/queue/{name}", "x-stream-offset:first\n")
    assert read(peer, 2) == [(0, "a"), (1, "b")]


def test_an_argument_of_the_first_send_makes_one(peer: Peer, queue: str) -> None:
    send(peer, queue, "a", headers="x-queue-type:stream\nx-max-age:7D\n")
    send(peer, queue, "b")
    subscribe(peer, queue, "x-stream-offset:first\n")
    frames = [peer.expect("MESSAGE") for _ in range(2)]
    assert [frame["x-stream-offset"] for frame in frames] == ["0", "1"]
    assert "x-queue-type" not in frames[0]
    assert "x-max-age" not in frames[0]


@pytest.mark.parametrize("headers", ["dedup-id:1\n", "dedup-id:1\ndedup-ttl:1000\n"])
def test_a_first_send_with_an_id_makes_one(peer: Peer, stream: str, headers: str) -> None:
    send(peer, stream, "first", headers=headers)
    subscribe(peer, stream, "x-stream-offset:first\n")
    assert peer.expect("MESSAGE")["x-stream-offset"] == "0"


def test_a_first_send_for_later_to_several_makes_one(peer: Peer, stream: str, queue: str) -> None:
    send(peer, f"{queue},{stream}", "first", headers="x-delay:1\n")
    subscribe(peer, stream, "x-stream-offset:first\n")
    assert peer.expect("MESSAGE")["x-stream-offset"] == "0"


def test_or_of_the_first_subscribe(peer: Peer, queue: str) -> None:
    subscribe(peer, queue, "x-queue-type:stream\n")
    peer.send(f"SEND\ndestination:{queue}\n\na\0")
    assert read(peer, 1) == [(0, "a")]


def test_or_a_policy(peer: Peer) -> None:
    queue = f"/queue/log.{unique()}"
    send(peer, queue, "a")
    subscribe(peer, queue, "x-stream-offset:first\n")
    assert read(peer, 1) == [(0, "a")]


def test_or_an_operator(broker: RunningBroker, peer: Peer, stream: str) -> None:
    with observing(broker.port) as admin:
        admin.ask("queue.create", queue=stream)
    send(peer, stream.replace("/stream/", "/queue/"), "a")
    subscribe(peer, stream, "x-stream-offset:first\n")
    assert read(peer, 1) == [(0, "a")]


@pytest.mark.parametrize(
    "frame",
    [
        "SEND\ndestination:/stream/{name}\nreceipt:r\n\nx\0",
        "SEND\ndestination:/queue/{name}\nx-queue-type:stream\nreceipt:r\n\nx\0",
        "SEND\ndestination:/topic/t,/stream/{name}\nreceipt:r\n\nx\0",
        "SUBSCRIBE\nid:0\ndestination:/stream/{name}\nreceipt:r\n\n\0",
        "SUBSCRIBE\nid:0\ndestination:/queue/{name}\nx-queue-type:stream\nreceipt:r\n\n\0",
    ],
)
def test_a_queue_of_another_type_is_no_stream(
    broker: RunningBroker, peer: Peer, frame: str
) -> None:
    name = unique()
    send(peer, f"/queue/{name}", "a")
    for _ in range(2):
        with Peer.open(broker.port) as asking:
            asking.send(frame.replace("{name}", name))
            error = asking.expect_error("bad-header", receipt="r")
            assert b"is no stream" in error.body
            assert b"queue.delete" in error.body


def test_nor_a_stream_a_queue(peer: Peer, stream: str) -> None:
    send(peer, stream, "a")
    name = stream.removeprefix("/stream/")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/{name}\nx-queue-type:quorum\nreceipt:r\n\n\0")
    assert b"is a stream" in peer.expect_error("bad-header", receipt="r").body


def test_a_destination_and_a_header_may_not_disagree(peer: Peer, stream: str) -> None:
    peer.send(f"SEND\ndestination:{stream}\nx-queue-type:classic\nreceipt:r\n\nx\0")
    peer.expect_error("bad-header", receipt="r")


@pytest.mark.parametrize("destination", ["/stream/", "/stream/a.*", "stream/a"])
def test_some_names_are_none(peer: Peer, destination: str) -> None:
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\nreceipt:r\n\n\0")
    peer.expect_error("bad-destination", receipt="r")


def test_several_streams_are_read_at_once(peer: Peer, stream: str) -> None:
    other = f"{stream}-other"
    send(peer, stream, "a", "b")
    send(peer, other, "c")
    subscribe(peer, f"{stream},{other}", "x-stream-offset:first\n")
    assert sorted(read(peer, 3)) == [(0, "a"), (0, "c"), (1, "b")]


def test_a_pattern_of_queues_takes_in_no_streams(
    broker: RunningBroker, peer: Peer, other: Peer
) -> None:
    words = unique("w")
    send(peer, f"/stream/{words}.before", "a")
    subscribe(peer, f"/queue/{words}.>")
    send(other, f"/stream/{words}.after", "b")
    send(other, f"/queue/{words}.queue", "c")
    assert peer.bodies(1) == [b"c"]
    peer.sync()


# -- places that are kept ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x-stream-consumer:ann",
        "durable-subscription-name:ann",
        "activemq.subscriptionName:ann",
        "x-stream-automatic-offset-tracking:true",
    ],
)
def test_a_reader_with_a_name_goes_on_where_it_stopped(
    broker: RunningBroker, peer: Peer, stream: str, name: str
) -> None:
    send(peer, stream, *"abc")
    with Peer.open(broker.port) as reader:
        subscribe(reader, stream, f"{name}\nx-stream-offset:first\n", ack="client-individual")
        first, *_ = [reader.expect("MESSAGE") for _ in range(3)]
        ack(reader, first)
    for _ in range(2):  # what was not settled comes again, to whoever has that name
        with Peer.open(broker.port) as reader:
            subscribe(reader, stream, f"{name}\n", ack="client-individual")
            assert read(reader, 2) == [(1, "b"), (2, "c")]


def test_the_place_is_after_the_last_message_up_to_which_all_are_settled(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"abcd")
    with Peer.open(broker.port) as reader:
        subscribe(
            reader,
            stream,
            "x-stream-consumer:ann\nx-stream-offset:first-unread\n",
            ack="client-individual",
        )
        a, b, c, _ = [reader.expect("MESSAGE") for _ in range(4)]
        ack(reader, a)
        ack(reader, c)
        name = stream.removeprefix("/stream")
        (row,) = [row for row in broker.snapshot("readers") if row.stream == f"/queue{name}"]
        assert row.kept == 1
        ack(reader, b)
    with Peer.open(broker.port) as reader:
        subscribe(reader, stream, "x-stream-consumer:ann\nx-stream-offset:first-unread\n")
        assert read(reader, 1) == [(3, "d")]


def test_a_cumulative_ack_settles_all_before(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"abc")
    with Peer.open(broker.port) as reader:
        subscribe(reader, stream, "x-stream-consumer:ann\nx-stream-offset:first\n", ack="client")
        _, b, _ = [reader.expect("MESSAGE") for _ in range(3)]
        ack(reader, b)
    with Peer.open(broker.port) as reader:
        subscribe(reader, stream, "x-stream-consumer:ann\n")
        assert read(reader, 1) == [(2, "c")]


def test_with_ack_auto_what_was_written_counts(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"ab")
    with Peer.open(broker.port) as reader:
        subscribe(reader, stream, "x-stream-consumer:ann\nx-stream-offset:first\n")
        assert read(reader, 2) == [(0, "a"), (1, "b")]
        unsubscribe(reader)
        send(peer, stream, "c")
        subscribe(reader, stream, "x-stream-consumer:ann\n")
        assert read(reader, 1) == [(2, "c")]


def test_an_offset_goes_before_the_place_but_not_with_tracking(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"ab")
    for again in ("", "x-stream-automatic-offset-tracking:true\n"):
        with Peer.open(broker.port) as reader:
            headers = f"x-stream-consumer:ann\n{again}x-stream-offset:first\nprefetch-count:1\n"
            subscribe(reader, stream, headers, ack="client-individual")
            message = reader.expect("MESSAGE")
            assert message.body == (b"b" if again else b"a")
            reader.sync()
            reader.send(f"ACK\nid:{message['ack']}\n\n\0")
            unsubscribe(reader)


def test_of_several_of_one_name_one_reads(broker: RunningBroker, peer: Peer, stream: str) -> None:
    send(peer, stream, *"ab")
    with Peer.open(broker.port) as one, Peer.open(broker.port) as two:
        headers = "x-stream-consumer:ann\nx-stream-offset:first\n"
        assert subscribe(one, stream, headers, ack="client")["active"] == "true"
        first = [one.expect("MESSAGE") for _ in range(2)]
        assert subscribe(two, stream, "x-stream-consumer:ann\n", ack="client")["active"] == "false"
        two.sync()
        ack(one, first[0])
        one.close()
        assert read(two, 1) == [(1, "b")]


def test_those_who_share_a_name_share_the_messages(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    with Peer.open(broker.port) as one, Peer.open(broker.port) as two:
        headers = "x-stream-consumer:ann\nshare:true\nprefetch-count:1\n"
        for reader in (one, two):
            subscribe(reader, stream, headers, ack="client-individual")
        send(peer, stream, *"ab")
        assert sorted(read(one, 1) + read(two, 1)) == [(0, "a"), (1, "b")]
        one.sync()
        two.sync()


# -- settling ------------------------------------------------------------------------------------


def test_what_is_refused_comes_again_to_this_reader_alone(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"ab")
    with Peer.open(broker.port) as one:
        subscribe(one, stream, "x-stream-offset:first\nprefetch-count:1\n", ack="client-individual")
        first = one.expect("MESSAGE")
        one.send(f"NACK\nid:{first['ack']}\n\n\0")
        again = one.expect("MESSAGE")
        assert (again["x-stream-offset"], again["redelivered"]) == ("0", "true")
        assert again["message-id"] == first["message-id"]
        ack(one, again)
        assert read(one, 1) == [(1, "b")]
    assert start_from(broker, stream, "first", 2) == [(0, "a"), (1, "b")]


def test_a_dead_letter_is_a_copy_with_its_offset(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"ab")
    subscribe(peer, stream, "x-stream-offset:first\n", ack="client-individual")
    first = peer.expect("MESSAGE")
    assert peer.expect("MESSAGE").body == b"b"
    ack(peer, first, "requeue:false", command="NACK")
    peer.sync()
    with Peer.open(broker.port) as reader:
        subscribe(reader, f"/queue/DLQ.{stream.removeprefix('/stream/')}")
        letter = reader.expect("MESSAGE")
        assert letter.body == b"a"
        assert letter["x-stream-offset"] == "0"
        assert letter["x-last-death-reason"] == "rejected"
    assert start_from(broker, stream, "first", 2) == [(0, "a"), (1, "b")]


def test_failing_too_often_is_the_end_for_one_reader(broker: RunningBroker, peer: Peer) -> None:
    stream = f"/stream/short.{unique()}"
    send(peer, stream, *"ab")
    subscribe(peer, stream, "x-stream-offset:first\nprefetch-count:1\n", ack="client-individual")
    for _ in range(2):
        message = peer.expect("MESSAGE")
        assert message.body == b"a"
        peer.send(f"NACK\nid:{message['ack']}\n\n\0")
    assert peer.expect("MESSAGE").body == b"b"
    with Peer.open(broker.port) as reader:
        subscribe(reader, f"/queue/DLQ.{stream.removeprefix('/stream/')}")
        assert reader.expect("MESSAGE").body == b"a"


# -- transactions --------------------------------------------------------------------------------


def test_a_commit_takes_a_run_of_offsets_and_an_abort_none(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    for end in ("COMMIT", "ABORT", "COMMIT"):
        peer.send("BEGIN\ntransaction:t\n\n\0")
        for body in "ab":
            peer.send(f"SEND\ndestination:{stream}\ntransaction:t\n\n{end}{body}\0")
        peer.send(f"{end}\ntransaction:t\nreceipt:c\n\n\0")
        assert peer.expect("RECEIPT")["receipt-id"] == "c"
    found = start_from(broker, stream, "first", 4)
    assert found == list(enumerate(["COMMITa", "COMMITb", "COMMITa", "COMMITb"]))


def test_consuming_and_producing_are_one_commit(
    broker: RunningBroker, peer: Peer, stream: str, queue: str
) -> None:
    send(peer, stream, *"ab")
    headers = "x-stream-consumer:ann\nx-stream-offset:first-unread\nprefetch-count:1\n"
    for end in ("ABORT", "COMMIT", "COMMIT"):
        with Peer.open(broker.port) as reader:
            subscribe(reader, stream, headers, ack="client-individual")
            message = reader.expect("MESSAGE")
            reader.send("BEGIN\ntransaction:t\n\n\0")
            out = f"{end} {message.body.decode()}"
            reader.send(f"SEND\ndestination:{queue}\ntransaction:t\n\n{out}\0")
            ack(reader, message, "transaction:t")
            reader.send(f"{end}\ntransaction:t\nreceipt:c\n\n\0")
            while reader.read().command != "RECEIPT":  # an ABORT may have it come again
                pass
    with Peer.open(broker.port) as reader:
        subscribe(reader, queue)
        assert reader.bodies(2) == [b"COMMIT a", b"COMMIT b"]
        reader.sync()


# -- choosing ------------------------------------------------------------------------------------


@pytest.fixture
def coloured(peer: Peer, stream: str) -> str:
    for colour in ("red", "blue", "", "red", "green"):
        header = f"x-stream-filter-value:{colour}\n" if colour else ""
        send(peer, stream, colour or "none", headers=f"{header}n:{len(colour)}\n")
    return stream


@pytest.mark.parametrize(
    ("headers", "offsets"),
    [
        ("x-stream-filter:red\n", [0, 3]),
        ("x-stream-filter:red,green\n", [0, 3, 4]),
        ("x-stream-filter:blue\nx-stream-match-unfiltered:true\n", [1, 2]),
        ("selector:n > 3\n", [1, 4]),
        ("x-stream-filter:red, blue\nselector:n = 4\n", [1]),
    ],
)
def test_readers_choose_by_filter_and_selector(
    broker: RunningBroker, coloured: str, headers: str, offsets: list[int]
) -> None:
    with Peer.open(broker.port) as reader:
        subscribe(reader, coloured, f"x-stream-offset:first\n{headers}")
        assert [offset for offset, _ in read(reader, len(offsets))] == offsets
        reader.sync()


def test_a_filter_value_is_passed_on(peer: Peer, coloured: str) -> None:
    subscribe(peer, coloured, "x-stream-offset:first\n")
    assert peer.expect("MESSAGE")["x-stream-filter-value"] == "red"


# -- what leads into a stream --------------------------------------------------------------------


def test_a_composite_destination_leads_into_one(
    broker: RunningBroker, peer: Peer, stream: str, queue: str
) -> None:
    send(peer, f"{queue},{stream}", "a")
    assert start_from(broker, stream, "first", 1) == [(0, "a")]
    subscribe(peer, queue)
    assert peer.bodies(1) == [b"a"]


def test_a_topic_with_a_stream_as_its_queue_leads_into_one(
    broker: RunningBroker, peer: Peer, topic: str
) -> None:
    name = unique("s")
    lines = f"x-queue-name:{name}\nx-queue-type:stream\ndurable:true\nauto-delete:false\n"
    subscribe(peer, topic, lines)
    unsubscribe(peer)
    send(peer, topic, "a", "b")
    assert start_from(broker, f"/stream/{name}", "first", 2) == [(0, "a"), (1, "b")]


def test_that_stream_is_read_by_the_subscription_to_the_topic(peer: Peer, topic: str) -> None:
    name = unique("s")
    lines = f"x-queue-name:{name}\nx-queue-type:stream\ndurable:true\nauto-delete:false\n"
    for offset in ("first", "last"):
        subscribe(peer, topic, f"{lines}x-stream-offset:{offset}\n")
        peer.send(f"SEND\ndestination:{topic}\n\n{offset}\0")
        frames = [peer.expect("MESSAGE") for _ in range(1 if offset == "first" else 2)]
        assert [frame.body for frame in frames][-1] == offset.encode()
        unsubscribe(peer)


def test_a_topic_without_a_queue_has_no_stream(peer: Peer, topic: str) -> None:
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{topic}\nx-queue-type:stream\nreceipt:r\n\n\0")
    peer.expect_error("not-supported", receipt="r")


def test_what_comes_later_comes_into_a_stream(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    peer.send(f"SEND\ndestination:{stream}\nx-delay:1\nreceipt:r\n\na\0")
    peer.expect("RECEIPT")
    subscribe(peer, stream, "x-stream-offset:first\n")
    assert read(peer, 1) == [(0, "a")]


def test_a_virtual_topic_leads_into_one(broker: RunningBroker, peer: Peer) -> None:
    topic = f"VirtualTopic.{unique()}"
    stream = f"/stream/Consumer.a.{topic}"
    subscribe(peer, stream)
    send_to = f"SEND\ndestination:/topic/{topic}\n\na\0"
    peer.send(send_to)
    assert read(peer, 1) == [(0, "a")]
    assert start_from(broker, stream, "first", 1) == [(0, "a")]


# -- what is not for streams ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "JMSXGroupID:g",
        "x-max-priority:5",
        "x-message-ttl:5",
        "x-overflow:reject-publish",
        "x-last-value-key:k",
        "auto-delete:true",
        "durable:false",
    ],
)
def test_what_a_stream_cannot_be_is_refused_by_name(
    broker: RunningBroker, stream: str, header: str
) -> None:
    with Peer.open(broker.port) as peer:
        peer.send(f"SEND\ndestination:{stream}\n{header}\nreceipt:r\n\nx\0")
        error = peer.expect_error("not-supported", receipt="r")
        assert header.partition(":")[0] in error.body.decode()


def test_priority_and_expiry_are_passed_on_and_mean_nothing(peer: Peer, stream: str) -> None:
    send(peer, stream, "a", headers="priority:1\nttl:1\n")
    send(peer, stream, "b", headers="priority:9\nexpires:1\n")
    subscribe(peer, stream, "x-stream-offset:first\n")
    frames = [peer.expect("MESSAGE") for _ in range(2)]
    assert [frame.body for frame in frames] == [b"a", b"b"]
    assert (frames[0]["priority"], frames[0]["ttl"], frames[1]["expires"]) == ("1", "1", "1")


@pytest.mark.parametrize(
    "header",
    [
        "x-stream-offset:first",
        "x-stream-consumer:n",
        "x-stream-filter:a",
        "activemq.retroactive:true",
        "share:g",
        "x-max-age:7D",
    ],
)
def test_on_a_queue_these_headers_mean_nothing_and_are_refused(
    peer: Peer, queue: str, header: str
) -> None:
    send(peer, queue, "a")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n{header}\nreceipt:r\n\n\0")
    error = peer.expect_error("not-supported", receipt="r")
    assert header.partition(":")[0] in error.body.decode()


def test_a_reader_alone_has_no_priority_over_others(peer: Peer, stream: str) -> None:
    send(peer, stream, "a")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{stream}\nx-priority:5\nreceipt:r\n\n\0")
    error = peer.expect_error("not-supported", receipt="r")
    assert "x-stream-consumer" in error.body.decode()


def test_a_sender_does_not_write_offsets(peer: Peer, queue: str) -> None:
    send(peer, queue, "a", headers="x-stream-offset:17\n")
    subscribe(peer, queue)
    assert "x-stream-offset" not in peer.expect("MESSAGE")


# -- retention, browsing, operators --------------------------------------------------------------


def test_the_oldest_go_when_there_are_too_many(broker: RunningBroker, peer: Peer) -> None:
    stream = f"/stream/{unique('s')}"
    send(peer, stream, "a", headers="x-max-length:3\n")
    send(peer, stream, *"bcdef")
    name = stream.removeprefix("/stream/")

    def first() -> int:
        (row,) = [row for row in broker.snapshot("queues") if row.name == name]
        return int(row.first_offset)

    until(lambda: first() == 3, "retention")
    assert start_from(broker, stream, "first", 3) == [(3, "d"), (4, "e"), (5, "f")]
    assert start_from(broker, stream, "offset=0", 3) == [(3, "d"), (4, "e"), (5, "f")]


def test_a_browser_sees_offsets_and_takes_nothing(
    broker: RunningBroker, peer: Peer, stream: str
) -> None:
    send(peer, stream, *"abc")
    for offset, bodies in (("", "abc"), ("x-stream-offset:offset=1\n", "bc")):
        with Peer.open(broker.port) as looking:
            looking.send(f"SUBSCRIBE\nid:0\ndestination:{stream}\nbrowser:true\n{offset}\n\0")
            frames = [looking.expect("MESSAGE") for _ in range(len(bodies))]
            assert "".join(frame.body.decode() for frame in frames) == bodies
            assert frames[-1]["x-stream-offset"] == "2"
            assert looking.expect("MESSAGE")["browser"] == "end"


def test_a_browser_has_no_name(peer: Peer, stream: str) -> None:
    send(peer, stream, "a")
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{stream}\nbrowser:true\nx-stream-consumer:n\nreceipt:r\n\n\0"
    )
    peer.expect_error("not-supported", receipt="r")


def test_rows_tell_of_streams_and_readers(broker: RunningBroker, peer: Peer, stream: str) -> None:
    send(peer, stream, *"abc")
    subscribe(
        peer,
        stream,
        "x-stream-consumer:ann\nx-stream-offset:first\n",
        ack="client-individual",
    )
    first, *_ = [peer.expect("MESSAGE") for _ in range(3)]
    ack(peer, first)
    name = stream.removeprefix("/stream/")
    (queue,) = [row for row in broker.snapshot("queues") if row.name == name]
    assert (queue.type, queue.first_offset, queue.next_offset) == ("stream", 0, 3)
    assert (queue.ready, queue.readers, queue.consumers, queue.in_msgs) == (3, 1, 1, 3)
    (reader,) = [row for row in broker.snapshot("readers") if row.stream == f"/queue/{name}"]
    assert (reader.id, reader.name) == (f"/queue/{name} ann", "ann")
    assert (reader.settled, reader.kept, reader.lag, reader.unacked) == (1, 1, 2, 2)
    assert reader.subscription.startswith("s-")
    assert reader.behind_ms is not None
    assert reader.behind_ms >= 0
    table = broker.sql("SELECT name, lag FROM readers WHERE stream = ?", [f"/queue/{name}"])
    assert table.rows == [("ann", 2)]
    (subscription,) = [
        row for row in broker.snapshot("subscriptions") if row.id == reader.subscription
    ]
    assert subscription.destination == f"/queue/{name}"


# -- over restarts -------------------------------------------------------------------------------


def test_how_old_what_a_reader_has_not_settled_is_after_a_restart(tmp_path: Path) -> None:
    settings = {"listen": {"port": 0}, "store": {"data": str(tmp_path / "data")}}
    start = datetime(2030, 1, 1, tzinfo=UTC)
    hour = 3_600_000
    stream = "/stream/s"

    def behind(broker: RunningBroker) -> dict[str, tuple[int, int | None]]:
        return {row.name: (row.lag, row.behind_ms) for row in broker.snapshot("readers")}

    with (
        running(settings, time=start) as broker,
        Peer.open(broker.port) as sender,
        Peer.open(broker.port) as peer,
    ):
        for name in ("ann", "bob", "zoe"):
            subscribe(peer, stream, f"x-stream-consumer:{name}\n", id=name, ack="client-individual")
        send(sender, stream, "a")
        broker.time.advance("1 h")
        send(sender, stream, "b")
        broker.time.advance("1 h")
        given = [peer.expect("MESSAGE") for _ in range(6)]
        bodies = {"ann": b"", "bob": b"a", "zoe": b"ab"}
        for message in given:
            if message.body in bodies[message["subscription"]] and bodies[message["subscription"]]:
                ack(peer, message)
        assert behind(broker) == {"ann": (2, 2 * hour), "bob": (1, hour), "zoe": (0, 0)}
    with running(settings, time=start + timedelta(hours=5)) as broker:
        assert behind(broker) == {"ann": (2, 5 * hour), "bob": (1, 4 * hour), "zoe": (0, 0)}
        with Peer.open(broker.port) as peer:
            send(peer, stream, "c")
            broker.time.advance("1 h")
            expected = {"ann": (3, 6 * hour), "bob": (2, 5 * hour), "zoe": (1, hour)}
            assert behind(broker) == expected
            again = "x-stream-consumer:ann\nx-stream-offset:first-unread\n"
            subscribe(peer, stream, again, ack="client-individual")
            given = [peer.expect("MESSAGE") for _ in range(3)]
            assert behind(broker) == expected, "what is given is not settled"
            ack(peer, given[0])
            assert behind(broker)["ann"] == (2, 5 * hour)


def test_everything_is_there_after_a_crash(tmp_path: Path) -> None:
    name = unique("s")
    stream, headers = f"/stream/{name}", "x-stream-consumer:ann\nx-stream-offset:first-unread\n"
    with BrokerProcess(tmp_path / "data") as process, Peer.open(process.port) as peer:
        send(peer, stream, *"abcd", headers="x-max-age:7D\n")
        subscribe(peer, stream, headers, ack="client-individual")
        first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
        assert (first.body, second.body) == (b"a", b"b")
        peer.bodies(2)
        ack(peer, first)
        process.kill()
    with BrokerProcess(tmp_path / "data") as process:
        with Peer.open(process.port) as peer:
            subscribe(peer, stream, headers, ack="client-individual")
            again = [peer.expect("MESSAGE") for _ in range(3)]
            assert [frame.body for frame in again] == [b"b", b"c", b"d"]
            assert again[0]["message-id"] == second["message-id"]
            assert again[0]["x-stream-offset"] == "1"
        with Peer.open(process.port) as peer:
            send(peer, f"/queue/{name}", "e")
            subscribe(peer, stream, "x-stream-offset:first\n")
            assert read(peer, 5) == list(enumerate("abcde"))
        assert process.stop() == 0
    settings = '[[policy]]\nmatch = "/queue/other.>"\n'
    with BrokerProcess(tmp_path / "data", settings) as process, Peer.open(process.port) as peer:
        subscribe(peer, stream, "x-stream-offset:-2\n")
        assert read(peer, 2) == [(3, "d"), (4, "e")]


def test_a_queue_stays_a_queue_whatever_a_policy_says_later(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "data") as process, Peer.open(process.port) as peer:
        send(peer, "/queue/old", "a")
        process.kill()
    settings = '[[policy]]\nmatch = "/queue/>"\ntype = "stream"\n'
    with BrokerProcess(tmp_path / "data", settings) as process:
        with Peer.open(process.port) as peer:
            subscribe(peer, "/queue/old", ack="client-individual")
            message = peer.expect("MESSAGE")
            assert "x-stream-offset" not in message
            ack(peer, message)
        with Peer.open(process.port) as peer:
            send(peer, "/queue/new", "a")
            subscribe(peer, "/queue/new", "x-stream-offset:first\n")
            assert read(peer, 1) == [(0, "a")]


# -- rights --------------------------------------------------------------------------------------


def test_rights_are_those_of_the_queue() -> None:
    users = {"ann": cheap_hash("pw")}
    rules = [
        {"user": "ann", "match": "/queue/read.>", "actions": ["receive"]},
        {"user": "ann", "match": "/queue/made.>", "actions": ["send", "create"]},
    ]
    with running_broker(users=users, acl=rules, security={"default_access": "deny"}) as broker:

        def refused(frame: str) -> None:
            with Peer.open(broker.port, "1.2", "login:ann", "passcode:pw") as peer:
                peer.send(frame)
                peer.expect_error("access-refused", receipt="r")

        refused("SEND\ndestination:/stream/read.a\nreceipt:r\n\nx\0")
        refused("SUBSCRIBE\nid:0\ndestination:/stream/read.a\nreceipt:r\n\n\0")  # not there yet
        refused("SUBSCRIBE\nid:0\ndestination:/stream/made.a\nreceipt:r\n\n\0")
        with Peer.open(broker.port, "1.2", "login:ann", "passcode:pw") as peer:
            peer.send("SEND\ndestination:/stream/made.a\nreceipt:r\n\nx\0")
            peer.expect("RECEIPT")
