"""The dashboard's keys, against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.docs.blocks import DOCS
from tests.support.dashboard import Driver, dashboard, on_a_loop
from textual import events

import stompy
from stompy.admin import Reply, Request
from stompy_broker import RunningBroker, running
from stompy_monitor import actions
from stompy_monitor.app import MonitorApp
from stompy_monitor.dashboard import Options
from stompy_monitor.model.model import Model
from stompy_monitor.screens.detail import DetailScreen
from stompy_monitor.screens.dialogs import ConfirmDialog, TextDialog
from stompy_monitor.screens.messages import MessageScreen, MessagesScreen
from stompy_monitor.screens.overview import OverviewScreen
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.sources.recording import Recording
from stompy_monitor.sources.replay import Replay
from stompy_monitor.tables import definitions
from stompy_monitor.tables.bodies import Message

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningBroker]:
    with running() as broker:
        yield broker


@pytest.fixture
def broker(shared: RunningBroker) -> Iterator[RunningBroker]:
    yield shared
    with stompy.connect(shared.url) as client:
        for row in shared.queues():
            ask(client, "queue.resume", queue=row.name)
            ask(client, "queue.purge", queue=row.name)


def ask(client: stompy.STOMPClient, command: str, **args: object) -> None:
    body = Request(command, args).to_json()
    client.message("/queue/$SYS.command", body, receipt=True)


def fill(broker: RunningBroker, queue: str, *bodies: str, **headers: str) -> None:
    with stompy.connect(broker.url) as client:
        for body in bodies:
            client.message(f"/queue/{queue}", body, headers=headers)


def waiting(broker: RunningBroker, queue: str) -> int:
    return next((row.ready for row in broker.queues() if row.name == queue), 0)


@on_a_loop
async def test_every_view_opens_and_is_left_as_it_was(broker: RunningBroker) -> None:
    fill(broker, "orders", "1")
    async with dashboard(broker.url) as drive:
        await drive.see("live")
        assert isinstance(drive.screen, OverviewScreen)
        await drive.see("Deepest queues")
        for view in definitions.TABLES:
            if view.key and view is not definitions.CLUSTER:
                await drive.press(view.key)
                assert isinstance(drive.screen, TableScreen)
                assert drive.screen.view is view
        await drive.press("2", "slash")
        await drive.type("orders")
        await drive.press("enter")
        assert drive.keys == ["orders"]
        await drive.press("5", "2")
        assert drive.keys == ["orders"]
        await drive.press("1")
        assert isinstance(drive.screen, OverviewScreen)


@on_a_loop
async def test_what_is_typed_in_one_go_is_a_filter_and_no_commands(broker: RunningBroker) -> None:
    fill(broker, "orders", "1")
    fill(broker, "zebra", "1")
    async with dashboard(broker.url, Options(view="queues")) as drive:
        await drive.until(lambda: {"orders", "zebra"} <= set(drive.keys))
        for key in ("slash", *"ord"):
            drive.app.post_message(events.Key(key, "/" if key == "slash" else key))
        drive.app.post_message(events.Key("enter", "\r"))
        await drive.until(lambda: drive.keys == ["orders"])
        await drive.until(lambda: not drive.table.prompt.is_open)
        for key in ("colon", *"topics"):
            drive.app.post_message(events.Key(key, ":" if key == "colon" else key))
        drive.app.post_message(events.Key("enter", "\r"))
        await drive.until(lambda: drive.table.view is definitions.TOPICS)


@on_a_loop
async def test_filtering_sorting_and_the_way_back(broker: RunningBroker) -> None:
    fill(broker, "a.one", *"123")
    fill(broker, "a.two", *"12345")
    fill(broker, "b.three", "1")
    async with dashboard(broker.url, Options(view="queues")) as drive:
        await drive.until(lambda: {"a.one", "a.two", "b.three"} <= set(drive.keys))
        await drive.press("slash")
        await drive.type("a. ready>2")
        await drive.until(lambda: drive.keys == ["a.two", "a.one"])
        await drive.press("backspace")
        await drive.see("a name and a value belong here")
        assert drive.keys == ["a.two", "a.one"]
        await drive.press("escape")
        await drive.until(lambda: "b.three" in drive.keys)
        await drive.press("slash")
        await drive.type("a.")
        await drive.press("enter", "S")
        await drive.until(lambda: drive.keys == ["a.one", "a.two"])
        await drive.press("s")
        await drive.press("down", "enter")
        await drive.until(
            lambda: drive.table.view_state.sorted_by is definitions.QUEUES.column("name")
        )
        await drive.press("escape")
        await drive.until(lambda: "b.three" in drive.keys)


@on_a_loop
async def test_drilling_down_to_a_message_and_back(broker: RunningBroker) -> None:
    fill(broker, "deep", '{"order": 17}', **{"content-type": "application/json", "x": "[/b]\x1b"})
    async with dashboard(broker.url, Options(view="queues", filter="deep")) as drive:
        await drive.until(lambda: drive.keys == ["deep"])
        await drive.press("enter")
        assert isinstance(drive.screen, DetailScreen)
        await drive.see("/queue/deep")
        await drive.press("m")
        assert isinstance(drive.screen, MessagesScreen)
        await drive.see('{"order": 17}')
        await drive.press("enter")
        assert isinstance(drive.screen, MessageScreen)
        await drive.see('"order": 17')
        await drive.see("[/b]␛")
        await drive.press("v")
        await drive.see("7b 22 6f 72")
        for screen in (MessagesScreen, DetailScreen, TableScreen):
            await drive.press("escape")
            assert type(drive.screen) is screen
        assert waiting(broker, "deep") == 1


@on_a_loop
async def test_purging_asks_with_the_number_and_can_be_cancelled(broker: RunningBroker) -> None:
    fill(broker, "few", *"123")
    async with dashboard(broker.url, Options(view="queues", filter="few")) as drive:
        await drive.until(lambda: drive.keys == ["few"])
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("3 messages that wait will be destroyed")
        await drive.press("escape")
        assert waiting(broker, "few") == 3
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.press("enter")  # Cancel has the focus
        assert waiting(broker, "few") == 3
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.press("y")
        await drive.see("few: purged 3")
        assert waiting(broker, "few") == 0


@on_a_loop
async def test_purging_many_needs_the_name(broker: RunningBroker) -> None:
    fill(broker, "many", *["x"] * 1001)
    async with dashboard(broker.url, Options(view="queues", filter="many")) as drive:
        await drive.until(lambda: drive.keys == ["many"])
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.type("man")
        await drive.press("tab", "enter")  # Cancel: the other button does not work yet
        assert waiting(broker, "many") == 1001
        await drive.until(lambda: isinstance(drive.screen, TableScreen))
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.type("y")
        await drive.press("enter")  # it is not the name: asked for again
        await drive.type("many")
        await drive.press("enter", "enter")
        await drive.see("many: purged 1,001")
        assert waiting(broker, "many") == 0


@on_a_loop
@pytest.mark.parametrize("key", ["P", "M"])
async def test_what_came_after_the_look_is_not_touched(broker: RunningBroker, key: str) -> None:
    fill(broker, "moving", *"123")
    async with dashboard(broker.url, Options(view="queues", filter="moving")) as drive:
        await drive.until(lambda: drive.keys == ["moving"])
        await drive.press(key)
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("3 messages")
        fill(broker, "moving", *"45")
        if key == "M":
            await drive.type("/queue/target.of.moving")
            await drive.press("enter", "enter")
            await drive.see("moving: moved 3")
        else:
            await drive.press("y")
            await drive.see("moving: purged 3")
        assert waiting(broker, "moving") == 2


@on_a_loop
async def test_what_is_gone_by_then_is_told(broker: RunningBroker) -> None:
    fill(broker, "taken", "1")
    async with dashboard(broker.url, Options(view="queues", filter="taken")) as drive:
        await drive.until(lambda: drive.keys == ["taken"])
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        with stompy.connect(broker.url) as client:
            client.subscribe("/queue/taken", id="t")
            assert client.recv(timeout=10).body == b"1"
        fill(broker, "taken", "2")
        await drive.press("y")
        await drive.see("taken: purged none: what was seen is not there any more")
        assert waiting(broker, "taken") == 1


@on_a_loop
async def test_pausing_is_done_at_once_and_undone(broker: RunningBroker) -> None:
    fill(broker, "steady", "1")
    async with dashboard(broker.url, Options(view="queues", filter="steady")) as drive:
        await drive.until(lambda: drive.keys == ["steady"])
        await drive.press("O")
        await drive.see("steady: paused")
        row = drive.app.dashboard.model.row_sets["queues"].rows["steady"]
        await drive.until(lambda: row.value("paused") is True)
        await drive.press("O")
        await drive.see("steady: resumed")
        await drive.until(lambda: row.value("paused") is False)


@on_a_loop
async def test_moving_messages(broker: RunningBroker) -> None:
    fill(broker, "source", *"123")
    async with dashboard(broker.url, Options(view="queues", filter="source")) as drive:
        await drive.until(lambda: drive.keys == ["source"])
        await drive.press("M")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("3 messages will move")
        await drive.type("/queue/target")
        await drive.press("enter", "enter")
        await drive.see("source: moved 3")
        assert (waiting(broker, "source"), waiting(broker, "target")) == (0, 3)


@on_a_loop
async def test_a_panel_expands_and_shrinks(broker: RunningBroker) -> None:
    fill(broker, "orders", "1")
    async with dashboard(broker.url) as drive:
        await drive.see("Deepest queues")
        lists = drive.screen.query_one("#top-problems")
        height = lists.size.height
        await drive.press("x")
        await drive.until(lambda: lists.size.height > 2 * height)
        await drive.press("escape")
        await drive.until(lambda: lists.size.height == height)


@on_a_loop
async def test_searching_in_a_body(broker: RunningBroker) -> None:
    fill(broker, "texts", "\n".join(["Apple", *["filler"] * 200, "apple", "[apple"]))
    async with dashboard(broker.url, Options(view="queues", filter="texts")) as drive:
        await drive.until(lambda: drive.keys == ["texts"])
        await drive.press("m")
        await drive.until(lambda: isinstance(drive.screen, MessagesScreen) and bool(drive.keys))
        await drive.press("enter")
        await drive.until(lambda: isinstance(drive.screen, MessageScreen))
        await drive.press("slash")
        await drive.type("apple")
        await drive.press("enter")
        await drive.see("/ apple: hit 1 of 3")
        await drive.press("n")
        await drive.see("hit 2 of 3")
        body = drive.screen.query_one("#message-body")
        await drive.until(lambda: body.scroll_y > 100)
        await drive.press("N", "N")
        await drive.see("hit 3 of 3")
        await drive.press("slash")
        await drive.type("s")
        await drive.see("/ s: no hit")
        await drive.press("escape")
        await drive.until(lambda: drive.screen.sought == "")


@on_a_loop
async def test_a_long_move_is_stopped_between_two_batches(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "BATCH", 10)
    fill(broker, "long", *(str(number) for number in range(60)))
    async with dashboard(broker.url, Options(view="queues", filter="long")) as drive:
        await drive.until(lambda: drive.keys == ["long"])
        board = drive.app.dashboard
        ask_broker, gate, moves = board.source.ask, asyncio.Event(), []

        async def slow_ask(request: Request, seconds: float = 10.0) -> Reply:
            if request.cmd == "message.move" and not request.dry_run:
                moves.append(request)
                if len(moves) == 3:
                    await gate.wait()
            return await ask_broker(request, seconds)

        monkeypatch.setattr(board.source, "ask", slow_ask)
        await drive.press("M")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.type("/queue/elsewhere")
        await drive.press("enter", "enter")
        await drive.see("moved 20 of 60, esc stops")
        await drive.press("escape")
        await drive.see("moved 20 of 60, stopping")
        assert drive.keys == ["long"]  # neither the filter nor the screen was left
        gate.set()
        await drive.see("long: moved 30 of 60")
        bodies = []
        for queue in ("elsewhere", "long"):
            peek = Request("message.peek", {"queue": queue, "limit": 100, "body": "head"})
            found = await board.command(peek)
            bodies += [Message.read(item).body.decode() for item in found["messages"]]
        assert bodies == [str(number) for number in range(60)]
        assert len(moves) == 3
        assert board.batches == []


@on_a_loop
async def test_dead_letters_by_cause_go_back(broker: RunningBroker) -> None:
    with stompy.connect(broker.url) as client:
        client.subscribe("/queue/poison", "client-individual", send_acks=False, id="p")
        client.message("/queue/poison", "bad")
        frame = client.recv(timeout=5)
        client.send("NACK", id=frame["ack"], requeue="false", reason="unreadable", receipt="n")
        client.wait_for_receipt("n")
    async with dashboard(broker.url, Options(view="dead")) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        drive.app._group_dead_letters()
        await drive.see("/queue/poison")
        await drive.until(lambda: drive.table.rows.row().text("reason"))
        await drive.press("R")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("1 message will go back")
        await drive.press("y")
        await drive.see("retried 1")
        assert waiting(broker, "poison") == 1


@on_a_loop
async def test_closing_and_aborting(broker: RunningBroker) -> None:
    client = stompy.connect(broker.url)
    client.subscribe("/queue/held", "client", id="mine")
    transaction = client.transaction("bill")
    transaction.message("/queue/held", "x")
    receipt = client.message("/queue/other", "x", receipt=True)
    client.wait_for_receipt(receipt)
    async with dashboard(broker.url, Options(view="transactions")) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.see("/queue/held")
        await drive.press("X")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("Abort transaction")
        await drive.press("y")
        await drive.until(lambda: drive.app.screen is not None and "aborted" in drive.text())
        await drive.until(lambda: drive.keys == [])
        await drive.press("6")
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("X")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.press("y")
        await drive.until(lambda: drive.keys == [])
        await drive.press("5")
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("X")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.press("y")
        await drive.until(lambda: drive.keys == [])
        await drive.press("9")
        await drive.see("connection.closed")
    assert not client.is_connected
    client.close()


@on_a_loop
async def test_read_only_does_nothing(broker: RunningBroker) -> None:
    fill(broker, "kept", "1")
    options = Options(view="queues", filter="kept", read_only=True)
    async with dashboard(broker.url, options) as drive:
        await drive.until(lambda: drive.keys == ["kept"])
        await drive.press("P")
        await drive.see("--read-only is on")
        assert isinstance(drive.screen, TableScreen)
        assert waiting(broker, "kept") == 1


@on_a_loop
async def test_several_rows_are_confirmed_by_their_number(broker: RunningBroker) -> None:
    fill(broker, "m.one", "1")
    fill(broker, "m.two", "1")
    async with dashboard(broker.url, Options(view="queues", filter="m.")) as drive:
        await drive.until(lambda: len(drive.keys) == 2)
        await drive.press("A")
        await drive.see("2 marked")
        await drive.press("P")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("Purge 2 queues")
        await drive.press("2", "enter", "enter")
        await drive.see("2 queues: purged 2")
        assert drive.table.view_state.marks == set()


@on_a_loop
async def test_the_cursor_stays_on_its_row_while_the_order_changes(broker: RunningBroker) -> None:
    fill(broker, "r.one", *"12")
    fill(broker, "r.two", "1")
    async with dashboard(broker.url, Options(view="queues", filter="r.")) as drive:
        await drive.until(lambda: drive.keys == ["r.one", "r.two"])
        drive.table.view_state.select("r.two")
        fill(broker, "r.two", *"12345")
        await drive.until(lambda: drive.keys == ["r.two", "r.one"])
        assert drive.table.rows.row().key == "r.two"


@on_a_loop
async def test_freezing(broker: RunningBroker) -> None:
    fill(broker, "ice", "1")
    async with dashboard(broker.url, Options(view="queues", filter="ice")) as drive:
        await drive.until(lambda: drive.keys == ["ice"])
        await drive.press("f")
        await drive.see("FROZEN")
        fill(broker, "ice", "2")
        model = drive.app.dashboard.model
        await drive.until(lambda: model.row_sets["queues"].rows["ice"].value("ready") == 2)
        assert drive.table.rows.row().value("ready") == 1
        await drive.press("f")
        await drive.until(lambda: drive.table.rows.row().value("ready") == 2)


@on_a_loop
async def test_going_by_name_jumping_and_help(broker: RunningBroker) -> None:
    fill(broker, "there", "1")
    with stompy.connect(broker.url) as client:
        client.subscribe("/queue/there", "client", id="1")
        async with dashboard(broker.url) as drive:
            await drive.press("colon")
            await drive.type("subs there")
            await drive.press("enter")
            await drive.until(lambda: isinstance(drive.screen, TableScreen))
            await drive.until(lambda: len(drive.keys) == 1)
            await drive.press("g", "q")
            await drive.until(lambda: isinstance(drive.screen, DetailScreen))
            assert drive.screen.key == "there"
            await drive.press("escape", "g", "c")
            await drive.until(lambda: getattr(drive.screen, "kind", "") == "connections")
            await drive.press("question_mark")
            assert isinstance(drive.screen, TextDialog)
            await drive.see("Actions: a preview and a question come first")
            await drive.press("escape")
            await drive.press("colon")
            await drive.type("nonsense")
            await drive.press("enter")
            await drive.see("there is no view")
            await drive.press("ctrl+p")
            await drive.see("Search for commands")


@on_a_loop
async def test_columns_copies_and_exports(broker: RunningBroker, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    fill(broker, "exported", "1")
    async with dashboard(broker.url, Options(view="queues", filter="exported")) as drive:
        await drive.until(lambda: drive.keys == ["exported"])
        await drive.press("y")
        assert drive.app.clipboard == "/queue/exported"
        await drive.press("Y")
        assert '"name": "exported"' in drive.app.clipboard
        await drive.press("e")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.type("rows.csv")
        await drive.press("enter", "enter")
        await drive.until((tmp_path / "rows.csv").exists)
        assert "exported,1,0" in (tmp_path / "rows.csv").read_text()
        await drive.press("w")
        assert "redelivered" in [column.name for column, _ in drive.table.rows._columns]
        await drive.press("c")
        await drive.press("space", "enter")
        await drive.until(lambda: isinstance(drive.screen, TableScreen))
        assert "name" not in drive.table.rows.chosen


@on_a_loop
async def test_small_terminals(broker: RunningBroker) -> None:
    fill(broker, "small", "1")
    options = Options(view="queues", filter="small")
    async with dashboard(broker.url, options, size=(80, 24)) as drive:
        await drive.until(lambda: drive.keys == ["small"])
        names = [column.name for column, _ in drive.table.rows._columns]
        assert {"name", "ready", "unacked", "consumers", "in", "oldest_ms"} <= set(names)
        await drive.pilot.resize_terminal(50, 12)
        await drive.see("the terminal is too small")
        await drive.pilot.resize_terminal(120, 36)
        await drive.see("small")


@on_a_loop
async def test_a_recording_is_wound_and_nothing_is_done_in_it() -> None:
    recording = Recording(DOCS / "monitor" / "demo.recording")
    model = Model()
    replay = Replay(recording, model, at=recording.end, playing=False)
    app = MonitorApp(model, replay, Options(view="queues"))
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        drive = Driver(app, pilot)
        await drive.see("REPLAY")
        await drive.until(lambda: "orders" in drive.keys)
        late = model.row_sets["queues"].rows["orders"].number("in_msgs")
        await drive.press("left_curly_bracket", "left_square_bracket")
        assert recording.end - replay.position == 31_000
        assert model.row_sets["queues"].rows["orders"].number("in_msgs") < late
        await drive.press("plus", "r")
        await drive.see("2x")
        await drive.press("P")
        await drive.see("this is a recording")
        await drive.press("0")
        assert replay.position == recording.end
