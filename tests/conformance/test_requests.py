"""`docs/wire.md`, *Requests that fail at once*: the broker answers where nobody else does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Frame, Peer, running_broker, unique, until

from stompy.admin.rows import BrokerRow
from stompy_broker import RunningBroker

VERSIONS = ("1.0", "1.1", "1.2")
LONG, SHORT = 60_000, 100


def ask(peer: Peer, destination: str, timeout: int, *headers: str, number: str = "1") -> None:
    """Send a request."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(
        f"SEND\ndestination:{destination}\nreply-to:/temp-queue/a\ncorrelation-id:{number}\n"
        f"reply-timeout:{timeout}\n{lines}\nbody\0"
    )


def subscribe(peer: Peer, destination: str, *headers: str, key: str = "s") -> None:
    """Subscribe, and wait until that is so."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:{key}\ndestination:{destination}\n{lines}receipt:sub\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "sub"


def reply(peer: Peer, request: Frame, body: str) -> None:
    """Answer a request."""
    peer.send(
        f"SEND\ndestination:{request['reply-to']}\n"
        f"correlation-id:{request['correlation-id']}\n\n{body}\0"
    )


def answered(peer: Peer, number: str = "1") -> str:
    """What the broker answers next, to which request."""
    frame = peer.expect("MESSAGE")
    assert frame["subscription"] == "/temp-queue/a"
    assert (frame["correlation-id"], frame.body) == (number, b"")
    return frame["reply-status"]


def waiting(broker: RunningBroker, queue: str) -> int:
    """How many messages are in a queue, with consumers or not."""
    name = queue.removeprefix("/queue/")
    return sum(row.ready + row.unacked for row in broker.queues() if row.name == name)


def broker_row(broker: RunningBroker) -> BrokerRow:
    """What the broker tells of itself."""
    return broker.snapshot("broker")[0]


# -- at once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_consumes(connect: Connect, broker: RunningBroker, queue: str, version: str):
    """It is answered at once, and is not put into the queue."""
    peer = connect(version)
    ask(peer, queue, LONG)
    assert answered(peer) == "no-consumers"
    assert waiting(broker, queue) == 0
    peer.send(f"SEND\ndestination:{queue}\n\nplain\0")
    ask(peer, queue, LONG, number="2")
    assert answered(peer, "2") == "no-consumers"
    assert waiting(broker, queue) == 1


def test_who_does_not_want_it_is_nobody(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue, "selector:colour = 'red'")
    ask(peer, queue, LONG, "colour:blue")
    assert answered(peer) == "no-consumers"
    ask(peer, queue, LONG, "colour:red")
    reply(consumer, consumer.expect("MESSAGE"), "here")
    assert peer.expect("MESSAGE").body == b"here"


def test_topics_and_exchanges(connect: Connect, topic: str):
    peer, consumer = connect(), connect()
    exchange = f"/exchange/amq.direct/{unique('k')}"
    for destination in (topic, exchange):
        ask(peer, destination, LONG)
        assert answered(peer) == "no-consumers"
        subscribe(consumer, destination, key=destination)
        ask(peer, destination, LONG)
        reply(consumer, consumer.expect("MESSAGE"), "here")
        assert peer.expect("MESSAGE").body == b"here"


def test_a_durable_subscriber_that_is_away_is_nobody(connect: Connect, topic: str):
    peer, consumer = connect(), connect("1.2", "client-id:c")
    subscribe(consumer, topic, "durable:true", "activemq.subscriptionName:d")
    ask(peer, topic, LONG)
    reply(consumer, consumer.expect("MESSAGE"), "here")
    assert peer.expect("MESSAGE").body == b"here"
    consumer.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0")
    consumer.expect("RECEIPT")
    ask(peer, topic, LONG)
    assert answered(peer) == "no-consumers"


def test_virtual_topics_and_several_at_once(connect: Connect, queue: str):
    peer, consumer, name = connect(), connect(), f"VirtualTopic.{unique('v')}"
    of_topic, several = f"/queue/Consumer.a.{name}", f"/topic/{name},{queue}"
    for destination in (f"/topic/{name}", several):
        ask(peer, destination, LONG)
        assert answered(peer) == "no-consumers"
    subscribe(consumer, of_topic)
    for destination in (f"/topic/{name}", several):
        ask(peer, destination, LONG)
        reply(consumer, consumer.expect("MESSAGE"), "here")
        assert peer.expect("MESSAGE").body == b"here"


def test_a_receipt_is_given_all_the_same(connect: Connect, queue: str):
    peer = connect()
    ask(peer, queue, LONG, "receipt:r")
    frames = {frame.command: frame for frame in (peer.read(), peer.read())}
    assert frames["RECEIPT"]["receipt-id"] == "r"
    assert frames["MESSAGE"]["reply-status"] == "no-consumers"


# -- in time, or not ---------------------------------------------------------------------------


def test_who_replies_in_time_is_all_that_comes(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue)
    ask(peer, queue, SHORT, number="1")
    request = consumer.expect("MESSAGE")
    assert request["reply-timeout"] == request["ttl"] == str(SHORT)
    reply(consumer, request, "here")
    assert peer.expect("MESSAGE").body == b"here"
    ask(peer, queue, SHORT, number="2")  # whose time is over later than that of the first
    assert answered(peer, "2") == "timeout"


def test_late_replies_are_dropped_and_counted(connect: Connect, broker: RunningBroker, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue)
    before = broker_row(broker).late_replies
    ask(peer, queue, SHORT)
    request = consumer.expect("MESSAGE")
    assert answered(peer) == "timeout"
    for _ in range(2):
        reply(consumer, request, "late")
    consumer.sync()
    peer.sync()  # nothing came before it
    assert broker_row(broker).late_replies == before + 2


def test_it_is_taken_back_if_nobody_has_it(connect: Connect, broker: RunningBroker, queue: str):
    """Without a dead letter, and who comes later does not get it."""
    peer, consumer = connect(), connect()
    subscribe(consumer, queue, "ack:client-individual", "prefetch-count:1")
    ask(peer, queue, LONG, number="1")
    had = consumer.expect("MESSAGE")
    ask(peer, queue, SHORT, number="2")
    assert answered(peer, "2") == "timeout"
    until(lambda: waiting(broker, queue) == 1, "the request to be taken back")
    consumer.send(f"ACK\nid:{had['ack']}\n\n\0")
    consumer.sync()
    assert waiting(broker, f"/queue/DLQ.{queue.removeprefix('/queue/')}") == 0


def test_what_somebody_has_is_not_taken_from_him(
    connect: Connect, broker: RunningBroker, queue: str
):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue, "ack:client-individual")
    ask(peer, queue, SHORT)
    had = consumer.expect("MESSAGE")
    assert answered(peer) == "timeout"
    consumer.send(f"ACK\nid:{had['ack']}\nreceipt:a\n\n\0")
    consumer.expect("RECEIPT")
    assert waiting(broker, queue) == 0


def test_its_own_time_to_live_may_be_over_before(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue, "ack:client-individual", "prefetch-count:1")
    ask(peer, queue, LONG, number="1")
    consumer.expect("MESSAGE")
    for ttl in ("ttl", "expiration"):
        ask(peer, queue, LONG, f"{ttl}:{SHORT}", number=ttl)
        assert answered(peer, ttl) == "expired"


def test_a_reply_without_a_correlation_id_ends_the_only_one(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue)
    ask(peer, queue, SHORT, number="1")
    request = consumer.expect("MESSAGE")
    consumer.send(f"SEND\ndestination:{request['reply-to']}\n\nhere\0")
    assert peer.expect("MESSAGE").body == b"here"
    ask(peer, queue, SHORT, number="2")
    assert answered(peer, "2") == "timeout"


def test_a_request_without_a_correlation_id(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue)
    send = f"SEND\ndestination:{queue}\nreply-to:/temp-queue/a\nreply-timeout:{SHORT}\n\n\0"
    peer.send(send)
    request = consumer.expect("MESSAGE")
    consumer.send(f"SEND\ndestination:{request['reply-to']}\ncorrelation-id:9\n\nhere\0")
    assert peer.expect("MESSAGE").body == b"here"
    peer.send(send)
    answer = peer.expect("MESSAGE")
    assert answer["reply-status"] == "timeout"
    assert "correlation-id" not in answer
    peer.send(send + send)
    assert peer.expect("ERROR")["error-code"] == "bad-header"


# -- given up ----------------------------------------------------------------------------------


def test_rejected_with_the_reason(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue, "ack:client-individual")
    ask(peer, queue, LONG)
    ack = consumer.expect("MESSAGE")["ack"]
    consumer.send(f"NACK\nid:{ack}\nrequeue:false\nreason:no such spoon\n\n\0")
    answer = peer.expect("MESSAGE")
    assert (answer["reply-status"], answer.body) == ("rejected", b"")
    assert answer["correlation-id"] == "1"
    assert answer["x-death-info"] == "no such spoon"
    assert answer["x-last-death-reason"] == "rejected"
    name = queue.removeprefix("/queue/")
    subscribe(consumer, f"/queue/DLQ.{name}", key="dead")
    letter = consumer.expect("MESSAGE")
    assert letter["correlation-id"] == "1"
    assert "reply-timeout" not in letter


def test_rejected_too_often(connect: Connect, queue: str):
    """What comes back is not answered; what is given up is."""
    peer, consumer = connect(), connect()
    subscribe(consumer, queue, "ack:client-individual", "activemq.maximumRedeliveries:1")
    ask(peer, queue, LONG)
    for count in ("1", "2"):
        frame = consumer.expect("MESSAGE")
        assert frame["delivery-count"] == count
        peer.sync()
        consumer.send(f"NACK\nid:{frame['ack']}\n\n\0")
    answer = peer.expect("MESSAGE")
    assert (answer["reply-status"], answer["x-last-death-reason"]) == ("rejected", "nack")


def test_a_topic_is_rejected_by_all_or_not_at_all(connect: Connect, topic: str):
    peer, one, other = connect(), connect(), connect()
    for consumer in (one, other):
        subscribe(consumer, topic, "ack:client-individual")
    nack = "NACK\nid:{}\nrequeue:false\nreceipt:n\n\n\0"
    ask(peer, topic, LONG, number="1")
    one.send(nack.format(one.expect("MESSAGE")["ack"]))
    one.expect("RECEIPT")
    reply(other, other.expect("MESSAGE"), "here")
    assert peer.expect("MESSAGE").body == b"here"
    ask(peer, topic, LONG, number="2")
    for consumer in (one, other):
        consumer.send(nack.format(consumer.expect("MESSAGE")["ack"]))
        consumer.expect("RECEIPT")
    assert answered(peer, "2") == "rejected"


@pytest.fixture(scope="module")
def bounded() -> Iterator[RunningBroker]:
    policies = [
        {"match": "/queue/full.>", "max_length": 1, "overflow": "reject-publish"},
        {"match": "/queue/pushes.>", "max_length": 1, "overflow": "drop-head"},
    ]
    with running_broker(policy=policies) as broker:
        yield broker


def test_refused_because_the_queue_is_full(bounded: RunningBroker):
    with Peer.open(bounded.port) as peer, Peer.open(bounded.port) as consumer:
        queue = f"/queue/full.{unique()}"
        subscribe(consumer, queue, "ack:client-individual", "prefetch-count:1")
        ask(peer, queue, LONG, number="1")
        consumer.expect("MESSAGE")
        ask(peer, queue, LONG, number="2")
        ask(peer, queue, LONG, "receipt:r", number="3")
        frames = [peer.read(), peer.read()]
        (answer,) = [frame for frame in frames if frame.command == "MESSAGE"]
        assert answer["reply-status"] == "refused"
        assert answer["correlation-id"] == "3"
        assert "full" in answer["x-death-info"]


def test_refused_because_a_later_one_pushed_it_out(bounded: RunningBroker):
    with Peer.open(bounded.port) as peer, Peer.open(bounded.port) as consumer:
        queue = f"/queue/pushes.{unique()}"
        subscribe(consumer, queue, "ack:client-individual", "prefetch-count:1")
        for number in "123":
            ask(peer, queue, LONG, number=number)
        answer = peer.expect("MESSAGE")
        assert (answer["reply-status"], answer["correlation-id"]) == ("refused", "2")
        assert answer["x-last-death-reason"] == "maxlen"


# -- transactions ------------------------------------------------------------------------------


def test_in_a_transaction_from_commit_on(connect: Connect, queue: str):
    peer, consumer = connect(), connect()
    peer.send("BEGIN\ntransaction:t\n\n\0")
    ask(peer, queue, SHORT, "transaction:t", number="1")
    peer.sync()  # nothing is answered yet
    subscribe(consumer, queue)
    ask(peer, queue, SHORT, "transaction:t", number="2")
    peer.sync()
    peer.send("COMMIT\ntransaction:t\n\n\0")
    requests = [consumer.expect("MESSAGE") for _ in range(2)]
    reply(consumer, requests[0], "here")
    assert peer.expect("MESSAGE").body == b"here"
    assert answered(peer, "2") == "timeout"


def test_nobody_there_at_commit(connect: Connect, broker: RunningBroker, queue: str):
    peer = connect()
    for end in ("ABORT", "COMMIT"):
        peer.send("BEGIN\ntransaction:t\n\n\0")
        peer.send(f"SEND\ndestination:{queue}-other\ntransaction:t\n\nplain\0")
        ask(peer, queue, LONG, "transaction:t")
        peer.sync()
        peer.send(f"{end}\ntransaction:t\n\n\0")
    assert answered(peer) == "no-consumers"
    peer.sync()
    assert (waiting(broker, f"{queue}-other"), waiting(broker, queue)) == (1, 0)


# -- replies to a queue with a name --------------------------------------------------------------


def test_replies_to_a_queue_with_a_name(connect: Connect, broker: RunningBroker, queue: str):
    peer, consumer, answers = connect(), connect(), f"{queue}-answers"
    subscribe(peer, answers)

    def send(number: int, timeout: int) -> None:
        peer.send(
            f"SEND\ndestination:{queue}\nreply-to:{answers}\ncorrelation-id:{number}\n"
            f"reply-timeout:{timeout}\n\n\0"
        )

    for number in range(3):  # also where its headers are known from before
        consumer.send(f"SEND\ndestination:{answers}\ncorrelation-id:{number}\n\nplain\0")
        assert peer.expect("MESSAGE").body == b"plain"
    send(1, LONG)
    assert peer.expect("MESSAGE")["reply-status"] == "no-consumers"
    subscribe(consumer, queue)
    send(2, LONG)
    reply(consumer, consumer.expect("MESSAGE"), "here")
    assert peer.expect("MESSAGE").body == b"here"
    send(3, SHORT)
    request = consumer.expect("MESSAGE")
    timeout = peer.expect("MESSAGE")
    assert (timeout["reply-status"], timeout["correlation-id"]) == ("timeout", "3")
    before = broker_row(broker).late_replies
    reply(consumer, request, "late")
    consumer.send(f"SEND\ndestination:{answers}\ntransaction:t\n\n\0".replace("SEND", "BEGIN"))
    consumer.send(
        f"SEND\ndestination:{answers}\ncorrelation-id:3\ntransaction:t\nreceipt:x\n\nlate\0"
        "COMMIT\ntransaction:t\nreceipt:c\n\n\0"
    )
    assert [consumer.expect("RECEIPT")["receipt-id"] for _ in range(2)] == ["x", "c"]
    assert broker_row(broker).late_replies == before + 2
    consumer.send(f"SEND\ndestination:{answers}\ncorrelation-id:other\n\nplain\0")
    assert peer.expect("MESSAGE").body == b"plain"


def test_replies_to_a_queue_as_rabbitmq_writes_it(connect: Connect, queue: str) -> None:
    peer, consumer, answers = connect(), connect(), f"{queue}-answers"
    subscribe(peer, answers)
    subscribe(consumer, queue)
    existing = answers.replace("/queue/", "/amq/queue/")
    for number, timeout in enumerate((SHORT, LONG)):
        peer.send(
            f"SEND\ndestination:{queue}\nreply-to:{existing}\ncorrelation-id:{number}\n"
            f"reply-timeout:{timeout}\n\n\0"
        )
        request = consumer.expect("MESSAGE")
        assert request["reply-to"] == existing
        if timeout == SHORT:
            assert peer.expect("MESSAGE")["reply-status"] == "timeout"
        reply(consumer, request, f"{number}")
    assert peer.expect("MESSAGE").body == b"1"  # the other one was late
    peer.sync()


# -- mandatory ---------------------------------------------------------------------------------


def test_mandatory_says_to_how_many_places_it_went(connect: Connect, queue: str, topic: str):
    peer = connect()
    for places in range(3):
        peer.send(f"SEND\ndestination:{topic}\nmandatory:true\nreceipt:{places}\n\n\0")
        receipt = peer.expect("RECEIPT")
        assert (receipt["receipt-id"], receipt["routed"]) == (str(places), str(places))
        subscribe(connect(), topic)
    peer.send(f"SEND\ndestination:{queue}\nmandatory:true\nreceipt:q\n\n\0")
    assert peer.expect("RECEIPT")["routed"] == "1"
    peer.send(f"SEND\ndestination:{queue},{topic}\nmandatory:true\nreceipt:q\n\n\0")
    assert peer.expect("RECEIPT")["routed"] == "4"
    peer.send(f"SEND\ndestination:{topic}-nobody\nreceipt:q\n\n\0")
    assert "routed" not in peer.expect("RECEIPT")


def test_mandatory_without_a_receipt_is_never_silent(connect: Connect, queue: str, topic: str):
    peer = connect()
    peer.send(f"SEND\ndestination:{queue}\nmandatory:true\n\n\0")
    peer.send(f"SEND\ndestination:{topic}\nmandatory:very\n\n\0")  # somebody's own header
    peer.sync()
    peer.send(f"SEND\ndestination:{topic}\nmandatory:true\n\n\0")
    error = peer.expect("ERROR")
    assert error["error-code"] == "bad-destination"
    assert b"mandatory" in error.body


def test_mandatory_of_a_request_is_answered_once(connect: Connect, topic: str):
    peer = connect()
    ask(peer, topic, LONG, "mandatory:true")
    assert answered(peer) == "no-consumers"
    ask(peer, topic, LONG, "mandatory:true", "receipt:r", number="2")
    frames = {frame.command: frame for frame in (peer.read(), peer.read())}
    assert frames["RECEIPT"]["routed"] == "0"
    assert frames["MESSAGE"]["reply-status"] == "no-consumers"


# -- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ("reply-timeout:5", "bad-header"),
        ("reply-to:/temp-queue/a\nreply-timeout:soon", "bad-header"),
        ("reply-to:/temp-queue/a\nreply-timeout:-1", "bad-header"),
        ("reply-to:/temp-queue/a\nreply-timeout:1234567890123456", "bad-header"),
        ("reply-to:/topic/answers\nreply-timeout:5", "not-supported"),
        ("reply-to:/temp-topic/answers\nreply-timeout:5", "not-supported"),
        ("reply-to:/reply-queue/nobodys\nreply-timeout:5", "not-supported"),
        ("reply-to:/temp-queue/a\nreply-timeout:5\nx-delay:1000", "not-supported"),
        ("mandatory:true\ntransaction:t", "not-supported"),
        ("mandatory:true\nx-delay:1000", "not-supported"),
    ],
)
def test_what_cannot_be_is_refused_by_name(connect: Connect, queue: str, headers: str, code: str):
    peer = connect()
    peer.send(f"BEGIN\ntransaction:t\n\n\0SEND\ndestination:{queue}\n{headers}\n\n\0")
    error = peer.expect("ERROR")
    assert error["error-code"] == code
    assert any(word in error.body for word in (b"reply-timeout", b"mandatory", b"x-delay"))


@pytest.mark.parametrize(
    "headers", ["reply-to:/temp-queue/a\nreply-timeout:5", "mandatory:true\nreceipt:r"]
)
def test_where_it_means_nothing_it_is_refused(connect: Connect, headers: str):
    peer = connect()
    peer.send(f"SEND\ndestination:/temp-queue/b\n{headers}\n\n\0")
    assert peer.expect("ERROR")["error-code"] == "not-supported"


def test_no_time_is_no_wish(connect: Connect, broker: RunningBroker, queue: str):
    peer = connect()
    for value in ("0", ""):
        peer.send(f"SEND\ndestination:{queue}\nreply-to:/temp-queue/a\nreply-timeout:{value}\n\n\0")
    peer.sync()
    assert waiting(broker, queue) == 2


def test_who_has_gone_is_answered_nothing(connect: Connect, broker: RunningBroker, queue: str):
    peer, consumer = connect(), connect()
    subscribe(consumer, queue)
    ask(peer, queue, LONG)
    consumer.expect("MESSAGE")
    assert broker_row(broker).requests_open >= 1
    peer.close()
    until(lambda: broker_row(broker).requests_open == 0, "the request to be forgotten")
