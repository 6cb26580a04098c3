"""What the command line says to people and machines: lines, exit codes, a progress bar.

Results go to standard output and everything else to standard error, so that a command can stand in
a pipeline. What came over the wire never steers the terminal.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import BinaryIO

OK, FAILED, USAGE, TIMED_OUT, NOBODY, GIVEN_UP, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

_BAR = 30
_REDRAW_SECONDS = 0.1
_CLEAR_LINE = "\r\x1b[K"


class UsageError(Exception):
    """What was asked for cannot be, and the parser could not see it."""


def given_input() -> BinaryIO:
    """Standard input.

    Raises:
        UsageError: it is closed.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed, so there is nothing to send; give a BODY")
    return sys.stdin.buffer


def given_output() -> BinaryIO:
    """Standard output.

    Raises:
        UsageError: it is closed.
    """
    if sys.stdout is None:
        raise UsageError("standard output is closed, so there is no place for messages")
    return sys.stdout.buffer


def put(text: str) -> None:
    """One line on standard output."""
    print(text, flush=True)


def say(text: str) -> None:
    """One line on standard error."""
    if sys.stderr is not None:  # else this would be among the results
        print("stompy:", harmless(" ".join(text.split())), file=sys.stderr, flush=True)


def harmless(text: str, keep: str = "") -> str:
    """Control characters written as escapes: a message must not steer the terminal."""
    return "".join(
        mark if mark.isprintable() or mark in keep else mark.encode("unicode_escape").decode()
        for mark in text
    )


class Progress:
    """A bar on standard error, drawn in place while a block runs; nothing unless on a terminal.

    Args:
        label: what goes on.
        quiet: whether to draw nothing at all.
    """

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self._label = label
        self._drawn = False
        self._due = 0.0
        self._silent = quiet or sys.stderr is None or not sys.stderr.isatty()

    def show(self, share: float, text: str) -> None:
        """Draw, if it is time to.

        Args:
            share: how much is done, from 0 to 1.
            text: what to write behind the bar.
        """
        now = monotonic()
        if self._silent or now < self._due:
            return
        self._due = now + _REDRAW_SECONDS
        self._drawn = True
        done = round(_BAR * min(1.0, max(0.0, share)))
        bar = "#" * done + "." * (_BAR - done)
        line = f"{_CLEAR_LINE}{self._label} [{bar}] {share:4.0%}  {text}"
        print(line, end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        """Give the bar itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._drawn:
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
