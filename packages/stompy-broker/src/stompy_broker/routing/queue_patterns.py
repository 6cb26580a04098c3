"""Queues by a pattern: those that there are, and for as long as somebody asks those to come.

A pattern takes no part in dead letters, backlogs and queues of the broker, unless its first word
names them: who wants ``>`` does not want what was given up elsewhere as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG, RESERVED, is_companion
from stompy_broker.destinations.patterns import WILDCARDS, covers
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.joined_queues import JoinedQueues

MOST_JOINED = 10_000
"""Queues that one subscription takes from."""

_APART = (DEAD_LETTER_PREFIX, BACKLOG, RESERVED)

Admits = Callable[[Queue], bool]
"""Whether somebody may take from a queue that a pattern names."""


class QueuePattern:
    """A pattern of queues.

    Args:
        name: it, without prefix.
    """

    __slots__ = ("_apart", "_words", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._words = name.split(".")
        self._apart = self._words[0] not in WILDCARDS

    def matches(self, name: str) -> bool:
        """Whether it takes part in the queue of a name."""
        if is_companion(name) or (not self._apart and name.startswith(_APART)):
            return False
        return covers(self._words, name.split("."))

    def matching(self, names: Iterable[str]) -> list[str]:
        """Those of these names that it takes part in, in their order."""
        return [name for name in names if self.matches(name)]


class _Watch:
    """One pattern of one subscription."""

    __slots__ = ("admits", "joined", "pattern")

    def __init__(self, pattern: QueuePattern, joined: JoinedQueues, admits: Admits) -> None:
        self.pattern, self.joined, self.admits = pattern, joined, admits


class QueuePatterns:
    """Subscriptions that take from queues by a pattern."""

    def __init__(self) -> None:
        self._watches: list[_Watch] = []

    def add(self, pattern: QueuePattern, joined: JoinedQueues, admits: Admits) -> None:
        """Have queues joined that are made from now on.

        Args:
            pattern: which.
            joined: by whom.
            admits: leaves out those that its client may not take from.
        """
        self._watches.append(_Watch(pattern, joined, admits))

    def remove(self, joined: JoinedQueues) -> None:
        """Have nothing joined any more by a subscription that has ended."""
        self._watches = [watch for watch in self._watches if watch.joined is not joined]

    def wants(self, name: str) -> bool:
        """Whether anybody takes part in a queue of a name."""
        return any(watch.pattern.matches(name) for watch in self._watches)

    def made(self, queue: Queue) -> None:
        """Have a new queue joined by those who want it."""
        for watch in list(self._watches):
            if watch.pattern.matches(queue.name) and watch.admits(queue):
                joined = watch.joined
                if len(joined.queues) < MOST_JOINED:
                    joined.join(queue)
                else:
                    joined.fail(too_many(watch.pattern.name))

    def ended(self, queue: Queue) -> None:
        """Have a queue left that has ended; the next one of its name is another one."""
        for watch in self._watches:
            watch.joined.leave(queue)

    def __len__(self) -> int:
        return len(self._watches)


def too_many(pattern: str) -> ProtocolError:
    """Say that a pattern names more queues than one subscription may take from."""
    return ProtocolError(
        ErrorCode.LIMIT_EXCEEDED,
        f"'/queue/{pattern[:200]}' matches more than {MOST_JOINED} queues, which is the most that "
        "one subscription takes from",
    )
