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
