"""Long input waits for its turn, in slices."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from stompy_broker.wire.fair_scheduler import BUDGET, FIRST, LEAST, MOST, FairScheduler, next_slice


class Loop:
    """An event loop of one function a turn, and a time that passes by work."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: deque[Callable[[], None]] = deque()
        self.scheduler = FairScheduler(self.soon.append, lambda: self.now)

    def turn(self) -> None:
        self.soon.popleft()()


class Flood:
    """Somebody with work for so many turns, each of which takes a millisecond."""

    def __init__(self, loop: Loop, slices: int) -> None:
        self.left = slices
        self._loop = loop
        loop.scheduler.wait(self)

    def run_slice(self) -> None:
        self._loop.now += 0.001
        self.left -= 1
        if self.left:
            self._loop.scheduler.wait(self)


def test_one_turn_of_the_loop_takes_no_longer_than_its_budget() -> None:
    loop = Loop()
    flood = Flood(loop, 100)
    while loop.soon:
        before = loop.now
        loop.turn()
        assert loop.now - before <= BUDGET + 0.001
    assert not flood.left
    assert not loop.scheduler.busy


def test_all_that_wait_come_on_alike() -> None:
    loop = Loop()
    floods = [Flood(loop, 50) for _ in range(7)]
    while loop.scheduler.busy:
        loop.turn()
        left = [flood.left for flood in floods]
        assert max(left) - min(left) <= 1
    assert not loop.soon, "it asks for no turn when nobody waits"


def test_a_fault_of_one_leaves_the_others_their_turn() -> None:
    loop = Loop()

    class Stumbling:
        def run_slice(self) -> None:
            raise ValueError("not today")

    loop.scheduler.wait(Stumbling())
    flood = Flood(loop, 3)
    with pytest.raises(ValueError, match="not today"):
        loop.turn()
    loop.turn()
    assert not flood.left


def test_slices_follow_what_they_cost() -> None:
    size = FIRST
    for _ in range(20):
        size = next_slice(size, size, size * 1e-9)
    assert size == MOST, "cheap bytes come in large slices"
    assert next_slice(size, size, 1.0) == size // 4, "one that took long may be an accident"
    for _ in range(8):
        size = next_slice(size, size, size * 3e-5)
    assert size == LEAST, "dear ones in small ones"
    assert next_slice(size, size // 2, 0.0) == size, "a part of a slice proves nothing"
