"""Requests against scripted servers: reply queues of each kind, late replies, lost connections."""

import threading

import pytest
from tests.support.scripted_server import Heard, Peer, ScriptedServer, eventually

import stompy


def answer(peer: Peer, frame: Heard, subscription: str, body: str) -> None:
    peer.write(
        f"MESSAGE\nsubscription:{subscription}\nmessage-id:m\ndestination:x\n"
        f"correlation-id:{frame['correlation-id']}\n\n{body}^@"
    )


def test_one_reply_queue_serves_all_requests_of_a_connection():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        subscribe = peer.expect("SUBSCRIBE")
        assert subscribe["ack"] == "auto"
        for body in ("one", "two"):
            frame = peer.expect("SEND")
            assert frame["reply-to"] == subscribe["destination"]
            peer.receipt(frame)
            answer(peer, frame, subscribe["id"], body)
        heard.extend(peer.serve())

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        assert client.request("/queue/q", "?", headers={"x": 1}).text == "one"
        reply = client.request("/queue/q", "?")
        assert reply.text == "two"
        reply.ack()  # there is nothing to settle
        with reply:
            pass
    assert [frame.command for frame in heard] == ["DISCONNECT"]


def test_rabbitmq_subscribes_us_under_the_name_of_the_reply_queue():
    def script(peer: Peer) -> None:
        peer.welcome(server="RabbitMQ/3.10.8")
        frame = peer.expect("SEND")
        assert frame["reply-to"].startswith("/temp-queue/")
        answer(peer, frame, frame["reply-to"], "pong")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        assert client.request("/queue/q", "ping").text == "pong"


def test_a_late_reply_is_counted_and_dropped():
    late = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        subscribe, frame = peer.expect("SUBSCRIBE"), peer.expect("SEND")
        late.wait(10)
        answer(peer, frame, subscribe["id"], "too late")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        with pytest.raises(stompy.STOMPTimeout, match="no reply from /queue/q"):
            client.request("/queue/q", "?", timeout=0.05)
        late.set()
        eventually(lambda: client.health().late_replies == 1)


def test_a_lost_connection_ends_the_wait():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SUBSCRIBE")
        peer.receipt(peer.expect("SEND"))

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        with pytest.raises(stompy.OutcomeUnknown):
            client.request("/queue/q", "?")


def test_the_next_connection_has_a_reply_queue_of_its_own():
    queues = []

    def script(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        subscribe, frame = peer.expect("SUBSCRIBE"), peer.expect("SEND")
        queues.append(frame["reply-to"])
        answer(peer, frame, subscribe["id"], "yes")

    with ScriptedServer(script, script) as server:
        policy = stompy.Reconnect(delay=0.0, attempts=1)
        client = stompy.connect(server.address, reconnect=policy)
        for number in (1, 2):
            assert client.request("/queue/q", "?").text == "yes"
            eventually(lambda: client.health().epoch > number or not client.is_connected)  # noqa: B023
            if number == 1:
                client.wait_connected()
        client.close()
    assert len(set(queues)) == 2
