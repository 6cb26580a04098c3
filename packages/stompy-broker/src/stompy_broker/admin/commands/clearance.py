"""The access rules hold for commands as they do for frames: a role alone opens no destination."""

from __future__ import annotations

from collections.abc import Mapping

from stompy_broker.destinations.names import BACKLOG, Destination, Kind, parse_destination
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import Principal

_LOOKING = frozenset(("message.peek", "message.get", "message.count"))
_TAKING: Mapping[str, Action] = {"message.move": Action.RECEIVE, "message.copy": Action.BROWSE}
"""What hands messages to another destination, where others may read them."""
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
    queue = args.get("queue")
    if command == "durable.delete":
        queue = f"{BACKLOG}{args.get('name')}"
    wanted: list[Action] = []
    if command in _LOOKING:
        wanted = [Action.BROWSE]
    elif changes:
        wanted = [Action.ADMIN, *([_TAKING[command]] if command in _TAKING else [])]
    if isinstance(queue, str):
        for action in wanted:
            access.check(principal, action, _queue(queue))
    for name in _DESTINATIONS if changes else ():
        destination = args.get(name)
        if isinstance(destination, str):
            access.check(principal, Action.SEND, parse_destination(destination))


def _queue(text: str) -> Destination:
    """A queue as commands name it, whatever its name looks like."""
    name = text.removeprefix(Kind.QUEUE.value)
    return parse_destination(f"{Kind.QUEUE.value}{name}")
