"""Peers that are many, slow, silent, foreign or mad; and a healthy pair that never notices."""

from __future__ import annotations

import logging
import random
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import cast

import pytest
from tests.support.wire import (
    PATIENCE,
    Pair,
    Peer,
    fast_config,
    running_broker,
    stats,
    unique,
    until,
)

import stompy_broker
from stompy_broker import RunningBroker
from stompy_broker.broker import Broker

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture(autouse=True)
def no_faults(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever peers do, the broker itself never stumbles."""
    yield
    faults = [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert not faults, [record.getMessage() for record in faults]


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
def pair(broker: RunningBroker) -> Iterator[Pair]:
    with Pair(broker.port) as pair:
        yield pair


@pytest.fixture
def many_files() -> Iterator[None]:
    """Allow as many open files as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def held_bytes(running: RunningBroker) -> int:
    """What waits in memory to be written to all clients together; what is shared counts once."""

    def add_up(broker: Broker) -> int:
        parts: dict[int, int] = {}
        total = 0
        for connection in broker._connections:
            parts |= {id(part): len(part) for part in connection.output._parts}
            if connection._transport is not None:
                total += connection._transport.get_write_buffer_size()
        return total + sum(parts.values())

    return running._ask(add_up)


# -- many -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("many_files")
def test_a_thousand_open_connections(broker: RunningBroker, pair: Pair):
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(broker.port)) for _ in range(1000)]
        for peer in peers:
            peer.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
        for peer in peers:
            peer.expect("CONNECTED")
        assert broker.connections() == 1002
        pair.exchange()
        topic = f"/topic/{unique()}"
        for peer in peers:
            peer.send(f"SUBSCRIBE\nid:0\ndestination:{topic}\nreceipt:r\n\n\0")
        for peer in peers:
            peer.expect("RECEIPT")
        peers[0].send(f"SEND\ndestination:{topic}\n\nto all\0")
        for peer in peers:
            assert peer.expect("MESSAGE").body == b"to all"
        pair.exchange()
    until(lambda: broker.connections() == 2, "the others to be gone")
    pair.exchange()


def test_more_connections_than_allowed():
    with running_broker(limits={"connections": 3}) as broker, Pair(broker.port) as pair:
        with Peer.open(broker.port) as third, Peer(broker.port) as fourth:
            fourth.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
            fourth.expect_error("limit-exceeded")
            third.sync()
            pair.exchange()
        until(lambda: broker.connections() == 2, "both to be gone")
        with Peer.open(broker.port) as third:
            third.sync()


@pytest.mark.parametrize(
    "frame",
    [
        "SEND\ndestination:/temp-queue/{n}\n{more}\n\0",
        "SEND\ndestination:/topic/nobody\nreply-to:/temp-queue/{n}\n{more}\n\0",
        "BEGIN\ntransaction:{n}\n\n\0SEND\ntransaction:{n}\ndestination:/temp-queue/{n}\n{more}\n\0",
    ],
)
def test_more_temporary_queues_than_allowed(frame: str):
    with running_broker(limits={"temporary_queues": 3}) as broker, Pair(broker.port) as pair:
        with Peer.open(broker.port) as peer:
            for n in range(3):
                peer.send(frame.format(n=n, more=""))
            peer.sync()
            peer.send(frame.format(n=3, more="receipt:r\n"))
            peer.expect_error("limit-exceeded", receipt="r")
        pair.exchange()


@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_ten_thousand_subscriptions_on_one_connection(broker: RunningBroker, pair: Pair, kind: str):
    name = unique()
    with Peer.open(broker.port) as peer:
        for start in range(0, 10_000, 1000):
            peer.send(
                "".join(
                    f"SUBSCRIBE\nid:{n}\ndestination:/{kind}/{name}.{n}\nack:client\n\n\0"
                    for n in range(start, start + 1000)
                )
            )
            pair.exchange()
        peer.sync()
        for n in (0, 5_000, 9_999):
            peer.send(f"SEND\ndestination:/{kind}/{name}.{n}\n\n{n}\0")
            message = peer.expect("MESSAGE")
            assert message["subscription"] == message.body.decode() == str(n)
        peer.send(f"SUBSCRIBE\nid:x\ndestination:/{kind}/{name}\nreceipt:r\n\n\0")
        peer.expect_error("limit-exceeded", receipt="r")
    pair.exchange()


def test_ten_thousand_subscriptions_to_one_queue(broker: RunningBroker, pair: Pair):
    """Ending them in the order that is worst for the queue takes no noticeable time."""
    with Peer.open(broker.port) as peer:
        peer.send(
            "".join(f"SUBSCRIBE\nid:{n}\ndestination:/queue/one\n\n\0" for n in range(10_000))
        )
        peer.sync()
        peer.send("".join(f"UNSUBSCRIBE\nid:{n}\n\n\0" for n in reversed(range(5_000))))
        pair.exchange()
        peer.sync()
    pair.exchange()


def test_three_hundred_connections_in_a_row(broker: RunningBroker, pair: Pair):
    queue = f"/queue/{unique()}"
    for n in range(300):
        with Peer.open(broker.port, ("1.0", "1.1", "1.2")[n % 3]) as peer:
            peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
            peer.send(f"SEND\ndestination:{queue}\n\n\0" if n % 5 == 0 else "\n")
            if n % 4 == 1:
                peer.send("DISCONNECT\nreceipt:r\n\n\0")
                while peer.read().command != "RECEIPT":
                    pass
            elif n % 4 == 2:
                peer.reset()
    until(lambda: broker.connections() == 2, "all of them to be gone")
    pair.exchange()


# -- slow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "client"])
def test_a_consumer_that_never_reads_is_no_store(mode: str):
    """What it does not take waits in the queue, is counted there, and stops the producer."""
    config = fast_config(
        limits={"output": 64 * KIB, "memory": 4 * MIB}, times={"linger": 0.1, "shutdown": 0.0}
    )
    with (
        stompy_broker.running(config) as broker,
        Peer.open(broker.port, receive_buffer=8 * KIB) as lazy,
        Peer.open(broker.port) as producer,
    ):
        lazy.send(f"SUBSCRIBE\nid:0\ndestination:/queue/q\nack:{mode}\nprefetch-count:0\n\n\0")
        lazy.sync()
        frame = b"SEND\ndestination:/queue/q\n\n" + b"x" * 10_000 + b"\0"
        assert producer.stuck_while_sending(frame, 10_000), "the broker took 100 MB"
        assert held_bytes(broker) < 1 * MIB
        # The mark, half of it for what is with the consumer, and what one read brings.
        assert stats(broker, "q").bytes < 6 * MIB + 512 * KIB


def test_ones_own_temporary_queue_is_no_store_either():
    """Nobody else could empty it, so who fills the broker that way is refused, not held."""
    with running_broker(limits={"memory": MIB}) as broker:
        with Pair(broker.port) as pair, Peer.open(broker.port) as peer:
            frame = b"SEND\ndestination:/temp-queue/x\n\n" + b"x" * 10_000 + b"\0"
            with suppress(ConnectionError):
                peer.send(frame * 3_000)
            peer.expect_error("limit-exceeded")
            pair.exchange()


def test_a_topic_subscriber_that_never_reads_is_bounded():
    policy = {"match": "/topic/>", "backlog_bytes": MIB}
    with running_broker(limits={"output": 64 * KIB}, policy=[policy]) as broker:
        with Peer.open(broker.port, receive_buffer=8 * KIB) as lazy, Pair(broker.port) as pair:
            with Peer.open(broker.port) as producer:
                lazy.send("SUBSCRIBE\nid:0\ndestination:/topic/t\n\n\0")
                lazy.sync()
                frame = "SEND\ndestination:/topic/t\n\n" + "x" * 10_000 + "\0"
                for _ in range(30):
                    producer.send(frame * 100)
                    producer.sync()
                    pair.exchange()
                    assert held_bytes(broker) < 1 * MIB


def test_silent_topic_subscribers_hold_up_no_producer():
    """What they share counts once, and who is over its share of a full loan loses the oldest."""
    settings = {"output": 64 * KIB, "memory": 4 * MIB}
    with running_broker(limits=settings) as broker, Pair(broker.port) as pair:
        with Peer.open(broker.port, receive_buffer=8 * KIB) as lazy:
            lazy.send(
                "".join(f"SUBSCRIBE\nid:{n}\ndestination:/topic/t\n\n\0" for n in range(40))
                + "".join(f"SUBSCRIBE\nid:o{n}\ndestination:/topic/o.{n}\n\n\0" for n in range(40))
            )
            lazy.sync()
            with Peer.open(broker.port) as producer:
                for n in range(40):
                    own = f"SEND\ndestination:/topic/o.{n}\n\n" + "x" * 10_000 + "\0"
                    producer.send(("SEND\ndestination:/topic/t\n\n" + "x" * 10_000 + "\0") * 25)
                    producer.send(own * 25)
                    producer.sync()
                    assert not producer.hears(0.0)
            pair.exchange()
            used = broker._ask(lambda broker: broker._router.loans.used)
            assert used < 4 * MIB + MIB
        until(lambda: broker._ask(lambda b: b._router.loans.used) == 0, "everything given back")


def test_a_consumer_that_settles_nothing_holds_up_nobody():
    with running_broker(limits={"memory": 4 * MIB}) as broker, Pair(broker.port) as pair:
        with Peer.open(broker.port) as hoarder, Peer.open(broker.port) as producer:
            hoarder.send(
                "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\nprefetch-count:0\n\n\0"
            )
            hoarder.sync()
            frame = "SEND\ndestination:/queue/q\n\n" + "x" * 100_000 + "\0"
            for _ in range(30):
                producer.send(frame)
            hoarder.bodies(15)
            pair.exchange()
            producer.sync()  # there is room for what waits
            assert stats(broker, "q").ready > 5


@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_who_settles_goes_on_beside_who_does_not(mode: str):
    """However little is left of what may be lent, there is always one message for everybody."""
    with running_broker(limits={"memory": MIB}) as broker, Pair(broker.port) as pair:
        with ExitStack() as stack:
            hoarders = [stack.enter_context(Peer.open(broker.port)) for _ in range(3)]
            busy = stack.enter_context(Peer.open(broker.port))
            producer = stack.enter_context(Peer.open(broker.port))
            for number, hoarder in enumerate(hoarders):
                hoarder.send(
                    f"SUBSCRIBE\nid:0\ndestination:/queue/h{number}\nack:{mode}\nprefetch-count:0\n\n\0"
                )
                hoarder.sync()
                for _ in range(4):
                    producer.send(f"SEND\ndestination:/queue/h{number}\n\n{'x' * 100_000}\0")
                hoarder.expect("MESSAGE")
            busy.send(f"SUBSCRIBE\nid:0\ndestination:/queue/busy\nack:{mode}\n\n\0")
            busy.sync()
            for number in range(40):
                producer.send(f"SEND\ndestination:/queue/busy\n\n{str(number).ljust(50_000)}\0")
                message = busy.expect("MESSAGE")
                assert int(message.body) == number
                busy.send(f"ACK\nid:{message['ack']}\n\n\0")
            pair.exchange()
            producer.sync()


def test_a_reply_queue_that_is_not_read_costs_its_owner():
    """Who answers many is not held up by one that does not take its answers."""
    settings = {"output": 64 * KIB, "memory": 4 * MIB}
    with running_broker(limits=settings) as broker, Pair(broker.port) as pair:
        with (
            Peer.open(broker.port, receive_buffer=8 * KIB) as lazy,
            Peer.open(broker.port) as service,
        ):
            service.send("SUBSCRIBE\nid:0\ndestination:/queue/service\n\n\0")
            service.sync()
            lazy.send("SEND\ndestination:/queue/service\nreply-to:/temp-queue/a\n\n\0")
            address = service.expect("MESSAGE")["reply-to"]
            for _ in range(100):
                service.send(f"SEND\ndestination:{address}\n\n" + "x" * 100_000 + "\0")
            service.sync()
            pair.exchange()
            until(lambda: broker.connections() == 3, "the owner to be cut off")


def test_many_subscriptions_of_a_consumer_that_never_reads():
    """One message to a topic must not cost its size times the subscriptions of one connection."""
    with running_broker(limits={"output": 64 * KIB}) as broker:
        with Peer.open(broker.port, receive_buffer=8 * KIB) as lazy, Pair(broker.port) as pair:
            lazy.send("".join(f"SUBSCRIBE\nid:{n}\ndestination:/topic/t\n\n\0" for n in range(64)))
            lazy.sync()
            with Peer.open(broker.port) as producer:
                producer.send("SEND\ndestination:/topic/t\n\n" + "x" * MIB + "\0")
                producer.sync()
                held = held_bytes(broker)
            pair.exchange()
            assert held < 8 * MIB


def test_a_client_that_does_not_read_its_receipts():
    """Receipts for what it sends may wait, but not without end."""
    with running_broker() as broker, Pair(broker.port) as pair:
        with Peer.open(broker.port, receive_buffer=8 * KIB) as lazy:
            frame = f"SEND\ndestination:/topic/nobody\nreceipt:{'r' * 1000}\n\n\0" * 100
            lazy.stuck_while_sending(frame.encode(), 300)
            held = held_bytes(broker)
        pair.exchange()
        assert held < 8 * MIB


def test_a_held_producer_that_goes_away():
    """What it sent before is still taken once there is room (1.2, *Connection Lingering*)."""
    with running_broker(limits={"memory": 10_000}) as broker:
        with Peer.open(broker.port) as producer:
            producer.send("SEND\ndestination:/queue/full\n\n" + "x" * 20_000 + "\0")
            until(lambda: bool(broker.queues()), "the queue")
            producer.send("SEND\ndestination:/queue/late\n\nlast words\0")
        with Peer.open(broker.port) as consumer:
            consumer.send("SUBSCRIBE\nid:0\ndestination:/queue/full\n\n\0")
            consumer.expect("MESSAGE")
            consumer.send("SUBSCRIBE\nid:1\ndestination:/queue/late\n\n\0")
            assert consumer.expect("MESSAGE").body == b"last words"
        until(lambda: broker.connections() == 0, "the end to be noticed")


def test_a_held_client_that_dies_gives_back_what_it_had():
    """Or what it has not acknowledged keeps the broker full, and all producers waiting, for ever.

    With heart-beats it is noticed when the broker cannot write one; 1.0 has none.
    """
    config = fast_config(limits={"memory": 10_000}, times={"linger": 0.1, "shutdown": 0.0})
    with stompy_broker.running(config) as broker, Peer.open(broker.port) as other:
        other.send("SUBSCRIBE\nid:0\ndestination:/queue/other\n\n\0")
        other.sync()
        with Peer.open(broker.port, "1.0") as peer:
            peer.send("SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n\0")
            peer.send("SEND\ndestination:/queue/q\n\n" + "x" * 30_000 + "\0")
            assert len(peer.expect("MESSAGE").body) == 30_000
        other.send("SUBSCRIBE\nid:1\ndestination:/queue/q\n\n\0")
        assert other.hears(5.0)


# -- silent ---------------------------------------------------------------------------------------


def test_half_a_handshake():
    halves = [b"", b"\n", b"CON", b"CONNECT\naccept-version:1.2\n", b"CONNECT\n\nbody"]
    with running_broker(times={"login": 1.0}) as broker, Pair(broker.port) as pair:
        with ExitStack() as stack:
            peers = [stack.enter_context(Peer(broker.port)) for _ in halves]
            for peer, half in zip(peers, halves, strict=True):
                peer.send(half)
            pair.exchange()
            for peer in peers:
                peer.expect_error("login-timeout")
        pair.exchange()


def test_octets_do_not_put_off_the_login_timeout():
    with running_broker(times={"login": 0.4}) as broker, Peer(broker.port) as peer:
        while not peer.hears(0.02):
            peer.send("\n")
        peer.expect_error("login-timeout")


def test_a_peer_that_never_closes_after_its_error():
    with running_broker(times={"linger": 0.2}) as broker, Pair(broker.port) as pair:
        with Peer.open(broker.port) as peer:
            peer.send("NONSENSE\n\n\0")
            assert peer.expect("ERROR")["error-code"] == "unknown-command"
            until(lambda: broker.connections() == 2, "it to be cut off")
            pair.exchange()


# -- foreign --------------------------------------------------------------------------------------


def test_tls_on_the_plain_port(broker: RunningBroker, pair: Pair):
    context = ssl.create_default_context()
    plain = socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE)
    with plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname="localhost")
    until(lambda: broker.connections() == 2, "it to be gone")
    pair.exchange()


@pytest.mark.parametrize(
    "request_line", ["GET / HTTP/1.1", "OPTIONS * HTTP/1.0", "POST /x HTTP/1.1", "PRI * HTTP/2.0"]
)
def test_http_on_the_stomp_port(broker: RunningBroker, pair: Pair, request_line: str):
    with Peer(broker.port) as peer:
        peer.send(f"{request_line}\r\nHost: localhost\r\n\r\n")
        answer = peer.rest()
        # GET might have asked for a WebSocket.
        statuses = {"GET": b"426", "PRI": b"505"}
        status = statuses.get(request_line.partition(" ")[0], b"405")
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert (b"STOMP" in answer) == (status == b"426")
    pair.exchange()


def test_http_octet_by_octet(broker: RunningBroker):
    with Peer(broker.port) as peer:
        peer.dribble("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.rest().startswith(b"HTTP/1.1 426 ")


def test_a_lingering_http_client_does_not_spoil_the_goodbye():
    with ExitStack() as stack:
        with running_broker(times={"linger": 0.5}) as broker:
            browser, client = Peer(broker.port), Peer.open(broker.port)
            stack.enter_context(browser)
            stack.enter_context(client)
            browser.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert browser.octets(12) == b"HTTP/1.1 426"
            # Leaving the block stops the broker; everybody is connected still.
            broker.connections = lambda: 0  # type: ignore[method-assign]
        client.expect_error("shutting-down")


# -- mad ------------------------------------------------------------------------------------------

WORDS = [
    b"CONNECT", b"STOMP", b"SEND", b"SUBSCRIBE", b"UNSUBSCRIBE", b"ACK", b"NACK", b"BEGIN",
    b"COMMIT", b"ABORT", b"DISCONNECT", b"MESSAGE", b"\n", b"\n", b"\n\n", b"\r\n", b"\0", b"\0\n",
    b":", b"\\", b"\\n", b"id:0\n", b"id:1-1\n", b"destination:/queue/fuzz\n", b"destination:",
    b"/topic/fuzz.>", b"ack:client\n", b"receipt:r\n", b"transaction:t\n", b"content-length:",
    b"0", b"7", b"99999999999999999999", b"-1", b"message-id:1\n", b"subscription:0\n",
    b"prefetch-count:1\n", b"reply-to:/temp-queue/x\n", b"accept-version:1.2\n",
    b"heart-beat:1,1\n", b"requeue:false\n", b"delay:1\n", b"\xff", b"\xc3\xa9", b"x" * 300,
    b"\x16\x03\x01", b"GET / ",
]  # fmt: skip


def mad_frames(dice: random.Random) -> bytes:
    """Frames that look right, but for a few octets."""
    parts = []
    for _ in range(dice.randrange(1, 12)):
        command = cast(bytes, dice.choice(WORDS[:12]))
        headers = b"".join(word for word in dice.choices(WORDS, k=6) if word.endswith(b"\n"))
        parts.append(command + b"\n" + headers.replace(b"\n\n", b"\n") + b"\n\0")
    data = bytearray(b"".join(parts))
    for _ in range(dice.randrange(3)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def provoke(peer: Peer, dice: random.Random, kind: str) -> None:
    """Send something mad in some pieces, then go or stay."""
    if kind == "octets":
        data = dice.randbytes(dice.randrange(1, 3000))
    elif kind == "words":
        data = b"".join(dice.choices(WORDS, k=dice.randrange(1, 60)))
    else:
        data = mad_frames(dice)
    with suppress(ConnectionError):
        while data:
            cut = dice.randrange(1, len(data) + 1)
            peer.send(data[:cut])
            data = data[cut:]
        if dice.random() < 0.5:
            peer.finish()
            peer.rest()


@pytest.mark.parametrize("kind", ["octets", "words", "frames"])
@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_mad_peer(kind: str, connected: bool, seed: int):
    dice = random.Random(f"{kind} {connected} {seed}")
    with running_broker(times={"linger": 0.5}) as broker, Pair(broker.port) as pair:
        for _ in range(40):
            with Peer(broker.port) as peer:
                if connected:
                    peer.send(f"CONNECT\naccept-version:1.{dice.randrange(3)}\nhost:x\n\n\0")
                    peer.expect("CONNECTED")
                provoke(peer, dice, kind)
            pair.exchange()
