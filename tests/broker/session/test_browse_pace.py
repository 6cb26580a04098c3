"""When browsers may go on."""

from __future__ import annotations

from tests.support.house import Time

from stompy_broker.session.browse_pace import BrowsePace


class Pages:
    """Browsers that note when it was their turn."""

    def __init__(self, time: Time, takes: float = 0.0) -> None:
        self.time, self.takes = time, takes
        self.worked = 0.0
        self.pace = BrowsePace(time.clock)
        self.pace.spent = lambda: self.worked
        self.turns: list[tuple[str, float]] = []

    def wait(self, name: str) -> None:
        self.pace.wait(lambda: self._page(name))

    def turn(self, work: float, idle: float = 0.0) -> None:
        """One turn of the event loop."""
        self.worked += work
        self.time.advance(work + idle)

    def _page(self, name: str) -> None:
        self.turns.append((name, self.time.now))
        self.time.now += self.takes
        self.worked += self.takes
        self.wait(name)


def test_one_after_the_other() -> None:
    time = Time()
    pages = Pages(time)
    for name in "abc":
        pages.wait(name)
    for _ in range(6):
        time.advance(0.001)
    assert "".join(name for name, _ in pages.turns) == "abcabc"


def test_idle_broker_has_them_go_on_at_once() -> None:
    """Also where the machine is so busy with other things that each pause takes long."""
    for idle in (0.001, 0.050):
        pages = Pages(Time(), takes=0.002)
        pages.wait("a")
        for _ in range(100):
            pages.turn(0.0, idle)
        assert len(pages.turns) >= 99


def test_other_work_comes_first() -> None:
    """Each turn of the event loop takes 10 ms, so pages get a small part of the time."""
    pages = Pages(Time(), takes=0.002)
    pages.wait("a")
    for _ in range(300):
        pages.turn(0.010)
    spent = len(pages.turns) * 0.002
    assert 0 < spent <= pages.time.now / 12


def test_it_always_goes_on() -> None:
    pages = Pages(Time(), takes=1.0)
    pages.wait("a")
    for _ in range(10):
        pages.turn(0.3)
    assert len(pages.turns) >= 5


def test_who_has_ended_is_not_called() -> None:
    time = Time()
    pace, called = BrowsePace(time.clock), list[str]()

    def first() -> None:
        called.append("first")

    def second() -> None:
        called.append("second")

    pace.wait(first)
    pace.wait(second)
    pace.forget(first)
    pace.forget(first)
    time.advance(0.01)
    time.advance(0.01)
    assert called == ["second"]
