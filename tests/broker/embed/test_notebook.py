"""A view that renews itself in a notebook, and how it ends."""

import threading
from itertools import count

import pytest

from stompy_broker import LiveView, live


class Handle:
    """Stands for IPython's: remembers what was shown."""

    def __init__(self) -> None:
        self.shown: list[object] = []
        self.changed = threading.Event()

    def update(self, shown: object, /) -> None:
        self.shown.append(shown)
        self.changed.set()


@pytest.fixture
def handle() -> Handle:
    return Handle()


def test_it_renews_itself_until_the_block_is_left(handle):
    numbers = count()
    with LiveView(lambda: next(numbers), handle, every=0.001, seconds=None) as view:
        assert handle.changed.wait(5)
        assert view.is_running
    assert not view.is_running
    assert handle.shown == list(range(len(handle.shown)))


def test_the_last_state_is_shown_at_the_end(handle):
    state = "early"
    with LiveView(lambda: state, handle, every=60, seconds=None):
        state = "late"
    assert handle.shown == ["late"]


def test_it_ends_when_its_time_is_over(handle):
    view = LiveView(lambda: 1, handle, every=60, seconds=0.01)
    view.wait()
    assert not view.is_running
    assert handle.shown[-1] == 1


def test_an_interrupt_ends_it_without_a_traceback(handle, monkeypatch):
    view = LiveView(lambda: 1, handle, every=60, seconds=60)

    def interrupt() -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(view._thread, "wait", interrupt)
    view.wait()
    assert not view.is_running
    assert handle.shown == [1]


def test_an_exception_of_the_function_ends_it(handle):
    def gone() -> None:
        raise RuntimeError("the broker has stopped")

    with LiveView(gone, handle, every=0.001, seconds=None) as view:
        view._thread.join(5)
    assert str(view.failure) == "the broker has stopped"
    assert handle.shown == []


def test_waiting_for_a_view_without_end_is_a_mistake(handle):
    with LiveView(lambda: 1, handle, every=60, seconds=None) as view:
        with pytest.raises(RuntimeError, match="seconds"):
            view.wait()


def test_live_shows_at_once(monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", lambda what, **how: shown.append((what, how)))
    with pytest.raises(ZeroDivisionError):
        live(lambda: 1 // 0)
    view = live(lambda: "rows", seconds=0)
    view._thread.join(5)
    assert shown == [("rows", {"display_id": True})]
