"""What a NACK asks for, and what holds for all that one subscription refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stompy_broker.destinations.policy import Policy

_MOST_DOUBLINGS = 64


class Retries(NamedTuple):
    """How often, and when, what one subscription refuses comes again, as ActiveMQ has it.

    What is None holds as the policy of the queue says. Times are in seconds.

    Attributes:
        most: redeliveries of a message; then it is a dead letter. -1 = without end.
        first: the wait before the first.
        delay: before each further one.
        exponential: whether each of those is longer than the one before.
        multiplier: so many times.
        longest: no wait is longer.
    """

    most: int | None = None
    first: float | None = None
    delay: float | None = None
    exponential: bool | None = None
    multiplier: float | None = None
    longest: float | None = None

    def wait(self, failures: int, policy: Policy) -> float:
        """Seconds to wait after that many deliveries have failed."""
        delay = policy.redelivery_delay if self.delay is None else self.delay
        first = self.delay if self.first is None else self.first
        first = 0.0 if first is None else first
        longest = policy.redelivery_delay_max if self.longest is None else self.longest
        grows = self.exponential
        if grows is None:
            grows = policy.redelivery == "exponential"
        further = max(failures - 1, 0)
        if further == 0:
            wait = first
        elif not grows:
            wait = delay
        else:
            factor = policy.redelivery_multiplier if self.multiplier is None else self.multiplier
            wait, times = (first, further) if first > 0 else (delay, further - 1)
            wait *= max(factor, 1.0) ** min(times, _MOST_DOUBLINGS)
        return min(wait, longest)

    def exhausted(self, failures: int, policy: Policy) -> bool:
        """Whether delivering a message has failed often enough."""
        if self.most is None:
            return policy.exhausted(failures)
        return 0 <= self.most < failures


@dataclass(frozen=True, slots=True)
class Rejection:
    """The outcome of a NACK.

    Attributes:
        requeue: whether the message may be delivered again; otherwise it is a dead letter.
        delay: seconds before that; None = as the policy says.
        reason: the consumer's own words, for the dead letter's headers.
        failed: whether the delivery counts as failed.
        retries: what holds for all that the subscription refuses; None = the policy.
        whole_group: whether all messages of the same group wait as long as this one.
    """

    requeue: bool = True
    delay: float | None = None
    reason: str = ""
    failed: bool = True
    retries: Retries | None = None
    whole_group: bool = False

    def wait(self, failures: int, seed: int, policy: Policy) -> float:
        """Seconds before the message comes again.

        Args:
            failures: how many deliveries of it have failed, this one included.
            seed: tells messages apart, whose delays differ by chance if they may.
            policy: of the queue.
        """
        if self.delay is not None:
            return self.delay
        if self.retries is not None and self.failed:
            return self.retries.wait(failures, policy)
        return policy.delay(max(failures, 1), seed) if policy.waits(failed=self.failed) else 0.0

    def exhausted(self, failures: int, policy: Policy) -> bool:
        """Whether delivering the message has failed often enough."""
        if self.retries is None:
            return policy.exhausted(failures)
        return self.retries.exhausted(failures, policy)
