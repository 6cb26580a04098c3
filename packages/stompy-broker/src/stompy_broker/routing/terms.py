"""What a consumer asks of its queue, beside messages."""

from __future__ import annotations

from typing import NamedTuple

from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.reading import Reading


class Terms(NamedTuple):
    """What holds for one consumer of a queue. It is told when it is attached, and never changes.

    A queue that cannot keep to it refuses the consumer with ``not-supported``.

    Attributes:
        selector: only messages whose headers match it are for this consumer; empty = all are.
        holder: the connection that has the queue for itself, so that consumers of no other one
            may take part; empty = nobody has.
        priority: of those that could be given a message, those of the highest number are.
        single_active: whether it asks that one consumer at a time is given anything
            (`stompy_broker.routing.active_consumer`).
        reading: where and what it reads of a stream; None = what is still to come.
    """

    selector: str = ""
    holder: str = ""
    priority: int = 0
    single_active: bool = False
    reading: Reading | None = None

    @property
    def chooses(self) -> bool:
        """Whether a message may be for somebody else than for who is first in line."""
        return bool(self.selector or self.priority or self.single_active)

    def under(self, policy: Policy) -> Terms:
        """The same with what the policy of the queue asks for all its consumers."""
        if not policy.single_active or self.single_active:
            return self
        return self._replace(single_active=True)


PLAIN = Terms()
"""What a consumer asks that asks nothing: one object for all of them."""
