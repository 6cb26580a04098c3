"""What a client waits for before its next frame is carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stompy.protocol.header_cache import Head


class Question:
    """Something that was asked, and whose answer the next frame waits for.

    Attributes:
        answered: whether the answer came.
        again: frames that are to be carried out once more, before the next one.
    """

    __slots__ = ("_go_on", "again", "answered")

    def __init__(self, again: Sequence[tuple[Head, bytes]] = ()) -> None:
        self.answered = False
        self.again = again
        self._go_on: Callable[[], None] | None = None

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have `go_on` call a function."""
        self._go_on = go_on

    def forget(self, go_on: Callable[[], None]) -> None:
        """Call nothing any more."""
        self._go_on = None

    def go_on(self) -> None:
        """Let the client go on, which waits for the answer."""
        if self._go_on is not None:
            self._go_on()
