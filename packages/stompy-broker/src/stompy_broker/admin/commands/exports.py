"""The command that gives the messages of a queue away, many answers long. Nothing changes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from stompy.admin.rows import Role
from stompy_broker.admin.asking import ask
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
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
    with_states,
)
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Queue
from stompy_broker.routing.selection import Selection, first_bytes
from stompy_broker.security.access import Action

PAGE_MESSAGES, PAGE_BYTES = 500, 1024 * 1024
"""An answer has no more messages, and is not much larger."""

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
                "Give messages with their bodies, as many answers as it takes, in the order in "
                "which they came; nothing about them changes.",
                self._export,
                (QUEUE, IDS, HEADERS, SELECTOR, UP_TO, replace(LIMIT, default=None), _BODY),
                needs=(Action.BROWSE,),
                place=at_owner,
            )
        ]

    def _export(self, call: Call) -> Steps[Result]:
        args, queue = call.args, self._context.queue(call.args["queue"])
        selection = selected(args)
        picked = (yield from ask(partial(queue.browse, Browse(selection)))).messages
        picked = sorted(picked, key=lambda message: message.sequence)[: args["limit"]]
        call.expect(len(picked))
        result: Result = {
            "queue": queue.name,
            "matched": len(picked),
            "bytes": sum([message.size for message in picked]),
            "up_to": last_of(picked),
        }
        if call.dry_run:
            return {**result, "exported": 0}
        exported, full = 0, args["body"] == "full"
        while picked:
            size = first_bytes(picked[:PAGE_MESSAGES], PAGE_BYTES)
            batch, picked = picked[:size], picked[size:]
            page = yield from self._page(queue, batch, full=full)
            exported += len(page)
            call.part({"queue": queue.name, "messages": page})
            yield None
        return {**result, "exported": exported}

    def _page(
        self, queue: Queue, batch: list[Message], *, full: bool
    ) -> Steps[list[dict[str, object]]]:
        """Look at some messages again, for their bodies; those that have gone are left out."""
        first, last = batch[0].sequence, batch[-1].sequence
        ids = frozenset(message.message_id for message in batch)
        # Copies of one message in a queue share an id; the window keeps to these.
        window = Selection(ids, after=first - 1, up_to=last)
        look = Browse(window, bodies=sum(message.size for message in batch) + 1 if full else 0)
        pairs = with_states((yield from ask(partial(queue.browse, look))))
        most = None
        if full:
            pairs = [pair for pair in pairs if pair[0].body is not None]
            most = max((len(message.body or b"") for message, _ in pairs), default=0)
        pairs.sort(key=lambda pair: pair[0].sequence)
        return [
            {"sequence": str(message.sequence), **as_json(message, state, most)}
            for message, state in pairs
        ]
