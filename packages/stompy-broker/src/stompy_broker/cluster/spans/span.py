"""One transaction over groups of several owners, at its coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stompy_broker.cluster.link.link import Link
from stompy_broker.cluster.log.log import Append
from stompy_broker.cluster.remote.parts import Part
from stompy_broker.cluster.spans.share import Share
from stompy_broker.routing.answers import Done


@dataclass(slots=True, eq=False)
class Span:
    """What is known of it.

    Attributes:
        number: which one of this coordinator it is.
        parts: what it tells, by group.
        waiting: who is told what becomes of it.
        asked: the links to the owners that were asked, by group; None = we are the owner.
        shares: those that are here, by group.
        offers: the records so far, by group.
        appending: whether the log was asked to take them.
        over: whether it is known what became of it.
    """

    number: int
    parts: dict[int, Part]
    waiting: list[Done]
    asked: dict[int, Link | None] = field(default_factory=dict)
    shares: dict[int, Share] = field(default_factory=dict)
    offers: dict[int, Append] = field(default_factory=dict)
    appending: bool = False
    over: bool = False

    @property
    def groups(self) -> tuple[int, ...]:
        """Its groups, in the order in which their owners are asked."""
        return tuple(sorted(self.parts))

    @property
    def size(self) -> int:
        """Bytes of its messages."""
        return sum([part.size for part in self.parts.values()])

    def join(self, parts: Mapping[int, Part], done: Done) -> None:
        """Have one more transaction over the same groups be in it."""
        for group, part in parts.items():
            self.parts[group].join(part)
        self.waiting.append(done)
