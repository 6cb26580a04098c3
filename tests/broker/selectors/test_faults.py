"""Selectors that raise, which none should: who is told of it, and how often."""

from __future__ import annotations

from typing import cast

from tests.support.house import make_message

from stompy_broker.message import Message
from stompy_broker.selectors.faults import FaultWatch, tell_fault
from stompy_broker.selectors.parser import parse
from stompy_broker.selectors.selector import Selector


def test_all_who_watch_are_told_while_they_do() -> None:
    told: list[tuple[str, str]] = []
    watches = [FaultWatch(lambda text, why: told.append((text, why))) for _ in range(2)]
    tell_fault("a = 1", "why")
    assert told.count(("a = 1", "why")) == 2
    del watches[0]
    tell_fault("a = 2", "why")
    assert told.count(("a = 2", "why")) == 1


def test_a_selector_tells_its_first_fault_alone() -> None:
    told: list[tuple[str, str]] = []
    watch = FaultWatch(lambda text, why: told.append((text, why)))
    selector = Selector("a = 1 AND b = 2", parse("a = 1 AND b = 2"))
    assert not selector.matches(make_message(1))
    assert told == []
    for _ in range(3):
        assert not selector.matches(cast(Message, None))
    assert told == [("a = 1 AND b = 2", selector.fault)]
    assert watch.tell is not None
