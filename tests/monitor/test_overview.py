"""The first page, against a real broker: what it shows is what is so."""

from __future__ import annotations

import pytest
from tests.support.dashboard import Driver, dashboard, on_a_loop

import stompy
from stompy_broker import running
from stompy_monitor.session import Options
from stompy_monitor.widgets.row_table import RowTable

pytestmark = pytest.mark.timeout(60)


def rows(drive: Driver, name: str) -> list[str]:
    """The first cells of the lines of a list that are seen."""
    table = drive.screen.query_one(f"#top-{name}", RowTable)
    top, height = table.scroll_offset.y, table.size.height - 1
    return table.listing.keys[top : top + height]


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
            await drive.until(lambda: table.listing.keys[0] == "hdeep")
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
            await drive.until(lambda: drive.keys[0] == str(drive.app.session.model.events))
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
            await drive.until(lambda: table.row().key == str(drive.app.session.model.events))
