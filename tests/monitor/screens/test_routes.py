"""The routes of a broker on the screen."""

from __future__ import annotations

from tests.support.dashboard import dashboard, on_a_loop
from tests.support.wire import running_broker

from stompy_monitor.screens.dialogs import TextDialog
from stompy_monitor.screens.routes import route_page

ROUTES = [
    {
        "from": "/queue/orders",
        "to": ["/queue/audit", "/topic/orders"],
        "selector": "amount > 1000",
        "set": {"why": "large"},
    }
]


@on_a_loop
async def test_they_are_a_page_to_read() -> None:
    with running_broker(route=ROUTES) as broker:
        async with dashboard(broker.url) as drive:
            await drive.see("live")
            drive.app.go("routes")
            await drive.until(lambda: isinstance(drive.screen, TextDialog))
            await drive.see("copies to /queue/audit, /topic/orders")
            await drive.see("what matches amount > 1000")
            await drive.see("with why: large")


def test_what_clients_wrote_is_shown_and_not_obeyed() -> None:
    told = {"rows": [{"number": 0, "from": "/queue/\x1b[31m", "to": ["[bold]"], "mode": "move"}]}
    text = route_page(told).plain
    assert "\x1b" not in text
    assert "moves to [bold]" in text
    assert "has no [[route]]" in route_page({}).plain
