"""What a client says, as the server hears it."""

import threading
from collections.abc import Callable

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually, heard_by

import stompy
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.sync.client import STOMPClient


def connect(server: ScriptedServer, **options) -> STOMPClient:
    return stompy.connect(server.address, **options)


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


# -- subscriptions ---------------------------------------------------------------------------------


def test_subscribe_and_unsubscribe():
    ids = []

    def use(client: STOMPClient) -> None:
        ids.append(client.subscribe("/queue/a"))
        ids.append(client.subscribe("/queue/b", "client", False, headers={"x": 1}, y="2"))
        ids.append(client.subscribe("/queue/c", id="mine", receipt="r"))
        client.unsubscribe(ids[0])
        assert client.unsubscribe(ids[2], receipt=True, durable=True)

    a, b, c, end_a, end_c = heard_by(use)
    assert isinstance(ids[0], str)
    assert len(set(ids)) == 3
    assert a.headers == {"destination": "/queue/a", "id": ids[0], "ack": "auto"}
    assert b.headers == {
        "destination": "/queue/b",
        "id": ids[1],
        "ack": "client",
        "x": "1",
        "y": "2",
    }
    assert (c["id"], c["receipt"], ids[2]) == ("mine", "r", "mine")
    assert end_a.headers == {"id": ids[0]}
    assert end_c["durable"] == "true"
    assert end_c["receipt"]


def test_a_subscription_can_be_used_with_with():
    def use(client: STOMPClient) -> None:
        with client.subscribe("/queue/a", receipt=True) as subscription:
            assert subscription.destination == "/queue/a"
            client.message("/queue/a")

    frames = heard_by(use)
    assert [frame.command for frame in frames] == ["SUBSCRIBE", "SEND", "UNSUBSCRIBE"]


def test_a_refused_subscription_raises_when_it_was_to_be_confirmed():
    def script(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SUBSCRIBE")
        peer.write(f"ERROR\nmessage:not for you\nreceipt-id:{frame['receipt']}\n\n^@")

    with ScriptedServer(script) as server:
        client = connect(server)
        with pytest.raises(STOMPError, match="not for you") as caught:
            client.subscribe("/queue/secret", receipt=True)
        assert not isinstance(caught.value, STOMPConnectionError)


def test_an_unknown_ack_mode_is_refused_here():
    def use(client: STOMPClient) -> None:
        with pytest.raises(ValueError, match="individual"):
            client.subscribe("/queue/a", "individual")

    assert heard_by(use) == []


# -- sending ---------------------------------------------------------------------------------------


def test_message_and_send_as_in_the_manual():
    def use(client: STOMPClient) -> None:
        assert client.message("/queue/a") is None
        assert client.message("/queue/a", b"\0b\n", id="i7", headers={"x": "y"}, k="v") is None
        assert client.message("/queue/a", "grüß", transaction="t", receipt="r7") == "r7"
        receipt = client.send("SEND", {"destination": "/queue/b"}, b"c", receipt=True, k="v")
        assert client.wait_for_receipt(receipt)["receipt-id"] == receipt
        assert client.send("BEGIN", transaction="t") is None

    plain, full, text, sent, begin = heard_by(use)
    assert (plain.headers, plain.body) == ({"destination": "/queue/a"}, b"")
    assert full.body == b"\0b\n"
    assert full.headers == {
        "destination": "/queue/a",
        "x": "y",
        "k": "v",
        "message-id": "i7",
        "content-length": "3",
    }
    assert text.body == "grüß".encode()
    assert (text["transaction"], text["receipt"]) == ("t", "r7")
    assert (sent["destination"], sent["k"], sent.body) == ("/queue/b", "v", b"c")
    assert (begin.command, begin.headers) == ("BEGIN", {"transaction": "t"})


def test_headers_may_be_numbers_and_booleans_and_are_never_changed():
    given = {"priority": 9, "persistent": True, "ratio": 0.5, "text": "a:b"}

    def use(client: STOMPClient) -> None:
        client.message("/queue/a", headers=given, receipt=True, expires=0)
        client.message("/queue/a")
        with pytest.raises(TypeError, match="'x' must be text or a number, not NoneType"):
            client.message("/queue/a", headers={"x": None})

    first, second = heard_by(use)
    assert {name: first[name] for name in (*given, "expires")} == {
        "priority": "9",
        "persistent": "true",
        "ratio": "0.5",
        "text": "a\\cb",
        "expires": "0",
    }
    assert second.headers == {"destination": "/queue/a"}
    assert list(given) == ["priority", "persistent", "ratio", "text"]


def test_a_header_that_the_version_cannot_carry_is_refused_here():
    def use(client: STOMPClient) -> None:
        with pytest.raises(ValueError, match=r"1\.0 cannot carry"):
            client.message("/queue/a", x="two\nlines")

    assert heard_by(use, "1.0") == []


def test_a_receipt_id_may_be_used_again():
    def use(client: STOMPClient) -> None:
        client.message("/queue/a", receipt="mine")
        client.message("/queue/a", receipt=True)
        client.wait_for_receipt("mine")
        client.message("/queue/a", receipt="mine")
        assert client.wait_for_receipt("mine").Command == "RECEIPT"

    heard_by(use)


def test_a_receipt_that_does_not_come_times_out():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        receipt = client.message("/queue/q", receipt=True)
        with pytest.raises(STOMPTimeout, match=receipt):
            client.wait_for_receipt(receipt, timeout=0.02)
        client.disconnect(timeout=0)


def test_an_error_fails_the_receipt_it_names_and_leaves_others_unknown():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        second = peer.expect("SEND")
        peer.write(f"ERROR\nmessage:too big\nreceipt-id:{second['receipt']}\n\n^@")

    with ScriptedServer(script) as server:
        client = connect(server)
        first = client.message("/queue/q", receipt=True)
        second = client.message("/queue/q", receipt=True)
        with pytest.raises(STOMPError, match="too big") as refused:
            client.wait_for_receipt(second)
        assert not isinstance(refused.value, STOMPConnectionError)
        with pytest.raises(STOMPConnectionError, match="too big"):
            client.wait_for_receipt(first)


def test_many_threads_may_send_while_one_receives():
    counts: dict[str, list[int]] = {}

    def script(peer: Peer) -> None:
        peer.welcome()
        for frame in peer.serve():
            if frame.command == "SEND" and frame["destination"] != "/queue/end":
                counts.setdefault(frame["destination"], []).append(int(frame.body))
                peer.message(1, body=frame.body.decode())

    with ScriptedServer(script) as server, connect(server) as client:
        received = []
        receiver = in_thread(lambda: received.extend(client))

        def produce(name: str) -> None:
            for number in range(300):
                client.message(name, str(number))

        producers = [in_thread(lambda n=n: produce(f"/queue/{n}")) for n in range(4)]
        for producer in producers:
            producer.join(10)
        client.wait_for_receipt(client.message("/queue/end", receipt=True))
        eventually(lambda: len(received) == 1200)
        client.disconnect()
        receiver.join(10)
    assert counts == {f"/queue/{n}": list(range(300)) for n in range(4)}
