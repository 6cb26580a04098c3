"""Transactions by themselves, then on the wire."""

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, heard_by

import stompy
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.sync.client import STOMPClient
from stompy.sync.transaction import STOMPTransaction


class Client:
    """Writes down what a transaction asks of its client."""

    def __init__(self, *, lost: bool = False) -> None:
        self.asked: list[tuple] = []
        self._lost = lost

    def send(self, command, headers=(), body=b"", transaction=None, receipt=False):
        if self._lost:
            raise STOMPConnectionError("lost")
        self.asked.append((command, transaction))
        return "r1" if receipt is True else receipt or None

    def message(self, *arguments):
        self.asked.append(arguments)

    def ack(self, ack_id, transaction=None):
        self.asked.append(("ACK", ack_id, transaction))

    def nack(self, ack_id, transaction=None):
        self.asked.append(("NACK", ack_id, transaction))

    def recv(self, timeout=None, transaction=None):
        self.asked.append(("recv", timeout, transaction))
        return STOMPFrame("MESSAGE")

    def wait_for_receipt(self, receipt_id, timeout=10.0):
        self.asked.append(("wait", receipt_id))
        return STOMPFrame("RECEIPT")


def test_a_block_commits_and_waits_until_that_is_confirmed():
    client = Client()
    with STOMPTransaction(client, "t") as transaction:
        assert transaction.id == "t"
        assert repr(transaction) == "<STOMPTransaction t open>"
        transaction.recv(5)
    assert client.asked == [("recv", 5, "t"), ("COMMIT", "t"), ("wait", "r1")]
    assert repr(transaction) == "<STOMPTransaction t COMMIT>"


def test_an_exception_aborts():
    client = Client()
    with pytest.raises(KeyError), STOMPTransaction(client, "t"):
        raise KeyError
    assert client.asked == [("ABORT", "t")]


def test_an_exception_keeps_its_place_when_the_connection_is_gone():
    with pytest.raises(KeyError), STOMPTransaction(Client(lost=True), "t"):
        raise KeyError


def test_a_commit_that_cannot_be_sent_raises():
    with pytest.raises(STOMPConnectionError), STOMPTransaction(Client(lost=True), "t"):
        pass


def test_a_commit_that_is_not_confirmed_raises():
    client = Client()

    def wait_for_receipt(receipt_id, timeout=10.0):
        raise STOMPTimeout("nothing came")

    client.wait_for_receipt = wait_for_receipt
    with pytest.raises(STOMPTimeout), STOMPTransaction(client, "t"):
        pass


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_block_may_end_its_transaction_itself(end):
    client = Client()
    with STOMPTransaction(client, "t") as transaction:
        assert getattr(transaction, end)(receipt="mine") == "mine"
    assert client.asked == [(end.upper(), "t")]
    with pytest.raises(KeyError), transaction:
        raise KeyError
    assert len(client.asked) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t.message("/queue/q"),
        lambda t: t.send("SEND"),
        lambda t: t.ack("a"),
        lambda t: t.nack("a"),
        lambda t: t.recv(),
        lambda t: t.commit(),
        lambda t: t.abort(),
    ],
)
def test_after_its_end_it_cannot_be_used(use):
    transaction = STOMPTransaction(Client(), "t")
    transaction.commit()
    with pytest.raises(STOMPError, match="'t' has ended with COMMIT"):
        use(transaction)


def test_ack_takes_the_argument_of_the_manual_if_it_agrees():
    client = Client()
    transaction = STOMPTransaction(client, "t")
    transaction.ack("a1", transaction="t")
    transaction.ack("a2", None)
    assert client.asked == [("ACK", "a1", "t"), ("ACK", "a2", "t")]
    with pytest.raises(ValueError, match="'t', not 'other'"):
        transaction.ack("a3", "other")


# -- on the wire -----------------------------------------------------------------------------------


def test_a_transaction_as_in_the_manual():
    def use(client: STOMPClient) -> None:
        transaction = client.transaction("mine")
        assert isinstance(transaction, STOMPTransaction)
        transaction.message("/queue/a", b"x", id="i", headers={"h": "1"}, k="v")
        transaction.send("SEND", headers={"destination": "/queue/b"}, body=b"y")
        transaction.ack("a1")
        transaction.nack("a2")
        assert transaction.commit() is None
        other = client.transaction()
        assert other.abort(receipt="done") == "done"

    frames = heard_by(use)
    assert [frame.command for frame in frames] == [
        "BEGIN",
        "SEND",
        "SEND",
        "ACK",
        "NACK",
        "COMMIT",
        "BEGIN",
        "ABORT",
    ]
    assert {frame["transaction"] for frame in frames[:6]} == {"mine"}
    assert frames[6]["transaction"] == frames[7]["transaction"] != "mine"
    assert frames[1].headers == {
        "destination": "/queue/a",
        "h": "1",
        "k": "v",
        "message-id": "i",
        "transaction": "mine",
        "content-length": "1",
    }


def test_recv_in_a_transaction_acknowledges_within_it():
    def script(peer: Peer) -> None:
        peer.welcome()
        subscription = peer.expect("SUBSCRIBE")
        peer.expect("BEGIN")
        peer.message(1, subscription["id"], ack="a1")
        assert peer.expect("ACK").headers == {"id": "a1", "transaction": "t"}
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        client.subscribe("/queue/q", "client-individual")
        transaction = client.transaction("t")
        assert transaction.recv(timeout=10)["message-id"] == "m1"
        with pytest.raises(STOMPTimeout):
            transaction.recv(timeout=0.01)
        transaction.abort()
