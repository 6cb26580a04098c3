"""Alarms that other parts raise beside those of the watermarks."""

from __future__ import annotations

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.routing.watermarks import Watermarks
from stompy_broker.timers import Clock


def test_an_alarm_of_another_part_is_told_once_and_cleared_once() -> None:
    now = 1000
    events = Events(lambda: now)
    told: list[Event] = []
    events.watch("broker.>", told.append)
    marks = Watermarks(Clock(lambda: 0.0, lambda _: None), lambda: now, events, 100)
    marks.set_alarm("cluster.peer_lost", "")
    marks.set_alarm("cluster.peer_lost", "no link to bob")
    now = 2000
    marks.set_alarm("cluster.peer_lost", "no link to bob, cid")
    assert marks.alarms == {"cluster.peer_lost": 1000}
    assert marks.reasons == {"cluster.peer_lost": "no link to bob, cid"}
    marks.set_alarm("cluster.peer_lost", "")
    marks.set_alarm("cluster.peer_lost", "")
    assert not marks.alarms
    assert not marks.reasons
    assert [(one.type, one.reason, one.detail) for one in told] == [
        ("broker.alarm_set", "cluster.peer_lost", {"why": "no link to bob"}),
        ("broker.alarm_cleared", "cluster.peer_lost", None),
    ]


def test_a_full_memory_leaves_the_alarms_of_others_alone() -> None:
    marks = Watermarks(Clock(lambda: 0.0, lambda _: None), lambda: 7, Events(lambda: 7), 100)
    marks.set_alarm("cluster.no_quorum", "no leader")
    marks.memory.add(101)
    assert set(marks.alarms) == {"cluster.no_quorum", "memory"}
    marks.memory.add(-101)
    marks.memory.check()
    assert set(marks.alarms) == {"cluster.no_quorum"}
