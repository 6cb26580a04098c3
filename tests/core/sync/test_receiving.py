"""`recv`, iteration and `loop` over one connection after another."""

import threading
from collections.abc import Callable

import pytest
from tests.support.scripted_server import Heard, Peer, ScriptedServer, eventually

import stompy

SWIFT = stompy.Reconnect(delay=0.0)


class Script:
    """Two connections with a message each; the first one is lost when told."""

    def __init__(self, version: str = "1.2") -> None:
        self.version = version
        self.lose = threading.Event()
        self.heard: list[Heard] = []

    def first(self, peer: Peer) -> None:
        peer.welcome(self.version)
        frame = peer.expect("SUBSCRIBE")
        for number in (1, 2):
            peer.message(number, frame["id"], f"first {number}", ack=f"a{number}")
        self.lose.wait(10)

    def second(self, peer: Peer) -> None:
        peer.welcome(self.version)
        frame = peer.expect("SUBSCRIBE")
        peer.receipt(frame)
        # The same ack id may mean another message on another connection.
        peer.message(1, frame["id"], "second 1", ack="a1")
        self.heard.extend(peer.serve())


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_message_of_an_earlier_connection_cannot_be_acknowledged(version):
    script = Script(version)
    with ScriptedServer(script.first, script.second) as server:
        with stompy.connect(server.address, reconnect=SWIFT) as client:
            client.subscribe("/queue/q", ack_mode="client-individual", send_acks=False)
            old = client.recv(10)
            script.lose.set()
            eventually(lambda: client.health().epoch == 2)
            new = client.recv(10)
            assert [old.text, new.text] == ["first 1", "second 1"]
            for token in (old, old["ack"]):
                with pytest.raises(stompy.StaleMessageError, match="delivers it again"):
                    client.ack(token)
            client.ack(new)
        assert [frame.command for frame in script.heard] == ["ACK", "DISCONNECT"]


NEXT: dict[str, Callable[[stompy.STOMPClient], stompy.STOMPFrame]] = {
    "recv": lambda client: client.recv(10),
    "iteration": lambda client: next(iter(client)),
    "loop": lambda client: client.loop(lambda _, frame: frame, timeout=10),
}


@pytest.mark.parametrize("way", NEXT)
def test_receiving_goes_on_and_skips_what_the_broker_has_back(script, way):
    with ScriptedServer(script.first, script.second) as server:
        with stompy.connect(server.address, reconnect=SWIFT) as client:
            client.subscribe("/queue/q", ack_mode="client-individual")
            eventually(lambda: len(client._connection.inbox) == 2)
            assert NEXT[way](client).text == "first 1"
            script.lose.set()
            eventually(lambda: client.health().epoch == 2)
            assert NEXT[way](client).text == "second 1"
        assert [frame.command for frame in script.heard] == ["ACK", "DISCONNECT"]


@pytest.mark.parametrize("way", NEXT)
def test_what_came_in_mode_auto_is_still_handed_out(script, way):
    with ScriptedServer(script.first, script.second) as server:
        with stompy.connect(server.address, reconnect=SWIFT) as client:
            client.subscribe("/queue/q")
            eventually(lambda: len(client._connection.inbox) == 2)
            script.lose.set()
            eventually(lambda: client.health().epoch == 2)
            texts = [NEXT[way](client).text for _ in range(3)]
            assert texts == ["first 1", "first 2", "second 1"]


def test_an_error_of_the_broker_does_not_end_receiving(script):
    def erroneous(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SUBSCRIBE")
        peer.write("ERROR\nmessage:stopping\n\n^@")

    with (
        ScriptedServer(erroneous, script.second) as server,
        stompy.connect(server.address, reconnect=SWIFT) as client,
    ):
        client.subscribe("/queue/q")
        assert client.recv(10).text == "second 1"
        assert "stopping" in str(client.health().last_error)


def test_a_receipt_that_was_asked_for_before_the_loss_is_unknown(script):
    def first(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SEND"))
        peer.expect("SEND")
        script.lose.wait(10)

    def second(peer: Peer) -> None:
        peer.welcome()
        for _ in peer.serve():
            pass

    with (
        ScriptedServer(first, second) as server,
        stompy.connect(server.address, reconnect=SWIFT) as client,
    ):
        came, lost = (client.message("/queue/q", receipt=True) for _ in range(2))
        eventually(lambda: len(client._connection.inbox) == 1)
        script.lose.set()
        eventually(lambda: client.health().epoch == 2)
        assert client.wait_for_receipt(came)["receipt-id"] == came
        with pytest.raises(stompy.OutcomeUnknown):
            client.wait_for_receipt(lost)
        client.wait_for_receipt(client.message("/queue/q", receipt=True))


def test_what_connections_brought_that_came_and_went_meanwhile_is_handed_out_in_order():
    def bringing(name: str) -> Callable[[Peer], None]:
        def script(peer: Peer) -> None:
            peer.welcome(server="stompy-broker/1")
            asked = [peer.expect("SUBSCRIBE") for _ in range(2)]
            for frame in asked:
                peer.message(1, frame["id"], f"{name} {frame['ack']}", ack=name)
            for frame in asked:
                if "receipt" in frame.headers and name != "never ready":
                    peer.receipt(frame)
            if name == "last":
                heard.extend(peer.serve())

        return script

    heard: list[Heard] = []
    names = ("first", "second", "never ready", "last")
    scripts = [bringing(name) for name in names]
    with (
        ScriptedServer(*scripts) as server,
        stompy.connect(server.address, reconnect=SWIFT) as client,
    ):
        client.subscribe("/queue/a")
        client.subscribe("/queue/c", "client")
        eventually(lambda: client.health().epoch == 4)
        client.wait_connected()
        bodies = [client.recv(10).Body for _ in range(5)]
        with pytest.raises(stompy.STOMPTimeout):
            client.recv(0.01)
    assert bodies == [*(f"{name} auto".encode() for name in names), b"last client"]
    assert [(frame.command, frame.headers.get("id")) for frame in heard] == [
        ("ACK", "last"),
        ("DISCONNECT", None),
    ]
