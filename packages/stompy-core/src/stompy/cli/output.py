"""Whether anybody still reads what a command writes, also while it has nothing to write."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator


class Output:
    """The standard output of a command that waits.

    Attributes:
        gone: whether its reader has left.
        busy: held while something is written, and for what belongs to that: nothing is told then.
    """

    def __init__(self) -> None:
        self.gone = False
        self.busy = threading.Lock()

    @contextlib.contextmanager
    def watched(self, tell: Callable[[], None]) -> Iterator[None]:
        """Watch it, and tell from another thread when its reader leaves.

        A pipe whose reader is gone is in error, as `select.poll` says without being asked for
        anything; a file never is. Where there is no such thing, the next write finds it out.
        """
        try:
            descriptor = sys.stdout.fileno()
            poll = select.poll()
        except (AttributeError, OSError):
            yield
            return
        over, end = os.pipe()
        poll.register(descriptor, 0)
        poll.register(over, select.POLLIN)

        def watch() -> None:
            if all(found != over for found, _ in poll.poll()):
                with self.busy:
                    self.gone = True
                    tell()

        watcher = threading.Thread(target=watch, name="stompy output")
        watcher.start()
        try:
            yield
        finally:
            os.close(end)  # which is an event at the other one
            watcher.join()
            os.close(over)
