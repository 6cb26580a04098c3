"""Whatever a client sends, the dashboard shows it and goes on."""

from __future__ import annotations

import json

import pytest
from tests.support.dashboard import dashboard, on_a_loop

import stompy
from stompy_broker import running
from stompy_monitor.dashboard import Options
from stompy_monitor.screens.messages import MessageScreen, MessagesScreen
from stompy_monitor.tables.bodies import BodyFormat, Message

pytestmark = pytest.mark.timeout(60)

DEEP = "[" * 900 + "0," * 20_000 + "0" + "]" * 900
BODIES = {
    "deep": "[" * 5000,
    "deep and closed": "[" * 20_000 + "]" * 20_000,
    "nested objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "more indentation than text": DEEP,
    "a number of many digits": "9" * 60_000,
    "no number": "[NaN, Infinity, -Infinity, 1e999999]",
    "half of a pair": '["\\ud800", "\\udc00"]',
    "markup": r"[/x] \[/b] [bold]x[/] [@click=app.quit]here[/]",
    "every byte": "".join(map(chr, range(1, 256))),
    "one letter": "a" * 65_000,
    "lines": "\n" * 65_000,
}


@pytest.mark.parametrize("name", BODIES)
def test_every_body_has_lines(name: str) -> None:
    body = BODIES[name]
    told = {"message_id": "m", "body": body, "headers": {"content-type": "application/json"}}
    message = Message.read(told)
    for kind in BodyFormat:
        lines = message.lines(kind)
        assert lines
        assert sum(map(len, lines)) < 8_000_000
    assert message.preview(100)
    json.dumps(lines).encode()


def test_what_is_too_deep_says_so_and_is_shown() -> None:
    for body in (BODIES["deep"], DEEP):
        lines = Message.read({"body": body, "headers": {}}).lines(BodyFormat.JSON)
        assert lines[0].startswith(("(too deep", "(not JSON"))
        assert lines[2].startswith("[[[")


@on_a_loop
async def test_bodies_are_opened_turned_and_searched() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        headers = {"content-type": "application/json", "x[/]": r"\[/x]"}
        opened = ("deep", "more indentation than text", "markup", "one letter")
        for name in opened:
            client.message("/queue/hostile", BODIES[name], headers=headers)
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: drive.keys == ["hostile"])
            await drive.press("m")
            await drive.until(lambda: isinstance(drive.screen, MessagesScreen))
            await drive.until(lambda: len(drive.keys) == len(opened))
            for _ in opened:
                await drive.press("enter")
                await drive.until(lambda: isinstance(drive.screen, MessageScreen))
                await drive.press("v", "v", "slash", "a", "enter", "n")
                assert drive.app.is_running
                while isinstance(drive.screen, MessageScreen):
                    await drive.press("escape")
                await drive.press("down")


@on_a_loop
async def test_names_and_numbers_that_are_markup_or_beyond_the_calendar() -> None:
    with running() as broker:
        client = stompy.STOMPClient()
        client.connect(broker.url, headers={"client-id": r"\[/x] [b]"})
        with client:
            name = r"/queue/a\[/x][bold]"
            client.message(name, "x")
            client.subscribe(name, "client", id="[/s]")
            client.send("BEGIN", {"transaction": "[/t]"})
            client.send("SEND", {"destination": name, "transaction": "[/t]"}, "x")
            durable = {"durable": "true", "durable-subscription-name": "[/d]"}
            client.subscribe("/topic/t", "client", id="d", headers=durable)
            async with dashboard(broker.url) as drive:
                await drive.see("live")
                for key in "2678":
                    await drive.press(key)
                    await drive.until(lambda: bool(drive.keys))
                    await drive.press("enter", "question_mark", "escape", "escape")
                await drive.press("2", "P", "escape", "M", "escape", "T", "escape")
                model = drive.app.dashboard.model
                for number in (10**18, -(10**18)):
                    for table in model.row_sets.values():
                        for row in table.rows.values():
                            row.values = [
                                number if isinstance(value, int | float) else value
                                for value in row.values
                            ]
                            row.changed = table.version
                    for key in "2678":
                        await drive.press(key, "w", "enter", "escape", "w")


@on_a_loop
async def test_queues_that_look_alike_are_two_and_each_is_purged_alone() -> None:
    names = ["orders", "orders\ufe0f", "a" + "\u0301" * 5, "a" + "\u0301" * 6]
    with running() as broker, stompy.connect(broker.url) as client:

        def waiting() -> set[str]:
            return {row.name for row in broker.queues() if row.ready}

        for name in names:
            client.message(f"/queue/{name}", "x", confirm=True)
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: sorted(drive.keys) == sorted(names))
            await drive.see("orders‹U+FE0F›")
            for name in names[1::2]:
                drive.table.view_state.select(name)
                await drive.press("P")
                await drive.see("Cancel")
                await drive.press("y")
                await drive.until(lambda name=name: name not in waiting())
            assert waiting() == set(names[::2])


@on_a_loop
async def test_a_queue_with_a_blank_in_its_name_has_events() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/a b", "x", confirm=True)
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: drive.keys == ["a b"])
            await drive.press("enter")
            await drive.see("queue.created")
