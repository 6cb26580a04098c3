"""Says whether something may happen now, at a rate: tokens come evenly, and each time takes some.

A bucket begins full, with the burst of its rate: what a second brings, and at least one token.
While there is a whole token in it, anything may be taken; what is more than there is becomes a
debt, which is paid before there is a token again. So a message larger than a burst of bytes passes
as well, and the rate holds in the long run.

It is kept as one number: from when on there is a token. Who comes at that time gets it, whatever
is lost in rounding, so a timer that is set to `TokenBucket.ready_at` never comes too early.
"""

from __future__ import annotations

from typing import Final

from stompy_broker.rate_limit import Rate

_SLACK: Final = 0.01
"""Part of a token that is given away once, so that rounding does not take the last of a burst."""


class TokenBucket:
    """What may still be taken at a rate.

    Args:
        rate: at which tokens come.
    """

    __slots__ = ("_interval", "_ready_at", "_spare", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._interval = rate.seconds / rate.amount  # seconds until the next token
        self._spare = (rate.burst - 1 + _SLACK) * self._interval
        self._ready_at = float("-inf")

    def take(self, amount: float, now: float) -> bool:
        """Take tokens if there is one; say whether there was, for nothing is taken otherwise.

        Args:
            amount: how many; may be more than there are.
            now: the time in seconds.
        """
        if self._ready_at > now:
            return False
        self.spend(amount, now)
        return True

    def spend(self, amount: float, now: float) -> None:
        """Take tokens, whether there are any or not: what cannot be undone has happened.

        Args:
            amount: how many; may be more than there are.
            now: the time in seconds.
        """
        self._ready_at = max(self._ready_at, now - self._spare) + amount * self._interval

    def ready_at(self, now: float) -> float:
        """When there is a token; the time that it is if there is one.

        Args:
            now: the time in seconds.
        """
        return max(self._ready_at, now)

    def used(self, now: float) -> float:
        """How much of a burst is taken: 0 = it is full, 1 = nothing is left, more = a debt.

        Args:
            now: the time in seconds.
        """
        taken = (self._ready_at + self._spare - now) / self._interval
        return max(0.0, taken / self.rate.burst)

    def renew(self, rate: Rate, now: float) -> None:
        """Go by another rate from now on; as much of the burst is taken as was before.

        Args:
            rate: at which tokens come.
            now: the time in seconds.
        """
        taken = self.used(now) * rate.burst
        self.rate = rate
        self._interval = rate.seconds / rate.amount
        self._spare = (rate.burst - 1 + _SLACK) * self._interval
        self._ready_at = now - self._spare + taken * self._interval
