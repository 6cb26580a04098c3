"""The asyncio client against scripted servers: the verbs of the manual, awaited."""

import asyncio
import threading

import pytest
from tests.support.looping import run, soon
from tests.support.scripted_server import Peer, ScriptedServer, obedient

import stompy
from stompy import aio
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.session.state import ConnectionState
from stompy.transport.spill import Spill


def messages(count: int, **headers: str):
    """A script: some messages, then obedient; what was heard."""
    heard: list = []

    def script(peer: Peer) -> None:
        peer.welcome()
        for number in range(1, count + 1):
            peer.message(number, **headers)
        heard.extend(peer.serve())

    return script, heard


# -- connecting and leaving ----------------------------------------------------------------------


def test_what_was_not_awaited_says_so():
    async def main() -> None:
        opening = aio.connect(("127.0.0.1", 1))
        assert "write `await`" in repr(opening)
        with pytest.raises(STOMPConnectionError):
            await opening

    run(main)


def test_connect_is_awaited_or_entered():
    async def main() -> None:
        client = await aio.connect(server.address)
        assert isinstance(client, aio.STOMPClient)
        assert (client.is_connected, client.state) == (True, ConnectionState.CONNECTED)
        assert client.broker_address == server.address
        await client.disconnect()
        await client.disconnect()
        assert (client.Connected, client.connected, client.close_reason) == (False, None, None)
        assert client.connected_frame["version"] == "1.2"
        async with aio.connect(server.url) as client:
            assert "connected" in repr(client)
        assert (client.state, "closed" in repr(client)) == (ConnectionState.CLOSED, True)

    with ScriptedServer(obedient, obedient) as server:
        run(main)


def test_a_client_without_a_connection_says_so():
    async def main() -> None:
        client = aio.STOMPClient()
        for verb in (client.message("/queue/q"), client.recv(), client.wait_for_receipt("x")):
            with pytest.raises(STOMPConnectionError, match=r"call connect\(\) first"):
                await verb
        await client.disconnect()
        await client.close()
        await client.flush()
        assert client.health().state is ConnectionState.DISCONNECTED
        assert repr(client) == "<stompy.aio.STOMPClient not connected>"

    run(main)


def test_a_client_is_connected_once():
    async def main() -> None:
        async with aio.connect(server.address) as client:
            with pytest.raises(STOMPError, match="connected already"):
                await client.connect(server.address)

    with ScriptedServer(obedient) as server:
        run(main)


def test_while_it_connects_a_client_has_a_state_and_nothing_else():
    go = threading.Event()

    def script(peer: Peer) -> None:
        assert go.wait(10)
        peer.welcome()
        for _ in peer.serve():
            pass

    async def main() -> None:
        client = aio.STOMPClient()
        connecting = asyncio.create_task(client.connect(server.address))
        await asyncio.sleep(0)
        assert client.state is ConnectionState.CONNECTING
        with pytest.raises(STOMPConnectionError, match="not connected"):
            await client.message("/queue/q")
        with pytest.raises(STOMPError, match="connecting already"):
            await client.connect(server.address)
        go.set()
        await connecting
        await client.disconnect()

    with ScriptedServer(script) as server:
        run(main)


def test_arguments_become_headers_of_connect():
    heard = []

    def script(peer: Peer) -> None:
        heard.append(peer.welcome())
        for _ in peer.serve():
            pass

    async def main() -> None:
        port = server.address[1]
        url = f"stomp://ann:s3cret@127.0.0.1:{port}/vhost"
        async with aio.connect(url, None, "other", {"a": 1}, heart_beat=(0, 0), b="x"):
            pass

    with ScriptedServer(script) as server:
        run(main)
    sent = heard[0].headers
    assert (sent["login"], sent["passcode"], sent["host"]) == ("ann", "other", "vhost")
    assert (sent["a"], sent["b"], sent["heart-beat"]) == ("1", "x", "0,0")


def test_close_does_not_wait():
    def script(peer: Peer) -> None:
        peer.welcome()
        assert peer.expect("SEND").body == b"last"
        peer.expect("DISCONNECT")
        peer.until_closed()

    async def main() -> None:
        client = await aio.connect(server.address)
        await client.message("/queue/q", "last")
        await client.close()
        assert not client.is_connected

    with ScriptedServer(script) as server:
        run(main)


def test_disconnect_raises_what_nobody_was_told():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        peer.expect("DISCONNECT")
        peer.write("ERROR\nmessage:no such thing\n\n^@")

    async def main() -> None:
        client = await aio.connect(server.address)
        await client.message("/nonsense")
        with pytest.raises(STOMPError, match="no such thing"):
            await client.disconnect()
        await client.disconnect()

    with ScriptedServer(script) as server:
        run(main)


# -- receiving -------------------------------------------------------------------------------------


def test_recv_skips_receipts_and_times_out():
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SEND"))
        peer.message(1)
        for _ in peer.serve():
            pass

    async def main() -> None:
        async with aio.connect(server.address) as client:
            receipt = await client.message("/queue/q", receipt=True)
            assert (await client.recv(timeout=10))["message-id"] == "m1"
            with pytest.raises(STOMPTimeout) as caught:
                await client.recv(timeout=0.01)
            assert not isinstance(caught.value, STOMPError)
            assert (await client.wait_for_receipt(receipt, timeout=0)).Command == "RECEIPT"

    with ScriptedServer(script) as server:
        run(main)


def test_what_comes_in_one_piece_with_connected_is_not_lost():
    def script(peer: Peer) -> None:
        peer.expect("CONNECT")
        peer.write(
            "CONNECTED\nversion:1.2\n\n^@MESSAGE\nsubscription:s\nmessage-id:m1\n"
            "destination:/queue/q\n\n^@\n\nERROR\nmessage:done\n\n^@"
        )
        peer.until_closed()

    async def main() -> None:
        client = await aio.connect(server.address)
        assert (await client.recv())["message-id"] == "m1"
        with pytest.raises(STOMPError, match="done"):
            await client.recv()
        assert await client.recv() is None
        assert str(client.close_reason) == "done"
        with pytest.raises(STOMPConnectionError, match="was lost: done"):
            await client.message("/queue/q")

    with ScriptedServer(script) as server:
        run(main)


def test_iteration_ends_with_the_connection():
    def script(peer: Peer) -> None:
        peer.welcome()
        for number in range(500):
            peer.message(number)

    async def main() -> None:
        client = await aio.connect(server.address)
        assert [frame["message-id"] async for frame in client] == [f"m{n}" for n in range(500)]
        assert str(client.close_reason) == "the broker closed the connection"
        assert client.state is ConnectionState.DISCONNECTED

    with ScriptedServer(script) as server:
        run(main)


def test_several_tasks_receive_each_a_message():
    async def main() -> None:
        async with aio.connect(server.address) as client:
            receivers = [asyncio.create_task(client.recv(10)) for _ in range(5)]
            await client.send("GO")
            frames = await asyncio.gather(*receivers)
            assert sorted(frame["message-id"] for frame in frames) == [f"m{n}" for n in range(5)]

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("GO")
        for number in range(5):
            peer.message(number)
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        run(main)


def test_loop_takes_functions_and_coroutine_functions():
    calls = []

    async def callback(client, frame, first, second=None):
        await asyncio.sleep(0)
        calls.append((frame["message-id"], first, second))
        return frame if len(calls) % 2 == 0 else 0

    async def main() -> None:
        async with aio.connect(server.address) as client:
            last = await client.loop(callback, 1, second="x", timeout=10)
            assert last["message-id"] == "m2"
            assert (await client.loop(callback=lambda c, frame: frame["message-id"])) == "m3"
            with pytest.raises(TypeError, match="must be callable, not str"):
                await client.loop("callback")
            with pytest.raises(STOMPTimeout):
                await client.loop(lambda c, frame: None, timeout=0.05)
        assert calls == [("m1", 1, "x"), ("m2", 1, "x")]

    script, _ = messages(4)
    with ScriptedServer(script) as server:
        run(main)


def test_automatic_acks_follow_the_way_of_receiving():
    async def main() -> None:
        async with aio.connect(server.address) as client:
            await client.subscribe("/queue/q", "client-individual", id="s1")
            assert await client.recv(10)
            assert await client.loop(lambda c, frame: True)

            async def fail(client, frame):
                await asyncio.sleep(0)
                raise ValueError("no")

            with pytest.raises(ValueError, match="no"):
                await client.loop(fail)
            async with client.transaction("tx") as transaction:
                assert await transaction.recv(10)

    script, heard = messages(4, ack="a")
    with ScriptedServer(script) as server:
        run(main)
    words = [(frame.command, frame.headers.get("transaction")) for frame in heard]
    assert words == [
        ("SUBSCRIBE", None),
        ("ACK", None),
        ("ACK", None),
        ("NACK", None),
        ("BEGIN", "tx"),
        ("ACK", "tx"),
        ("COMMIT", "tx"),
        ("DISCONNECT", None),
    ]


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("1.2", {"id": "a1"}),
        ("1.1", {"subscription": "s1", "message-id": "m1"}),
        ("1.0", {"subscription": "s1", "message-id": "m1"}),
    ],
)
def test_messages_are_settled_in_every_version(version, names):
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome(version)
        peer.message(1, ack="a1") if version == "1.2" else peer.message(1)
        heard.extend(peer.serve())

    async def main() -> None:
        async with aio.connect(server.address) as client:
            await client.subscribe("/queue/q", "client", send_acks=False, id="s1")
            frame = await client.recv(10)
            await client.ack(frame["ack"])
            if version != "1.0":
                await client.nack(frame)

    with ScriptedServer(script) as server:
        run(main)
    settled = [frame for frame in heard if frame.command in ("ACK", "NACK")]
    assert len(settled) == (1 if version == "1.0" else 2)
    assert all(names.items() <= frame.headers.items() for frame in settled)


# -- subscriptions and transactions ----------------------------------------------------------------


def test_a_subscription_ends_with_its_block_and_with_a_refusal():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())

    def refusing(peer: Peer) -> None:
        peer.welcome()
        receipt = peer.expect("SUBSCRIBE")["receipt"]
        peer.write(f"ERROR\nmessage:not for you\nreceipt-id:{receipt}\n\n^@")

    async def main() -> None:
        async with aio.connect(server.address) as client:
            async with client.subscribe("/queue/q", receipt=True) as name:
                assert (name, name.destination) == ("s1", "/queue/q")
            async with client.subscription("/queue/r", "auto", prefetch=5) as handle:
                assert handle.health().active
                with pytest.raises(ValueError, match="is in use"):
                    await client.subscription("/queue/s", id=handle.id)
        client = await aio.connect(server.address)
        with pytest.raises(STOMPError, match="not for you"):
            await client.subscription("/queue/q")
        assert client.health().subscriptions == ()

    with ScriptedServer(script, refusing) as server:
        run(main)
    assert [frame.command for frame in heard] == [
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "DISCONNECT",
    ]


def test_a_header_that_cannot_be_sent_leaves_nothing_behind():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome("1.1")
        heard.extend(peer.serve())

    async def main() -> None:
        bad = {"a": "ends with a return\r"}
        async with aio.connect(server.address) as client:
            for verb in (
                client.message("/queue/q", headers=bad, confirm=True),
                client.post("/queue/q", headers=bad),
                client.subscription("/queue/q", headers=bad),
                client.subscribe("/queue/q", receipt=True, headers=bad),
                client.request("/queue/q", headers=bad),
            ):
                with pytest.raises(ValueError, match="cannot carry the header"):
                    await verb
            await client.flush(timeout=0)
            assert client.health().unconfirmed == 0
            assert client.health().subscriptions == ()

    with ScriptedServer(script) as server:
        run(main)
    assert [frame.command for frame in heard] == ["SUBSCRIBE", "DISCONNECT"]  # for replies


def test_a_transaction_commits_aborts_and_ends_once():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())

    async def main() -> None:
        async with aio.connect(server.address) as client:
            async with client.transaction() as transaction:
                await transaction.message("/queue/q", "x")
                await transaction.send("SEND", destination="/queue/q")
            with pytest.raises(STOMPError, match="has ended with COMMIT"):
                await transaction.message("/queue/q")
            with pytest.raises(ZeroDivisionError):
                async with client.transaction():
                    raise ZeroDivisionError
            transaction = await client.transaction("mine")
            with pytest.raises(ValueError, match="this is transaction 'mine'"):
                await transaction.ack("a", "other")
            await transaction.abort()

    with ScriptedServer(script) as server:
        run(main)
    words = [(frame.command, frame.headers.get("transaction")) for frame in heard[:-1]]
    first, second = words[0][1], words[4][1]
    assert words == [
        ("BEGIN", first),
        ("SEND", first),
        ("SEND", first),
        ("COMMIT", first),
        ("BEGIN", second),
        ("ABORT", second),
        ("BEGIN", "mine"),
        ("ABORT", "mine"),
    ]


def test_bodies_may_come_from_anywhere():
    bodies = []

    def script(peer: Peer) -> None:
        peer.welcome()
        bodies.extend(frame.body for frame in peer.serve() if frame.command == "SEND")

    async def slowly():
        for letter in "de":
            await asyncio.sleep(0)
            yield letter

    async def main() -> None:
        async with aio.connect(server.address) as client:
            assert await client.send_many("/queue/q", ["a", b"b", "c"], window=1) == 3
            assert await client.send_many("/queue/q", slowly()) == 2
            with pytest.raises(ValueError, match="window is 1 or more"):
                await client.send_many("/queue/q", [], window=0)

    with ScriptedServer(script) as server:
        run(main)
    assert bodies == [b"a", b"b", b"c", b"d", b"e"]


def test_many_tasks_send_at_once():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(frame.body for frame in peer.serve() if frame.command == "SEND")

    async def main() -> None:
        async with aio.connect(server.address) as client:

            async def produce(name: str) -> None:
                for number in range(200):
                    await client.message("/queue/q", f"{name}{number}" + "x" * 2000)

            await asyncio.gather(*(produce(name) for name in "abcd"))

    with ScriptedServer(script) as server:
        run(main)
    for name in "abcd":
        mine = [body.rstrip(b"x") for body in heard if body.startswith(name.encode())]
        assert mine == [f"{name}{number}".encode() for number in range(200)]


def test_asyncio_is_loaded_on_first_use():
    assert stompy.aio is aio
    with pytest.raises(AttributeError, match="no attribute 'oia'"):
        stompy.oia  # noqa: B018


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

    async def main() -> None:
        async with aio.connect(server.address) as client:
            if in_hand:
                handle = await client.subscription("/queue/q", "auto", id="s1")
                take, crowd = handle.get, handle._inbox
            else:
                await client.subscribe("/queue/q", "auto", id="s1", receipt=True)
                take, crowd = client.recv, client._session.inbox
            confirmation = await client.post("/queue/q")
            assert await confirmation.result(60) == confirmation.receipt_id
            assert len(crowd._backlog._arrived) < 10_000  # the others are not in memory
            assert [(await take(10))["message-id"] for _ in range(count)][-1] == f"m{count - 1}"
            await client.close()

    with ScriptedServer(script) as server:
        run(main)


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

    async def main() -> None:
        async with aio.connect(server.address) as client:
            if in_hand:
                handle = await client.subscription("/queue/q", "auto", id="s1")
                take, crowd = handle.get, handle._inbox
            else:
                await client.subscribe("/queue/q", "auto", id="s1", receipt=True)
                take, crowd = client.recv, client._session.inbox
            confirmation = await client.post("/queue/q")
            waiting = asyncio.create_task(confirmation.result(60))
            await soon(lambda: crowd.overfull)
            with pytest.raises(STOMPTimeout, match=r"\d+ frames .* are not fetched, and no more"):
                await confirmation.result(0.05)
            assert [(await take(10))["message-id"] for _ in range(count)][-1] == f"m{count - 1}"
            assert await waiting == confirmation.receipt_id
            await client.close()

    with ScriptedServer(script) as server:
        run(main)
