"""What is told of the message groups of a queue."""

from __future__ import annotations

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.routing.group_table import GroupTable
from stompy_broker.routing.interface import GroupFigures
from stompy_broker.routing.message_group import GroupedMessage, MessageGroup
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.services import Services


def group_figures(
    table: GroupTable, ready: ReadyList, services: Services
) -> tuple[GroupFigures, ...]:
    """The figures of all groups.

    Args:
        table: they.
        ready: the messages of the queue, of which some wait for a time.
        services: of the broker.
    """
    now, wall = services.clock.now(), services.wall()
    due: dict[MessageGroup, float] = {}
    for when, _, message in ready.in_time():
        if isinstance(message, GroupedMessage):
            due[message.group] = max(when, due.get(message.group, when))
    found = []
    for group in table:
        until, owner = max(group.held_until, due.get(group, 0.0)), group.owner
        found.append(
            GroupFigures(
                group.key,
                0 if owner is None else owner.number,
                len(group.waiting) + group.delayed,
                group.unsettled,
                0 if owner is None else group.since,
                wall + round((until - now) * 1000) if until else 0,
                group.number >= 0,
            )
        )
    return tuple(found)


def tell_held(group: MessageGroup, seconds: float, destination: str, events: Events) -> None:
    """Tell that a consumer has a group held back, if somebody asks.

    Args:
        group: which.
        seconds: for how long.
        destination: of the queue.
        events: told.
    """
    if "group" in events.detailed:
        detail: dict[str, object] = {"group": group.key, "delay_ms": round(seconds * 1000)}
        events.tell(Event(type="group.held", destination=destination, detail=detail))


def tell_group(group: MessageGroup | None, destination: str, events: Events) -> None:
    """Tell that a group has got an owner, if somebody asks; or that values begin to share groups.

    Args:
        group: which; None = values share.
        destination: of the queue.
        events: told.
    """
    if group is None:
        reason = "more groups of messages than are remembered: others share some"
        kind = "queue.groups_bucketed"
        events.tell(Event(type=kind, severity="warn", destination=destination, reason=reason))
    elif "group" in events.detailed and group.owner is not None:
        detail: dict[str, object] = {"group": group.key, "subscription": group.owner.number}
        events.tell(Event(type="group.assigned", destination=destination, detail=detail))
