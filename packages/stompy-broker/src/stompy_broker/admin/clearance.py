"""The access rules hold for commands as they do for frames: a role alone opens no destination."""

from __future__ import annotations

from collections.abc import Mapping

from stompy_broker.access import Access, Action
from stompy_broker.auth import Principal
from stompy_broker.destination import parse_destination

_LOOKING = frozenset(("message.peek", "message.get", "message.count"))
_DESTINATIONS = ("destination", "to")


def check_clearance(
    access: Access,
    principal: Principal,
    command: str,
    args: Mapping[str, object],
    *,
    changes: bool,
) -> None:
    """Whether the rules let somebody do what a command does.

    Args:
        access: the rules.
        principal: who wants it.
        command: its name.
        args: its arguments.
        changes: whether it changes anything.

    Raises:
        ProtocolError: they do not, or a destination cannot be read.
    """
    wanted: list[tuple[Action, object]] = []
    if command in _LOOKING:
        wanted.append((Action.BROWSE, args.get("queue")))
    elif changes:
        wanted.append((Action.ADMIN, args.get("queue")))
        wanted += [(Action.SEND, args.get(name)) for name in _DESTINATIONS]
    for action, destination in wanted:
        if isinstance(destination, str):
            access.check(principal, action, parse_destination(destination))
