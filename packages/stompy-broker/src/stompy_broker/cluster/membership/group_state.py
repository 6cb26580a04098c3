"""One group of queues as one broker sees it: who has it, and what we are about to do with it.

===========  ==============  ==========  =====================================================
is           event           becomes     that is
===========  ==============  ==========  =====================================================
away         begin           reading     its log has no owner, and it is our turn
reading      end_read        fencing     we have read it, and append the record of our tenure
reading      give_up         away        somebody was faster, or it cannot be read
fencing      take            owner       that record is stored
fencing      read_again      reading     it was refused
fencing      give_up         away        somebody was faster
owner        leave           leaving     somebody else is to have it
leaving      left            away        the log says that we have left
owner        fence           deposed     somebody else has written to its log
leaving      fence           deposed
deposed      rest            away        who was slow or cut off does not try again at once
===========  ==============  ==========  =====================================================

An event that is not in the table comes too late, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class GroupStage(StrEnum):
    """What a broker has to do with a group."""

    AWAY = "away"
    READING = "reading"
    FENCING = "fencing"
    OWNER = "owner"
    LEAVING = "leaving"
    DEPOSED = "deposed"


class GroupEvent(StrEnum):
    """What may happen to a group."""

    BEGIN = "begin"
    END_READ = "end_read"
    READ_AGAIN = "read_again"
    TAKE = "take"
    GIVE_UP = "give_up"
    LEAVE = "leave"
    LEFT = "left"
    FENCE = "fence"
    REST = "rest"


TABLE: dict[tuple[GroupStage, GroupEvent], GroupStage] = {
    (GroupStage.AWAY, GroupEvent.BEGIN): GroupStage.READING,
    (GroupStage.READING, GroupEvent.END_READ): GroupStage.FENCING,
    (GroupStage.READING, GroupEvent.GIVE_UP): GroupStage.AWAY,
    (GroupStage.FENCING, GroupEvent.TAKE): GroupStage.OWNER,
    (GroupStage.FENCING, GroupEvent.READ_AGAIN): GroupStage.READING,
    (GroupStage.FENCING, GroupEvent.GIVE_UP): GroupStage.AWAY,
    (GroupStage.OWNER, GroupEvent.LEAVE): GroupStage.LEAVING,
    (GroupStage.LEAVING, GroupEvent.LEFT): GroupStage.AWAY,
    (GroupStage.OWNER, GroupEvent.FENCE): GroupStage.DEPOSED,
    (GroupStage.LEAVING, GroupEvent.FENCE): GroupStage.DEPOSED,
    (GroupStage.DEPOSED, GroupEvent.REST): GroupStage.AWAY,
}

NEVER = float("-inf")
"""A time that has passed, whatever a clock begins with."""

_HELD = frozenset((GroupStage.OWNER, GroupStage.LEAVING))


@dataclass(slots=True)
class GroupState:
    """One group.

    Attributes:
        number: which one.
        stage: what we have to do with it.
        owner: who has it as far as we know, perhaps we; empty = nobody.
        tenure: the highest tenure that was heard of; ours if we have it.
        left: whether that tenure is known to have ended in good order.
        to: who is to have it next, as its last owner has said.
        moving: whether its owner is giving it away.
        vacant_at: since when it is known to have no owner.
        dead_at: from when on whoever had it last counts as dead, unless it has left.
        not_before: until when it is not tried again.
        rest_until: until when one who was deposed keeps away.
    """

    number: int
    stage: GroupStage = GroupStage.AWAY
    owner: str = ""
    tenure: int = 0
    left: bool = False
    to: str = ""
    moving: bool = False
    vacant_at: float = NEVER
    dead_at: float = NEVER
    not_before: float = NEVER
    rest_until: float = NEVER

    @property
    def held(self) -> bool:
        """Whether we have it still."""
        return self.stage in _HELD

    def happen(self, event: GroupEvent) -> bool:
        """Go to the next stage; gives whether the event had any meaning."""
        stage = TABLE.get((self.stage, event))
        if stage is None:
            return False
        self.stage = stage
        return True
