"""Which group a queue belongs to: by a pattern that somebody has set up, else by its name's hash.

A dead letter has to stay in the group of the queue that gave it up, for then it moves within one
change of one store. So ``DLQ.x`` belongs where ``x`` does, and so does ``durable.x``, the backlog
of a durable subscription, and ``scheduled./queue/x``, what is to come to it later. The hash is the
same in each process and version: a queue's messages are in the log of its group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b

from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import (
    BACKLOG,
    DestinationKind,
    parse_destination,
    scheduled_for,
)
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX
from stompy_broker.routing.group import MOST_GROUPS

HOME_GROUPS = 32
"""So many numbers of groups are kept for what belongs to one broker alone."""

MOST_NAMED_GROUPS = MOST_GROUPS - HOME_GROUPS
"""So many groups there may be whose queues have names."""

HASHED_GROUPS = 16
"""Among so many groups queues are spread unless somebody says otherwise."""

_PREFIXES = (DEAD_LETTER_PREFIX, BACKLOG)


class GroupMap:
    """The groups of a cluster, and which queue belongs to which.

    Args:
        hashed: among how many groups queues are spread by their names; numbers from 0.
        pins: for each further group the patterns of its queues, like ``/queue/orders.>``. They
            have the numbers behind the hashed ones, in this order. Of several patterns that fit
            a name the first one counts.

    Attributes:
        count: how many groups there are.

    Raises:
        ValueError: there are too many, or a pattern is none of queues.
    """

    def __init__(
        self, hashed: int = HASHED_GROUPS, pins: Sequence[str | Sequence[str]] = ()
    ) -> None:
        self.count = hashed + len(pins)
        if hashed < 1 or self.count > MOST_NAMED_GROUPS:
            raise ValueError(
                f"{hashed} groups and {len(pins)} of their own; "
                f"there must be one, and may be {MOST_NAMED_GROUPS} together"
            )
        self._hashed = hashed
        self._pins = [[pin] if isinstance(pin, str) else list(pin) for pin in pins]
        self._matcher: Matcher[int] = Matcher()
        for number, patterns in enumerate(self._pins, hashed):
            for pattern in patterns:
                destination = parse_destination(pattern)
                if destination.kind is not DestinationKind.QUEUE:
                    raise ValueError(f"{pattern} is no pattern of queues")
                self._matcher.add(destination.name, number)

    def of(self, name: str) -> int:
        """The number of the group of a queue."""
        queue = DestinationKind.QUEUE.value
        name = scheduled_for(name).partition(",/")[0].removeprefix(queue) or name
        while name.startswith(_PREFIXES):
            bare = name.partition(".")[2]
            if not bare:
                break
            name = bare
        if self._pins:
            fitting = self._matcher.match(name)
            if fitting:
                return min(fitting)
        return stable_hash(name) % self._hashed

    @property
    def layout(self) -> str:
        """How queues are grouped, as text; who groups them otherwise has another one."""
        return json.dumps([self._hashed, self._pins])


def stable_hash(text: str) -> int:
    """A number that is the same for a text in each process; python's own is not."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
