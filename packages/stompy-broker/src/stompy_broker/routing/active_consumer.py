"""The one consumer of a queue that is given anything, where some ask to be the only one.

Of those who ask, the one with the highest priority is *active*, and of these the one that came
first. All others, and who does not ask, wait on the *bench*: they do not stand in turn. When a
better one comes, nobody is given anything until what others hold is settled. That is the
*handover*; if it takes too long (`single_active_handover` of the policy), what is left is asked
back.

Invariants:

* While somebody is active, nobody else has been given anything that he has not settled, unless it
  could not be had back: a transaction that is open still has it.
* Each consumer that takes part has been told whether it is active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.timers import Clock

_LOOK_SECONDS: Final = 0.02
"""So often it is looked whether everything is settled, while somebody is to take over."""

_GRACE_SECONDS: Final = 1.0
"""So long after it was asked back what others hold may take to come; they may be elsewhere."""

Rank = tuple[int, int]
"""Who goes first: the priority, negative, and when a consumer came, counted by the queue."""


class ActiveConsumer:
    """Says which consumer of one queue is active.

    Args:
        queue: it.
        clock: rings.
        again: has everybody who waits line up again, who is on the bench as well: somebody else is
            active, or nobody.
        hand_out: has the queue hand out.
        present: who takes part already; none of them asks to be the only one.

    Attributes:
        active: who it is; None while somebody is to take over.
    """

    __slots__ = (
        "_again",
        "_asked",
        "_bench",
        "_candidates",
        "_clock",
        "_deadline",
        "_fresh",
        "_hand_out",
        "_last",
        "_leaving",
        "_looking",
        "_next",
        "_present",
        "_queue",
        "_timer",
        "active",
    )

    def __init__(
        self,
        queue: QueueIdentity,
        clock: Clock,
        again: Callable[[], None],
        hand_out: Callable[[], None],
        present: Iterable[Consumer],
    ) -> None:
        self.active: Consumer | None = None
        self._queue = queue
        self._clock = clock
        self._again = again
        self._hand_out = hand_out
        self._present: dict[Consumer, None] = dict.fromkeys(present)
        self._candidates: dict[Consumer, Rank] = {}
        self._last = 0
        self._bench: dict[Consumer, None] = {}  # they want a message, and are given none
        self._next: Consumer | None = None  # who is to take over
        self._leaving: dict[Consumer, None] = {}  # who has something that is waited for
        self._deadline = 0.0
        self._asked = self._looking = False
        self._fresh = False  # whether it is looked once more what others hold
        self._timer = clock.timer(self._ring)
        for one in self._present:
            one.activate(active=False)

    # -- who takes part ---------------------------------------------------------------------

    def come(self, consumer: Consumer) -> None:
        """Let a consumer take part. It is told at once whether it is active."""
        self._present[consumer] = None
        if consumer.terms.single_active and consumer not in self._candidates:
            self._last += 1
            self._candidates[consumer] = -consumer.terms.priority, self._last
            self._choose()
        if consumer is not self.active:
            consumer.activate(active=False)

    def go(self, consumer: Consumer) -> bool:
        """Let a consumer go; say whether anybody is left who asks to be the only one."""
        self._present.pop(consumer, None)
        self._bench.pop(consumer, None)
        self._candidates.pop(consumer, None)
        if not self._candidates:
            self._end()
            return False
        if consumer is self.active or consumer is self._next:
            # What it holds comes back in this turn, unless a transaction has it.
            self._choose(consumer)
        return True

    def leave(self, consumers: Iterable[Consumer]) -> None:
        """Let consumers wait no more, who may be on the bench."""
        for consumer in consumers:
            self._bench.pop(consumer, None)

    def admits(self, consumer: Consumer) -> bool:
        """Whether a consumer that wants a message may stand in turn; else it is on the bench."""
        if consumer is self.active:
            if self._fresh:
                # Others may have brought something along since: their queue came from elsewhere.
                self._fresh = False
                self._hand_over(consumer)
            if consumer is self.active:
                return True
        self._bench[consumer] = None
        return False

    def take_bench(self) -> list[Consumer]:
        """Give who is on the bench, where nobody is then."""
        bench = list(self._bench)
        self._bench.clear()
        return bench

    # -- who is active ----------------------------------------------------------------------

    def _choose(self, gone: Consumer | None = None) -> None:
        """Have the best one take over, if that is somebody else.

        Args:
            gone: who takes part no more, and may hold something yet.
        """
        candidates = self._candidates
        best = min(candidates, key=candidates.__getitem__)
        if best is not self.active and best is not self._next:
            self._hand_over(best, gone)

    def _hand_over(self, to: Consumer, gone: Consumer | None = None) -> None:
        """Have a consumer be the active one as soon as nobody else holds anything."""
        holders = [one for one in self._present if one is not to and _holds(one)]
        if gone is not None and _holds(gone):
            holders.append(gone)
        before = self.active
        self._leaving.update(dict.fromkeys(holders))
        self._leaving.pop(to, None)
        if before is to and not self._leaving:
            return
        self.active, self._next, self._asked = None, to, False
        if before is not None and before is not gone:
            before.activate(active=False)
        now = self._clock.now()
        self._deadline = now + self._queue.policy.single_active_handover
        if self._leaving:
            self._again()
            self._timer.set(now if gone is not None else now + _LOOK_SECONDS)
        else:
            self._take_over()

    def _take_over(self) -> None:
        consumer, self._next = self._next, None
        assert consumer is not None
        forced = bool(self._leaving)
        self._leaving.clear()
        self._timer.cancel()
        self.active, self._fresh = consumer, not forced
        consumer.activate(active=True)
        self._again()

    def _ring(self) -> None:
        """See whether somebody may take over."""
        self._look()
        if self._next is None:
            self._hand_out()

    def _look(self) -> None:
        if self._looking or self._next is None:
            return
        self._looking = True
        self._still_held()
        now = self._clock.now()
        over = now >= self._deadline
        if self._leaving and over and not self._asked:
            self._asked = True
            self._deadline = now + _GRACE_SECONDS
            for one in list(self._leaving):
                one.give_back()
            self._still_held()
            over = False
        self._looking = False
        if over or not self._leaving:
            self._take_over()
        else:
            self._timer.set(now + _LOOK_SECONDS)

    def _still_held(self) -> None:
        """Forget those who hold nothing any more."""
        for one in list(self._leaving):
            if not _holds(one):
                del self._leaving[one]

    def _end(self) -> None:
        """Let everybody take part again: nobody asks to be the only one."""
        self._timer.end()
        self._next = None
        self._again()
        for one in self._present:
            one.activate(active=True)

    def close(self) -> None:
        """Do nothing any more: the queue has ended."""
        self._timer.end()


def _holds(consumer: Consumer) -> bool:
    """Whether a consumer has anything that it has not settled."""
    return next(iter(consumer.shows()), None) is not None
