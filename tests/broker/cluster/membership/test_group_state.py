"""One group's states: the table is the one in the text, and what comes late changes nothing."""

from __future__ import annotations

import re

import pytest

from stompy_broker.cluster.membership import group_state
from stompy_broker.cluster.membership.group_state import TABLE, GroupEvent, GroupStage, GroupState


def test_the_text_shows_the_table():
    rows = re.findall(r"^(\w+)  +(\w+)  +(\w+)(?:  .*)?$", group_state.__doc__ or "", re.M)
    shown = {(is_, event): becomes for is_, event, becomes in rows if is_ != "is"}
    assert shown == {(str(one), str(event)): str(to) for (one, event), to in TABLE.items()}


@pytest.mark.parametrize("stage", GroupStage)
@pytest.mark.parametrize("event", GroupEvent)
def test_what_is_not_in_the_table_changes_nothing(stage: GroupStage, event: GroupEvent):
    group = GroupState(0, stage)
    happened = group.happen(event)
    assert happened == ((stage, event) in TABLE)
    assert group.stage is TABLE.get((stage, event), stage)
    assert group.held == (group.stage in (GroupStage.OWNER, GroupStage.LEAVING))


def test_there_is_a_way_from_each_stage_to_each_other():
    ways = {stage: {to for (one, _), to in TABLE.items() if one is stage} for stage in GroupStage}
    for start in GroupStage:
        seen: set[GroupStage] = set()
        ahead = [start]
        while ahead:
            ahead += ways[ahead.pop()] - seen - set(ahead)
            seen |= set(ahead)
        assert seen == set(GroupStage)
