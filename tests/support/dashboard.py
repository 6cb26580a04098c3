"""The dashboard in a test: the real program, driven by keys, against a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, ParamSpec

from textual.pilot import Pilot
from textual.screen import Screen

from stompy_monitor.app import MonitorApp
from stompy_monitor.dashboard import DEFAULT, Options
from stompy_monitor.model.model import Model
from stompy_monitor.screens.table import TableScreen
from stompy_monitor.sources.base import Target
from stompy_monitor.sources.feed import Feed

P = ParamSpec("P")
SECONDS = 8.0


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine as a test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Driver:
    """Presses keys and waits for what they lead to."""

    def __init__(self, app: MonitorApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait for something to become true, painting meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        while not condition():
            if self.app._exception is not None:
                raise self.app._exception
            assert loop.time() < end, f"{what or condition}; the screen:\n{self.text()}"
            await asyncio.sleep(0.02)
            self.app.tick()
            await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        await self.pilot.press(*keys)
        self.app.tick()
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type text into what has the focus."""
        names = {
            " ": "space",
            "/": "slash",
            "-": "minus",
            ".": "full_stop",
            ">": "greater_than_sign",
            "=": "equals_sign",
        }
        names |= {"=": "equals_sign", "(": "left_parenthesis", "_": "underscore"}
        await self.press(*(names.get(char, char) for char in text))

    @property
    def screen(self) -> Screen[Any]:
        """The one on top."""
        return self.app.screen

    @property
    def table(self) -> TableScreen:
        """The table on top."""
        screen = self.app.screen
        assert isinstance(screen, TableScreen), screen
        return screen

    @property
    def keys(self) -> list[str]:
        """The rows of the table on top."""
        return self.table.view_state.keys

    def text(self) -> str:
        """What stands on the screen."""
        return screen_text(self.app)

    async def see(self, words: str) -> None:
        """Wait until something stands on the screen."""
        await self.until(lambda: words in self.text(), f"{words!r} is not there")


def screen_text(app: MonitorApp) -> str:
    """What stands on the screen, line by line."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    lines = ["".join(segment.text for segment in strip) for strip in strips[:height]]
    return "\n".join(line[:width].rstrip() for line in lines)


@asynccontextmanager
async def dashboard(
    url: str, options: Options = DEFAULT, size: tuple[int, int] = (120, 36), **target: Any
) -> AsyncIterator[Driver]:
    """The program, connected to a broker, until the block ends."""
    model = Model()
    app = MonitorApp(model, Feed(Target(url, **target), model, interval_ms=250), options)
    async with app.run_test(size=size, notifications=True) as pilot:
        yield Driver(app, pilot)
        app.exit(0)
