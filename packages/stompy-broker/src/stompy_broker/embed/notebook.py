"""A view in a cell of a notebook that renews itself. Needs IPython, and imports it when called."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Protocol

from stompy.transport.threads import WaitableThread


class DisplayHandle(Protocol):
    """What IPython gives for an output that can be renewed."""

    def update(self, shown: object, /) -> None:
        """Show something else in its place."""


class LiveView:
    """What a function returns, shown again and again in one place of a notebook.

    It ends when its time is over, with `stop`, at the end of a ``with`` block, or by an exception
    of the function. What was shown last stays. Made by `live`.

    Attributes:
        failure: the exception of the function that ended the view, or None.
    """

    def __init__(
        self,
        source: Callable[[], object],
        handle: DisplayHandle,
        every: float,
        seconds: float | None,
    ) -> None:
        self._source = source
        self._handle = handle
        self._every = every
        self._deadline = None if seconds is None else monotonic() + seconds
        self._ending = threading.Event()
        self.failure: Exception | None = None
        self._thread = WaitableThread(self._run, "stompy-live")
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it still renews itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Show the last state, and end. Harmless when repeated."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.wait()

    def wait(self) -> None:
        """Wait for the end, or until the kernel is interrupted, which ends it without a traceback.

        Raises:
            RuntimeError: it has no end.
        """
        if self._deadline is None:
            raise RuntimeError("this view has no end: give live() seconds, or use it with `with`")
        with contextlib.suppress(KeyboardInterrupt):
            self._thread.wait()
        self.stop()

    def _run(self) -> None:
        try:
            while not self._ending.wait(self._pause()):
                self._handle.update(self._source())
                if self._deadline is not None and monotonic() >= self._deadline:
                    return
            self._handle.update(self._source())
        except Exception as error:
            # A broker that was stopped, mostly. The thread must not print it anywhere.
            self.failure = error

    def _pause(self) -> float:
        if self._deadline is None:
            return self._every
        return max(0.0, min(self._every, self._deadline - monotonic()))

    def __enter__(self) -> LiveView:
        """Give the view, which has begun."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last state, and end."""
        self.stop()

    def __repr__(self) -> str:
        """Show whether it still renews itself."""
        return f"<LiveView {'running' if self.is_running else 'ended'}>"


def live(
    source: Callable[[], object], *, every: float = 0.5, seconds: float | None = None
) -> LiveView:
    """Show what a function returns in the output of this cell, and go on doing so.

    ``with live(broker.queues): …`` shows it while the block runs, and
    ``live(broker.queues, seconds=10).wait()`` for ten seconds or until the kernel is interrupted.
    The function is called on a thread.

    Args:
        source: returns what to show: rows, a data frame, a figure, a text.
        every: seconds between two looks.
        seconds: for how long; None until `LiveView.stop`.

    Raises:
        ModuleNotFoundError: there is no IPython.
        Exception: what ``source`` raises when it is called the first time.
    """
    from IPython.display import display  # noqa: PLC0415 -- not a dependency

    handle: DisplayHandle = display(source(), display_id=True)  # type: ignore[no-untyped-call]
    return LiveView(source, handle, every, seconds)
