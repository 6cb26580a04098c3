"""A browser whose client has no room: what is at hand may change meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from tests.support.house import make_head
from tests.support.storage import Shelf

from stompy.protocol.headers import Version
from stompy_broker.destinations.names import parse_destination
from stompy_broker.session.browse_pace import BrowsePace
from stompy_broker.session.browse_request import read_browse
from stompy_broker.session.browser import Browser
from stompy_broker.session.output import OutputBuffer

QUEUE = parse_destination("/queue/q")


class Output:
    """Has room for one message at a time."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def put_message(self, prefix: bytes, tail: bytes) -> bool:
        self.written.append(tail.rpartition(b"\n\n")[2].rstrip(b"\0\n"))
        return False

    def put(self, data: bytes) -> None:
        self.written.append(b"end")


def test_bodies_that_leave_memory_meanwhile_are_shown(tmp_path: Path) -> None:
    shelf, output = Shelf(tmp_path), Output()
    router = shelf.route()
    for number in range(1, 5):
        router.publish(QUEUE, make_head(), b"%d" % number)
    shelf.sync()
    waiting = list(router.queues["q"]._ready)
    clock = shelf.turns.time.clock
    browser = Browser(
        read_browse(QUEUE, {"id": "b", "browser": "true"}),
        lambda: [router.queues["q"]],
        cast(OutputBuffer, output),
        Version.V1_2,
        clock,
        BrowsePace(clock),
    )
    browser.open()
    browser.begin()
    while b"end" not in output.written:
        shelf.turns.end()
        shelf.turns.time.advance(0.3)
        for message in waiting:
            message.body = None  # as the queue does when there is too much in memory
        browser.resume()
    browser.end()
    shelf.close()
    assert output.written == [b"1", b"2", b"3", b"4", b"end"]
