"""How many messages a queue hands out in a time, whoever they are for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stompy_broker.rate_limit import read_rate
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.token_bucket import TokenBucket
from stompy_broker.timers import Clock

_TOO_FAST: Final = "its policy lets it hand out no more for now"


class DeliveryRate:
    """Has the consumers of one queue wait when as many messages went out as may.

    Args:
        clock: rings.
        line: the consumers.
        hand_out: has the queue hand out.

    Attributes:
        limited: whether the queue has a rate.
        waits: whether nobody is given anything for now.
    """

    __slots__ = ("_bucket", "_clock", "_hand_out", "_line", "_timer", "limited", "waits")

    def __init__(self, clock: Clock, line: ConsumerLine, hand_out: Callable[[], None]) -> None:
        self._clock = clock
        self._line = line
        self._hand_out = hand_out
        self._bucket: TokenBucket | None = None
        self._timer = clock.timer(self._ring)
        self.limited = self.waits = False

    def spend(self) -> None:
        """Take note of a message that went out."""
        bucket = self._bucket
        if bucket is None:
            return
        now = self._clock.now()
        bucket.spend(1, now)
        ready = bucket.ready_at(now)
        if ready > now:
            if not self.waits:
                self.waits = True
                self._line.pause(_TOO_FAST)
            self._timer.set(ready)

    def renew(self, text: str) -> None:
        """Go by another rate from now on; empty = by none."""
        self.limited = bool(text)
        if not text:
            self._bucket = None
            self._timer.cancel()
            self._go_on()
            return
        now, rate = self._clock.now(), read_rate(text)
        if self._bucket is None:
            self._bucket = TokenBucket(rate)
        else:
            self._bucket.renew(rate, now)
        if self.waits:
            self._timer.set(self._bucket.ready_at(now))

    def _ring(self) -> None:
        if self._go_on():
            self._hand_out()

    def _go_on(self) -> bool:
        """Hold nobody back any more; say whether nobody else does."""
        if not self.waits:
            return False
        self.waits = False
        return self._line.proceed(_TOO_FAST)

    def end(self) -> None:
        """Do nothing any more: the queue has ended, or is a plain one again."""
        self._timer.end()
        self._go_on()
