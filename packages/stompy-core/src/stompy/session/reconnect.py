"""When to try again to connect: growing, random pauses, so that clients do not come all at once.

Pure: the source of randomness is handed in, and waiting is the caller's business. The jitter is
*full*: each pause is drawn evenly between nothing and a bound, which doubles up to `max_delay`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from stompy.errors import (
    ConnectionImpossible,
    ErrorCode,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)


@dataclass(frozen=True, slots=True)
class FailedRound:
    """A round that failed, as `Reconnect.keep_trying` is told of it."""

    error: STOMPException
    """What the broker said, or what happened at each address."""
    attempts: int
    """How many rounds have failed in a row."""
    pause: float
    """Seconds until the next one, if there is to be one."""
    hopeless: bool
    """Whether trying again seems hopeless."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a client connects again when its connection was lost.

    A *round* is one attempt at each address, in their order; `connect`'s ``timeout`` bounds each
    attempt over look-up, TCP, TLS and the broker's answer.

    Raises:
        ValueError: bounds that cannot be.
    """

    delay: float = 0.1
    """Seconds that bound the pause before the first new round."""
    max_delay: float = 5.0
    """Seconds that bound every pause, but for what a broker asks with ``retry-after``."""
    multiplier: float = 2.0
    """By how much the bound grows with each round that failed."""
    attempts: int | None = None
    """How many rounds in a row may fail; None for no end."""
    startup_attempts: int | None = 1
    """The same for the first connection: `connect` raises when so many rounds have failed."""
    shuffle: bool = False
    """Whether each round tries the addresses in a new random order."""
    peers: bool = True
    """Whether addresses that a broker tells of are tried as well, behind those that you gave: the
    other brokers of its cluster, in the header ``peers``."""
    resend: bool = False
    """Whether what is sent and not confirmed is sent again over the next connection, so that no
    outcome is unknown: each message gets an id, by which the broker drops what it has already."""
    resend_limit: int = 10_000
    """How many messages may be unconfirmed; then senders wait."""
    resend_within: float = 3000.0
    """For how many seconds after a message was first sent it may be sent again: fewer than the
    broker remembers ids, which is an hour with ours."""
    keep_trying: bool | Callable[[FailedRound], bool] = False
    """Whether also to go on when trying again seems hopeless: wrong credentials, no common
    version, a certificate that cannot be trusted. Or a function that is told of each round that
    failed and says whether to go on; what it raises is the end of trying."""

    def __post_init__(self) -> None:
        """Refuse bounds that cannot be."""
        if not 0 <= self.delay <= self.max_delay:
            raise ValueError(
                f"pauses grow from delay to max_delay, not from {self.delay} to {self.max_delay}"
            )
        if self.multiplier < 1:
            raise ValueError(f"pauses grow, so multiplier is 1 or more, not {self.multiplier}")
        if self.resend_limit < 1:
            raise ValueError(f"resend_limit is 1 or more, not {self.resend_limit}")
        if not self.resend_within >= 0:
            raise ValueError(f"resend_within is 0 seconds or more, not {self.resend_within}")
        for name in ("attempts", "startup_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is 1 or more, or None for no end, not {value}")

    @classmethod
    def of(cls, given: bool | Reconnect) -> Reconnect | None:
        """Read the argument ``reconnect`` of `connect`.

        Raises:
            TypeError: it is something else.
        """
        if isinstance(given, Reconnect):
            return given
        if not isinstance(given, bool):
            raise TypeError(
                f"reconnect= is True, False or a stompy.Reconnect(attempts=…, …), not {given!r}"
            )
        return cls() if given else None


_PASSING = frozenset(
    (
        ErrorCode.LIMIT_EXCEEDED.value,
        ErrorCode.RATE_LIMITED.value,
        ErrorCode.SHUTTING_DOWN.value,
        ErrorCode.STORE_UNAVAILABLE.value,
        ErrorCode.SUBSCRIPTION_IN_USE.value,
    )
)
_PASSING_WORDS = re.compile(r"already connected|(already|is) in use|already has subscriber", re.I)
"""What brokers that have no error codes say of a connection that they still hold."""


def is_passing(error: STOMPException | None) -> bool:
    """Whether a broker's refusal is one that time heals: it is full, or holds what we left."""
    if not isinstance(error, STOMPError) or error.Frame is None:
        return False
    if error.code is not None:
        return error.code in _PASSING
    return _PASSING_WORDS.search(str(error)) is not None


def sends_away(error: STOMPException | None) -> bool:
    """Whether a broker ends the connection because it leaves, and its clients had better go."""
    return isinstance(error, STOMPError) and error.code == ErrorCode.SHUTTING_DOWN.value


def is_hopeless(error: STOMPException) -> bool:
    """Whether trying again seems useless: refused for good, no common version, no trust."""
    if is_passing(error):
        return False
    hopeful = isinstance(error, STOMPConnectionError | STOMPTimeout)
    return isinstance(error, ConnectionImpossible) or not hopeful


def wait_asked_for(error: STOMPException | None) -> float:
    """How many seconds brokers want us to wait, all that were tried; 0 = no matter how many."""
    asked: list[STOMPError | None] = []
    if isinstance(error, STOMPConnectionError) and error._refusals:
        asked = [refusal for _, refusal in error._refusals]
    elif isinstance(error, STOMPError):
        asked = [error]
    return min(((one and one.retry_after) or 0.0 for one in asked), default=0.0)


STABLE = 5.0
"""A connection that lasted so many seconds was a good one: the next pauses start small again."""


class Backoff:
    """The pauses of one client.

    Args:
        policy: their bounds.
        random: gives a number from 0 to below 1, each time a new one.

    Attributes:
        failures: how many rounds have failed since the last connection.
    """

    def __init__(self, policy: Reconnect, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._growth = 0
        self._announced: float | None = None
        self._judged: tuple[STOMPException | None, bool] = (None, False)
        self.failures = 0

    @property
    def is_calm(self) -> bool:
        """Whether at most one connection in a row was short: no round need wait for the next."""
        return self._growth <= 1

    def pause(self, asked_for: float = 0.0) -> float:
        """Give the seconds to wait before the next round.

        Args:
            asked_for: how many it has to be at least, because brokers want it.
        """
        announced, self._announced = self._announced, None
        return max(asked_for, self._draw(self._growth) if announced is None else announced)

    def _draw(self, growth: int) -> float:
        policy = self._policy
        # Beyond 64 doublings every bound is reached, and floats would overflow some day.
        bound = policy.delay * policy.multiplier ** min(growth, 64)
        return self._random() * min(policy.max_delay, bound)

    def failed(self, attempts: int | None) -> bool:
        """Count a round that has failed; say whether another one may follow.

        Args:
            attempts: how many rounds in a row may fail; None for no end.
        """
        self.failures += 1
        self._growth += 1
        return attempts is None or self.failures < attempts

    def is_final(self, error: STOMPException) -> bool:
        """Whether a round that failed is the last: trying again is hopeless, or not wanted.

        It comes before `failed`. Asked twice about one error, it gives the same answer.
        """
        keep_trying = self._policy.keep_trying
        if isinstance(keep_trying, bool):
            return not keep_trying and is_hopeless(error)
        if error is not self._judged[0]:
            # Drawn now, since whoever is asked is told how long the pause will be.
            self._announced = max(self._draw(self._growth + 1), wait_asked_for(error))
            failed = FailedRound(error, self.failures + 1, self._announced, is_hopeless(error))
            self._judged = error, not keep_trying(failed)
        return self._judged[1]

    def lost(self, lasted: float) -> None:
        """Begin to count anew, after a connection that lasted so many seconds."""
        self.failures = 0
        self._announced, self._judged = None, (None, False)
        self._growth = 0 if lasted >= STABLE else self._growth + 1
