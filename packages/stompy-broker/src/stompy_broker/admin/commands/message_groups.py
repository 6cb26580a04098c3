"""Commands about message groups: who has them, what waits in them, and who is to have them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stompy.admin.rows import Role
from stompy_broker.admin.asking import ask, order
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
    conflict,
    not_found,
)
from stompy_broker.admin.commands.listing import LIMIT, MATCH, OFFSET, matcher
from stompy_broker.admin.commands.selection import QUEUE
from stompy_broker.admin.snapshots.queues import group_to_json
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import AssignGroup, Browse, Browsed, GroupFigures, Queue
from stompy_broker.security.access import Action

_LONGEST = 15
"""Digits of the number of a subscription."""

_GROUP = Argument("group", "text", "its JMSXGroupID", required=True)


class GroupCommands:
    """Commands about the message groups of a queue.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        monitor, operator = Role.MONITOR, Role.OPERATOR
        return [
            Command(
                "group.list",
                monitor,
                "The message groups of a queue.",
                self._list,
                (QUEUE, MATCH, LIMIT, OFFSET),
                needs=(Action.BROWSE,),  # the values of groups are what messages say
                place=at_owner,
            ),
            Command(
                "group.get",
                monitor,
                "One message group of a queue.",
                self._get,
                (QUEUE, _GROUP),
                needs=(Action.BROWSE,),
                place=at_owner,
            ),
            Command(
                "group.reset",
                operator,
                "Have message groups pick a consumer anew, each when nothing of it is unsettled.",
                self._reset,
                (QUEUE, Argument("group", "text", "its JMSXGroupID; all if left out")),
                changes=True,
                place=at_owner,
            ),
            Command(
                "group.assign",
                operator,
                "Give a message group to a consumer.",
                self._assign,
                (
                    QUEUE,
                    _GROUP,
                    Argument(
                        "subscription", "text", "id of its row, at the same broker", required=True
                    ),
                ),
                changes=True,
                place=at_owner,
            ),
        ]

    def _groups(self, queue: Queue) -> Steps[tuple[GroupFigures, ...]]:
        browsed: Browsed = yield from ask(partial(queue.browse, Browse(most=0, groups=True)))
        return browsed.groups

    def _find(self, queue: Queue, key: str) -> Steps[GroupFigures]:
        groups = yield from self._groups(queue)
        for one in groups:
            if one.key == key:
                return one
        raise not_found(f"{queue.destination} has no message group {key[:200]!r}")

    def _list(self, call: Call) -> Steps[Result]:
        queue, args = self._context.queue(call.args["queue"]), call.args
        groups = list((yield from self._groups(queue)))
        if args["match"]:
            is_meant: Callable[[str], bool] = matcher(args["match"])
            groups = [one for one in groups if is_meant(one.key)]
        some = groups[args["offset"] : args["offset"] + args["limit"]]
        rows = [group_to_json(one) for one in some]
        return {"total": len(groups), "offset": args["offset"], "rows": rows}

    def _get(self, call: Call) -> Steps[Result]:
        queue = self._context.queue(call.args["queue"])
        return group_to_json((yield from self._find(queue, call.args["group"])))

    def _reset(self, call: Call) -> Steps[Result]:
        queue, key = self._context.queue(call.args["queue"]), call.args["group"]
        if key:
            meant = [(yield from self._find(queue, key))]
        else:
            meant = [one for one in (yield from self._groups(queue)) if one.owner]
        call.expect(len(meant))
        reset = 0
        for one in () if call.dry_run else meant:
            reset += yield from order(queue, AssignGroup(one.key, 0))
        # What is unsettled stays with its consumer, and so does the group.
        return {"queue": queue.name, "matched": len(meant), "reset": reset}

    def _assign(self, call: Call) -> Steps[Result]:
        queue, key = self._context.queue(call.args["queue"]), call.args["group"]
        text: str = call.args["subscription"]
        number = text.removeprefix("s-").partition("@")[0]
        if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST):
            raise bad(f"{text[:200]!r} is no id of a subscription, such as s-7")
        found = yield from self._find(queue, key)
        call.expect(1)
        if not call.dry_run and not (yield from order(queue, AssignGroup(key, int(number)))):
            if found.unsettled:
                raise conflict(f"{found.unsettled} of its messages are unsettled")
            raise conflict(f"{text} does not consume from {queue.destination} here")
        return {"queue": queue.name, "group": key, "assigned": int(not call.dry_run)}
