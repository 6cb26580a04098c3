"""Our client with the brokers of others: RabbitMQ and ActiveMQ as Debian packages them.

Every test also runs with our own broker, so that what it shows is a property of the client.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from tests.interop.peers import OURS, PeerBroker, received, send, unique
from tests.interop.samples import BINARY, HEADERS, TEXT, VERSIONS

import stompy
from stompy.cli import main
from stompy.cli.plan import LoadKind
from stompy.session.dialects import UNLIMITED, Nack, dialect_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Connect = Callable[..., stompy.STOMPClient]


@pytest.fixture
def connect(peer: PeerBroker) -> Iterator[Connect]:
    """Makes clients; all of them are gone at the end of the test."""
    clients: list[stompy.STOMPClient] = []

    def connect(**arguments: object) -> stompy.STOMPClient:
        clients.append(stompy.connect(peer.url, **arguments))
        return clients[-1]

    yield connect
    for client in clients:
        with suppress(stompy.STOMPError):
            client.disconnect()


@pytest.fixture
def client(connect: Connect) -> stompy.STOMPClient:
    return connect()


def test_it_is_known_by_its_name(peer, client):
    assert dialect_of(client.connected["server"]) is peer.dialect


@pytest.mark.parametrize("version", VERSIONS)
def test_messages_come_as_they_were_sent(peer, connect, version):
    client = connect(versions=[version])
    assert client.version == version
    queue = unique()
    client.subscribe(queue)
    headers = dict(HEADERS[version])
    if version == "1.0" and peer.name != OURS:
        # It has no escapes, but they use them: RabbitMQ hangs up on a backslash.
        del headers["backslash"], headers["colon"]
    client.message(queue, TEXT, headers=headers)
    frame = client.recv(timeout=5)
    assert frame.text == TEXT
    assert {name: frame.get(name) for name in headers} == headers
    client.message(queue, BINARY)
    assert client.recv(timeout=5).Body == BINARY


def test_a_large_message(client):
    queue = unique()
    client.subscribe(queue)
    client.message(queue, b"0123456789abcdef" * 65536)
    assert client.recv(timeout=10).Body == b"0123456789abcdef" * 65536


def test_a_receipt_for_every_message(client):
    queue = unique()
    receipts = [client.message(queue, str(number), receipt=True) for number in range(200)]
    for receipt in receipts:
        assert client.wait_for_receipt(receipt)["receipt-id"] == receipt


class TestAcknowledging:
    def test_what_is_acknowledged_is_gone_and_the_rest_comes_again(self, connect):
        queue = unique()
        with connect() as first:
            send(first, queue, "one", "two")
            first.subscribe(queue, "client-individual", send_acks=False)
            first.ack(first.recv(timeout=5))
            assert first.recv(timeout=5).text == "two"
        second = connect()
        second.subscribe(queue, "client-individual", send_acks=False)
        again = second.recv(timeout=5)
        assert (again.text, again["redelivered"]) == ("two", "true")
        second.ack(again)
        assert received(second) == []

    def test_client_mode_is_cumulative(self, connect):
        queue = unique()
        with connect() as first:
            send(first, queue, "one", "two", "three")
            first.subscribe(queue, "client", send_acks=False)
            frames = [first.recv(timeout=5) for _ in range(3)]
            first.ack(frames[1])
        second = connect()
        second.subscribe(queue)
        assert received(second) == ["three"]

    def test_what_a_nack_does(self, peer, client):
        queue = unique()
        send(client, queue, "refused")
        client.subscribe(queue, "client-individual", send_acks=False)
        first = client.recv(timeout=5)
        client.send("NACK", id=first["ack"], headers=peer.dialect.nack_headers(reason="no"))
        if peer.dialect.nack is Nack.REDELIVERS:
            again = client.recv(timeout=5)
            assert again.text == "refused"
            assert (again["message-id"] == first["message-id"]) is peer.dialect.stable_message_id
            client.ack(again)
        assert received(client) == []

    def test_a_nack_of_activemq_is_a_dead_letter(self, peer, client):
        if peer.dialect.nack is not Nack.BURIES:
            pytest.skip("this broker delivers it again")
        client.subscribe("/queue/ActiveMQ.DLQ")
        received(client)
        queue = unique()
        send(client, queue, "refused")
        client.subscribe(queue, "client-individual", send_acks=False)
        client.send("NACK", id=client.recv(timeout=5)["ack"], headers=peer.dialect.nack_headers())
        dead = client.recv(timeout=5)
        assert (dead.text, dead["original-destination"]) == ("refused", queue)


class TestPrefetch:
    @pytest.fixture
    def queue(self, connect) -> str:
        queue = unique()
        with connect() as client:
            send(client, queue, "1", "2", "3", "4", "5")
        return queue

    @pytest.mark.parametrize("count", [1, 2])
    def test_so_many_come_at_once(self, peer, client, queue, count):
        headers = peer.dialect.prefetch_headers(count)
        client.subscribe(queue, "client-individual", send_acks=False, headers=headers)
        frames = [client.recv(timeout=5) for _ in range(count)]
        assert received(client) == []
        client.ack(frames[0])
        assert client.recv(timeout=5).text == str(count + 1)

    def test_without_limit(self, peer, client, queue):
        headers = peer.dialect.prefetch_headers(UNLIMITED)
        client.subscribe(queue, "client-individual", send_acks=False, headers=headers)
        assert [client.recv(timeout=5).text for _ in range(5)] == ["1", "2", "3", "4", "5"]


def test_a_durable_subscription(peer, connect, client):
    topic, name = unique("/topic/"), unique("")
    headers = peer.dialect.durable_headers(name, client_id=name)

    def subscribed() -> stompy.STOMPClient:
        subscriber = connect(headers={"client-id": name})
        subscriber.subscribe(topic, "client-individual", id="audit", headers=headers, receipt=True)
        return subscriber

    with subscribed():
        pass
    send(client, topic, "while nobody was there")
    with subscribed() as subscriber:
        assert subscriber.recv(timeout=5).text == "while nobody was there"
        for ending in peer.dialect.durable_ending("audit", name, client_id=name):
            subscriber.wait_for_receipt(subscriber.send("UNSUBSCRIBE", ending, receipt=True))
    send(client, topic, "after the end")
    with subscribed() as subscriber:
        assert received(subscriber) == []
        for ending in peer.dialect.durable_ending("audit", name, client_id=name):
            subscriber.wait_for_receipt(subscriber.send("UNSUBSCRIBE", ending, receipt=True))


def test_a_reply_finds_its_way(peer, connect):
    queue = unique()
    service, client = connect(), connect()
    service.subscribe(queue, receipt=True)
    reply_to = peer.dialect.reply_destination("replies")
    if peer.dialect.subscribes_reply_queue:
        expected = str(client.subscribe(reply_to, receipt=True))
    else:
        expected = reply_to
    for number in "12":
        client.message(queue, "question", headers={"reply-to": reply_to, "correlation-id": number})
        question = service.recv(timeout=5)
        service.message(
            question["reply-to"], "answer", headers={"correlation-id": question["correlation-id"]}
        )
        answer = client.recv(timeout=5)
        assert (answer.text, answer["correlation-id"]) == ("answer", number)
        assert answer["subscription"] == expected


class TestTransactions:
    def test_all_or_nothing(self, connect):
        queue = unique()
        client, other = connect(), connect()
        other.subscribe(queue)
        undone = client.transaction()
        undone.message(queue, "undone")
        undone.abort()
        with client.transaction() as transaction:
            transaction.message(queue, "one")
            transaction.message(queue, "two")
            assert received(other) == []
        assert [other.recv(timeout=5).text for _ in range(2)] == ["one", "two"]
        assert received(other) == []

    def test_an_acknowledgement_belongs_to_it(self, peer, connect):
        assert peer.dialect.transactional_ack
        queue, answers = unique(), unique()
        with connect() as client:
            send(client, queue, "order")
            client.subscribe(queue, "client-individual", send_acks=False)
            with client.transaction() as transaction:
                transaction.ack(client.recv(timeout=5))
                transaction.message(answers, "bill")
        client = connect()
        client.subscribe(queue)
        client.subscribe(answers)
        assert received(client) == ["bill"]

    def test_when_a_receipt_in_a_transaction_comes(self, peer, client):
        transaction = client.transaction()
        receipt = transaction.message(unique(), "one", receipt=True)
        if peer.dialect.receipt_in_transaction_waits_for_commit:
            with pytest.raises(stompy.STOMPTimeout):
                client.wait_for_receipt(receipt, timeout=0.5)
            transaction.commit()
        client.wait_for_receipt(receipt)


class TestErrors:
    def test_an_error_ends_the_connection_also_where_the_broker_lets_it_open(self, client):
        client.send("ACK", id="nonsense")
        with pytest.raises(stompy.STOMPError) as caught:
            client.recv(timeout=5)
        assert caught.value.Frame is not None
        assert str(caught.value)
        assert client.recv(timeout=5) is None
        with pytest.raises(stompy.STOMPConnectionError, match="was lost"):
            client.message(unique(), "too late")

    def test_whether_it_names_the_receipt(self, peer, client):
        receipt = client.send("ACK", id="nonsense", receipt=True)
        with pytest.raises(stompy.STOMPError) as caught:
            client.wait_for_receipt(receipt, timeout=5)
        named = caught.value.headers.get("receipt-id")
        if peer.name == "RabbitMQ":
            assert not peer.dialect.error_names_receipt
            assert named is None
        else:
            assert named == receipt

    def test_a_wrong_passcode(self, peer):
        if peer.name != "RabbitMQ":
            pytest.skip("this one lets everybody in")
        with pytest.raises(stompy.STOMPError, match="Bad CONNECT") as caught:
            stompy.connect(peer.url, "guest", "wrong")
        assert "wrong" not in str(caught.value)

    def test_an_unknown_virtual_host(self, peer, connect):
        if peer.name != "RabbitMQ":
            assert connect(host="nowhere").is_connected
            return
        with pytest.raises(stompy.STOMPError, match="Bad CONNECT"):
            connect(host="nowhere")


class TestQuirks:
    def test_the_applications_own_id_of_a_message(self, peer, client):
        queue, header = unique(), peer.dialect.message_id_header
        client.subscribe(queue)
        client.message(queue, "one", id="mine")
        frame = client.recv(timeout=5)
        assert frame.text == "one"
        if header != "message-id":  # else it is the broker's own
            assert frame[header] == "mine"

    def test_what_rabbitmq_does_not_take(self, peer, client):
        if peer.name != "RabbitMQ":
            pytest.skip("others do not mind")
        client.message(unique(), "one", headers={"message-id": "mine"})
        with pytest.raises(stompy.STOMPError, match=r"(?i)message-id"):
            client.recv(timeout=5)

    def test_heart_beats_keep_an_idle_connection(self, connect):
        client = connect(heart_beat=(1000, 1000))
        with pytest.raises(stompy.STOMPTimeout):
            client.recv(timeout=4)  # longer than anybody's patience
        assert client.is_connected


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def _url(self, peer: PeerBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STOMPY_URL", peer.url)

    def test_send_and_listen(self, capfdbinary):
        queue = unique()
        assert main(["send", queue, "one", "-H", "colour:red"]) == 0
        assert main(["listen", queue, "-n", "1", "-q"]) == 0
        assert capfdbinary.readouterr() == (b"one\n", b"")

    def test_ping(self, peer, capsys):
        assert main(["ping", "-n", "2", "--interval", "0"]) == 0
        assert f"server {peer.dialect.server}" in capsys.readouterr().out

    def test_request(self, connect, capfdbinary):
        queue = unique()
        service = connect()
        service.subscribe(queue, receipt=True)

        def answer() -> None:
            request = service.recv(timeout=5)
            headers = {"correlation-id": request["correlation-id"]}
            service.message(request["reply-to"], request.text.upper(), headers=headers)

        thread = threading.Thread(target=answer)
        thread.start()
        assert main(["request", queue, "really?"]) == 0
        thread.join()
        assert capfdbinary.readouterr() == (b"REALLY?\n", b"")

    @pytest.mark.parametrize("kind", LoadKind)
    @pytest.mark.parametrize("ack", ["auto", "client-individual"])
    def test_bench(self, kind, ack, capsys):
        arguments = ["bench", kind, "--messages", "50", "--consumers", "2", "--ack", ack]
        assert main([*arguments, "--persistent", "--prefetch", "10", "--json"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        copies = 2 if kind in (LoadKind.TOPIC, LoadKind.DURABLE) else 1
        assert (result["received"]["messages"], result["missing"]) == (50 * copies, 0)
