"""What is kept of a queue beside its messages: how it was set up, and what operators decided.

A store keeps it as a mapping of texts, where the set-up headers have their own names and the
decisions names that no header can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stompy_broker.destinations.policy import ARGUMENTS

_PAUSED, _INTAKE_PAUSED, _CREATED = ":paused", ":intake-paused", ":created"
_EXCLUSIVE = ":exclusive"


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What is kept of a queue.

    Attributes:
        arguments: the headers by which its first frame set it up.
        paused: whether an operator stopped deliveries.
        intake_paused: whether an operator stopped what comes in.
        created: whether an operator made it, so that it stays when nobody uses it.
        exclusive: whether a connection has it for itself, so that it ends with that.
    """

    arguments: Mapping[str, str] = field(default_factory=dict)
    paused: bool = False
    intake_paused: bool = False
    created: bool = False
    exclusive: bool = False

    @classmethod
    def from_stored(cls, stored: Mapping[str, str]) -> QueueSettings:
        """From what a store has kept."""
        return cls(
            {name: value for name, value in stored.items() if name in ARGUMENTS},
            paused=_PAUSED in stored,
            intake_paused=_INTAKE_PAUSED in stored,
            created=_CREATED in stored,
            exclusive=_EXCLUSIVE in stored,
        )

    def to_stored(self) -> dict[str, str]:
        """As a store keeps it; empty = nothing worth keeping."""
        decisions = {
            _PAUSED: self.paused,
            _INTAKE_PAUSED: self.intake_paused,
            _CREATED: self.created,
            _EXCLUSIVE: self.exclusive,
        }
        return {**self.arguments, **{name: "1" for name, true in decisions.items() if true}}


NO_SETTINGS = QueueSettings()
"""Those of a queue that nobody has set up."""
