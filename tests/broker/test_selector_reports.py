"""What operators are told of a selector that raises: one event, and others go on."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.support.wire import Peer, running_broker

from stompy_broker.message import Message
from stompy_broker.selectors import selector
from stompy_broker.selectors.expressions import Node

FAULTY = "colour = 'red' AND 'a fault' = 'injected'"


def function_that_fails(
    node: Node, failed: Callable[[Exception], bool], number: int | None
) -> Callable[[Message], bool]:
    """What raises for every message."""
    return lambda message: failed(ZeroDivisionError("injected"))


def test_a_selector_that_raises_is_one_event_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(selector, "safe_function_of", function_that_fails)
        selector.compile_selector(FAULTY)  # it is remembered
    with (
        running_broker() as broker,
        Peer.open(broker.port) as watcher,
        Peer.open(broker.port) as peer,
    ):
        watcher.send("SUBSCRIBE\nid:e\ndestination:/topic/$SYS.event.selector.>\n\n\0")
        watcher.sync()
        for number, place in enumerate(("/queue/q", "/topic/t")):
            peer.send(f"SUBSCRIBE\nid:f{number}\ndestination:{place}\nselector:{FAULTY}\n\n\0")
            peer.send(f"SUBSCRIBE\nid:{number}\ndestination:{place}\n\n\0")
            for body in "ab":
                peer.send(f"SEND\ndestination:{place}\ncolour:red\n\n{body}\0")
            for expected in (b"a", b"b"):
                message = peer.expect("MESSAGE")
                assert (message["subscription"], message.body) == (str(number), expected)
        event = watcher.expect("MESSAGE")
        assert event["destination"] == "/topic/$SYS.event.selector.failed"
        told = json.loads(event.body)["data"]
        assert told["detail"] == {"selector": FAULTY}
        assert "ZeroDivisionError: injected" in told["reason"]
        watcher.sync()  # nothing else came
