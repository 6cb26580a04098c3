"""Confirmed sending against scripted servers: brokers that answer in ways ours does not."""

import errno
from unittest import mock

import pytest
from tests.support.scripted_server import Heard, Peer, ScriptedServer, eventually, obedient

import stompy


def test_the_receipt_may_have_a_name_of_our_own():
    with ScriptedServer(obedient) as server, stompy.connect(server.address) as client:
        assert client.message("/queue/q", confirm=True, receipt="mine") == "mine"
        assert client.send("SEND", destination="/queue/q", confirm=True)


def test_receipts_of_confirmed_messages_are_for_nobody_else():
    seen = []
    with ScriptedServer(obedient) as server, stompy.connect(server.address) as client:
        client.message("/queue/q", confirm=True)
        mine = client.message("/queue/q", receipt=True)
        client.message("/queue/q", confirm=True)
        client.loop(lambda _, frame: seen.append(frame) or True, timeout=10)
    assert [frame["receipt-id"] for frame in seen] == [mine]


@pytest.mark.parametrize(
    ("server", "posts", "kind"),
    [
        ("RabbitMQ/3", 1, stompy.STOMPError),
        ("RabbitMQ/3", 2, stompy.OutcomeUnknown),
        ("stompy-broker/1", 1, stompy.OutcomeUnknown),
    ],
)
def test_an_error_that_names_no_frame(server, posts, kind):
    def script(peer: Peer) -> None:
        peer.welcome(server=server)
        for _ in range(posts):
            peer.expect("SEND")
        peer.write("ERROR\nmessage:no\n\n^@")

    with ScriptedServer(script) as scripted:
        client = stompy.connect(scripted.address)
        posted = [client.post("/queue/q") for _ in range(posts)]
        for one in posted:
            with pytest.raises(stompy.STOMPError) as caught:
                one.result()
            assert type(caught.value) is kind
        assert not client.is_connected


def test_an_error_wins_over_a_receipt_behind_it():
    def script(peer: Peer) -> None:
        peer.welcome(server="RabbitMQ/3")
        frame = peer.expect("SEND")
        peer.write(f"ERROR\nmessage:no\n\n^@RECEIPT\nreceipt-id:{frame['receipt']}\n\n^@")

    with ScriptedServer(script) as server, pytest.raises(stompy.STOMPError, match="no"):
        stompy.connect(server.address).message("/queue/q", confirm=True)


def test_what_rabbitmq_confirms_after_commit_only_is_not_waited_for():
    def script(peer: Peer) -> None:
        peer.welcome(server="RabbitMQ/3")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        with client.transaction() as transaction, pytest.raises(stompy.UnsupportedByBroker):
            client.message("/queue/q", transaction=transaction.id, confirm=True)


def test_what_cannot_be_sent_is_not_waited_for():
    with ScriptedServer(obedient) as server:
        with stompy.connect(server.address, content_length=False) as client:
            with pytest.raises(ValueError, match="NUL needs a content-length"):
                client.post("/queue/q", b"a\0b")
            with pytest.raises(TypeError):
                client.post("/queue/q", headers={"x": b"y"})
            with pytest.raises(ValueError, match="window"):
                client.send_many("/queue/q", ["x"], window=0)
            client.flush(0)
            assert client.health().unconfirmed == 0


def test_without_content_length_a_body_ends_at_its_nul():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        with stompy.connect(server.address, content_length=False) as client:
            client.message("/queue/q", "text")
        assert "content-length" not in heard[0].headers
        assert heard[0].body == b"text"


def test_waiting_does_not_settle_anything():
    def script(peer: Peer) -> None:
        peer.welcome()
        frame = peer.expect("SEND")
        peer.expect("SEND")
        peer.receipt(frame)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        posted = client.post("/queue/q")
        assert not posted.wait(0.01)
        assert not posted.done
        with pytest.raises(stompy.STOMPTimeout):
            client.flush(0.01)
        client.message("/queue/q")
        assert posted.wait(10)
        assert posted.outcome is stompy.Outcome.ACCEPTED
        assert posted.result() == posted.receipt_id


def test_what_found_its_connection_ended_was_not_sent_and_goes_over_the_next(monkeypatch):
    heard: list[Heard] = []

    def first(peer: Peer) -> None:
        peer.welcome()

    def second(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())

    with (
        ScriptedServer(first, second) as server,
        stompy.connect(server.address, reconnect=stompy.Reconnect(delay=0.0)) as client,
    ):
        session = client._last_session()
        ended = session.connection
        eventually(lambda: client.health().epoch == 2)
        # As if it had ended right after it was chosen.
        real, chosen = session.writable, [ended]
        monkeypatch.setattr(session, "writable", lambda txn: chosen.pop() if chosen else real(txn))
        assert client.message("/queue/q", "once", confirm=True)
    assert [(one.command, one.body) for one in heard] == [("SEND", b"once"), ("DISCONNECT", b"")]


def test_not_sent_is_told_apart_from_not_known(monkeypatch):
    def silent(peer: Peer) -> None:
        peer.welcome()
        peer.until_closed()

    with ScriptedServer(obedient, silent) as server:
        client = stompy.connect(server.address)
        client.disconnect()
        with pytest.raises(stompy.STOMPConnectionError) as caught:
            client.message("/queue/q", confirm=True)
        assert not isinstance(caught.value, stompy.OutcomeUnknown)
        client.connect(server.address)
        broken = OSError(errno.EPIPE, "Broken pipe")
        link = client._connection
        monkeypatch.setattr(link, "_write_some", mock.Mock(side_effect=broken))
        posted = client.post("/queue/q")
        with pytest.raises(stompy.OutcomeUnknown, match="whether the frame took effect"):
            posted.result()
        client.disconnect()
