"""Selectors over the wire: what is refused, and what matches (the manual, *Choosing in queues*)."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.selector_oracle import ERROR, ORACLE, Headers
from tests.support.wire import Peer

from stompy.protocol.headers import Version, header_lines

VERSIONS = ("1.0", "1.1", "1.2")


def subscribe(peer: Peer, destination: str, selector: str, headers: Headers | None = None) -> None:
    asked = {"id": "b", "destination": destination, "selector": selector, **(headers or {})}
    peer.send(f"SUBSCRIBE\n{header_lines(asked, Version.V1_2)}\n\0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["queue", "topic"])
@pytest.mark.parametrize("headers", [{}, {"browser": "true"}], ids=["receive", "browse"])
def test_what_cannot_be_read_is_an_error_with_its_place(
    connect: Connect, queue: str, topic: str, version: str, kind: str, headers: Headers
) -> None:
    if kind == "topic" and headers:
        pytest.skip("no topic can be browsed")
    peer = connect(version)
    subscribe(peer, queue if kind == "queue" else topic, "color == 'red'", headers)
    frame = peer.expect_error("bad-selector")
    assert frame["error-column"] == "7"
    assert b"write = instead of ==" in frame.body


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "x" * 5000,
        "(" * 2000,
        "NOT " * 1000 + "x",
        " OR ".join(["x=1"] * 500),
        "x LIKE '%_" * 90,
    ],
    ids=["empty", "long", "deep", "many nots", "wide", "wild"],
)
def test_hostile_ones_are_refused(connect: Connect, queue: str, selector: str) -> None:
    peer = connect()
    subscribe(peer, queue, selector, {"browser": "true"})
    peer.expect_error("bad-selector")


@pytest.mark.parametrize(("selector", "headers", "_theirs", "ours", "_why"), ORACLE)
def test_the_table_of_activemq(
    connect: Connect,
    queue: str,
    selector: str,
    headers: Headers,
    _theirs: bool | None,
    ours: bool | None,
    _why: str,
) -> None:
    peer = connect()
    lines = header_lines({"destination": queue, **headers}, Version.V1_2)
    peer.send(f"SEND\n{lines}\nhello\0")
    # A body of its own kind, so that a match is seen at once; nothing is consumed.
    subscribe(peer, queue, selector, {"browser": "true"})
    if ours is ERROR:
        peer.expect_error("bad-selector")
        return
    frame = peer.expect("MESSAGE")
    assert (frame.body == b"hello") is ours
    if ours:
        frame = peer.expect("MESSAGE")
    assert frame["browser"] == "end"
