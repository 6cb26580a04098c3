"""What is written to the terminal when some cells of a table changed."""

from __future__ import annotations

import asyncio

from tests.support.dashboard import on_a_loop
from tests.support.envelopes import START, envelope, queue
from textual.drivers.headless_driver import HeadlessDriver

from stompy_monitor.app import MonitorApp
from stompy_monitor.dashboard import Options
from stompy_monitor.model.model import Model
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.sources.recording import Recording
from stompy_monitor.sources.replay import Replay


class Terminal(HeadlessDriver):
    """A terminal that keeps what is written to it."""

    written: list[str]
    more: asyncio.Event

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        Terminal.written.append(data)
        Terminal.more.set()


class Still(Recording):
    """A source that brings nothing by itself."""

    def __init__(self) -> None:
        self.about, self.begin, self.end = {}, 0.0, 0.0

    def records(self, at: float):
        return iter(())


async def text_until(words: str) -> str:
    """What is written until some words are."""
    while words not in (text := "".join(Terminal.written)):
        Terminal.more.clear()
        await Terminal.more.wait()
    return text


@on_a_loop
async def test_an_age_is_written_without_what_stands_before_it_in_its_line() -> None:
    Terminal.written, Terminal.more = [], asyncio.Event()
    model = Model()
    source = Replay(Still(), model)
    app = MonitorApp(model, source, Options(view="queues"), clock=lambda: 0.0, wall=lambda: 0.0)
    app.driver_class = Terminal
    rows = [queue("app.orders", ready=3, oldest_at=START - 83_000), queue("app.bills")]
    model.apply(envelope("broker", 0, {"name": "dev"}))
    model.apply(envelope("queues", 0, rows))
    running = asyncio.create_task(app.run_async(size=(120, 36)))
    assert "app.orders" in await text_until("1m 23s")
    screen = app.screen
    assert isinstance(screen, TableScreen)
    for second in range(1, 6):  # the first ones may still be painted with the screen
        Terminal.written.clear()
        model.apply(envelope("queues", second, [], base=second - 1))
        screen.tick()
        text = await text_until(f"1m {23 + second}s")
    assert "app.orders" not in text
    assert "app.bills" not in text
    app.exit(0)
    await running
