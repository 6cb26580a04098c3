"""One connection after another, against servers that do what a real broker does rarely.

What holds for both clients, `tests/contract/test_client.py` has.
"""

import asyncio
import threading

import pytest
from tests.support.looping import run, soon
from tests.support.scripted_server import Heard, Peer, ScriptedServer

import stompy
from stompy import aio
from stompy.session.state import ConnectionState

SWIFT = stompy.Reconnect(delay=0.0)


def until_gone(peer: Peer, heard: list[Heard]) -> None:
    heard.extend(peer.serve())


def test_a_subscription_that_the_next_broker_does_not_have_ends_alone():
    heard: list[Heard] = []

    def first(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        for _ in range(2):
            peer.receipt(peer.expect("SUBSCRIBE"))

    def second(peer: Peer) -> None:
        peer.welcome(server="other/1")
        until_gone(peer, heard)

    async def main() -> None:
        headers = {"client-id": "me"}
        async with aio.connect(server.address, headers=headers, reconnect=SWIFT) as client:
            durable = await client.subscription("/topic/t", durable="mine", id="durable")
            plain = await client.subscription("/queue/q", id="plain")
            with pytest.raises(stompy.UnsupportedByBroker):
                await durable.get()
            await client.wait_connected()
            assert [one.id for one in client.health().subscriptions] == ["plain"]
            assert plain.health().active

    with ScriptedServer(first, second) as server:
        run(main)
    assert [(one.command, one.headers.get("id")) for one in heard] == [
        ("SUBSCRIBE", "plain"),
        ("DISCONNECT", None),
    ]


def test_a_subscription_that_is_refused_later_ends_and_the_others_return():
    heard: list[Heard] = []

    def first(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        for _ in range(2):
            peer.receipt(peer.expect("SUBSCRIBE"))

    def refuses(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        asked = peer.expect("SUBSCRIBE")
        peer.write(f"ERROR\nmessage:not any more\nreceipt-id:{asked['receipt']}\n\n^@")

    def third(peer: Peer) -> None:
        peer.welcome(server="stompy-broker/1")
        until_gone(peer, heard)

    async def main() -> None:
        async with aio.connect(server.address, reconnect=SWIFT) as client:
            lost = await client.subscription("/queue/lost", id="lost")
            await client.subscription("/queue/kept", id="kept")
            with pytest.raises(stompy.STOMPError, match="not any more"):
                await lost.get()
            await client.wait_connected()

    with ScriptedServer(first, refuses, third) as server:
        run(main)
    assert [one.headers.get("id") for one in heard] == ["kept", None]


def test_subscriptions_are_made_and_ended_while_the_connection_is_made_again():
    heard: list[Heard] = []
    go = threading.Event()

    def first(peer: Peer) -> None:
        peer.welcome()
        peer.receipt(peer.expect("SUBSCRIBE"))

    def second(peer: Peer) -> None:
        assert go.wait(10)
        peer.welcome()
        until_gone(peer, heard)

    async def main() -> None:
        async with aio.connect(server.address, reconnect=SWIFT) as client:
            ended = await client.subscription("/queue/ended", id="ended")
            await soon(lambda: client.state is ConnectionState.RECONNECTING)
            await client.subscription("/queue/made", id="made")
            await client.subscribe("/queue/named", id="named")
            await client.subscribe("/queue/no-more", id="no-more")
            await client.unsubscribe("no-more")
            await ended.unsubscribe()
            go.set()
            await client.wait_connected()

    with ScriptedServer(first, second) as server:
        run(main)
    assert [(one.command, one.headers.get("id")) for one in heard] == [
        ("SUBSCRIBE", "made"),
        ("SUBSCRIBE", "named"),
        ("DISCONNECT", None),
    ]


def test_what_was_not_fetched_of_a_lost_connection_is_kept_only_if_nobody_owes_for_it():
    heard: list[Heard] = []

    def first(peer: Peer) -> None:
        peer.welcome()
        for name in ("auto", "mine", "ours"):
            assert peer.expect("SUBSCRIBE")["id"] == name
            peer.message(1, subscription=name, ack=f"a-{name}")

    def second(peer: Peer) -> None:
        peer.welcome()
        until_gone(peer, heard)

    async def main() -> None:
        async with aio.connect(server.address, reconnect=SWIFT) as client:
            await client.subscribe("/queue/a", id="auto")
            await client.subscribe("/queue/m", "client-individual", send_acks=False, id="mine")
            await client.subscribe("/queue/o", "client-individual", id="ours")
            await soon(lambda: client.health().epoch == 2)
            assert (await client.recv(10))["subscription"] == "auto"
            with pytest.raises(stompy.STOMPTimeout):
                await client.recv(0.05)

    with ScriptedServer(first, second) as server:
        run(main)
    assert [one.command for one in heard] == ["SUBSCRIBE"] * 3 + ["DISCONNECT"]


def test_an_ack_of_recv_belongs_to_its_connection():
    def first(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SUBSCRIBE")
        peer.message(1, ack="a1")
        peer.expect("SEND")

    heard: list[Heard] = []

    def second(peer: Peer) -> None:
        peer.welcome()
        until_gone(peer, heard)

    async def main() -> None:
        async with aio.connect(server.address, reconnect=SWIFT) as client:
            await client.subscribe("/queue/q", "client", send_acks=False, id="s1")
            frame = await client.recv(10)
            await client.message("/queue/q", "leave")
            await soon(lambda: client.health().epoch == 2)
            with pytest.raises(stompy.StaleMessageError):
                await client.ack(frame["ack"])

    with ScriptedServer(first, second) as server:
        run(main)
    assert [one.command for one in heard] == ["SUBSCRIBE", "DISCONNECT"]


def test_a_receipt_that_was_asked_for_on_a_lost_connection_is_unknown():
    def first(peer: Peer) -> None:
        peer.welcome()
        peer.expect("SEND")

    def second(peer: Peer) -> None:
        peer.welcome()
        until_gone(peer, [])

    async def main() -> None:
        async with aio.connect(server.address, reconnect=SWIFT) as client:
            receipt = await client.message("/queue/q", receipt=True)
            await soon(lambda: client.health().epoch == 2)
            with pytest.raises(stompy.OutcomeUnknown):
                await client.wait_for_receipt(receipt)

    with ScriptedServer(first, second) as server:
        run(main)


def test_an_observer_that_raises_harms_nobody():
    def script(peer: Peer) -> None:
        peer.welcome()
        until_gone(peer, [])

    def observe(change: stompy.StateChange) -> None:
        raise ValueError(change.state)

    async def main() -> None:
        async with aio.connect(server.address, on_state=observe) as client:
            await asyncio.sleep(0)
            assert client.health().observer_errors == 2

    with ScriptedServer(script) as server:
        run(main)


@pytest.mark.parametrize("reconnect", [False, SWIFT])
def test_disconnect_also_ends_connecting_for_the_first_time(reconnect):
    dialling = threading.Event()

    def silent(peer: Peer) -> None:
        peer.expect("CONNECT")
        dialling.set()
        peer.until_closed()

    async def main() -> None:
        client = aio.STOMPClient()
        connecting = asyncio.create_task(client.connect(server.address, reconnect=reconnect))
        await soon(dialling.is_set)
        assert client.state is ConnectionState.CONNECTING
        await client.disconnect()
        with pytest.raises(stompy.STOMPConnectionError, match="closed before"):
            await connecting
        assert not connecting.cancelled()
        assert client.state is ConnectionState.DISCONNECTED

    with ScriptedServer(silent) as server:
        run(main)
