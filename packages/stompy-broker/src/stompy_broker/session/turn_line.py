"""Who waits for tokens of one user, in turn: one for each, as long as several wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stompy_broker.rate_limit import Rate
from stompy_broker.routing.token_bucket import TokenBucket
from stompy_broker.timers import Clock


class TurnLine:
    """Those who want tokens of the same buckets. Whoever comes later is behind those who wait.

    There is one timer for all of them, and it is set only while somebody waits.

    Args:
        clock: rings when there are tokens.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._waiting: dict[object, Callable[[], None]] = {}
        self._has_turn = self._is_serving = False
        self._timer = clock.timer(self._serve)

    def renew(self, rates: Sequence[tuple[str, Rate | None]]) -> None:
        """Go by these rates from now on.

        Args:
            rates: each with its name; None = without limit.
        """
        before, self._buckets = self._buckets, {}
        for name, rate in rates:
            if rate is None:
                continue
            bucket = self._buckets[name] = before.get(name) or TokenBucket(rate)
            if bucket.rate != rate:
                bucket.renew(rate, self._clock.now())
        self._set()

    @property
    def is_limited(self) -> bool:
        """Whether there are any limits."""
        return bool(self._buckets)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, who: object) -> bool:
        return who in self._waiting

    def may_go(self) -> bool:
        """Whether who comes now may take something at once."""
        if self._waiting and not self._has_turn:
            return False
        now = self._clock.now()
        return all(bucket.ready_at(now) <= now for bucket in self._buckets.values())

    def take(self, size: int) -> None:
        """Take what one message of so many bytes costs; `may_go` was asked before."""
        self._has_turn = False
        now = self._clock.now()
        for name, bucket in self._buckets.items():
            bucket.spend(size if "bytes" in name else 1, now)

    def delay(self) -> tuple[str, float]:
        """What is used up for longest, and in how many seconds there is some of it again."""
        now = self._clock.now()
        times = [(bucket.ready_at(now) - now, name) for name, bucket in self._buckets.items()]
        seconds, name = max(times, default=(0.0, ""))
        return name, seconds

    def used(self) -> dict[str, tuple[Rate, float]]:
        """Each rate by its name, and how much of a burst of it is taken: 1 = all."""
        now = self._clock.now()
        return {name: (bucket.rate, bucket.used(now)) for name, bucket in self._buckets.items()}

    def wait(self, who: object, go_on: Callable[[], None]) -> None:
        """Call a function when it is somebody's turn. Harmless when repeated.

        Args:
            who: waits; has one place.
            go_on: called then; may take something once, and wait again.
        """
        if who not in self._waiting:
            self._waiting[who] = go_on
            self._set()

    def forget(self, who: object) -> None:
        """Wait no more for somebody who has gone."""
        self._waiting.pop(who, None)

    def release(self, who: object) -> None:
        """Let somebody go on now who would have to wait for his turn, if he does wait."""
        go_on = self._waiting.pop(who, None)
        if go_on is not None:
            go_on()

    def _set(self) -> None:
        if self._waiting and not self._is_serving:
            now = self._clock.now()
            self._timer.set(max([one.ready_at(now) for one in self._buckets.values()], default=now))

    def _serve(self) -> None:
        """Give each its turn, as long as there are tokens, and those that it leaves."""
        self._is_serving = True
        try:
            for _ in range(len(self._waiting)):
                if not self._waiting:
                    break
                self._has_turn = True
                if not self.may_go():
                    break
                who = next(iter(self._waiting))
                self._waiting.pop(who)()
        finally:
            self._has_turn = self._is_serving = False
            self._set()
