"""The examples of the STOMPyMQ manual, in the manual's order.

They run against our broker. Name another with ``STOMPY_TEST_BROKER=stomp://login:passcode@host:port``
(RabbitMQ with its STOMP plugin, ActiveMQ, Artemis, …) and they run against that one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

import stompy
import stompy.client
import stompy.frame
from stompy_broker import running

TIMEOUT = 10


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    other = os.environ.get("STOMPY_TEST_BROKER")
    if other:
        yield other
        return
    with running() as broker:
        yield broker.url


@pytest.fixture
def client(url: str) -> Iterator[stompy.STOMPClient]:
    client = stompy.connect(url)
    yield client
    client.disconnect()


@pytest.fixture
def queue() -> str:
    return f"/queue/stompy.manual.{uuid.uuid4().hex}"


@pytest.fixture
def topic() -> str:
    return f"/topic/stompy.manual.{uuid.uuid4().hex}"


# -- 1.1.1 Connecting to the Broker, 1.1.2 connect() function arguments --------------------------


@pytest.mark.skipif("STOMPY_TEST_BROKER" in os.environ, reason="a tuple has no login")
def test_1_1_1_connecting_with_a_tuple(url: str) -> None:
    host, _, port = url.removeprefix("stomp://").partition(":")
    client = stompy.connect((host, int(port)))
    assert isinstance(client, stompy.STOMPClient)
    assert client.BrokerAddress == (host, int(port))
    assert client.Connected
    client.disconnect()
    assert not client.Connected


@pytest.mark.skipif("STOMPY_TEST_BROKER" in os.environ, reason="a tuple has no login")
def test_1_1_2_arguments(url: str) -> None:
    host, _, port = url.removeprefix("stomp://").partition(":")
    addresses = [("127.0.0.1", 1), (host, int(port))]
    client = stompy.connect(addresses, login="me", passcode="secret", headers={"x-trace": "1"})
    assert client.BrokerAddress == (host, int(port))
    client.disconnect()


# -- 1.1.3 Reading messages using iterator -------------------------------------------------------


def test_1_1_3_iterator(client: stompy.STOMPClient, queue: str, topic: str) -> None:
    client.subscribe(queue)
    client.subscribe(topic)
    client.message(queue, "grüße".encode(), headers={"source": "test"})
    client.message(topic, b"done")
    seen = []
    for frame in client:
        assert frame.Command == "MESSAGE"
        headers = frame.headers()
        headers["source"] = "changed"
        assert frame.get("option", "none") == "none"
        assert frame.destination == frame["destination"]
        body_as_bytes = frame.Body
        body_as_text = frame.text
        assert body_as_bytes.decode("utf-8") == body_as_text
        seen.append((frame.get("source"), body_as_text))
        if len(seen) == 2:
            break
    assert sorted(seen, key=str) == sorted([("test", "grüße"), (None, "done")], key=str)


def test_1_1_3_the_iterator_stops_when_the_connection_closes(
    client: stompy.STOMPClient, queue: str
) -> None:
    client.subscribe(queue)
    client.message(queue, b"last")
    for _ in client:
        client.disconnect()
    assert not client.Connected


# -- 1.1.4 Reading messages using recv() ---------------------------------------------------------


def test_1_1_4_recv(client: stompy.STOMPClient, queue: str) -> None:
    client.subscribe(queue)
    for number in range(3):
        client.message(queue, b"%d" % number)
    bodies = []
    frame = client.recv()
    while frame is not None:
        bodies.append(frame.Body)
        if len(bodies) == 3:
            break
        frame = client.recv()
    assert bodies == [b"0", b"1", b"2"]


# -- 1.1.5 Reading messages using callback -------------------------------------------------------


def test_1_1_5_the_frame_ends_the_loop(client: stompy.STOMPClient, queue: str) -> None:
    def process_message(
        client: stompy.STOMPClient, frame: stompy.STOMPFrame
    ) -> stompy.STOMPFrame | None:
        return frame if frame.Body == b"stop" else None

    client.subscribe(queue)
    client.message(queue, b"go")
    client.message(queue, b"stop")
    last_frame = client.loop(callback=process_message)
    assert isinstance(last_frame, stompy.STOMPFrame)
    assert last_frame.Body == b"stop"


def test_1_1_5_arguments_of_the_callback(client: stompy.STOMPClient, queue: str) -> None:
    got = []

    def my_callback(
        client: stompy.STOMPClient,
        frame: stompy.STOMPFrame,
        param1: int,
        param2: int,
        param3: str | None = None,
    ) -> bool:
        got.append((param1, param2, param3))
        return True

    client.subscribe(queue)
    client.message(queue)
    client.message(queue)
    assert client.loop(my_callback, 1, 2, param3="hello") is True
    transaction = client.transaction("txn")
    assert client.loop(my_callback, 3, 4, transaction="txn", timeout=10.0, param3="hello") is True
    transaction.abort()
    assert got == [(1, 2, "hello"), (3, 4, "hello")]


def test_1_1_5_timeout(client: stompy.STOMPClient, queue: str) -> None:
    client.subscribe(queue)
    with pytest.raises(stompy.STOMPTimeout):
        client.loop(lambda client, frame: None, timeout=0.05)


# -- 1.1.6 Waiting for a receipt -----------------------------------------------------------------


def test_1_1_6_waiting_for_a_receipt(client: stompy.STOMPClient, queue: str) -> None:
    def wait_for_receipt(_: object, frame: stompy.STOMPFrame, receipt: str) -> bool:
        return frame is not None and frame.Command == "RECEIPT" and frame["receipt-id"] == receipt

    client.message(queue, b"x", receipt="the-receipt")
    closed = client.loop(wait_for_receipt, receipt="the-receipt") is None
    assert not closed


# -- 1.1.7 Sending ACKs/NACKs --------------------------------------------------------------------


def test_1_1_7_acks_and_nacks(client: stompy.STOMPClient, queue: str) -> None:
    client.subscribe(queue, ack_mode="client-individual", send_acks=False)
    client.message(queue, b"good")
    client.message(queue, b"bad")
    seen = []
    for frame in client:
        assert frame.Command == "MESSAGE"
        assert "ack" in frame
        seen.append(frame.Body)
        if frame.Body == b"good" or seen.count(b"bad") == 2:
            client.ack(frame["ack"])
        else:
            client.nack(frame["ack"])
            if "STOMPY_TEST_BROKER" in os.environ:
                break  # what NACK means differs between brokers
        if seen.count(b"bad") == 2:
            break
    assert seen[:2] == [b"good", b"bad"]


# -- 1.1.8 Sending messages and other frames, 1.1.9 … and waiting for receipt --------------------


def test_1_1_8_messages_and_frames(client: stompy.STOMPClient, queue: str) -> None:
    client.subscribe(queue)
    assert client.message(queue, b"one", headers={"a": "1"}, b="2") is None
    assert client.send("SEND", {"destination": queue, "c": "3"}, b"two") is None
    first, second = client.recv(TIMEOUT), client.recv(TIMEOUT)
    assert first is not None
    assert second is not None
    assert (first["a"], first["b"], first.Body) == ("1", "2", b"one")
    assert (second["c"], second.Body) == ("3", b"two")


def test_1_1_9_receipts(client: stompy.STOMPClient, queue: str) -> None:
    own = client.message(queue, b"x", receipt="my-receipt")
    made = client.send("SEND", {"destination": queue}, b"x", receipt=True)
    assert own == "my-receipt"
    assert made
    assert client.wait_for_receipt(own, TIMEOUT)["receipt-id"] == own
    assert client.wait_for_receipt(made, TIMEOUT)["receipt-id"] == made


# -- 1.1.10 Transactions, 1.3 STOMPTransaction object --------------------------------------------


def test_1_1_10_commit(client: stompy.STOMPClient, queue: str) -> None:
    client.subscribe(queue)
    transaction = client.transaction()
    assert isinstance(transaction, stompy.client.STOMPTransaction)
    transaction.message(queue, b"one")
    transaction.send("SEND", headers={"destination": queue}, body=b"two")
    with pytest.raises(stompy.STOMPTimeout):
        client.recv(timeout=0.1)
    receipt = transaction.commit(receipt=True)
    assert receipt
    bodies = []
    for frame in client:
        bodies.append(frame.Body)
        if len(bodies) == 2:
            break
    assert bodies == [b"one", b"two"]


def test_1_1_10_abort(client: stompy.STOMPClient, queue: str) -> None:
    client.subscribe(queue)
    transaction = client.transaction("my-transaction")
    transaction.message(queue, b"never")
    assert transaction.abort() is None
    client.message(queue, b"after")
    frame = client.recv(TIMEOUT)
    assert frame is not None
    assert frame.Body == b"after"


def test_1_3_consume_transform_produce(client: stompy.STOMPClient, queue: str) -> None:
    results = queue + ".results"
    client.subscribe(queue, ack_mode="client-individual", send_acks=False)
    client.message(queue, b"2")
    transaction = client.transaction()
    frame = transaction.recv(timeout=TIMEOUT)
    assert frame is not None
    transaction.ack(frame["ack"])
    transaction.message(results, b"%d" % (int(frame.text) * 2))
    receipt = transaction.commit(receipt="done")
    assert receipt == "done"
    client.wait_for_receipt(receipt, TIMEOUT)
    client.subscribe(results)
    result = client.recv(TIMEOUT)
    assert result is not None
    assert result.Body == b"4"


def test_1_3_recv_acknowledges_within_the_transaction(
    client: stompy.STOMPClient, queue: str
) -> None:
    subscription = client.subscribe(queue, ack_mode="client-individual")
    client.message(queue, b"x")
    transaction = client.transaction()
    frame = transaction.recv(timeout=TIMEOUT)
    assert frame is not None
    transaction.abort()
    client.unsubscribe(subscription)
    client.subscribe(queue)
    again = client.recv(TIMEOUT)
    assert again is not None
    assert again.Body == b"x"


# -- 1.2 STOMPClient object methods --------------------------------------------------------------


def test_1_2_connect_on_an_object(url: str) -> None:
    client = stompy.STOMPClient()
    connected = client.connect(url)
    assert connected.Command == "CONNECTED"
    client.disconnect()
    client.disconnect()


def test_1_2_message_id(client: stompy.STOMPClient, queue: str) -> None:
    if "STOMPY_TEST_BROKER" in os.environ:
        pytest.skip("RabbitMQ refuses a message-id from a client")
    client.subscribe(queue)
    client.message(queue, b"x", id="mine")
    assert client.recv(TIMEOUT) is not None


def test_1_2_unsubscribe(client: stompy.STOMPClient, queue: str) -> None:
    subscription = client.subscribe(queue)
    assert isinstance(subscription, str)
    client.unsubscribe(subscription)
    client.message(queue, b"x")
    with pytest.raises(stompy.STOMPTimeout):
        client.recv(timeout=0.1)


def test_1_2_recv_raises_on_error(url: str) -> None:
    client = stompy.connect(url)
    client.send("SEND", {"destination": "/no-such-kind/x"}, b"")
    if "STOMPY_TEST_BROKER" in os.environ:
        client.close()
        pytest.skip("ActiveMQ takes any name for a queue")
    with pytest.raises(stompy.STOMPError) as caught:
        client.recv(TIMEOUT)
    assert caught.value.Frame is not None
    assert caught.value.Frame.Command == "ERROR"
    client.disconnect()


def test_1_2_recv_is_none_after_the_end(url: str) -> None:
    client = stompy.connect(url)
    client.disconnect()
    assert client.recv() is None


# -- 1.4 STOMPFrame object -----------------------------------------------------------------------


def test_1_4_frame() -> None:
    frame = stompy.frame.STOMPFrame(
        "SEND", body='{"a": [1]}', headers={"destination": "/queue/q"}, extra="1"
    )
    assert (frame.Command, frame.Body) == ("SEND", b'{"a": [1]}')
    assert frame.destination == "/queue/q"
    assert frame.get("extra") == frame["extra"] == "1"
    assert frame.get("none", "default") == "default"
    assert frame.headers == frame.headers() == {"destination": "/queue/q", "extra": "1"}
    assert frame.json == {"a": [1]}
    latin = stompy.frame.STOMPFrame(
        "SEND", b"\xfc", headers={"content-type": "text/plain; charset=latin-1"}
    )
    assert latin.text == "ü"
