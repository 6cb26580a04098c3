"""Cancelling: what is waited for is given up, and nothing else is harmed."""

import asyncio
import random
import socket
import threading
from contextlib import suppress

import pytest
from tests.support.looping import cancelled, run, soon
from tests.support.scripted_server import Peer, ScriptedServer, obedient

import stompy
from stompy import aio


def test_a_cancelled_receiver_has_taken_nothing():
    ready = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        assert ready.wait(10)
        for number in range(300):
            peer.message(number)
        for _ in peer.serve():
            pass

    async def main() -> None:
        rng = random.Random(1)
        seen: list[str] = []
        async with aio.connect(server.address) as client:

            async def take() -> None:
                frame = await client.recv()
                assert frame is not None
                seen.append(frame["message-id"])

            ready.set()
            while len(seen) < 300:
                tasks = [asyncio.create_task(take()) for _ in range(3)]
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(seen, key=lambda name: int(name[1:])) == [f"m{n}" for n in range(300)]

    with ScriptedServer(script) as server:
        run(main)


def test_a_cancelled_confirmation_does_not_stop_the_message():
    bodies = []

    def script(peer: Peer) -> None:
        peer.welcome()
        bodies.extend(frame.body for frame in peer.serve() if frame.command == "SEND")

    async def main() -> None:
        async with aio.connect(server.address) as client:
            sending = asyncio.create_task(client.message("/queue/q", "goes", confirm=True))
            await asyncio.sleep(0)
            sending.cancel()
            assert await cancelled(sending)
            await client.message("/queue/q", "too", confirm=True)
            assert client.health().unconfirmed == 0

    with ScriptedServer(script) as server:
        run(main)
    assert bodies == [b"goes", b"too"]


def test_a_send_that_is_cancelled_while_it_waits_for_room_tears_nothing():
    release = threading.Event()
    heard = []
    body = b"x" * 50_000

    def script(peer: Peer) -> None:
        peer.welcome()
        assert release.wait(15)
        heard.extend(frame.body for frame in peer.serve() if frame.command == "SEND")

    async def main() -> None:
        done: set[int] = set()

        async def send(number: int) -> None:
            await client.message("/queue/q", b"%d " % number + body)
            done.add(number)

        async with aio.connect(server.address) as client:
            tasks = [asyncio.create_task(send(number)) for number in range(200)]
            await soon(lambda: client._session.connection._blocked)
            for task in tasks[1::2]:
                task.cancel()
            release.set()
            await asyncio.gather(*tasks, return_exceptions=True)
        expected.extend(sorted(done))

    expected: list[int] = []
    with ScriptedServer(script) as server:
        run(main)
    # Every frame is whole; who was cancelled before it had its turn has sent nothing.
    assert all(one.endswith(b" " + body) for one in heard)
    assert sorted(int(one.partition(b" ")[0]) for one in heard) == expected
    assert 100 <= len(expected) < 200


def test_a_cancelled_subscription_is_ended():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        for _ in range(2):
            heard.append(peer.expect("SUBSCRIBE"))
            heard.append(peer.expect("UNSUBSCRIBE"))
        heard.extend(peer.serve())

    async def main() -> None:
        async with aio.connect(server.address) as client:
            for opening in (
                client.subscribe("/queue/q", receipt=True, id="a"),
                client.subscription("/queue/q", id="b"),
            ):

                async def wait(opening=opening) -> None:
                    await opening

                task = asyncio.create_task(wait())
                await asyncio.sleep(0)
                task.cancel()
                assert await cancelled(task)
            assert client.health().subscriptions == ()

    with ScriptedServer(script) as server:
        run(main)
    assert [frame.headers.get("id") for frame in heard] == ["a", "a", "b", "b", None]


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, None])
def test_connecting_can_be_cancelled_at_any_moment(turns):
    asked = threading.Event()

    def script(peer: Peer) -> None:
        with suppress(EOFError, ConnectionError):
            peer.expect("CONNECT")
            asked.set()
            peer.until_closed()

    async def main() -> None:
        client = aio.STOMPClient()
        connecting = asyncio.create_task(client.connect(server.address))
        if turns is None:
            await soon(asked.is_set)
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        connecting.cancel()
        assert await cancelled(connecting)
        assert client.state is stompy.ConnectionState.DISCONNECTED
        await client.disconnect()

    with ScriptedServer(script) as server:
        run(main)
        socket.create_connection(server.address).close()  # if nobody else came


def test_handlers_are_cancelled_with_handle_and_give_their_messages_back():
    heard = []

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        for number in range(3):
            peer.message(number, ack=f"a{number}")
        heard.extend(peer.serve())

    async def main() -> None:
        started = 0

        async def handler(message: aio.Message) -> None:
            nonlocal started
            started += 1
            await asyncio.Event().wait()

        async with aio.connect(server.address) as client:
            subscription = await client.subscription("/queue/q", id="s1")
            handling = asyncio.create_task(subscription.handle(handler, concurrency=2))
            await soon(lambda: started == 2)
            handling.cancel()
            assert await cancelled(handling)
            assert (await subscription.get(10))["message-id"] == "m2"
            assert subscription.health().nacked == 2

    with ScriptedServer(script) as server:
        run(main)
    nacks = [(one["id"], one["reason"]) for one in heard if one.command == "NACK"]
    assert sorted(nacks) == [("a0", "CancelledError"), ("a1", "CancelledError")]


@pytest.mark.parametrize("seed", range(3))
def test_cancelling_at_random_leaves_a_whole_stream(seed):
    """The server reads every frame by its length, so that a torn one would be found."""
    frames = []

    def script(peer: Peer) -> None:
        peer.welcome()
        for frame in peer.serve():
            frames.append(frame)
            if frame.command == "SUBSCRIBE":
                peer.message(len(frames), subscription=frame["id"], ack=f"a{len(frames)}")

    async def main() -> None:
        rng = random.Random(seed)
        async with aio.connect(server.address) as client:

            async def use() -> None:
                body = b"x" * rng.choice((0, 10, 70_000))
                await client.message("/queue/q", body, check=str(len(body)))
                async with client.subscription("/queue/q") as subscription:
                    async with await subscription.get():
                        await client.message("/queue/q", body, check=str(len(body)), confirm=True)
                async with client.transaction() as transaction:
                    await transaction.message("/queue/q", body, check=str(len(body)))
                await client.flush()

            for _ in range(40):
                tasks = [asyncio.create_task(use()) for _ in range(4)]
                for _ in range(rng.randrange(30)):
                    await asyncio.sleep(0)
                for task in rng.sample(tasks, rng.randrange(5)):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await client.message("/queue/q", "the end", confirm=True)

    with ScriptedServer(script) as server:
        run(main)
    sends = [frame for frame in frames if frame.command == "SEND"]
    assert sends[-1].body == b"the end"
    assert all(len(frame.body) == int(frame["check"]) for frame in sends[:-1])
    # A transaction that began has ended, one way or another.
    ended = {one["transaction"] for one in frames if one.command in ("COMMIT", "ABORT")}
    assert {one["transaction"] for one in frames if one.command == "BEGIN"} == ended


def test_a_client_that_is_cancelled_in_its_block_still_disconnects():
    async def main() -> None:
        client = aio.STOMPClient()

        async def use() -> None:
            await client.connect(server.address)
            async with client:
                await asyncio.Event().wait()

        task = asyncio.create_task(use())
        await soon(lambda: client.is_connected)
        task.cancel()
        assert await cancelled(task)
        assert client.state is stompy.ConnectionState.CLOSED

    with ScriptedServer(obedient) as server:
        run(main)
