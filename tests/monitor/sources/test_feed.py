"""The connection of the dashboard: lost, refused, forbidden, foreign, and back again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from tests.support.dashboard import dashboard, on_a_loop
from tests.support.scripted_server import Peer, ScriptedServer

import stompy
from stompy import OutcomeUnknown
from stompy.admin import Request
from stompy_broker import load_config, running
from stompy_broker.security.auth import hash_password
from stompy_monitor.dashboard import Options
from stompy_monitor.headless import connected
from stompy_monitor.model.model import Model
from stompy_monitor.screens.dialogs import LoginDialog
from stompy_monitor.sources.base import Phase, Target
from stompy_monitor.sources.feed import Feed, without_secret

pytestmark = pytest.mark.timeout(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def until(feed: Feed, condition: Callable[[], bool]) -> None:
    while not condition():
        await feed.arrived.wait()
        feed.arrived.clear()


async def quiet(feed: Feed) -> bool:
    """Whether its client is gone: then nothing is tried."""
    while feed._client is not None:  # noqa: ASYNC110 -- nothing tells of it
        await asyncio.sleep(0)
    return True


def at_port(port: int, **more: object):
    settings = {"listen": {"port": port}, "store": {"data": ""}, **more}
    return running(load_config(overrides=settings))


@on_a_loop
async def test_it_starts_without_a_broker_loses_one_and_finds_the_next() -> None:
    port = free_port()
    async with dashboard(f"stomp://127.0.0.1:{port}", Options(view="queues")) as drive:
        await drive.see("connecting (try 1")
        await drive.see("It goes on trying")
        for number in range(2):
            with at_port(port) as broker:
                with stompy.connect(broker.url) as client:
                    client.wait_for_receipt(client.message(f"/queue/q{number}", "x", receipt=True))
                await drive.press("r")
                await drive.until(lambda number=number: drive.keys == [f"q{number}"])
                assert drive.app.dashboard.status.phase is Phase.LIVE
                boot = drive.app.dashboard.model.boot
            await drive.see("lost ")
            await drive.see("as of ")
            assert drive.keys == [f"q{number}"]  # the last picture stays
            assert drive.screen.has_class("lost")
            await drive.press("P")
            await drive.see("there is no connection")
        assert drive.app.dashboard.model.boot == boot
        types = [
            row.text("type") for row in drive.app.dashboard.model.row_sets["events"].rows.values()
        ]
        assert types.count("monitor.lost") == 2
        assert types.count("monitor.reconnected") == 1


@on_a_loop
async def test_a_refused_login_is_asked_for_and_not_tried_again() -> None:
    users = {"ops": hash_password("wonder")}
    settings = {
        "listen": {"port": 0},
        "store": {"data": ""},
        "users": users,
        "roles": {"monitor": ["ops"]},
    }
    with running(load_config(overrides=settings)) as broker:
        async with dashboard(broker.url, login="ops", passcode="canary") as drive:
            await drive.until(lambda: isinstance(drive.screen, LoginDialog))
            await drive.see("The broker refused the login")
            assert drive.app.dashboard.status.attempt == 1
            assert "canary" not in drive.text()
            await drive.type("wonder")
            await drive.press("enter")
            await drive.until(lambda: drive.app.dashboard.status.phase is Phase.LIVE)
            await drive.see("ops (monitor)")


@on_a_loop
@pytest.mark.parametrize(
    ("after", "phase"),
    [
        ({"users": {"ops": hash_password("another")}}, Phase.REFUSED),
        ({"users": {"ops": hash_password("wonder")}}, Phase.FORBIDDEN),
    ],
)
async def test_a_broker_that_comes_back_and_does_not_let_us_in(after, phase: Phase) -> None:
    port = free_port()
    users = {"users": {"ops": hash_password("wonder")}}
    url = f"stomp://ops:wonder@127.0.0.1:{port}"
    model = Model()
    with at_port(port, **users, roles={"monitor": ["ops"]}):
        feed = Feed(Target(url), model, interval_ms=250)
        running = asyncio.create_task(feed.run())
        await until(feed, lambda: feed.status.phase is Phase.LIVE and bool(model.broker))
    with at_port(port, **after):
        await until(feed, lambda: feed.status.phase is phase)
        words, attempt = feed.status.words, feed.status.attempt
        assert await asyncio.wait_for(quiet(feed), 5)
        assert (feed.status.words, feed.status.attempt) == (words, attempt)
        feed.status.words = ""
        feed.retry_now()
        await until(feed, lambda: feed.status.words == words)
        assert feed.status.phase is phase
    running.cancel()
    await asyncio.wait((running,))


@on_a_loop
async def test_without_a_role_there_is_nothing_to_see() -> None:
    users = {"shop": hash_password("wonder")}
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "users": users}
    with running(load_config(overrides=settings)) as broker:
        async with dashboard(broker.url, login="shop", passcode="wonder") as drive:
            await drive.see("● forbidden")
            await drive.see("the user “shop” has no role here")


@on_a_loop
async def test_a_foreign_broker_says_so() -> None:
    def activemq(peer: Peer) -> None:
        peer.welcome(server="ActiveMQ/6.1.0")
        peer.until_closed()

    with ScriptedServer(activemq) as server:
        async with dashboard(server.url) as drive:
            await drive.see("connected to ActiveMQ/6.1.0; it offers no $SYS topics")


@on_a_loop
async def test_a_command_whose_answer_does_not_come() -> None:
    def silent(peer: Peer) -> None:
        peer.welcome(admin_role="admin", server="stompy-broker/0")
        while peer.read().command != "SEND":
            pass
        peer.reset()

    with ScriptedServer(silent) as server:
        model = Model()
        async with connected(Target(server.url), model, 1000) as feed:
            while feed.status.phase is not Phase.LIVE:  # noqa: ASYNC110 -- nothing tells of it
                await asyncio.sleep(0)
            with pytest.raises(OutcomeUnknown, match="connection ended"):
                await feed.ask(Request("queue.purge", {"queue": "x"}))


@on_a_loop
async def test_a_gap_is_mended_by_subscribing_anew() -> None:
    with running() as broker:
        model = Model()
        async with connected(Target(broker.url), model, 250) as feed:
            while not model.row_sets["queues"].complete:
                await feed.arrived.wait()
                feed.arrived.clear()
            model.row_sets["queues"].sequence.seq = -5  # as if messages had been lost
            with stompy.connect(broker.url) as client:
                client.wait_for_receipt(client.message("/queue/new", "x", receipt=True))
            while "new" not in model.row_sets["queues"].rows:
                await feed.arrived.wait()
                feed.arrived.clear()
        assert model.row_sets["queues"].sequence.gaps >= 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("stomp://ops:secret@h:1/v", "stomp://ops:***@h:1/v"),
        ("stomp://ops@h:1", "stomp://ops@h:1"),
        ("stomp://h:\x1b", "stomp://h:␛"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert without_secret(url) == shown
    assert "secret" not in repr(Target(url, passcode="secret")).replace(url, "")
    assert Feed(Target(url), Model()).status.url == shown
