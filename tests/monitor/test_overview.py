"""The first page, against a real broker: what it shows is what is so."""

from __future__ import annotations

import pytest
from tests.support.dashboard import Driver, dashboard, on_a_loop
from tests.support.scripted_server import Peer, ScriptedServer

import stompy
from stompy.admin import Reply, Request
from stompy_broker import load_config, running
from stompy_broker.security.auth import hash_password
from stompy_monitor.dashboard import Options
from stompy_monitor.screens.detail import DetailScreen
from stompy_monitor.screens.dialogs import ConfirmDialog, TextDialog
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.sources.base import Phase
from stompy_monitor.widgets.row_table import RowTable

pytestmark = pytest.mark.timeout(60)


def rows(drive: Driver, name: str) -> list[str]:
    """The first cells of the lines of a list that are seen."""
    table = drive.screen.query_one(f"#top-{name}", RowTable)
    top, height = table.scroll_offset.y, table.size.height - 1
    return table.view_state.keys[top : top + height]


@on_a_loop
async def test_untouched_lists_show_their_top() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/first", "x")
        async with dashboard(broker.url) as drive:
            await drive.until(lambda: rows(drive, "deepest") == ["first"])
            for name in "abcdefgh":
                for _ in range(5):
                    client.message(f"/queue/{name}deep", "x")
            for _ in range(6):
                client.message("/queue/deepest", "x")
            deepest = ["deepest", "adeep", "bdeep", "cdeep"]
            await drive.until(lambda: rows(drive, "deepest")[:4] == deepest)
            table = drive.screen.query_one("#top-deepest", RowTable)
            table.focus()
            await drive.press("down", "down")
            await drive.until(lambda: table.row().key == "bdeep")
            for _ in range(9):
                client.message("/queue/hdeep", "x")
            await drive.until(lambda: table.view_state.keys[0] == "hdeep")
            assert table.row().key == "bdeep"
            await drive.press("home")
            assert table.row().key == "hdeep"


@on_a_loop
async def test_events_follow_until_somebody_reads() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        async with dashboard(broker.url, Options(view="events")) as drive:
            await drive.until(lambda: bool(drive.keys))

            async def happen(number: int) -> None:
                for _ in range(number):
                    client.subscribe("/queue/q", id="s")
                    client.unsubscribe("s")

            await happen(30)
            await drive.until(lambda: len(drive.keys) > 60)
            await drive.until(lambda: drive.keys[0] == str(drive.app.dashboard.model.events))
            table = drive.table.rows
            assert (table.scroll_offset.y, table.row().key) == (0, drive.keys[0])
            await drive.press("down", "down")
            here = table.row().key
            await happen(3)
            await drive.see("6 newer, home")
            assert table.row().key == here
            await drive.press("home")
            await drive.until(lambda: "newer" not in drive.text())
            assert table.scroll_offset.y == 0
            await happen(1)
            await drive.until(lambda: table.row().key == str(drive.app.dashboard.model.events))


@on_a_loop
async def test_without_a_broker_nothing_is_said_to_be_well() -> None:
    def foreign(peer: Peer) -> None:
        peer.welcome(server="RabbitMQ/3.10.8")
        peer.until_closed()

    with ScriptedServer(foreign) as server:
        async with dashboard(server.url, size=(80, 24)) as drive:
            await drive.see("connected to RabbitMQ/3.10.8; it offers no $SYS topics")
            await drive.see("Only stompy-broker tells what this program shows.")
            for key in "12345678":
                await drive.press(key)
                for lie in ("all is well", "no queues yet", "nobody is", "waiting for the broker"):
                    assert lie not in drive.text()


@on_a_loop
async def test_who_has_no_role_reads_which_section_gives_one() -> None:
    settings = {
        "listen": {"port": 0},
        "store": {"data": ""},
        "users": {"shop": hash_password("wonder")},
    }
    with running(load_config(overrides=settings)) as broker:
        login = {"login": "shop", "passcode": "wonder"}
        async with dashboard(broker.url, size=(80, 24), **login) as drive:
            await drive.until(lambda: drive.app.dashboard.status.phase is Phase.FORBIDDEN)
            await drive.see("operator or admin")
            assert "all is well" not in drive.text()


@on_a_loop
async def test_below_a_dialog_time_goes_on() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/q", "x")
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: drive.keys == ["q"])
            table, model = drive.table.rows, drive.app.dashboard.model
            await drive.press("P")
            await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
            for _ in range(3):
                client.message("/queue/q", "x")
            await drive.until(lambda: model.row_sets["queues"].rows["q"].value("ready") == 4)
            drive.app.tick()
            cells = table._painted[1][2] if 1 in table._painted else ()
            assert ("4", "") in cells or table._line_at(1)[2][2][0] == "4"


@on_a_loop
async def test_a_page_for_the_broker_and_for_a_topic() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.subscribe("/topic/weather.*", id="w")
        client.message("/topic/weather.oslo", "x")
        async with dashboard(broker.url) as drive:
            board = drive.app.dashboard
            await drive.until(lambda: bool(board.picture.row_sets["broker"].rows))
            await drive.press("b")
            await drive.until(lambda: isinstance(drive.screen, DetailScreen))
            for words in ("messages in it", "descriptors", "loop lag", "listeners", broker.url):
                await drive.see(words)
            await drive.press("escape", "4")
            await drive.until(lambda: drive.keys == ["weather.oslo"])
            await drive.press("enter")
            await drive.see("Topics › weather.oslo")
            await drive.see("durable ones")
            await drive.until(lambda: len(drive.screen.query_one(RowTable).view_state.keys) == 1)
            assert "last_in_at" not in drive.text()


@on_a_loop
async def test_a_durable_subscription_leads_to_its_backlog_and_a_topic_to_it() -> None:
    with running() as broker, stompy.connect(broker.url, headers={"client-id": "till"}) as client:
        headers = {"durable": "true", "durable-subscription-name": "n"}
        client.subscribe("/topic/news.>", id="d", headers=headers)
        client.message("/topic/news.x", "x", confirm=True)
        client.disconnect()
        async with dashboard(broker.url, Options(view="durable")) as drive:
            await drive.until(lambda: drive.keys == ["till.n"])
            await drive.press("g", "q")
            await drive.until(lambda: getattr(drive.screen, "key", "") == "durable.till.n")
            await drive.press("escape", "4")
            await drive.until(lambda: drive.keys == ["news.x"])
            await drive.press("enter")
            await drive.see("till.n")


@on_a_loop
async def test_a_paused_queue_is_marked_at_any_width() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/q", "x")
        async with dashboard(broker.url, Options(view="queues"), size=(80, 24)) as drive:
            await drive.until(lambda: drive.keys == ["q"])
            await drive.press("O")
            await drive.see("q  (paused)")


@on_a_loop
async def test_the_palette_finds_views_and_names() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/some[/where]", "x")
        async with dashboard(broker.url) as drive:
            await drive.until(lambda: drive.app.dashboard.model.row_sets["queues"].rows)
            await drive.press("ctrl+p", *"some")
            await drive.see("some[/where]")
            await drive.press("down", "enter")
            await drive.until(lambda: getattr(drive.screen, "key", "") == "some[/where]")
            await drive.press("ctrl+p", *"transactions")
            await drive.see("open the view transactions")


@on_a_loop
async def test_keys_that_only_a_recording_has_are_not_offered() -> None:
    with running() as broker:
        async with dashboard(broker.url) as drive:
            await drive.see("live")
            await drive.press("question_mark")
            assert isinstance(drive.screen, TextDialog)
            page = drive.screen._content.plain
            assert "Freeze the picture" in page
            assert "Thirty seconds back" not in page
            assert "Purge" not in page  # nothing there to purge


@on_a_loop
async def test_small_things() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/q", "x")
        options = Options(view="queues", keys={"act.purge": "f9"})
        async with dashboard(broker.url, options, size=(80, 24)) as drive:
            await drive.until(lambda: drive.keys == ["q"])
            tabs, *_ = [line for line in drive.text().splitlines() if "Queues" in line]
            assert "9 Events" in tabs
            hints = drive.text().splitlines()[-1]
            assert "f9 purge" in hints
            assert "? help" in hints
            await drive.press("slash")
            await drive.type("nonsense")
            await drive.see("nothing matches the filter; esc clears it")
            await drive.press("escape", "c")
            await drive.see("[x] ready")
            await drive.press("space", "enter")
            await drive.until(lambda: isinstance(drive.screen, TableScreen))
            assert "name" not in drive.table.rows.chosen
            await drive.press("5")
            await drive.until(lambda: len(drive.keys) == 1)
            await drive.see("5 Conns 1")  # as many as there are rows: not the monitor itself


@on_a_loop
async def test_over_a_slow_link_the_overview_is_drawn_now_and_then() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/q", "x")
        async with dashboard(broker.url, Options(slow_link=True)) as drive:
            await drive.until(lambda: rows(drive, "deepest") == ["q"])
            screen, model = drive.screen, drive.app.dashboard.model
            drawn_at = screen._drawn_at
            screen.draw(model, drawn_at + 4)
            assert screen._drawn_at == drawn_at
            screen.draw(model, drawn_at + 5)
            assert screen._drawn_at == drawn_at + 5


@on_a_loop
async def test_dead_letters_are_asked_about_only_where_they_are_seen() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/DLQ.a", "x")
        async with dashboard(broker.url) as drive:
            board, asked = drive.app.dashboard, []
            ask = board.source.ask

            async def listen(request: Request, seconds: float = 10.0) -> Reply:
                asked.append(request.cmd)
                return await ask(request, seconds)

            board.source.ask = listen  # type: ignore[method-assign]
            await drive.until(lambda: "DLQ.a" in board.model.row_sets["queues"].rows)
            drive.app._group_dead_letters()
            await drive.pilot.pause()
            assert asked == []
            await drive.press("3")
            await drive.until(lambda: asked == ["message.count"])
            await board.group_dead_letters()
            assert asked == ["message.count"]  # nothing has changed
            client.message("/queue/DLQ.a", "y")
            queues = board.model.row_sets["queues"].rows
            await drive.until(lambda: queues["DLQ.a"].value("ready") == 2)
            await board.group_dead_letters()
            assert asked == ["message.count"] * 2
