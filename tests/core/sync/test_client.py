"""The client against a scripted server: what the manual says, and what it promises beside that."""

import gc
import threading
from collections.abc import Callable

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, obedient

import stompy
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import Version
from stompy.sync.client import STOMPClient

QUIET = (0, 0)


def connect(server: ScriptedServer, **options) -> STOMPClient:
    return stompy.connect(server.address, **options)


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


# -- connecting ------------------------------------------------------------------------------------


def test_connect_sets_what_the_manual_names():
    def script(peer: Peer) -> None:
        peer.welcome(session="abc", server="scripted/1")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        client = STOMPClient()
        assert client.Connected is client.is_connected is False
        assert client.BrokerAddress is client.broker_address is None
        assert client.connected is client.connected_frame is None
        frame = client.connect(server.address)
        assert isinstance(frame, STOMPFrame)
        assert frame.Command == "CONNECTED"
        assert client.Connected is client.is_connected is True
        assert client.BrokerAddress == client.broker_address == server.address
        assert client.connected is client.connected_frame is frame
        assert client.session == "abc"
        assert client.version is Version.V1_2
        assert client.close_reason is None
        client.disconnect()
        assert client.Connected is False
        assert client.connected is None
        assert client.connected_frame is frame
        assert client.close_reason is None


def test_connect_frame_holds_what_was_given():
    heard = []

    def script(peer: Peer) -> None:
        heard.append(peer.welcome())
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        headers = {"client-id": "me"}
        with connect(server, login="me", passcode="pw", headers=headers, receipts="no", n=1):
            pass
    assert heard[0].headers == {
        "accept-version": "1.0,1.1,1.2",
        "heart-beat": "10000,10000",
        "host": "/",
        "login": "me",
        "passcode": "pw",
        "client-id": "me",
        "receipts": "no",
        "n": "1",
    }
    assert headers == {"client-id": "me"}


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("stomp://me:p%3Aw@{}/prod", {}, ("prod", "me", "p:w")),
        ("stomp://me:pw@{}", {"login": "you", "passcode": "x"}, ("/", "you", "x")),
        ("stomp://{}/prod", {"host": "other"}, ("other", None, None)),
        ("stomp://{}/prod", {"headers": {"host": "third"}}, ("third", None, None)),
    ],
)
def test_a_url_names_host_login_and_passcode(url, options, expected):
    heard = []

    def script(peer: Peer) -> None:
        heard.append(peer.welcome())
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        place = f"127.0.0.1:{server.address[1]}"
        stompy.connect(url.format(place), **options).disconnect()
    assert tuple(heard[0].headers.get(name) for name in ("host", "login", "passcode")) == expected


def test_versions_and_heart_beat_are_offered_as_asked():
    heard = []

    def script(peer: Peer) -> None:
        heard.append(peer.welcome("1.1"))
        for _ in peer.serve():
            pass

    with (
        ScriptedServer(script) as server,
        connect(server, versions=["1.1", Version.V1_0], heart_beat=(5000, 0)) as client,
    ):
        assert client.version is Version.V1_1
    assert heard[0]["accept-version"] == "1.0,1.1"
    assert heard[0]["heart-beat"] == "5000,0"


def test_connecting_twice_is_an_error_and_again_after_the_end_is_not():
    with ScriptedServer(obedient, obedient) as server:
        client = connect(server)
        with pytest.raises(STOMPError, match=r"connected already, to .*127\.0\.0\.1"):
            client.connect(server.address)
        assert client.is_connected
        client.disconnect()
        client.connect(server.address)
        assert client.is_connected
        client.disconnect()


def test_the_next_address_is_tried():
    with ScriptedServer(obedient) as server:
        dead = _dead_port()
        with stompy.connect([("127.0.0.1", dead), server.address]) as client:
            assert client.BrokerAddress == server.address


def _dead_port() -> int:
    with ScriptedServer() as closed:
        return closed.address[1]


@pytest.mark.parametrize("value", ["no\nline", "no\rreturn"])
def test_connect_cannot_carry_line_breaks(value):
    with pytest.raises(ValueError, match="line break"):
        stompy.connect(("127.0.0.1", 1), login=value)


def test_a_client_that_never_connected_says_so():
    client = STOMPClient()
    for call in (
        client.recv,
        lambda: client.message("/queue/q"),
        lambda: client.subscribe("/queue/q"),
        lambda: list(client),
        client.loop,
        client.transaction,
        lambda: client.request("/queue/q"),
        lambda: client.wait_for_receipt("r1"),
    ):
        with pytest.raises(STOMPConnectionError, match=r"connect\(\) first"):
            call()
    client.disconnect()
    client.close()
    assert repr(client) == "<STOMPClient not connected>"


def test_repr_shows_address_and_state_and_no_secret():
    with ScriptedServer(obedient) as server:
        client = stompy.connect(server.url.replace("//", "//me:s3cret@"))
        assert repr(client) == f"<STOMPClient {server.url} STOMP 1.2 connected>"
        client.disconnect()
        assert repr(client) == f"<STOMPClient {server.url} STOMP 1.2 closed>"


# -- disconnecting ---------------------------------------------------------------------------------


def test_disconnect_waits_for_its_receipt_and_may_be_repeated():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        client.message("/queue/q", b"last words")
        client.disconnect()
        client.disconnect()
        client.close()
    assert [frame.command for frame in heard] == ["SEND", "DISCONNECT"]
    assert heard[1]["receipt"]


def test_disconnect_is_bounded_when_the_broker_does_not_answer():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("DISCONNECT")
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        client.disconnect(timeout=0.05)
        assert not client.is_connected
        assert client.recv() is None


def test_disconnect_by_many_threads_at_once():
    with ScriptedServer(obedient) as server:
        client = connect(server)
        threads = [in_thread(client.disconnect) for _ in range(8)]
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert client.close_reason is None


def test_disconnect_ends_what_waits_in_other_threads():
    with ScriptedServer(obedient) as server:
        client = connect(server)
        results = []
        threads = [
            in_thread(lambda: results.append(client.recv())),
            in_thread(lambda: results.append(client.loop(lambda *_: None))),
            in_thread(lambda: results.append(list(client) or None)),
        ]
        client.disconnect()
        for thread in threads:
            thread.join(10)
        assert results == [None, None, None]


def test_disconnect_raises_what_the_broker_refused():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        peer.expect("DISCONNECT")
        peer.write("ERROR\nmessage:no such place\n\n^@")

    with ScriptedServer(script) as server:
        client = connect(server)
        client.message("/nowhere")
        with pytest.raises(STOMPError, match="no such place"):
            client.disconnect()
        client.disconnect()


def test_the_end_of_a_with_block_keeps_the_exception_of_the_block():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("DISCONNECT")
        peer.write("ERROR\nmessage:something else\n\n^@")

    with ScriptedServer(script) as server, pytest.raises(KeyError), connect(server):
        raise KeyError


def test_close_sends_everything_but_waits_for_no_receipt():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        client = connect(server)
        for number in range(500):
            client.message("/queue/q", str(number))
        client.close()
        assert server.done.wait(10)
    assert [frame.body for frame in heard[:-1]] == [b"%d" % n for n in range(500)]
    assert heard[-1].command == "DISCONNECT"


def test_what_was_not_received_before_disconnect_never_will_be():
    def script(peer: Peer) -> None:
        peer.welcome()
        for number in range(10):
            peer.message(number)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        client = connect(server)
        assert client.recv(10) is not None
        client.disconnect()
        assert client.recv() is None
        assert client.loop(lambda *_: True) is None


def test_a_forgotten_client_takes_its_thread_and_socket_with_it():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        del client
        gc.collect()
        assert server.done.wait(10)


# -- the broker goes -------------------------------------------------------------------------------


def test_a_lost_connection_ends_the_iteration_and_names_its_reason():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1)
        peer.message(2)

    with ScriptedServer(script) as server:
        client = connect(server)
        assert [frame["message-id"] for frame in client] == ["m1", "m2"]
        assert client.recv() is None
        assert client.recv(timeout=0) is None
        assert client.loop(lambda *_: None) is None
        assert isinstance(client.close_reason, STOMPConnectionError)
        assert str(client.close_reason) == "the broker closed the connection"
        assert not client.is_connected
        assert repr(client).endswith("STOMP 1.2 lost: the broker closed the connection>")
        with pytest.raises(STOMPConnectionError, match="the broker closed the connection") as lost:
            client.message("/queue/q")
        assert isinstance(lost.value, ConnectionError)
        with pytest.raises(STOMPConnectionError):
            client.wait_for_receipt("r1")
        client.disconnect()


def test_a_reset_is_a_lost_connection():
    with ScriptedServer(lambda peer: (peer.welcome(), peer.reset())) as server:
        client = connect(server)
        assert client.recv() is None
        assert "reset" in str(client.close_reason).lower()


def test_a_connection_that_ends_in_mid_frame():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1)
        peer.write("MESSAGE\nmessage-id:m2\ncontent-length:100\n\nonly the beg")

    with ScriptedServer(script) as server:
        client = connect(server)
        assert [frame["message-id"] for frame in client] == ["m1"]
        assert isinstance(client.close_reason, STOMPConnectionError)


def test_bytes_that_are_no_stomp_end_the_connection_after_the_good_frames():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1)
        peer.write("MESSAGE\nno colon here\n\n^@")
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        assert [frame["message-id"] for frame in client] == ["m1"]
        assert isinstance(client.close_reason, stompy.ProtocolError)
        with pytest.raises(STOMPConnectionError, match="no colon here"):
            client.message("/queue/q")


def test_an_error_is_raised_once_after_what_came_before_it():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1)
        peer.write("ERROR\nmessage:bad thing\nerror-code:bad-header\n\nthe whole story^@")

    with ScriptedServer(script) as server:
        client = connect(server)
        assert client.recv()["message-id"] == "m1"
        with pytest.raises(STOMPError, match="bad thing: the whole story") as caught:
            client.recv()
        assert caught.value.Message == "bad thing"
        assert caught.value.Frame.Command == "ERROR"
        assert caught.value.code == "bad-header"
        assert client.recv() is None
        with pytest.raises(STOMPConnectionError, match="bad thing"):
            client.message("/queue/q")


def test_we_close_after_an_error_when_the_broker_does_not():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.write("ERROR\nmessage:bad thing\n\n^@")
        peer.connection.settimeout(1.0)
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        assert server.done.wait(10)
        assert str(client.close_reason) == "bad thing"


@pytest.mark.parametrize("receive", [lambda c: c.loop(lambda *_: None), list])
def test_an_error_is_raised_by_loop_and_iteration_too(receive):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.write("ERROR\nmessage:bad thing\n\n^@")

    with ScriptedServer(script) as server:
        client = connect(server)
        with pytest.raises(STOMPError, match="bad thing"):
            receive(client)


def test_sending_into_a_closed_connection_tells_what_the_broker_said():
    sent = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        assert sent.wait(10)
        # Unread input makes the kernel reset the connection when it is closed here.
        peer.write("ERROR\nmessage:go away\n\n^@")

    with ScriptedServer(script) as server:
        client = connect(server)
        client.message("/queue/q", b"unread")
        sent.set()

        def send_on() -> None:
            while True:
                client.message("/queue/q", b"x" * 1000)

        with pytest.raises(STOMPConnectionError, match="go away") as caught:
            send_on()
        assert caught.value.Frame is not None


# -- receiving -------------------------------------------------------------------------------------


def test_recv_skips_receipts_and_times_out():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SEND"))
        peer.message(1)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        receipt = client.message("/queue/q", receipt=True)
        assert client.recv(timeout=10)["message-id"] == "m1"
        with pytest.raises(STOMPTimeout) as caught:
            client.recv(timeout=0.01)
        assert not isinstance(caught.value, STOMPError)
        assert client.wait_for_receipt(receipt, timeout=0).Command == "RECEIPT"


def test_receipts_do_not_prolong_a_timeout():
    stop = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        while not stop.wait(0.005):
            peer.write("RECEIPT\nreceipt-id:x\n\n^@")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        with pytest.raises(STOMPTimeout):
            client.recv(timeout=0.1)
        stop.set()


def test_loop_passes_arguments_and_ends_with_something_true():
    def script(peer: Peer) -> None:
        peer.welcome()
        for number in range(1, 5):
            peer.message(number)
        for _ in peer.serve():
            pass

    def callback(client, frame, param1, param2, param3=None):
        calls.append((client, frame["message-id"], param1, param2, param3))
        return frame if len(calls) % 2 == 0 else 0

    calls: list[tuple] = []
    with ScriptedServer(script) as server, connect(server) as client:
        last = client.loop(callback, 1, 2, param3="hello", timeout=10.0)
        assert last["message-id"] == "m2"
        last = client.loop(callback, 1, 2)
        assert last["message-id"] == "m4"
        assert calls == [
            (client, "m1", 1, 2, "hello"),
            (client, "m2", 1, 2, "hello"),
            (client, "m3", 1, 2, None),
            (client, "m4", 1, 2, None),
        ]


def test_loop_takes_the_callback_by_keyword():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1, body="hi")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        assert client.loop(callback=lambda c, frame: frame.Body) == b"hi"
        with pytest.raises(TypeError, match="must be callable, not str"):
            client.loop("callback")


def test_loop_without_callback_runs_until_the_end():
    def script(peer: Peer) -> None:
        peer.welcome()
        for number in range(10):
            peer.message(number)

    with ScriptedServer(script) as server:
        assert connect(server).loop() is None


def test_loop_times_out_for_each_frame():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server) as client:
        seen = []
        with pytest.raises(STOMPTimeout):
            client.loop(lambda c, f: seen.append(f), timeout=0.05)
        assert len(seen) == 1


def test_waiting_for_a_receipt_as_the_manual_does_it():
    def wait_for_receipt(_, frame, receipt):
        return frame is not None and frame.Command == "RECEIPT" and frame["receipt-id"] == receipt

    with ScriptedServer(obedient) as server, connect(server) as client:
        client.message("/queue/q", b"a", receipt="first")
        client.message("/queue/q", b"b", receipt="the-receipt")
        assert client.loop(wait_for_receipt, receipt="the-receipt") is True
        # And the short way still works.
        assert client.wait_for_receipt("first")["receipt-id"] == "first"


def test_a_callback_may_do_anything_with_the_client():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.message(1)
        for frame in peer.serve():
            if frame.command == "SEND":
                peer.message(2)

    def callback(client: STOMPClient, frame: STOMPFrame) -> bool:
        if frame.Command == "MESSAGE" and frame["message-id"] == "m1":
            receipt = client.message("/queue/q", receipt=True)
            client.wait_for_receipt(receipt)
            assert client.recv(10)["message-id"] == "m2"
            with client.transaction() as transaction:
                transaction.message("/queue/q")
            client.unsubscribe(client.subscribe("/queue/other"))
            client.disconnect()
        return False

    with ScriptedServer(script) as server:
        assert connect(server).loop(callback) is None


def test_heart_beat_off_is_possible():
    def script(peer: Peer) -> None:
        assert peer.welcome(heart_beat="5,5")["heart-beat"] == "0,0"
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, connect(server, heart_beat=QUIET):
        pass


def test_what_comes_in_one_piece_with_connected_is_not_lost():
    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write(
            "CONNECTED\nversion:1.2\n\n^@MESSAGE\nsubscription:s\nmessage-id:m1\n"
            "destination:/queue/q\n\n^@\n\nERROR\nmessage:done\n\n^@"
        )
        peer.until_closed()

    with ScriptedServer(script) as server:
        client = connect(server)
        assert client.recv()["message-id"] == "m1"
        with pytest.raises(STOMPError, match="done"):
            client.recv()
        assert str(client.close_reason) == "done"
