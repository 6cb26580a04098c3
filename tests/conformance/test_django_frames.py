"""What django-outbox-pattern and django-stomp send: nothing is lost, and nothing is left behind.

Both make a subscription id of their own in each process, and go by ``x-queue-name`` or by
``client-id`` and a name, so that the next process finds what came while none ran.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from tests.support.wire import Frame, Peer, running_broker, until

from stompy_broker import RunningBroker

OUTBOX = "durable:true\nauto-delete:false\nprefetch-count:1\nx-dead-letter-exchange:\n"
OUTBOX_CONNECT = ("login:guest", "passcode:guest", "heart-beat:10000,10000")


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


def outbox_subscribe(peer: Peer, destination: str, queue: str, id: str) -> None:
    peer.send(
        f"SUBSCRIBE\nack:client\n{OUTBOX}destination:{destination}\nid:{id}\n"
        f"x-dead-letter-routing-key:DLQ.{queue}\nx-queue-name:{queue}\n\n\0"
    )


class OutboxConsumer:
    """One process: it makes sure of its dead-letter queue, and then subscribes to the topic."""

    def __init__(self, broker: RunningBroker, queue: str) -> None:
        self.peer = Peer.open(broker.port, "1.2", *OUTBOX_CONNECT)
        self.id = str(uuid.uuid4())
        first = str(uuid.uuid4())
        outbox_subscribe(self.peer, f"DLQ.{queue}", f"DLQ.{queue}", first)
        self.peer.send(f"UNSUBSCRIBE\nid:{first}\n\n\0")
        outbox_subscribe(self.peer, "/topic/consumer.v1", queue, self.id)

    def message(self) -> Frame:
        return self.peer.expect("MESSAGE")

    def stop(self) -> None:
        self.peer.send(f"UNSUBSCRIBE\nid:{self.id}\n\n\0DISCONNECT\nreceipt:d\n\n\0")
        assert self.peer.expect("RECEIPT")["receipt-id"] == "d"
        self.peer.close()


def publish(peer: Peer, destination: str, body: str, headers: str = "") -> None:
    """As django-outbox-pattern's producer, in a transaction."""
    transaction = str(uuid.uuid4())
    peer.send(
        f"BEGIN\ntransaction:{transaction}\n\n\0"
        f"SEND\ncontent-type:application/json\ndestination:{destination}\n"
        f"dop-msg-id:{uuid.uuid4()}\n{headers}transaction:{transaction}\n\n{body}\0"
        f"COMMIT\nreceipt:{transaction}\ntransaction:{transaction}\n\n\0"
    )
    assert peer.expect("RECEIPT")["receipt-id"] == transaction


def waiting(broker: RunningBroker) -> dict[str, int]:
    return {row.name: row.ready for row in broker.queues()}


def test_a_restart_of_the_outbox_consumer_loses_nothing_and_leaves_nothing(
    broker: RunningBroker,
) -> None:
    with Peer.open(broker.port) as producer:
        for round in range(3):
            consumer = OutboxConsumer(broker, "billing")
            if round:
                message = consumer.message()
                assert message.body == b"%d" % round
                # It has no eye for `ack`, which is the `message-id` in RabbitMQ.
                consumer.peer.send(f"ACK\nid:{message['message-id']}\n\n\0")
            consumer.stop()
            publish(producer, "/topic/consumer.v1", str(round + 1))
    assert waiting(broker) == {"DLQ.billing": 0, "billing": 1}


def test_what_the_outbox_consumer_cannot_handle_is_kept(broker: RunningBroker) -> None:
    consumer = OutboxConsumer(broker, "billing")
    consumer.peer.sync()
    with Peer.open(broker.port) as producer:
        publish(producer, "/topic/consumer.v1", "bad")
        consumer.peer.send(f"NACK\nid:{consumer.message()['message-id']}\n\n\0")
        name = consumer.message()["message-id"]
        consumer.peer.send(f"NACK\nid:{name}\nrequeue:false\nreceipt:n\n\n\0")
        assert consumer.peer.expect("RECEIPT")["receipt-id"] == "n"
        consumer.peer.send(f"ACK\nid:{name}\n\n\0")  # too late, and no mistake
        consumer.peer.sync()
    consumer.stop()
    assert waiting(broker) == {"DLQ.billing": 1, "billing": 0}


def test_two_outbox_consumers_share(broker: RunningBroker) -> None:
    consumers = [OutboxConsumer(broker, "billing") for _ in range(2)]
    for consumer in consumers:
        consumer.peer.sync()
    with Peer.open(broker.port) as producer:
        for number in range(2):
            publish(producer, "/topic/consumer.v1", str(number))
    found = {consumer.message().body for consumer in consumers}
    assert found == {b"0", b"1"}
    for consumer in consumers:
        consumer.stop()


STOMP = (
    "activemq.prefetchSize:1\nprefetch-count:1\nx-dead-letter-exchange:\n"
    "x-dead-letter-routing-key:DLQ.orders\n"
)


@pytest.mark.parametrize("durable", [True, False])
def test_django_stomp_on_a_queue_and_a_topic(broker: RunningBroker, durable: bool) -> None:
    """Its listener sends the headers of all brokers at once, in CONNECT and in SUBSCRIBE."""
    headers = STOMP + "client-id:app-listener\n"
    if durable:
        headers += (
            "activemq.subscriptionName:app-listener\nactivemq.subcriptionName:app-listener\n"
            "durable:true\nauto-delete:false\n"
        )
    connect = tuple(headers.strip().split("\n"))
    topic = "/topic/orders" if durable else "/queue/orders"
    for round in range(2):
        with Peer.open(broker.port, "1.1", *connect) as peer, Peer.open(broker.port) as other:
            id = f"{uuid.uuid4()}-listener"
            peer.send(f"SUBSCRIBE\nack:client\ndestination:{topic}\n{headers}id:{id}\n\n\0")
            if round:
                message = peer.expect("MESSAGE")
                assert message.body == b"away"
                peer.send(f"ACK\nmessage-id:{message['message-id']}\nsubscription:{id}\n\n\0")
            peer.send("DISCONNECT\nreceipt:d\n\n\0")
            assert peer.expect("RECEIPT")["receipt-id"] == "d"
            if not round:
                publish(other, topic, "away", STOMP.replace("prefetch-count:1\n", ""))
    until(lambda: not any(waiting(broker).values()), "nothing to be left")
