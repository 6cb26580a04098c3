"""Who reads streams, and what topics keep, on the screen: seen, moved and forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.dashboard import dashboard, on_a_loop

import stompy
from stompy_broker import RunningBroker, running
from stompy_monitor.dashboard import Options
from stompy_monitor.screens.dialogs import ConfirmDialog

READERS = Options(view="readers")
RETAINED = Options(view="retained")


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    """A broker with a stream of ten messages, of which `billing` has settled four."""
    with running() as broker, stompy.connect(broker.url) as client:
        for number in range(10):
            client.message("/stream/prices", str(number), confirm=True)
        headers = {"x-stream-offset": "first", "x-stream-consumer": "billing"}
        headers["x-stream-automatic-offset-tracking"] = "true"
        with client.subscription("/stream/prices", "client-individual", headers=headers) as reader:
            for _ in range(4):
                reader.get(timeout=10).ack()
        yield broker


@on_a_loop
async def test_a_reader_is_seen_and_moved_and_forgotten(broker: RunningBroker) -> None:
    async with dashboard(broker.url, READERS, size=(160, 36)) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.see("billing")
        (row,) = drive.table.rows.row_set.rows.values()
        assert (row.number("kept"), row.number("lag")) == (4, 6)
        await drive.press("M")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("Read on from reader billing of /queue/prices")
        await drive.type("offset=8")
        await drive.press("enter", "enter")
        await drive.see("billing of /queue/prices: moved")
        await drive.until(lambda: row.number("lag") == 2)
        await drive.press("D")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("Its place is kept no more")
        await drive.press("y")
        await drive.until(lambda: drive.keys == [])


@on_a_loop
async def test_a_stream_has_readers_where_a_queue_has_consumers(broker: RunningBroker) -> None:
    async with dashboard(broker.url, Options(view="queues"), size=(160, 48)) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.press("enter")
        await drive.see("0 to 9, 1 readers")
        await drive.see("Readers")
        await drive.see("billing")


@on_a_loop
async def test_a_topic_is_made_to_forget(broker: RunningBroker) -> None:
    with stompy.connect(broker.url) as client:
        client.message("/topic/weather", "sunny", headers={"x-retain": "true"}, confirm=True)
    async with dashboard(broker.url, RETAINED, size=(160, 36)) as drive:
        await drive.until(lambda: len(drive.keys) == 1)
        await drive.see("weather")
        await drive.press("D")
        await drive.until(lambda: isinstance(drive.screen, ConfirmDialog))
        await drive.see("Who subscribes later gets it no more")
        await drive.press("y")
        await drive.until(lambda: drive.keys == [])
