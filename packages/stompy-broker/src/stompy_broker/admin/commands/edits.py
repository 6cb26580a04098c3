"""The command that repairs a dead letter and tries it again, in one change.

The store is told in one turn that the dead letter leaves and that the repaired message comes: it is
the one or the other, whenever the broker may end, and never both or none. What it was before is
told by the digest that it carries from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256

from stompy.admin.rows import Role
from stompy.errors import ProtocolError
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
from stompy_broker.admin.commands.content import ENCODING, read_body, read_headers, read_place
from stompy_broker.admin.commands.retry import (
    backlog_of,
    deliveries_of,
    head_of,
    headers_at,
    origin_of,
)
from stompy_broker.admin.commands.selection import QUEUE, TO, select
from stompy_broker.admin.tasks import Steps
from stompy_broker.broker_headers import BROKER_HEADERS, DEATH_HEADERS
from stompy_broker.destinations.names import Destination
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browse, Move, Transfer
from stompy_broker.security.access import Action

EDITED_BY, EDITED_AT = "edited-by", "edited-at"
ORIGINAL_BODY = "original-body-sha256"

_NOT_TO_EDIT = frozenset(
    (*BROKER_HEADERS, *DEATH_HEADERS, "destination", "content-length", EDITED_BY, EDITED_AT)
) | {ORIGINAL_BODY}
"""What the broker writes, or what says where a message is."""


class EditCommands:
    """The command that repairs a dead letter and tries it again.

    Args:
        context: what it has to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "message.edit_and_retry",
                Role.ADMIN,
                "Repair a dead letter and send it back to where it came from, in one change.",
                self._edit_and_retry,
                (
                    QUEUE,
                    Argument("id", "text", "its message-id", required=True),
                    Argument("headers", "object", "other values of headers; null = without it"),
                    Argument("body", "text", "another body; the same if left out"),
                    ENCODING,
                    replace(TO, meaning="where to instead: a queue or topic", required=False),
                ),
                changes=True,
                place=at_owner,
                # Who may repair it has seen it.
                needs=(Action.BROWSE,),
            )
        ]

    def _edit_and_retry(self, call: Call) -> Steps[Result]:
        args, queue = call.args, self._context.queue(call.args["queue"])
        if not queue.final and args["to"] is None:
            raise conflict(f"{queue.name} is no dead-letter queue; say where to with 'to'")
        changes = _changes(args["headers"] or {})
        given = None if args["body"] is None else read_body(args["body"], args["encoding"])
        look = Browse(select([args["id"]]), most=1, bodies=1)
        found = (yield from ask(partial(queue.browse, look))).messages
        if not found:
            raise not_found(f"no message {args['id'][:60]!r} waits in {queue.name}")
        message, body = found[0], found[0].body
        if body is None:
            raise not_found(f"message {message.message_id} has left {queue.name}")
        place, destination = self._place(call, message)
        edited = body if given is None else given
        headers = headers_at(message, destination, revives=queue.final)
        self._check(call, destination, headers, changes)
        for name, value in changes.items():
            if value is None:
                headers.pop(name, None)
            else:
                headers[name] = value
        if "content-length" in headers:
            headers["content-length"] = str(len(edited))
        headers[EDITED_BY], headers[EDITED_AT] = call.user, str(self._context.router.wall())
        digest = headers.setdefault(ORIGINAL_BODY, sha256(body).hexdigest())
        head = head_of(message, headers)
        self._context.router.caps.check_headers(head.block)
        call.expect(1)
        result: Result = {
            "queue": queue.name,
            "message_id": message.message_id,
            "matched": 1,
            "to": str(destination),
            "body_changed": edited != body,
            "headers_changed": len(changes),
            ORIGINAL_BODY.replace("-", "_"): digest,
        }
        if call.dry_run:
            return result
        past = deliveries_of(message, revived=queue.final)
        transfer = Transfer(message.sequence, place, head, past, body=edited)
        try:
            gone = yield from order(queue, Move([transfer]))
        except ProtocolError as error:
            raise conflict(f"nothing was done: {error.Message}") from None
        if not gone:
            raise conflict(f"message {message.message_id} has left {queue.name}; nothing was done")
        return {**result, "retried": 1}

    def _place(self, call: Call, message: Message) -> tuple[Destination, Destination]:
        """Find the queue or topic that gets a message, and what its header is to say."""
        if call.args["to"] is not None:
            destination = read_place("to", call.args["to"])
            return destination, destination
        origin = origin_of(message)
        return backlog_of(message, self._context.router.registry.durable.by_name) or origin, origin

    def _check(
        self,
        call: Call,
        destination: Destination,
        headers: Mapping[str, str],
        changes: Mapping[str, str | None],
    ) -> None:
        permissions = self._context.permissions(call)
        permissions.check_send(str(destination))
        reply_to = changes.get("reply-to")
        if reply_to is not None and reply_to != headers.get("reply-to"):
            permissions.check_reply_to(reply_to)


def _changes(given: Mapping[str, object]) -> dict[str, str | None]:
    """Read which headers are to be others; None = without it.

    Raises:
        CommandError: one of them is not to be changed.
    """
    forbidden = sorted(_NOT_TO_EDIT.intersection(given))
    if forbidden:
        raise bad(f"{forbidden[0]!r} is written by the broker, and cannot be edited")
    values = read_headers({name: value for name, value in given.items() if value is not None})
    return {name: values.get(name) for name in given}
