"""Clients that nobody disconnects: forgotten ones, those of loops that end, those in a fork."""

import asyncio
import subprocess
import sys

import pytest
from tests.support.looping import run, soon
from tests.support.scripted_server import Heard, Peer, ScriptedServer

from stompy import aio


def run_program(program: str, *, server: ScriptedServer, last: str = "") -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(server.address[1]), last],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stderr


@pytest.fixture
def heard() -> list[Heard]:
    return []


@pytest.fixture
def server(heard: list[Heard]):
    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(peer.serve())

    with ScriptedServer(script) as server:
        yield server


def commands(heard: list[Heard]) -> list[tuple[str, bytes]]:
    return [(frame.command, frame.body) for frame in heard]


FORGETTING = """
import asyncio, gc, logging, sys
from stompy import aio

async def main():
    client = await aio.connect(("127.0.0.1", int(sys.argv[1])), reconnect=True)
    await client.message("/queue/q", "kept")
    if sys.argv[2] == "loop ends":
        return
    handle = await client.subscription("/queue/q", "auto")
    del client
    gc.collect()
    try:
        await handle.get(10)
    except Exception as error:
        assert "nobody refers to the client" in str(error), error

asyncio.run(main())
"""


@pytest.mark.parametrize("last", ["loop ends", "forgotten"])
def test_a_client_that_was_forgotten_takes_leave(server, heard, last):
    assert run_program(FORGETTING, server=server, last=last) == (0, "")
    server.done.wait(10)
    said = [what for what in commands(heard) if what[0] != "SUBSCRIBE"]
    assert said == [("SEND", b"kept"), ("DISCONNECT", b"")]


AFTER_CLOSING = """
import asyncio, os, sys, warnings
import stompy
from stompy import aio

warnings.simplefilter("ignore", DeprecationWarning)
address = ("127.0.0.1", int(sys.argv[1]))

async def told(client):
    try:
        await client.message("/queue/q", "child")
    except stompy.STOMPConnectionError as error:
        return "not to its fork" in str(error)

async def main():
    closed = await aio.connect(address)
    await closed.disconnect()
    others = [await aio.connect(address) for _ in range(2)]
    blocking = [stompy.connect(address) for _ in range(2)]
    pid = os.fork()
    if pid == 0:
        seen = [asyncio.run(told(client)) for client in others]
        for client in blocking:
            try:
                client.message("/queue/q", "child")
            except stompy.STOMPConnectionError as error:
                seen.append("not to its fork" in str(error))
        os._exit(0 if seen == [True] * 4 else 1)
    _, status = os.waitpid(pid, 0)
    for client in others:
        await client.disconnect()
    for client in blocking:
        client.disconnect()
    return os.waitstatus_to_exitcode(status)

sys.exit(asyncio.run(main()))
"""


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="needs fork")
def test_every_client_is_told_of_a_fork_also_when_one_was_closed_before():
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(frame.command for frame in peer.serve())

    with ScriptedServer(*[script] * 5) as server:
        assert run_program(AFTER_CLOSING, server=server, last="") == (0, "")
    assert heard == ["DISCONNECT"] * 5


def test_another_event_loop_is_told_that_the_client_is_not_its_own():
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.welcome()
        heard.extend(frame.command for frame in peer.serve())

    async def main() -> None:
        client = await aio.connect(server.address)
        handle = await client.subscription("/queue/q", "auto")
        confirmation = await client.post("/queue/q")
        await soon(lambda: not client._session.connection._flush_is_due)
        calls = [
            lambda: client.message("/queue/q", "x"),
            lambda: client.message("/queue/q", "x", confirm=True),
            client.recv,
            lambda: client.subscription("/queue/q"),
            lambda: client.request("/queue/q"),
            client.transaction,
            client.disconnect,
            handle.get,
            lambda: anext(handle),
            handle.unsubscribe,
            lambda: handle.handle(print),
            client.wait_connected,
            client.flush,
        ]

        async def use(call: object) -> None:
            await call()

        def elsewhere() -> list[str]:
            seen = []
            for call in calls:
                with pytest.raises(RuntimeError, match="belongs to the event loop on which") as why:
                    asyncio.run(use(call))
                seen.append(str(why.value))
            return seen

        assert len(await asyncio.to_thread(elsewhere)) == len(calls)
        await confirmation
        await client.disconnect()

    with ScriptedServer(script) as server:
        run(main)
    assert heard == ["SUBSCRIBE", "SEND", "DISCONNECT"]


def test_a_message_that_is_there_costs_no_look_at_the_event_loop(monkeypatch):
    looks = []

    async def main() -> None:
        client = await aio.connect(server.address)
        await client.subscribe("/queue/q")
        await client.message("/queue/q", "first in this turn")
        message = b"MESSAGE\nsubscription:s1\nmessage-id:%d\ndestination:/queue/q\n\n\0"
        client._session.connection.data_received(b"".join(message % number for number in range(10)))
        the_loop = asyncio.get_running_loop
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: looks.append(1) or the_loop())
        for number in range(10):
            assert (await client.recv())["message-id"] == str(number)
            await client.message("/queue/q", "x")
        monkeypatch.undo()
        await client.disconnect()

    with ScriptedServer(lambda peer: (peer.welcome(), list(peer.serve()))) as server:
        run(main)
    assert not looks


FORKING = """
import asyncio, os, sys, warnings
import stompy
from stompy import aio

warnings.simplefilter("ignore", DeprecationWarning)

async def use(client, handle):
    seen = []
    for call in (client.recv, client.loop, lambda: client.message("/queue/q", "child"),
                 lambda: client.message("/queue/q", "child", confirm=True),
                 lambda: client.wait_for_receipt("r"), lambda: anext(aiter(client)),
                 lambda: client.post("/queue/q"), client.wait_connected, handle.get,
                 lambda: anext(handle), lambda: client.request("/queue/q"),
                 lambda: client.subscription("/queue/q"), lambda: client.transaction()):
        try:
            await call()
        except stompy.STOMPConnectionError as error:
            seen.append("not to its fork" in str(error))
    await handle.unsubscribe()
    await client.flush()
    await client.disconnect()
    await client.close()
    client.health()
    return seen == [True] * 13 and not client.is_connected

async def main():
    reconnect = sys.argv[2] == "reconnect"
    client = await aio.connect(("127.0.0.1", int(sys.argv[1])), reconnect=reconnect)
    await client.message("/queue/q", "parent", confirm=True)
    handle = await client.subscription("/queue/q")
    pid = os.fork()
    if pid == 0:
        ok = asyncio.run(use(client, handle))
        del client, handle
        os._exit(0 if ok else 1)
    _, status = os.waitpid(pid, 0)
    await client.message("/queue/q", "parent again", confirm=True)
    await client.disconnect()
    return os.waitstatus_to_exitcode(status)

sys.exit(asyncio.run(main()))
"""


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="needs fork")
@pytest.mark.parametrize("last", ["once", "reconnect"])
def test_a_fork_learns_that_the_connection_is_not_its_own(server, heard, last):
    assert run_program(FORKING, server=server, last=last) == (0, "")
    server.done.wait(10)
    said = [what for what in commands(heard) if what[0] != "SUBSCRIBE"]
    assert said == [("SEND", b"parent"), ("SEND", b"parent again"), ("DISCONNECT", b"")]


@pytest.mark.parametrize("verb", ["disconnect", "close"])
def test_a_client_may_be_left_from_inside_a_handler_and_by_many_tasks_at_once(verb):
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))
        for number in (1, 2):
            peer.message(number, "s1", "work", ack="a")
        for _ in peer.serve():
            pass

    async def main() -> None:
        client = await aio.connect(server.address)
        handle = await client.subscription("/queue/q", id="s1")
        leave = getattr(client, verb)
        left = []
        begun = []

        async def work(message: aio.Message) -> None:
            begun.append(message)
            await soon(lambda: len(begun) == 2)
            await leave()
            await leave()
            left.append(client.is_connected)

        await handle.handle(work, concurrency=2)
        await asyncio.gather(*(leave() for _ in range(4)))
        await client.close()
        await client.disconnect()
        assert left == [False, False]

    with ScriptedServer(script) as server:
        run(main)
