"""Heart-beats, back-pressure and the end of a connection, on an event loop."""

import asyncio
import threading
from time import monotonic

import pytest
from tests.support.looping import run, soon
from tests.support.scripted_server import Peer, ScriptedServer

from stompy import aio
from stompy.aio.connection import GATHER_SIZE
from stompy.errors import STOMPConnectionError, STOMPError, STOMPTimeout
from stompy.transport.streams import input_waits


def stuck(release: threading.Event):
    """A script that reads nothing until it is released, and what it heard then."""
    heard: list = []

    def script(peer: Peer) -> None:
        peer.welcome()
        assert release.wait(15)
        heard.extend(peer.serve())

    return script, heard


# -- heart-beats -----------------------------------------------------------------------------------


def test_a_loop_that_stood_still_says_so_and_gives_up_nobody(caplog):
    async def main() -> None:
        async with aio.connect(server.address, heart_beat=(10_000, 10_000)) as client:
            link = client._session.connection
            beat = link.protocol.heart_beat
            beat._last_received -= 1000
            beat._last_sent -= 1000
            link._tick()
            assert client.is_connected
            assert not beat.peer_is_dead(link.now())

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="10000,10000")
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        run(main)
    assert "the event loop stood still for 992." in caplog.text


def test_what_waits_is_read_before_the_broker_is_given_up():
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="10000,0")
        assert go.wait(10)
        peer.write("\n")
        for _ in peer.serve():
            pass

    async def main() -> None:
        async with aio.connect(server.address, heart_beat=(0, 10_000)) as client:
            link = client._session.connection
            beat = link.protocol.heart_beat
            beat._last_received -= 20.5
            go.set()
            while not input_waits(link._transport):
                pass  # and the loop stands still
            link._tick()
            assert client.is_connected
            await soon(lambda: beat.silence(link.now()) < 20)
            assert client.is_connected

    with ScriptedServer(script) as server:
        run(main)


def test_beats_go_out_while_nothing_is_sent():
    beats = []

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="0,40")
        while len(beats) < 4:
            data = peer.connection.recv(100)
            assert set(data) == {10}
            beats.append(monotonic())
        for _ in peer.serve():
            pass

    async def main() -> None:
        async with aio.connect(server.address, heart_beat=(40, 0)) as client:
            await soon(lambda: len(beats) == 4)
            assert client.is_connected

    with ScriptedServer(script) as server:
        run(main)
    assert beats[-1] - beats[0] > 0.06


def test_a_broker_that_falls_silent_is_noticed():
    def black_hole(peer: Peer) -> None:
        peer.welcome(heart_beat="50,0")
        peer.until_closed()

    async def main() -> None:
        client = await aio.connect(server.address, heart_beat=(0, 50))
        assert await client.recv() is None
        assert "nothing received for" in str(client.close_reason)
        with pytest.raises(STOMPConnectionError, match="nothing received for"):
            await client.message("/queue/q")

    with ScriptedServer(black_hole) as server:
        run(main)


def test_a_broker_that_we_do_not_read_from_is_not_taken_for_dead():
    full, survived = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome(heart_beat="50,50")
        for number in range(12_000):
            peer.message(number)
        assert full.wait(10)
        # Our own beats go on meanwhile, and that is how long it takes.
        started = monotonic()
        while monotonic() - started < 1.5:
            assert peer.connection.recv(100)
        survived.set()
        peer.message(12_000)
        for _ in peer.serve():
            pass

    async def main() -> None:
        async with aio.connect(server.address, heart_beat=(50, 50)) as client:
            await soon(lambda: client._session.inbox.full)
            full.set()
            await soon(survived.is_set)
            assert len(client._session.inbox) < 12_000
            for number in range(12_001):
                assert (await client.recv(10))["message-id"] == f"m{number}"

    with ScriptedServer(script) as server:
        run(main)


def test_an_answer_is_read_however_many_messages_stand_before_it():
    def script(peer: Peer) -> None:
        peer.welcome()
        asked = peer.expect("SEND")
        for number in range(20_000):
            peer.message(number)
        peer.receipt(asked)
        for _ in peer.serve():
            pass

    async def main() -> None:
        async with aio.connect(server.address) as client:
            await client.message("/queue/q", confirm=True)
            assert len(client._session.inbox) == 20_000

    with ScriptedServer(script) as server:
        run(main)


# -- back-pressure ---------------------------------------------------------------------------------


def test_a_sender_waits_for_room_and_goes_on():
    release = threading.Event()
    script, heard = stuck(release)
    body = b"x" * 100_000
    sent = 0

    async def main() -> None:
        nonlocal sent

        async def produce() -> None:
            nonlocal sent
            for _ in range(200):
                await client.message("/queue/q", body)
                sent += 1

        async with aio.connect(server.address) as client:
            producer = asyncio.create_task(produce())
            await soon(lambda: client._session.connection._blocked)
            for _ in range(10):
                await asyncio.sleep(0)
            assert sent < 200
            release.set()
            await producer

    with ScriptedServer(script) as server:
        run(main)
    assert [frame.body for frame in heard if frame.command == "SEND"] == [body] * 200


def test_a_send_that_finds_no_room_was_not_sent():
    release = threading.Event()
    script, heard = stuck(release)
    body = b"x" * 100_000
    sent = 0

    async def main() -> None:
        async def produce() -> None:
            nonlocal sent
            while True:
                await client.message("/queue/q", body)
                sent += 1

        async with aio.connect(server.address, send_timeout=0.1) as client:
            with pytest.raises(STOMPTimeout, match=r"no room .* the frame was not sent"):
                await produce()
            release.set()

    with ScriptedServer(script) as server:
        run(main)
    assert [frame.body for frame in heard if frame.command == "SEND"] == [body] * sent


def test_who_sends_without_end_lets_others_run():
    turns = 0

    async def main() -> None:
        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with aio.connect(server.address) as client:
            counter = asyncio.create_task(count())
            for _ in range(20):
                await client.message("/queue/q", b"x" * GATHER_SIZE)
            counter.cancel()
            await asyncio.wait((counter,))

    def script(peer: Peer) -> None:
        peer.welcome()
        for _ in peer.serve():
            pass

    with ScriptedServer(script) as server:
        run(main)
    assert turns >= 10


# -- the end ---------------------------------------------------------------------------------------


def test_what_the_broker_said_before_it_hung_up_is_told():
    said = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.write("ERROR\nmessage:you talk too much\n\n^@")
        said.set()

    async def talk(client: aio.STOMPClient) -> None:
        while True:
            await client.message("/queue/q", b"x" * GATHER_SIZE)

    async def main() -> None:
        client = await aio.connect(server.address)
        # Our loop stands still while the broker speaks and leaves.
        assert said.wait(10)
        assert server.done.wait(10)
        with pytest.raises(STOMPError, match="you talk too much"):
            await talk(client)
        assert "you talk too much" in str(client.close_reason)

    with ScriptedServer(script) as server:
        run(main)


def test_a_reset_wakes_everybody():
    reset = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")
        assert reset.wait(10)
        peer.reset()

    async def main() -> None:
        client = await aio.connect(server.address)
        posted = await client.post("/queue/q", "x")
        waiting = [
            asyncio.create_task(client.recv()),
            asyncio.create_task(client.wait_for_receipt("nothing")),
            asyncio.create_task(posted.result()),
            asyncio.create_task(client.flush()),
        ]
        await asyncio.sleep(0)
        reset.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        kinds = [None if one is None else type(one).__name__ for one in results]
        assert kinds == [None, "OutcomeUnknown", "OutcomeUnknown", None]

    with ScriptedServer(script) as server:
        run(main)


def test_a_broker_that_does_not_close_is_cut_off():
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        assert release.wait(10)

    async def main() -> None:
        client = await aio.connect(server.address)
        for _ in range(200):
            client._session.connection.write(
                b"SEND\ndestination:/queue/q\n\n" + b"x" * 100_000 + b"\0"
            )
        await client.disconnect(timeout=0.05)
        assert client._session.connection.ended
        release.set()

    with ScriptedServer(script) as server:
        run(main)
