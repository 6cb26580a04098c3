"""What clients were told of messages, and whether that agrees.

* Nothing that was confirmed is **lost**.
* Nothing that was acknowledged **comes back**.
* No transaction is **torn**, or done twice.
* What was confirmed, and came unmarked, came **in order**.
* A message that comes again is **marked** as such.

No client sends anything twice, so a body that comes again is the same message. What was sent and
not confirmed may be there or not, and when it comes is not said: it may be on its way at a broker
that its producer has left.
"""

from __future__ import annotations

import itertools


class Books:
    """One queue with numbered messages.

    Args:
        name: of the queue.

    Attributes:
        confirmed: what its producer was told to be safe.
        doubtful: what was acknowledged, with or without a confirmation.
        acked: what was told to be acknowledged.
        left: what there was in the end.
        problems: what must not be.
        repeats: how many came again, marked.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.confirmed: set[str] = set()
        self.doubtful: set[str] = set()
        self.acked: set[str] = set()
        self.left: list[str] = []
        self.problems: list[str] = []
        self.repeats = 0
        self._seen: set[str] = set()
        self._new: list[str] = []

    def came(self, body: str, marked: bool) -> None:
        """Take note of a delivery."""
        if body in self.acked:
            self.problems.append(f"{self.name}: {body} was acknowledged, and came again")
        if body in self._seen:
            self.repeats += 1
            if not marked:
                self.problems.append(f"{self.name}: {body} came again, and is not marked")
        elif not marked:
            self._new.append(body)
        self._seen.add(body)

    def is_left(self, _: str, body: str, marked: bool) -> None:
        """Take note of a message that there was in the end."""
        if body in self.left:
            if not marked:
                self.problems.append(f"{self.name}: there are two of {body}")
        else:
            self.left.append(body)
        self.came(body, marked)

    def check(self) -> None:
        """See that the books agree."""
        assert self.problems == []
        lost = self.confirmed - {*self.left, *self.doubtful}
        assert not lost, f"lost of {self.name}: {sorted(lost, key=int)[:10]}"
        order = [int(body) for body in self._new if body in self.confirmed]
        wrong = [pair for pair in itertools.pairwise(order) if pair[1] < pair[0]]
        assert not wrong, f"{self.name} is out of order: {wrong[:10]}"


class Work(Books):
    """A queue whose messages become two others, in one transaction with their ACK.

    Args:
        taken: the queue.
        results: where the two go.

    Attributes:
        committed: what was told to be done.
        results: what there is in the end, by queue.
    """

    def __init__(self, taken: str, *results: str) -> None:
        super().__init__(taken)
        self.committed = self.acked
        self.results: dict[str, list[str]] = {result: [] for result in results}

    def is_left(self, queue: str, body: str, marked: bool) -> None:
        """Take note of a message that there was in the end."""
        if queue not in self.results:
            super().is_left(queue, body, marked)
        elif not marked or body not in self.results[queue]:
            self.results[queue].append(body)

    def check(self) -> None:
        """See that the books agree."""
        one, two = self.results.values()
        torn = {*one} ^ {*two}
        assert not torn, f"torn: {sorted(torn, key=int)[:10]}"
        assert len({*one}) == len(one), "done twice"
        missing = self.committed - {*one}
        assert not missing, f"transactions are lost: {sorted(missing, key=int)[:10]}"
        both = {*self.left} & {*one}
        assert not both, f"done, and not taken: {sorted(both, key=int)[:10]}"
        self.doubtful = {*one}
        super().check()
