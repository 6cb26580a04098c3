"""Handles against scripted servers: what the contract scenarios cannot see or provoke."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.scripted_server import Peer, ScriptedServer, eventually, heard_by, obedient

import stompy
from stompy.sync.connection import OUTBOX_MARK
from stompy.sync.inbox import MAX_FRAMES
from stompy.transport.spill import Spill


def test_a_handle_says_what_it_wants():
    def use(client: stompy.STOMPClient) -> None:
        client.subscription(
            "/topic/t", "auto", id="mine", selector="a = 1", prefetch=0, headers={"x": 1, "y": "2"}
        ).unsubscribe()

    subscribe, unsubscribe = heard_by(use)
    assert subscribe["receipt"]
    assert (
        subscribe.headers
        | {
            "destination": "/topic/t",
            "id": "mine",
            "ack": "auto",
            "selector": "a = 1",
            "prefetch-count": "0",
            "x": "1",
            "y": "2",
        }
        == subscribe.headers
    )
    assert unsubscribe.headers == {"id": "mine"}


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("1.0", {"subscription": "s1", "message-id": "m1"}),
        ("1.1", {"subscription": "s1", "message-id": "m1"}),
        ("1.2", {"id": "a1"}),
    ],
)
def test_each_version_names_the_message_in_its_own_way(version, names):
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome(version, server="stompy-broker/1")
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", ack="a1")
        peer.message(2, "s1", ack="a2")
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        with stompy.connect(server.address) as client:
            handle = client.subscription("/queue/q", id="s1")
            handle.get(10).ack()
            other = handle.get(10)
            if version == "1.0":
                with pytest.raises(stompy.STOMPError, match="no NACK"):
                    other.nack()
                assert other.settlement is None
            else:
                other.nack(delay=2.5, reason="later")
        assert heard[0].headers == names
        if version != "1.0":
            assert heard[1].headers.items() >= {"delay": "2500", "reason": "later"}.items()


def test_a_durable_subscription_is_left_or_ended_for_good():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        with stompy.connect(server.address, headers={"client-id": "me"}) as client:
            with client.subscription("/topic/t", durable="news"):
                pass
            client.subscription("/topic/t", durable="news").unsubscribe(for_good=True)
        name = "durable-subscription-name"
        assert [frame.headers.get(name) for frame in heard[:4]] == ["news", None, "news", "news"]


def test_a_broker_that_would_lose_the_message_gets_no_nack():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome(server="ActiveMQ-Artemis/2")
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", ack="a1")
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        with stompy.connect(server.address) as client:
            message = client.subscription("/queue/q", id="s1").get(10)
            with pytest.raises(stompy.UnsupportedByBroker):
                message.nack()
            with pytest.raises(stompy.UnsupportedByBroker):
                message.ack(transaction="t")
            assert message.settlement is None
            message.ack()
        assert [frame.command for frame in heard] == ["ACK", "DISCONNECT"]


def test_an_id_can_be_used_once_and_a_client_may_end_a_handle_by_it():
    with ScriptedServer(obedient) as server, stompy.connect(server.address) as client:
        handle = client.subscription("/queue/q", id="mine")
        with pytest.raises(ValueError, match="'mine' is in use"):
            client.subscription("/queue/q", id="mine")
        client.unsubscribe("mine")
        assert not handle.health().active
        client.subscription("/queue/q", id="mine")


def test_what_cannot_be_asked_of_a_handle():
    with ScriptedServer(obedient) as server, stompy.connect(server.address) as client:
        handle = client.subscription("/queue/q")
        with pytest.raises(ValueError, match="or more"):
            handle.get_batch(0)
        with pytest.raises(ValueError, match="or more"):
            handle.handle(print, concurrency=0)
        with pytest.raises(ValueError, match="forget"):
            handle.handle(print, on_error="forget")


def test_a_broker_that_does_not_confirm_is_not_waited_for_for_ever():
    def script(peer: Peer) -> None:
        peer.welcome()
        assert [peer.read().command for _ in range(2)] == ["SUBSCRIBE", "UNSUBSCRIBE"]

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        with pytest.raises(stompy.STOMPTimeout, match="did not confirm the subscription to /q"):
            client.subscription("/q", timeout=0.05)
        assert client.health().subscriptions == ()


def test_a_handle_that_nobody_reads_holds_up_the_reader_and_nothing_is_lost():
    count = MAX_FRAMES

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        for number in range(count):
            peer.message(number, "s1")
        peer.receipt(peer.expect("SEND"))
        peer.expect("DISCONNECT")

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        handle = client.subscription("/queue/q", "auto", id="s1")
        eventually(lambda: client._session.is_full(client._connection.inbox))
        waiting = handle.health().waiting
        assert MAX_FRAMES // 2 <= waiting <= count
        # An outcome may stand behind all that, so waiting for one makes the reader go on.
        client.message("/queue/q", confirm=True)
        received = [message.id for message in handle.get_batch(count, 10)]
        assert received == [f"m{number}" for number in range(count)]
        client.close()


@pytest.mark.parametrize("in_hand", [False, True])
def test_an_answer_comes_however_many_messages_stand_before_it(in_hand):
    count = 40_000

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        asked = peer.expect("SEND")
        lines = "destination:/queue/q\nsubscription:s1\n"
        for number in range(count):
            peer.write(f"MESSAGE\n{lines}message-id:m{number}\n\n^@")
        peer.receipt(asked)
        peer.expect("DISCONNECT")

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        if in_hand:
            handle = client.subscription("/queue/q", "auto", id="s1")
            take, crowd = handle.get, handle._inbox
        else:
            client.subscribe("/queue/q", "auto", id="s1", receipt=True)
            take, crowd = client.recv, client._connection.inbox
        confirmation = client.post("/queue/q")
        assert confirmation.result(60) == confirmation.receipt_id
        assert len(crowd._backlog._arrived) < 10_000  # the others are not in memory
        assert [take(10)["message-id"] for _ in range(count)][-1] == f"m{count - 1}"
        client.close()


@pytest.mark.parametrize("in_hand", [False, True])
def test_what_is_read_while_an_outcome_is_awaited_has_a_bound_too(in_hand, monkeypatch):
    monkeypatch.setattr(Spill, "has_room", False)
    count = 40_000

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        asked = peer.expect("SEND")
        lines = "destination:/queue/q\nsubscription:s1\n"
        for number in range(count):
            peer.write(f"MESSAGE\n{lines}message-id:m{number}\n\n^@")
        peer.receipt(asked)
        peer.expect("DISCONNECT")

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        if in_hand:
            handle = client.subscription("/queue/q", "auto", id="s1")
            take, crowd = handle.get, handle._inbox
        else:
            client.subscribe("/queue/q", "auto", id="s1", receipt=True)
            take, crowd = client.recv, client._connection.inbox
        confirmation = client.post("/queue/q")
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(confirmation.result, 60)
            eventually(lambda: crowd.overfull)
            with pytest.raises(stompy.STOMPTimeout, match=r"\d+ frames .* are not fetched, and no"):
                confirmation.result(0.05)
            assert [take(10)["message-id"] for _ in range(count)][-1] == f"m{count - 1}"
            assert waiting.result(30) == confirmation.receipt_id
        client.close()


def test_handlers_may_call_anything_while_the_socket_is_full():
    go_on = threading.Event()
    body = b"x" * 1024 * 1024

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", ack="a1")
        go_on.wait(10)
        for _ in peer.serve():
            pass

    def handler(message: stompy.Message) -> None:
        for _ in range(OUTBOX_MARK // len(body) + 1):
            client.message("/queue/q", body)
        eventually(lambda: client._connection._blocked)
        threading.Timer(0.05, go_on.set).start()
        message.ack()
        client.message("/queue/q", "more", confirm=True)
        handle.unsubscribe()
        client.disconnect()

    with ScriptedServer(script) as server:
        client = stompy.connect(server.address)
        handle = client.subscription("/queue/q", id="s1")
        handle.handle(handler)
        assert handle.health().handler_errors == 0
        assert not client.is_connected


def test_what_comes_for_an_ended_subscription_is_dropped_and_goes_to_nobody_else():
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.expect("UNSUBSCRIBE")
        peer.message(1, "s1")
        peer.message(2, "another")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        client.subscription("/queue/q", id="s1").unsubscribe()
        ended.set()
        assert client.recv(10).get("message-id") == "m2"


def test_a_handle_says_when_its_client_was_forgotten():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.until_closed()

    with ScriptedServer(script) as server:
        handle = stompy.connect(server.address).subscription("/queue/q")
        with pytest.raises(stompy.STOMPConnectionError, match="keep the client"):
            handle.get(10)


def test_a_handler_that_takes_long_costs_no_heart_beat():
    beats: list[bytes] = []
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="50,50")
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", ack="a1")
        while len(beats) < 10:
            beats.append(peer.connection.recv(1))
        done.set()
        assert peer.expect("ACK")["id"] == "a1"

    def handler(message: stompy.Message) -> None:
        assert done.wait(10)
        message.ack()
        handle.unsubscribe()

    with ScriptedServer(script) as server:
        client = stompy.connect(server.address, heart_beat=(50, 0))
        handle = client.subscription("/queue/q", id="s1")
        handle.handle(handler)
        assert handle.health().handler_errors == 0
        client.close()
    assert set(beats) == {b"\n"}


INTERRUPTED = """
import os, signal, sys, threading
import stompy
from stompy.session.state import ConnectionState
client = stompy.connect(("127.0.0.1", int(sys.argv[1])))
handle = client.subscription("/queue/q", id="s1")
begun, go_on, done = threading.Event(), threading.Event(), []
resting = threading.Event()
handle._inbox.look_again = resting.set

def work(message):
    begun.set()
    go_on.wait(10)
    client.message("/queue/done")
    done.append(message.text)

def leave():
    while client.state is not ConnectionState.CLOSED:
        pass
    go_on.set()

def interrupt():
    begun.wait(10)
    os.kill(os.getpid(), signal.SIGINT)
    resting.wait(10)
    # Once more, while the handler is waited for.
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    handle.handle(work)
except KeyboardInterrupt:
    at_work = [worker.is_alive() for worker in handle._workers]
    threading.Thread(target=leave).start()
    client.disconnect()
    print(at_work, done)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals between processes")
def test_a_handler_at_work_is_waited_for_also_after_ctrl_c():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", "work", ack="a1")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        result = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(server.address[1])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (result.stdout, result.stderr) == ("[True] ['work']\n", "")


@pytest.mark.parametrize("verb", ["disconnect", "close"])
def test_a_client_may_be_left_from_inside_a_handler_and_from_everywhere_at_once(verb):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        for number in (1, 2):
            peer.message(number, "s1", "work", ack="a")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server, ThreadPoolExecutor() as pool:
        client = stompy.connect(server.address)
        handle = client.subscription("/queue/q", id="s1")
        leave = getattr(client, verb)
        left = []
        together = threading.Barrier(2)

        def work(message: stompy.message.Message) -> None:
            together.wait(10)
            leave()
            leave()
            left.append(client.is_connected)

        handle.handle(work, concurrency=2)
        for one in [pool.submit(leave) for _ in range(4)]:
            one.result(10)
        client.close()
        client.disconnect()
        assert left == [False, False]


def test_a_handler_that_gives_back_work_undone_has_not_done_its_message():
    def script(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(1, "s1", ack="a1")
        said.append(peer.read())
        for _ in peer.serve():
            pass

    async def work(message: stompy.Message) -> None: ...

    def indirectly(message: stompy.Message) -> object:
        return work(message)

    said = []
    with ScriptedServer(script) as server, stompy.connect(server.address) as client:
        handle = client.subscription("/queue/q", id="s1")
        with pytest.raises(TypeError, match=r"must be a plain function.*stompy.aio has a client"):
            handle.handle(work)
        with pytest.raises(TypeError, match="indirectly returned a coroutine"):
            handle.handle(indirectly, on_error="stop")
    assert (said[0].command, said[0]["reason"]) == ("NACK", "TypeError")


AGAIN = """
import os, signal, sys, threading
import stompy
client = stompy.connect(("127.0.0.1", int(sys.argv[1])))
handle = client.subscription("/queue/q", id="s1")
done = []

def work(message):
    done.append(message.text)
    os.kill(os.getpid(), signal.SIGINT)

for run in (1, 2):
    try:
        handle.handle(work)
    except KeyboardInterrupt:
        print(done, handle.health().active, handle.health().acked)
    client.message("/queue/next", confirm=True)
client.disconnect()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals between processes")
def test_after_ctrl_c_the_same_subscription_can_be_handled_again():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        peer.message(0, "s1", "0", ack="a0")
        acks = 0
        for frame in peer.serve():
            assert frame.command != "UNSUBSCRIBE"
            if frame.command == "SEND" and not acks:
                acks = 1
                peer.message(1, "s1", "1", ack="a1")

    with ScriptedServer(script) as server:
        result = subprocess.run(
            [sys.executable, "-c", AGAIN, str(server.address[1])],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (result.stdout, result.stderr) == ("['0'] True 1\n['0', '1'] True 2\n", "")
