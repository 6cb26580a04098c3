"""Each set of colours can be chosen, at the start and later."""

from __future__ import annotations

import pytest
from tests.docs.blocks import DOCS
from tests.support.dashboard import Driver, on_a_loop

from stompy_monitor import themes
from stompy_monitor.app import MonitorApp
from stompy_monitor.dashboard import Options
from stompy_monitor.model.model import Model
from stompy_monitor.sources.recording import Recording
from stompy_monitor.sources.replay import Replay

pytestmark = pytest.mark.timeout(60)
SHORT = [theme.name.removeprefix("stompy-") for theme in themes.THEMES]


def recorded(options: Options) -> MonitorApp:
    recording, model = Recording(DOCS / "monitor" / "demo.recording"), Model()
    replay = Replay(recording, model, at=recording.end, playing=False)
    return MonitorApp(model, replay, options)


@pytest.mark.parametrize("short", SHORT)
def test_every_theme_starts(short: str) -> None:
    @on_a_loop
    async def start() -> None:
        app = recorded(Options(theme=themes.full_name(short)))
        async with app.run_test(size=(120, 36), notifications=True) as pilot:
            drive = Driver(app, pilot)
            await drive.see("Deepest queues")
            await drive.press("2", "down", "enter", "escape", "P")
            await drive.see("this is a recording")

    start()


@on_a_loop
async def test_every_theme_is_chosen_with_a_key() -> None:
    app = recorded(Options())
    async with app.run_test(size=(120, 36), notifications=True) as pilot:
        drive = Driver(app, pilot)
        for number, theme in enumerate(themes.THEMES):
            await drive.press("T", "home", *["down"] * number, "enter")
            await drive.until(lambda theme=theme: app.theme == theme.name)
            await drive.see("Deepest queues")


def test_a_theme_that_there_is_not_names_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="terminal"):
        themes.full_name("nonsense")
