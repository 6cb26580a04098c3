"""Whose turn it is, on the screen: who has which message groups, and who stands by."""

from __future__ import annotations

from tests.support.dashboard import dashboard, on_a_loop

import stompy
from stompy_broker import running
from stompy_monitor.dashboard import Options
from stompy_monitor.tables.details import group_lines


@on_a_loop
async def test_who_has_which_groups() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        orders = client.subscription("/queue/orders", prefetch=1)
        for number in range(3):
            client.message("/queue/orders", str(number), group="smith", confirm=True)
        held = orders.get(timeout=5)
        async with dashboard(broker.url, Options(view="queues")) as drive:
            await drive.until(lambda: drive.keys == ["orders"])
            await drive.press("enter")
            await drive.see("2 waiting, 1 unsettled")
            await drive.see("smith: s-")
        held.ack()


def test_the_lines_are_harmless_and_say_what_is_left_out() -> None:
    told = {
        "total": 3,
        "rows": [
            {"id": "a\x1b[31m", "owner": "", "waiting": 2, "unsettled": 0, "held_until": 0},
            {"id": "b", "owner": "s-1", "waiting": 0, "unsettled": 1, "held_until": None},
        ],
    }
    first, second, rest = group_lines(told).split("\n")
    assert "\x1b" not in first
    assert first.endswith(": nobody, 2 waiting, 0 unsettled")
    assert (second, rest) == ("b: s-1, 0 waiting, 1 unsettled", "and 1 more")
    assert group_lines({}) == ""


@on_a_loop
async def test_who_stands_by_is_seen_on_a_narrow_screen_too() -> None:
    with running() as broker, stompy.connect(broker.url) as client:
        for _ in range(2):
            client.subscription("/queue/ledger", single_active=True)
        where = Options(view="subscriptions")
        async with dashboard(broker.url, where, size=(100, 30)) as drive:
            await drive.until(lambda: len(drive.keys) == 2)
            await drive.see("standby")
            assert drive.text().count("standby") == 1
