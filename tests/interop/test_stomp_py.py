"""stomp.py, the oldest Python client: threads and call-backs, one class for each version."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest
from tests.interop.samples import (
    BEAT,
    BINARY,
    HEADERS,
    IDLE,
    LARGE,
    TEXT,
    VERSIONS,
)

from stompy_broker import RunningBroker

stomp: Any = pytest.importorskip("stomp")

pytestmark = pytest.mark.interop

all_versions = pytest.mark.parametrize("version", VERSIONS)
since_1_1 = pytest.mark.parametrize("version", VERSIONS[1:])

CONNECTIONS = {
    "1.0": stomp.Connection10,
    "1.1": stomp.Connection11,
    "1.2": stomp.Connection12,
}

Frame = Any


class Client(stomp.ConnectionListener):  # type: ignore[misc]
    """A connection of stomp.py, with queues in place of its call-backs."""

    def __init__(self, broker: RunningBroker, version: str, **options: Any) -> None:
        self.version = version
        self.stomp = CONNECTIONS[version](
            [(broker.host, broker.port)], auto_decode=False, reconnect_attempts_max=1, **options
        )
        self.stomp.set_listener("test", self)
        self.greetings: Queue[Frame] = Queue()
        self.messages: Queue[Frame] = Queue()
        self.receipts: Queue[str] = Queue()
        self.errors: Queue[Frame] = Queue()
        self.beats = 0
        self.gone = threading.Event()

    def on_connected(self, frame: Frame) -> None:
        self.greetings.put(frame)

    def on_message(self, frame: Frame) -> None:
        self.messages.put(frame)

    def on_receipt(self, frame: Frame) -> None:
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame: Frame) -> None:
        self.errors.put(frame)

    def on_heartbeat(self) -> None:
        self.beats += 1

    def on_disconnected(self) -> None:
        self.gone.set()

    def message(self) -> Frame:
        return self.messages.get(timeout=5)

    def receipt(self) -> str:
        return self.receipts.get(timeout=5)

    def ack(self, message: Frame, **headers: str) -> None:
        self.stomp.ack(**self._delivery(message), **headers)

    def nack(self, message: Frame, **headers: str) -> None:
        self.stomp.nack(**self._delivery(message), **headers)

    def _delivery(self, message: Frame) -> dict[str, str]:
        headers = message.headers
        if self.version == "1.2":
            return {"id": headers["ack"]}
        names = {"id": headers["message-id"]}
        return names if self.version == "1.0" else names | {"subscription": headers["subscription"]}

    def close(self) -> None:
        """Disconnect and wait for stomp.py's threads."""
        threads = [self.stomp.transport.io_thread, getattr(self.stomp, "heartbeat_thread", None)]
        self.stomp.disconnect(receipt="bye")
        for thread in threads:
            if thread is not None:
                thread.join(timeout=5)

    def drop(self) -> None:
        """Close the socket without a word."""
        self.stomp.transport.disconnect_socket()
        self.stomp.transport.io_thread.join(timeout=5)


@contextmanager
def connected(broker: RunningBroker, version: str, **options: Any) -> Iterator[Client]:
    client = Client(broker, version, **options)
    client.stomp.connect()
    try:
        client.greetings.get(timeout=5)
        yield client
    finally:
        client.close()


@all_versions
def test_connect_and_disconnect(broker: RunningBroker, version: str) -> None:
    client = Client(broker, version)
    client.stomp.connect("somebody", "secret", wait=True)
    greeting = client.greetings.get(timeout=5)
    assert greeting.headers["version"] == version
    assert greeting.headers["heart-beat"] == ("0,0" if version == "1.0" else "100,100")
    assert greeting.headers["session"]
    assert greeting.headers["server"].startswith("stompy-broker/")
    assert broker.connections() == 1
    client.close()
    assert client.receipt() == "bye"
    assert client.gone.is_set()
    assert client.errors.empty()


@all_versions
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-length": "0"},
        {"accept-version": "1.0,1.1,1.2,2.0"},
        {"host": "127.0.0.1"},
        {"heart-beat": "0, 0"},
        {"receipt": "not-allowed-here"},
    ],
    ids=lambda headers: next(iter(headers), "none"),
)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_peculiar_connect(
    broker: RunningBroker, version: str, command: str, headers: dict[str, str]
) -> None:
    client = Client(broker, version)
    client.stomp.transport.start()
    client.stomp.send_frame(command, {"accept-version": version, **headers})
    greeting = client.greetings.get(timeout=5)
    expected = "1.2" if "2.0" in headers.get("accept-version", "") else version
    assert greeting.headers["version"] == expected
    client.close()
    assert client.receipt() == "bye"


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_connect_without_any_header_is_1_0(broker: RunningBroker, command: str) -> None:
    client = Client(broker, "1.0")
    client.stomp.transport.start()
    client.stomp.send_frame(command, {})
    assert client.greetings.get(timeout=5).headers["version"] == "1.0"
    client.close()


@all_versions
def test_queue_round_trip(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/letters", id="in")
        client.stomp.send("/queue/letters", TEXT, content_type="text/plain", priority="4")
        message = client.message()
    assert message.body.decode() == TEXT
    assert message.headers["destination"] == "/queue/letters"
    assert message.headers["subscription"] == "in"
    assert message.headers["message-id"]
    assert message.headers["content-type"] == "text/plain"
    assert message.headers["priority"] == "4"
    assert message.headers["redelivered"] == "false"
    assert "receipt" not in message.headers


def test_1_0_subscribes_without_an_id(broker: RunningBroker) -> None:
    with connected(broker, "1.0") as client:
        client.stomp.subscribe("/queue/letters")
        client.stomp.send("/queue/letters", "one")
        assert "subscription" not in client.message().headers
        client.stomp.unsubscribe(destination="/queue/letters", receipt="left")
        assert client.receipt() == "left"
        client.stomp.send("/queue/letters", "two", receipt="sent")
        assert client.receipt() == "sent"
        assert client.messages.empty()


@all_versions
def test_topic_fan_out(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as first, connected(broker, version) as second:
        first.stomp.subscribe("/topic/prices.gold", id="a", receipt="ready")
        second.stomp.subscribe("/topic/prices.gold", id="b")
        second.stomp.subscribe("/topic/prices.*", id="c")
        second.stomp.subscribe("/topic/weather", id="d", receipt="ready")
        assert (first.receipt(), second.receipt()) == ("ready", "ready")
        first.stomp.send("/topic/prices.gold", "1931")
        assert first.message().headers["subscription"] == "a"
        got = [second.message(), second.message()]
        assert {message.headers["subscription"] for message in got} == {"b", "c"}
        assert {message.headers["destination"] for message in got} == {"/topic/prices.gold"}
        assert {message.body for message in got} == {b"1931"}
        assert first.messages.empty()
        assert second.messages.empty()


@since_1_1
def test_ack_and_nack(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/work", id="w:1", ack="client-individual")
        client.stomp.send("/queue/work", "one")
        client.stomp.send("/queue/work", "two")
        one, two = client.message(), client.message()
        client.ack(one)
        client.nack(two)
        again = client.message()
        assert again.body == b"two"
        assert again.headers["redelivered"] == "true"
        assert again.headers["delivery-count"] == "2"
        assert again.headers["message-id"] == two.headers["message-id"]
        client.ack(again, receipt="settled")
        assert client.receipt() == "settled"
    (queue,) = broker.queues()
    assert (queue.ready, queue.unacked, queue.acked, queue.nacked) == (0, 0, 2, 1)


@since_1_1
def test_nack_without_requeue_is_a_dead_letter(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/work", id="w", ack="client-individual")
        client.stomp.subscribe("/queue/DLQ.work", id="dead")
        client.stomp.send("/queue/work", "poison", colour="red")
        message = client.message()
        client.nack(message, requeue="false", reason="bad: colour")
        letter = client.message()
    assert letter.headers["subscription"] == "dead"
    assert letter.body == b"poison"
    assert letter.headers["colour"] == "red"
    assert letter.headers["original-destination"] == "/queue/work"
    assert letter.headers["x-death-info"] == "bad: colour"
    assert letter.headers["message-id"] == message.headers["message-id"]


@all_versions
def test_ack_of_mode_client_is_cumulative(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/work", id="w", ack="client")
        for number in range(4):
            client.stomp.send("/queue/work", str(number))
        messages = [client.message() for _ in range(4)]
        client.ack(messages[2], receipt="settled")
        assert client.receipt() == "settled"
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/work", id="w")
        left = client.message()
        assert (left.body, left.headers["redelivered"]) == (b"3", "true")


@all_versions
def test_a_lost_connection_gives_back(broker: RunningBroker, version: str) -> None:
    client = Client(broker, version)
    client.stomp.connect(wait=True)
    client.stomp.subscribe("/queue/work", id="w", ack="client")
    client.stomp.send("/queue/work", "one")
    client.stomp.send("/queue/work", "two")
    client.message()
    client.message()
    client.drop()
    with connected(broker, version) as other:
        other.stomp.subscribe("/queue/work", id="w")
        got = [other.message(), other.message()]
    assert [message.body for message in got] == [b"one", b"two"]
    assert {message.headers["redelivered"] for message in got} == {"true"}


@all_versions
def test_transaction_commit(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/ledger", id="l", ack="client")
        client.stomp.send("/queue/ledger", "before")
        transaction = client.stomp.begin()
        before = client.message()
        client.stomp.send("/queue/ledger", "debit", transaction=transaction)
        client.ack(before, transaction=transaction)
        client.stomp.send("/queue/ledger", "credit", transaction=transaction)
        client.stomp.send("/queue/ledger", "outside")
        assert client.message().body == b"outside"
        client.stomp.commit(transaction, receipt="done")
        assert client.receipt() == "done"
        assert [client.message().body, client.message().body] == [b"debit", b"credit"]
        assert broker.queues()[0].acked == 1


@all_versions
def test_transaction_abort(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/ledger", id="l", ack="client")
        client.stomp.send("/queue/ledger", "before")
        before = client.message()
        client.stomp.begin("t:1")
        client.ack(before, transaction="t:1")
        client.stomp.send("/queue/ledger", "never", transaction="t:1")
        client.stomp.abort("t:1", receipt="gone")
        assert client.receipt() == "gone"
        client.stomp.send("/queue/ledger", "after")
        assert client.message().body == b"after"
        client.ack(before, receipt="settled")
        assert client.receipt() == "settled"
        assert broker.queues()[0].acked == 1


@all_versions
def test_receipts_come_in_order(broker: RunningBroker, version: str) -> None:
    names = ["sub:1", "begin", "in-transaction", "commit", "sent", "ack", "unsub"]
    if version != "1.0":
        names[3] = "com\\mit\n"
    with connected(broker, version) as client:
        call = client.stomp
        call.subscribe("/queue/q", id="s", ack="client", receipt=names[0])
        call.begin("t", receipt=names[1])
        call.send("/queue/q", "one", transaction="t", receipt=names[2])
        call.commit("t", receipt=names[3])
        call.send("/queue/q", "two", receipt=names[4])
        client.message()
        client.ack(client.message(), receipt=names[5])
        call.unsubscribe(id="s", receipt=names[6])
        assert [client.receipt() for _ in names] == names


@since_1_1
def test_heart_beats_keep_an_idle_connection(beating_broker: RunningBroker, version: str) -> None:
    beat = int(BEAT * 1000)
    # A busy machine may be late; stomp.py's patience is set to four intervals.
    options = {"heartbeats": (beat, beat), "heart_beat_receive_scale": 4}
    with connected(beating_broker, version, **options) as client:
        client.stomp.subscribe("/queue/q", id="s")
        assert not client.gone.wait(IDLE)
        assert client.beats >= 3
        client.stomp.send("/queue/q", "alive")
        assert client.message().body == b"alive"
        assert client.errors.empty()


@since_1_1
def test_who_promised_beats_and_is_silent_is_cut_off(
    beating_broker: RunningBroker, version: str
) -> None:
    client = Client(beating_broker, version)
    client.stomp.transport.start()
    # stomp.py itself knows of no heart-beat here, so it sends none.
    client.stomp.send_frame("CONNECT", {"accept-version": version, "heart-beat": "300,0"})
    client.greetings.get(timeout=5)
    assert client.errors.get(timeout=5).headers["error-code"] == "heart-beat-timeout"
    assert client.gone.wait(5)
    client.stomp.transport.io_thread.join(timeout=5)


@all_versions
def test_binary_body(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/bytes", id="b")
        client.stomp.send("/queue/bytes", BINARY, content_type="application/octet-stream")
        message = client.message()
        client.stomp.send("/queue/bytes", b"")
        nothing = client.message()
    assert message.body == BINARY
    assert message.headers["content-length"] == str(len(BINARY))
    assert nothing.body == b""


@all_versions
def test_body_without_content_length(broker: RunningBroker, version: str) -> None:
    with connected(broker, version, auto_content_length=False) as client:
        client.stomp.subscribe("/queue/text", id="t")
        client.stomp.send("/queue/text", TEXT)
        message = client.message()
    assert message.body.decode() == TEXT
    assert message.headers["content-length"] == str(len(message.body))


@all_versions
def test_large_body(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/large", id="l")
        client.stomp.send("/queue/large", LARGE)
        assert client.message().body == LARGE


@all_versions
def test_headers_round_trip(broker: RunningBroker, version: str) -> None:
    headers = dict(HEADERS[version])
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/a:b", id="sub:1")
        client.stomp.send("/queue/a:b", "x", headers=headers)
        message = client.message()
    assert {name: message.headers[name] for name in headers} == headers
    assert message.headers["destination"] == "/queue/a:b"
    assert message.headers["subscription"] == "sub:1"


@pytest.mark.parametrize("receiver", VERSIONS)
@pytest.mark.parametrize("sender", VERSIONS)
def test_headers_between_versions(broker: RunningBroker, sender: str, receiver: str) -> None:
    headers = dict(HEADERS["1.0"])
    with connected(broker, sender) as source, connected(broker, receiver) as sink:
        source.stomp.send("/queue/across", TEXT, headers=headers, receipt="kept")
        assert source.receipt() == "kept"
        sink.stomp.subscribe("/queue/across", id="s")
        message = sink.message()
    assert message.body.decode() == TEXT
    assert {name: message.headers[name] for name in headers} == headers


@all_versions
def test_error_then_close(broker: RunningBroker, version: str) -> None:
    client = Client(broker, version)
    client.stomp.connect(wait=True)
    client.stomp.send("/nowhere/at/all", "x", receipt="r:1")
    error = client.errors.get(timeout=5)
    assert error.headers["receipt-id"] == "r:1"
    assert error.headers["message"]
    assert b"/nowhere/at/all" in error.body
    assert b"/queue/" in error.body
    assert client.gone.wait(5)
    client.stomp.transport.io_thread.join(timeout=5)
    assert client.receipts.empty()


@all_versions
def test_request_and_reply_on_a_temporary_queue(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as asker, connected(broker, version) as answerer:
        answerer.stomp.subscribe("/queue/questions", id="q")
        asker.stomp.subscribe("/temp-queue/answers", id="a")
        asker.stomp.send("/queue/questions", "6 * 7", headers={"reply-to": "/temp-queue/answers"})
        question = answerer.message()
        answerer.stomp.send(question.headers["reply-to"], "42")
        answer = asker.message()
    assert (answer.body, answer.headers["subscription"]) == (b"42", "a")


@all_versions
def test_many_messages_keep_their_order(broker: RunningBroker, version: str) -> None:
    with connected(broker, version) as client:
        client.stomp.subscribe("/queue/many", id="m", ack="client", headers={"prefetch-count": "7"})
        for number in range(300):
            client.stomp.send("/queue/many", str(number))
        for number in range(300):
            message = client.message()
            assert message.body == str(number).encode()
            client.ack(message)
    assert client.messages.empty()
