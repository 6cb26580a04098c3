"""Commands about duplicate ids: how many are known of what, and to have them forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stompy.admin.rows import Role
from stompy_broker.admin.commands.base import (
    Addressee,
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    name_in,
    not_found,
)
from stompy_broker.admin.commands.listing import LIMIT, MATCH, matcher
from stompy_broker.admin.tasks import Steps
from stompy_broker.dedup_headers import LONGEST
from stompy_broker.destinations.names import DestinationKind, parse_destination
from stompy_broker.routing.duplicate_ids import DuplicateIds
from stompy_broker.security.access import Action

_AT_ONCE = 2000
_TOPIC = DestinationKind.TOPIC.value
_QUEUE = DestinationKind.QUEUE.value

_OF_QUEUE = Argument("queue", "text", "whose they are, with or without /queue/", names="queue")
_OF_TOPIC = Argument("topic", "text", "the same of a topic, with or without /topic/")
_ID = Argument("id", "text", "the id: what the header dedup-id says")


def _place(args: Mapping[str, Any]) -> Addressee:
    """Say where ids of a queue are known: at its owner."""
    return Addressee.HERE if args["queue"] is None else Addressee.OWNER


class DuplicateCommands:
    """Commands about duplicate ids.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "dedup.list",
                Role.MONITOR,
                "Destinations of which this broker knows duplicate ids, and how many.",
                self._list,
                (MATCH, LIMIT),
            ),
            Command(
                "dedup.find",
                Role.MONITOR,
                "Whether a duplicate id is known, and which message had it.",
                self._find,
                (_OF_QUEUE, _OF_TOPIC, replace(_ID, required=True)),
                needs=(Action.BROWSE,),
                place=_place,
            ),
            Command(
                "dedup.forget",
                Role.OPERATOR,
                "Know a duplicate id of a queue or topic no longer, or all: what comes with one is "
                "taken again.",
                self._forget,
                (_OF_QUEUE, _OF_TOPIC, _ID),
                changes=True,
                place=_place,
            ),
        ]

    def _list(self, call: Call) -> Result:
        book, matches = self._context.router.duplicates, matcher(call.args["match"] or "*")
        found = sorted(
            [ids for ids in book if matches(ids.destination)], key=lambda ids: ids.destination
        )
        rows = [
            {
                "destination": ids.destination,
                "ids": len(ids),
                "queued": len(ids.queued),
                "window": ids.window,
                "ttl_ms": ids.ttl,
                "duplicates": ids.duplicates,
            }
            for ids in found[: call.args["limit"]]
        ]
        return {"total": len(found), "ids": book.kept, "most": book.most, "rows": rows}

    def _of(self, call: Call, action: Action) -> DuplicateIds:
        queue, topic = call.args["queue"], call.args["topic"]
        if (queue is None) is (topic is None):
            raise bad("it is about a 'queue' or a 'topic', and not both")
        if queue is not None:
            text = f"{_QUEUE}{name_in(queue)}"
        else:
            text = topic if topic.startswith("/") else f"{_TOPIC}{topic}"
            destination = self._context.router.directions.resolve(parse_destination(text))
            if call.principal is not None:
                self._context.access.check(call.principal, action, destination)
            text = f"{_TOPIC}{destination.name}"
        ids = self._context.router.duplicates.find(text)
        if ids is None:
            raise not_found(f"no duplicate ids are known of {text[:200]!r}")
        return ids

    def _find(self, call: Call) -> Result:
        ids, value = self._of(call, Action.BROWSE), _value(call)
        earlier = ids.queued.get(value, 0)
        queued = bool(earlier)
        earlier = earlier or ids.find(value, self._context.router.wall())
        number = ids.shown.get(earlier, earlier)
        return {
            "destination": ids.destination,
            "known": bool(earlier),
            "duplicate_of": str(number) if earlier else "",
            "queued": queued,
        }

    def _forget(self, call: Call) -> Steps[Result]:
        ids = self._of(call, Action.ADMIN)
        now = self._context.router.wall()
        if call.args["id"] is not None:
            value = _value(call)
            matched = int(bool(ids.find(value, now)))
            call.expect(matched)
            if matched and not call.dry_run:
                ids.forget(value)
                ids.tell_store()
        else:
            matched = len(ids)
            call.expect(matched)
            if not call.dry_run:
                while len(ids):
                    for _ in range(min(_AT_ONCE, len(ids))):
                        ids.drop_oldest()
                    ids.tell_store()
                    yield None
        return {
            "destination": ids.destination,
            "matched": matched,
            "forgotten": 0 if call.dry_run else matched,
        }


def _value(call: Call) -> bytes:
    value = str(call.args["id"]).encode("utf-8", "surrogateescape")
    if not 0 < len(value) <= LONGEST:
        raise bad(f"an id has 1 to {LONGEST} bytes, not {len(value)}")
    return value
