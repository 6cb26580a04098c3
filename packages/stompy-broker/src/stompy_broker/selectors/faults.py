"""Who is told that a selector raised, which none should: a fault of ours that nobody else sees.

Selectors are shared by all brokers of a process, and know none of them. So each that wants to hear
of it has a `FaultWatch` while it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from weakref import WeakValueDictionary

Tell = Callable[[str, str], object]

_numbers = count()


class FaultWatch:
    """Told of each selector once, when it first raises, until nobody has the watch any more.

    Args:
        tell: called with the text of the selector, and what it raised, from wherever it was asked
            about a message: another thread, perhaps.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        _watches[next(_numbers)] = self


_watches: WeakValueDictionary[int, FaultWatch] = WeakValueDictionary()


def tell_fault(text: str, why: str) -> None:
    """Tell all who watch that a selector raised."""
    for reference in _watches.valuerefs():
        watch = reference()
        if watch is not None:
            watch.tell(text, why)
