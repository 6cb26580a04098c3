"""A dead letter repaired on the screen: the real program, driven by keys, against a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest
from tests.support.dashboard import Driver, dashboard, on_a_loop
from tests.support.wire import cheap_hash, running_broker
from textual.widgets import Button, Input, TextArea

import stompy
from stompy.admin import Reply, Request
from stompy_broker import RunningBroker
from stompy_monitor.dashboard import Options
from stompy_monitor.screens.editor import DiffDialog, EditorScreen
from stompy_monitor.screens.messages import MessageScreen, MessagesScreen


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker:
        yield broker


def kill(broker: RunningBroker, queue: str, body: str | bytes, **headers: str) -> None:
    """Have a message die, rejected by its consumer."""
    with stompy.connect(broker.url) as client:
        client.subscribe(f"/queue/{queue}", "client-individual", send_acks=False, id="p")
        client.message(f"/queue/{queue}", body, headers=headers)
        frame = client.recv(timeout=5)
        assert frame is not None
        client.send("NACK", id=frame["ack"], requeue="false", reason="unreadable", receipt="n")
        client.wait_for_receipt("n")


async def open_letters(drive: Driver) -> None:
    """From the dead letters by cause to the messages of the first group."""
    await drive.until(lambda: len(drive.keys) == 1, "the group")
    await drive.press("enter")
    await drive.until(lambda: isinstance(drive.screen, MessagesScreen))
    await drive.until(lambda: len(drive.keys) == 1, "the letter")


async def open_editor(drive: Driver) -> EditorScreen:
    await drive.press("e")
    await drive.until(lambda: isinstance(drive.screen, EditorScreen), "the editor")
    screen = drive.screen
    assert isinstance(screen, EditorScreen)
    return screen


def area(screen: EditorScreen, name: str) -> TextArea:
    return screen.query_one(f"#editor-{name}", TextArea)


def type_into(drive: Driver, field: str, text: str) -> None:
    """Have a text stand in a field of the screen on top."""
    drive.screen.query_one(field, Input).value = text


@on_a_loop
async def test_repairing_shows_a_diff_and_asks_once(broker: RunningBroker) -> None:
    kill(broker, "poison", '{"spoons": "one"}', kind="x")
    async with dashboard(broker.url, Options(view="dead")) as drive:
        await open_letters(drive)
        await drive.see("e repair")
        editor = await open_editor(drive)
        await drive.see("rejected, unreadable")
        assert editor.focused is area(editor, "body")
        area(editor, "body").text = '{"spoons": 1}'
        area(editor, "headers").text = "kind: y"
        await drive.press("ctrl+s")
        await drive.until(lambda: isinstance(drive.screen, DiffDialog), "the diff")
        for line in ("-kind: x", "+kind: y", '-{"spoons": "one"}', '+{"spoons": 1}'):
            await drive.see(line)
        await drive.press("y")
        await drive.see("repaired, and back in /queue/poison")
        await drive.until(lambda: isinstance(drive.screen, MessagesScreen))
        await drive.see("no messages here")
    (frame,) = broker.queue("poison").messages
    assert (frame.text, frame["kind"], frame["edited-by"]) == ('{"spoons": 1}', "y", "anonymous")
    assert frame["original-body-sha256"] == sha256(b'{"spoons": "one"}').hexdigest()


@on_a_loop
async def test_no_sends_nothing_and_keeps_what_was_typed(broker: RunningBroker) -> None:
    kill(broker, "poison", "bad")
    async with dashboard(broker.url, Options(view="dead")) as drive:
        await open_letters(drive)
        editor = await open_editor(drive)
        await drive.type("not ")
        await drive.press("ctrl+s")
        await drive.until(lambda: isinstance(drive.screen, DiffDialog))
        assert drive.screen.focused is not None
        assert drive.screen.focused.id == "cancel"
        await drive.press("enter")
        await drive.until(lambda: drive.screen is editor)
        assert area(editor, "body").text == "not bad"
        await drive.press("escape")
        await drive.see("esc once more throws away")
        assert drive.screen is editor
        await drive.press("escape")
        await drive.until(lambda: isinstance(drive.screen, MessagesScreen))
    (letter,) = broker.queue("DLQ.poison").messages
    assert letter.text == "bad"


@on_a_loop
async def test_what_is_no_header_is_said_in_the_editor(broker: RunningBroker) -> None:
    kill(broker, "poison", "bad")
    async with dashboard(broker.url, Options(view="dead")) as drive:
        await open_letters(drive)
        editor = await open_editor(drive)
        area(editor, "headers").text = "no header"
        await drive.press("ctrl+s")
        await drive.see("line 1 of the headers is no")
        assert drive.screen is editor


@on_a_loop
async def test_a_binary_body_stays_and_its_headers_are_edited(broker: RunningBroker) -> None:
    kill(broker, "poison", b"\xff\x00", kind="x")
    async with dashboard(broker.url, Options(view="dead")) as drive:
        await open_letters(drive)
        await drive.press("enter")
        await drive.until(lambda: isinstance(drive.screen, MessageScreen))
        editor = await open_editor(drive)
        await drive.see("not to be edited: it is no text")
        assert editor.focused is area(editor, "headers")
        area(editor, "headers").text = "kind: y"
        await drive.press("ctrl+s")
        await drive.until(lambda: isinstance(drive.screen, DiffDialog))
        await drive.press("y")
        await drive.see("repaired, and back in /queue/poison")
    (frame,) = broker.queue("poison").messages
    assert (frame.Body, frame["kind"]) == (b"\xff\x00", "y")


@on_a_loop
async def test_who_may_not_is_told_so() -> None:
    users = {"bob": cheap_hash("x")}
    with running_broker(users=users, roles={"operator": ["bob"]}) as guarded:
        with stompy.connect(guarded.url, "bob", "x") as client:
            client.subscribe("/queue/poison", "client-individual", send_acks=False, id="p")
            client.message("/queue/poison", "bad")
            frame = client.recv(timeout=5)
            assert frame is not None
            client.send("NACK", id=frame["ack"], requeue="false")
            client.send("BEGIN", transaction="t", receipt="r")
            client.wait_for_receipt("r")
        options = Options(view="dead")
        async with dashboard(guarded.url, options, login="bob", passcode="x") as drive:
            await open_letters(drive)
            await drive.press("e")
            await drive.see("it takes the role admin")
            assert isinstance(drive.screen, MessagesScreen)


@on_a_loop
async def test_a_broker_that_cannot_is_not_asked(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(broker, "poison", "bad")
    async with dashboard(broker.url, Options(view="dead")) as drive:
        source, asked = drive.app.dashboard.source, list[str]()
        ask = source.ask

        async def older(request: Request, seconds: float = 10.0) -> Reply:
            asked.append(request.cmd)
            reply = await ask(request, seconds)
            if request.cmd != "broker.help":
                return reply
            known = reply.checked()["commands"]
            some = [one for one in known if "edit" not in one["name"]]
            return Reply(request.cmd, {"commands": some})

        monkeypatch.setattr(source, "ask", older)
        await open_letters(drive)
        await drive.press("e")
        await drive.see("this broker cannot")
        assert "message.edit_and_retry" not in asked


@on_a_loop
async def test_messages_are_chosen_by_a_selector(broker: RunningBroker) -> None:
    with stompy.connect(broker.url) as client:
        for n in range(6):
            client.message("/queue/numbers", f"body {n}", headers={"n": str(n)})
        client.wait_for_receipt(client.message("/queue/numbers", "last", receipt=True))
    async with dashboard(broker.url, Options(view="queues")) as drive:
        await drive.until(lambda: drive.keys == ["numbers"])
        await drive.press("m")
        await drive.until(lambda: len(drive.keys) == 7)
        await drive.press("W")
        await drive.pilot.pause()
        type_into(drive, "#prompt-input", "n > 3")
        await drive.press("enter")
        await drive.until(lambda: len(drive.keys) == 2, "two messages")
        await drive.see("where n > 3")
        await drive.press("W")
        type_into(drive, "#prompt-input", "n > 'x'")
        await drive.press("enter")
        await drive.until(lambda: drive.table.prompt.is_open, "the prompt")
        type_into(drive, "#prompt-input", "")
        await drive.press("enter")
        await drive.until(lambda: len(drive.keys) == 7, "all messages")


@pytest.mark.parametrize("key", ["P", "M"])
def test_purge_and_move_by_selector_tell_first_how_many(broker: RunningBroker, key: str) -> None:
    @on_a_loop
    async def run() -> None:
        with stompy.connect(broker.url) as client:
            for n in range(5):
                client.message("/queue/numbers", str(n), headers={"n": str(n)})
            client.wait_for_receipt(client.message("/queue/numbers", "last", receipt=True))
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: drive.keys == ["numbers"])
            await drive.press(key)
            await drive.see("6 messages")
            type_into(drive, "#selector", "n >= 'x'")
            await drive.see("column")
            assert drive.screen.query_one("#do", Button).disabled
            type_into(drive, "#selector", "n >= 3")
            await drive.see("2 messages")
            if key == "M":
                type_into(drive, "#text", "/queue/target")
            await drive.until(lambda: not drive.screen.query_one("#do", Button).disabled)
            drive.screen.query_one("#do", Button).press()
            await drive.see("purged 2" if key == "P" else "moved 2")
        left = [frame.text for frame in broker.queue("numbers").messages]
        assert left == ["0", "1", "2", "last"]

    run()
