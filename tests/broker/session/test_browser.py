"""A browser whose client has no room: what is at hand may change meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from tests.support.house import Time, make_message

from stompy.protocol.headers import Version
from stompy_broker.destinations.names import parse_destination
from stompy_broker.routing.interface import Browse, Browsed, Queue, place_of
from stompy_broker.routing.message_state import MessageState
from stompy_broker.session.browse_pace import BrowsePace
from stompy_broker.session.browse_request import read_browse
from stompy_broker.session.browser import Browser
from stompy_broker.session.output import OutputBuffer


class Shelf:
    """A queue that is only looked at; bodies that it was asked for are there."""

    def __init__(self, count: int) -> None:
        self.messages = [make_message(number) for number in range(1, count + 1)]

    def browse(self, wanted: Browse, done: Callable[[Browsed], None]) -> None:
        beyond = wanted.beyond
        found = [one for one in self.messages if beyond is None or place_of(one) > beyond]
        if wanted.most == 0:
            found = []
        for one in found:
            one.body = b"body"
        ready = (MessageState.READY,) * len(found)
        last = self.messages[-1].sequence
        done(Browsed(found, 0, False, states=ready, due=(0,) * len(found), last=last))


class Output:
    """Has room for one message at a time."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def put_message(self, prefix: bytes, tail: bytes) -> bool:
        self.written.append(tail)
        return False

    def put(self, data: bytes) -> None:
        self.written.append(b"end")


def test_bodies_that_leave_memory_meanwhile_are_asked_for_again() -> None:
    time, shelf, output = Time(), Shelf(4), Output()
    destination = parse_destination("/queue/q")
    browser = Browser(
        read_browse(destination, {"id": "b", "browser": "true"}),
        lambda: [cast(Queue, shelf)],
        cast(OutputBuffer, output),
        Version.V1_2,
        time.clock,
        BrowsePace(time.clock),
    )
    browser.open()
    browser.begin()
    for _ in range(30):
        time.advance(0.3)
        for message in shelf.messages:
            message.body = None  # to the disk
        browser.resume()
    browser.end()
    shown = [int(tail.partition(b"\n")[0]) for tail in output.written[:-1]]
    assert (shown, output.written[-1]) == ([1, 2, 3, 4], b"end")
