"""What a consumer asks of its queue, beside messages."""

from __future__ import annotations

from typing import NamedTuple


class Terms(NamedTuple):
    """What holds for one consumer of a queue. It is told when it is attached, and never changes.

    A queue that cannot keep to it refuses the consumer with ``not-supported``.

    Attributes:
        selector: only messages whose headers match it are for this consumer; empty = all are.
        holder: the connection that has the queue for itself, so that consumers of no other one
            may take part; empty = nobody has.
    """

    selector: str = ""
    holder: str = ""


PLAIN = Terms()
"""What a consumer asks that asks nothing: one object for all of them."""
