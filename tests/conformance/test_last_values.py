"""Last-value queues, and queues whose messages stay (the manual, *Queues and policies*)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.admin import observing
from tests.support.broker_process import BrokerProcess
from tests.support.wire import Frame, Peer, running_broker, unique

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy


@pytest.fixture(scope="module", params=["memory", "disk"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBroker]:
    policies = [
        Policy(match="/queue/artemis.*", last_value=True),
        Policy(match="/queue/place.*", last_value_key="symbol", last_value_position="place"),
        Policy(match="/queue/table.*", last_value_key="symbol", non_destructive=True),
        Policy(match="/queue/stays.*", non_destructive=True, redelivery_delay=0, max_deliveries=2),
        Policy(match="/queue/plain.*"),
        Policy(match="/queue/>", last_value_key="symbol", redelivery_delay=0),
    ]
    data = "" if request.param == "memory" else str(tmp_path_factory.mktemp("data"))
    with running_broker(policy=policies, store={"data": data}) as broker:
        yield broker


@pytest.fixture
def sender(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


@pytest.fixture
def reader(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


@pytest.fixture
def queue() -> str:
    return f"/queue/prices.{unique()}"


def frame_of(queue: str, body: str, *lines: str, header: str = "symbol") -> str:
    more = "".join(f"{line}\n" for line in lines)
    return f"SEND\ndestination:{queue}\n{header}:{body[0]}\n{more}\n{body}\0"


def send(peer: Peer, queue: str, *bodies: str, header: str = "symbol") -> None:
    """Send messages, each of the key that its first letter is."""
    peer.send(*[frame_of(queue, body, header=header) for body in bodies])
    peer.sync()


def subscribe(peer: Peer, queue: str, *lines: str, mode: str = "client-individual") -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:{mode}\n{more}\n\0")


def settle(peer: Peer, command: str, message: Frame, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"{command}\nid:{message['ack']}\n{more}\n\0")


def browse(peer: Peer, queue: str) -> list[bytes]:
    """What ``browser:true`` shows."""
    peer.send(f"SUBSCRIBE\nid:b\ndestination:{queue}\nbrowser:true\n\n\0")
    bodies = []
    while "browser" not in (frame := peer.expect("MESSAGE")):
        bodies.append(frame.body)
    peer.send("UNSUBSCRIBE\nid:b\n\n\0")
    return bodies


# -- last values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_of_each_key_the_last_one_comes(broker: RunningBroker, queue: str, version: str) -> None:
    with Peer.open(broker.port, version) as peer:
        send(peer, queue, "a1", "b1", "a2", "c1", "b2")
        subscribe(peer, queue, mode="auto")
        assert peer.bodies(3) == [b"a2", b"c1", b"b2"]


def test_at_the_place_of_the_one_before(sender: Peer, reader: Peer) -> None:
    queue = f"/queue/place.{unique()}"
    send(sender, queue, "a1", "b1", "a2", "c1", "b2")
    subscribe(reader, queue)
    messages = [reader.expect("MESSAGE") for _ in range(3)]
    assert [message.body for message in messages] == [b"a2", b"b2", b"c1"]
    assert len({message["message-id"] for message in messages}) == 3
    for message in messages:
        settle(reader, "ACK", message)
    reader.sync()


def test_the_header_of_artemis(sender: Peer, reader: Peer) -> None:
    queue = f"/queue/artemis.{unique()}"
    send(sender, queue, "a1", "b1", "a2", header="_AMQ_LVQ_NAME")
    subscribe(reader, queue, mode="auto")
    first, second = reader.expect("MESSAGE"), reader.expect("MESSAGE")
    assert (first.body, second.body) == (b"b1", b"a2")
    assert second["_AMQ_LVQ_NAME"] == "a"


@pytest.mark.parametrize("by", ["SEND", "SUBSCRIBE"])
def test_an_argument_sets_a_queue_up(
    broker: RunningBroker, sender: Peer, reader: Peer, by: str
) -> None:
    queue = f"/queue/plain.{unique()}"
    if by == "SUBSCRIBE":
        subscribe(reader, queue, "x-last-value-key:name")
        reader.sync()
        reader.send("UNSUBSCRIBE\nid:0\n\n\0")
        reader.sync()
        sender.send(frame_of(queue, "a0", header="name"))
    else:
        sender.send(frame_of(queue, "a0", "x-last-value-key:name", header="name"))
    send(sender, queue, "a1", "b1", "a2", header="name")
    subscribe(reader, queue, mode="auto")
    first, second = reader.expect("MESSAGE"), reader.expect("MESSAGE")
    assert (first.body, second.body) == (b"b1", b"a2")
    assert "x-last-value-key" not in first
    with observing(broker.port) as admin:
        row = admin.row(queue.removeprefix("/queue/"))
        assert (row["last_value_key"], row["replaced"], row["keys"]) == ("name", 2, 0)


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
def test_topics_keep_no_last_values(broker: RunningBroker, command: str) -> None:
    with Peer.open(broker.port) as peer:
        head = "id:0\n" if command == "SUBSCRIBE" else ""
        peer.send(f"{command}\n{head}destination:/topic/x\nx-last-value-key:a\n\n\0")
        assert b"x-last-value-key" in peer.expect_error("not-supported").body


def test_a_transaction_gives_the_last_of_its_own(sender: Peer, reader: Peer, queue: str) -> None:
    subscribe(reader, queue, mode="auto")
    reader.sync()
    sender.send("BEGIN\ntransaction:t\n\n\0")
    for body in ("a1", "a2", "b1", "a3"):
        sender.send(frame_of(queue, body, "transaction:t"))
    sender.sync()
    sender.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    assert sender.expect("RECEIPT")["receipt-id"] == "c"
    assert reader.bodies(2) == [b"b1", b"a3"]
    sender.send("BEGIN\ntransaction:t\n\n\0", frame_of(queue, "a4", "transaction:t"))
    sender.send("ABORT\ntransaction:t\n\n\0")
    send(sender, queue, "c1")
    assert reader.bodies(1) == [b"c1"]


def test_what_comes_back_goes_if_a_newer_one_is_there(
    broker: RunningBroker, sender: Peer, reader: Peer, queue: str
) -> None:
    send(sender, queue, "a1", "b1")
    subscribe(reader, queue, "prefetch-count:2")
    first, second = reader.expect("MESSAGE"), reader.expect("MESSAGE")
    send(sender, queue, "a2")
    settle(reader, "NACK", first)
    assert reader.expect("MESSAGE").body == b"a2"
    settle(reader, "NACK", second)
    again = reader.expect("MESSAGE")
    assert (again.body, again["redelivered"]) == (b"b1", "true")
    with observing(broker.port) as admin:
        row = admin.row(queue.removeprefix("/queue/"))
        assert (row["replaced"], row["keys"], row["unacked"]) == (1, 2, 2)


def test_what_a_lost_client_had(broker: RunningBroker, sender: Peer, queue: str) -> None:
    send(sender, queue, "a1", "b1")
    with Peer.open(broker.port) as lost:
        subscribe(lost, queue)
        assert lost.bodies(2) == [b"a1", b"b1"]
        send(sender, queue, "a2")
        assert lost.bodies(1) == [b"a2"]
    with Peer.open(broker.port) as reader:
        subscribe(reader, queue)
        assert sorted(reader.bodies(2)) == [b"a2", b"b1"]


def test_one_send_to_several(sender: Peer, reader: Peer, queue: str) -> None:
    other = f"/queue/plain.{unique()}"
    send(sender, f"{queue},{other}", "a1", "a2")
    assert browse(reader, queue) == [b"a2"]
    assert browse(reader, other) == [b"a1", b"a2"]


def test_a_schedule_fires_into_it(sender: Peer, reader: Peer, queue: str) -> None:
    sender.send(frame_of(queue, "a-later", "x-delay:1"))
    sender.sync()
    subscribe(reader, queue)
    first = reader.expect("MESSAGE")
    assert (first.body, first["symbol"]) == (b"a-later", "a")
    send(sender, queue, "a1", "a2")
    assert reader.expect("MESSAGE").body in (b"a1", b"a2")  # or both, if they came apart


def test_moved_and_retried_ones_replace(
    broker: RunningBroker, sender: Peer, reader: Peer, queue: str
) -> None:
    name, other = queue.removeprefix("/queue/"), f"plain.{unique()}"
    send(sender, f"/queue/{other}", "a1", "a2")
    send(sender, queue, "a0", "b0")
    with observing(broker.port) as admin:
        assert admin.ask("message.move", queue=other, to=name)["moved"] == 2
        assert admin.bodies(name) == ["b0", "a2"]
        subscribe(reader, queue)
        first = reader.expect("MESSAGE")
        settle(reader, "NACK", first, "requeue:false")
        reader.expect("MESSAGE")
        reader.send("UNSUBSCRIBE\nid:0\n\n\0")
        reader.sync()
        send(sender, queue, "b1")
        assert admin.bodies(f"DLQ.{name}") == ["b0"]
        assert admin.ask("message.retry", queue=f"DLQ.{name}")["retried"] == 1
        assert sorted(admin.bodies(name)) == ["a2", "b0"]
        assert admin.ask("queue.purge", queue=name)["purged"] == 2
        assert admin.row(name)["keys"] == 0


def test_kill_9_leaves_the_last_one_of_each(tmp_path: Path) -> None:
    process = BrokerProcess(tmp_path)
    try:
        with Peer.open(process.port) as peer:
            peer.send(frame_of("/queue/q", "a0", "x-last-value-key:symbol"))
            for number in range(50):
                peer.send(frame_of("/queue/q", f"a{number}"), frame_of("/queue/q", f"b{number}"))
            peer.send(frame_of("/queue/q", "a-last", "receipt:r"))
            assert peer.expect("RECEIPT")["receipt-id"] == "r"
            process.kill()
        process.restart()
        with Peer.open(process.port) as peer:
            subscribe(peer, "/queue/q")
            assert peer.bodies(2) == [b"b49", b"a-last"]
            peer.send(frame_of("/queue/q", "b50"))
            assert peer.bodies(1) == [b"b50"]
    finally:
        process.end()


# -- messages that stay ---------------------------------------------------------------------------


def test_a_table_of_what_holds(broker: RunningBroker, sender: Peer) -> None:
    queue = f"/queue/table.{unique()}"
    send(sender, queue, "a1", "b1", "a2")
    with Peer.open(broker.port) as first, Peer.open(broker.port) as second:
        subscribe(first, queue)
        messages = [first.expect("MESSAGE"), first.expect("MESSAGE")]
        assert [message.body for message in messages] == [b"b1", b"a2"]
        for message in messages:
            settle(first, "ACK", message)
        first.sync()
        subscribe(second, queue, mode="auto")
        assert second.bodies(2) == [b"b1", b"a2"]
        send(sender, queue, "b2")
        assert first.bodies(1) == second.bodies(1) == [b"b2"]
        with observing(broker.port) as admin:
            row = admin.row(queue.removeprefix("/queue/"))
            told = row["ready"], row["keys"], row["replaced"], row["readers"], row["acked"]
            assert told == (2, 2, 2, 2, 2)
            assert row["non_destructive"]
            assert admin.bodies(queue.removeprefix("/queue/")) == ["a2", "b2"]


def test_a_refusal_is_for_who_refuses(broker: RunningBroker, sender: Peer, reader: Peer) -> None:
    queue = f"/queue/stays.{unique()}"
    send(sender, queue, "a", "b")
    with Peer.open(broker.port) as other:
        subscribe(other, queue, mode="auto")
        assert other.bodies(2) == [b"a", b"b"]
        subscribe(reader, queue, "prefetch-count:1")
        first = reader.expect("MESSAGE")
        settle(reader, "NACK", first)
        again = reader.expect("MESSAGE")
        assert (again.body, again["redelivered"], again["delivery-count"]) == (b"a", "true", "2")
        settle(reader, "NACK", again, "message:no good")  # once too often
        assert reader.expect("MESSAGE").body == b"b"
        other.sync()
    with observing(broker.port) as admin:
        name = queue.removeprefix("/queue/")
        assert admin.bodies(f"DLQ.{name}") == ["a"]
        assert admin.bodies(name) == ["a", "b"]
        row = admin.row(name)
        assert (row["ready"], row["dead_lettered"], row["nacked"]) == (2, 1, 2)


def test_a_transaction_moves_the_place_of_one_reader(sender: Peer, reader: Peer) -> None:
    queue, other = f"/queue/stays.{unique()}", f"/queue/plain.{unique()}"
    send(sender, queue, "a", "b")
    subscribe(reader, queue, "prefetch-count:1")
    first = reader.expect("MESSAGE")
    reader.send("BEGIN\ntransaction:t\n\n\0")
    settle(reader, "ACK", first, "transaction:t")
    reader.send(frame_of(other, "x", "transaction:t"), "COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    frames = [reader.read(), reader.read()]
    assert sorted(frame.command for frame in frames) == ["MESSAGE", "RECEIPT"]
    assert browse(sender, other) == [b"x"]
    assert browse(sender, queue) == [b"a", b"b"]


@pytest.mark.parametrize(
    "line", ["x-single-active-consumer:true", "x-stream-offset:first", "x-stream-consumer:me"]
)
def test_what_a_reader_cannot_ask(broker: RunningBroker, line: str) -> None:
    with Peer.open(broker.port) as peer:
        subscribe(peer, f"/queue/stays.{unique()}", line)
        peer.expect_error("not-supported")


def test_an_operator_takes_messages_away(broker: RunningBroker, sender: Peer) -> None:
    name = f"stays.{unique()}"
    send(sender, f"/queue/{name}", "a", "b", "c")
    with observing(broker.port) as admin:
        peeked = admin.ask("message.peek", queue=name, limit=10)["messages"]
        gone = admin.ask("message.delete", queue=name, ids=[peeked[0]["message_id"]])
        assert gone["deleted"] == 1
        assert admin.bodies(name) == ["b", "c"]
        assert admin.ask("queue.purge", queue=name)["purged"] == 2
        row = admin.row(name)
        assert (row["removed"], row["ready"]) == (3, 0)


def test_what_stays_survives_a_restart(tmp_path: Path) -> None:
    policy, store = Policy(match="/queue/q", non_destructive=True), {"data": str(tmp_path)}
    with running_broker(policy=[policy], store=store) as broker, Peer.open(broker.port) as peer:
        send(peer, "/queue/q", "a", "b")
        subscribe(peer, "/queue/q")
        for message in (peer.expect("MESSAGE"), peer.expect("MESSAGE")):
            settle(peer, "ACK", message)
        peer.sync()
    with running_broker(policy=[policy], store=store) as broker, Peer.open(broker.port) as peer:
        subscribe(peer, "/queue/q", mode="auto")
        assert peer.bodies(2) == [b"a", b"b"]


# -- what is told ---------------------------------------------------------------------------------


def test_an_event_tells_what_was_replaced(broker: RunningBroker, sender: Peer, queue: str) -> None:
    with observing(broker.port) as admin:
        events = admin.subscribe("event.message.replaced")
        admin.peer.sync()
        sender.send(frame_of(queue, "a1"))
        send(sender, queue, "a2")
        told = json.loads(admin.frame(events).body)["data"]
        assert told["destination"] == queue
        assert told["message_id"]


def test_it_is_explained(broker: RunningBroker, sender: Peer, queue: str) -> None:
    table = f"/queue/table.{unique()}"
    send(sender, queue, "a1")
    send(sender, table, "a1")
    with observing(broker.port) as admin, Peer.open(broker.port) as first:
        for number in range(2):
            first.send(f"SUBSCRIBE\nid:{number}\ndestination:{table}\nack:client\n\n\0")
        assert first.bodies(2) == [b"a1", b"a1"]
        told = admin.ask("route.explain", destination=queue, headers={"symbol": "a"})
        (one,) = told["recipients"]
        assert "last value: it replaces the one that waits and has symbol:a" in one["why"]
        told = admin.ask("route.explain", destination=table)
        (one,) = told["recipients"]
        assert one["why"] == [
            "no symbol: no value",
            "it stays when it is read: each consumer gets it",
        ]
        assert len(one["next"]) == 2
        settings = admin.ask("policy.explain", destination=table)["settings"]
        assert (settings["last_value_key"], settings["non_destructive"]) == ("symbol", True)
