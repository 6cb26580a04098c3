"""When browsers may go on."""

from __future__ import annotations

from tests.support.house import Time

from stompy_broker.session.browse_pace import BrowsePace


class Pages:
    """Browsers that note when it was their turn."""

    def __init__(self, time: Time, takes: float = 0.0) -> None:
        self.time, self.takes = time, takes
        self.pace = BrowsePace(time.clock)
        self.turns: list[tuple[str, float]] = []

    def wait(self, name: str) -> None:
        self.pace.wait(lambda: self._page(name))

    def _page(self, name: str) -> None:
        self.turns.append((name, self.time.now))
        self.time.now += self.takes
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
    time = Time()
    pages = Pages(time, takes=0.002)
    pages.wait("a")
    for _ in range(100):
        time.advance(0.001)
    assert len(pages.turns) >= 99


def test_other_work_comes_first() -> None:
    """Each turn of the event loop takes 10 ms, so pages get a small part of the time."""
    time = Time()
    pages = Pages(time, takes=0.002)
    pages.wait("a")
    for _ in range(300):
        time.advance(0.010)
    spent = len(pages.turns) * 0.002
    assert spent <= time.now / 12


def test_it_always_goes_on() -> None:
    time = Time()
    pages = Pages(time, takes=1.0)
    pages.wait("a")
    for _ in range(10):
        time.advance(0.3)
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
