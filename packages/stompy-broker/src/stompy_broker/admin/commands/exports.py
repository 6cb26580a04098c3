"""The command that gives the messages of a queue away, many answers long. Nothing changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from stompy.admin.rows import Role
from stompy_broker.admin.asking import ask, look_through
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
)
from stompy_broker.admin.commands.selection import (
    HEADERS,
    IDS,
    LIMIT,
    QUEUE,
    SELECTOR,
    UP_TO,
    as_json,
    last_of,
    selected,
)
from stompy_broker.admin.tasks import Steps
from stompy_broker.routing.interface import Browse, Browsed
from stompy_broker.routing.message_state import MessageState
from stompy_broker.security.access import Action

PAGE_MESSAGES, PAGE_BYTES = 500, 1024 * 1024
"""An answer has no more messages, and is not much larger."""

_MOST = replace(LIMIT, default=None, most=1 << 53)
_WAITING = (MessageState.READY, MessageState.DELAYED)

_STATES = Argument("states", "list", "of ready, delayed, unacked; the first two if left out")
_BODY = Argument("body", "text", "how much", words=("none", "full"), default="full")


class ExportCommands:
    """The command that gives the messages of a queue away.

    Args:
        context: what it has to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "message.export",
                Role.OPERATOR,
                "Give messages with their bodies, in as many answers as it takes, by priority and "
                "then as they came; nothing about them changes.",
                self._export,
                (QUEUE, IDS, HEADERS, SELECTOR, UP_TO, _STATES, _MOST, _BODY),
                needs=(Action.BROWSE,),
                place=at_owner,
            )
        ]

    def _export(self, call: Call) -> Steps[Result]:
        args, queue = call.args, self._context.queue(call.args["queue"])
        selection, states = selected(args), _states(args["states"])
        result: Result = {"queue": queue.name}
        if call.dry_run or call.request.expect is not None:
            look = Browse(selection, states=states, most=args["limit"])
            found: Browsed = yield from ask(partial(queue.browse, look))
            call.expect(len(found.messages))
            size = sum([message.size for message in found.messages])
            result |= {"matched": len(found.messages), "bytes": size}
        if call.dry_run:
            return {**result, "up_to": last_of(found.messages), "exported": 0}
        exported, full = 0, args["body"] == "full"

        def give(found: Browsed) -> int:
            nonlocal exported
            page = list(_page(found, full=full))
            if page:
                call.part({"queue": queue.name, "messages": page})
            exported += len(page)
            return len(page)

        look = Browse(
            selection, most=PAGE_MESSAGES, bodies=PAGE_BYTES if full else 0, states=states
        )
        meant = yield from look_through(queue, look, args["limit"], give)
        return {**result, "up_to": str(meant.up_to), "exported": exported}


def _states(given: Sequence[object] | None) -> frozenset[MessageState]:
    """Read which states are meant.

    Raises:
        CommandError: there is no such state.
    """
    names = _WAITING if given is None else given
    known = {state.value: state for state in (*_WAITING, MessageState.UNACKED)}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise bad(f"there is no state {str(unknown)[:40]!r}; there are {', '.join(known)}")
    return frozenset(known[str(name)] for name in names)


def _page(found: Browsed, *, full: bool) -> Iterator[dict[str, object]]:
    """Give messages as an answer has them; those that have left meanwhile have no body."""
    for message, state in zip(found.messages, found.states, strict=True):
        if full and message.body is None:
            continue
        most = len(message.body or b"") if full else None
        yield {"sequence": str(message.sequence), **as_json(message, state.value, most)}
