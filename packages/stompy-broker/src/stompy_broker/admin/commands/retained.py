"""Commands about messages that topics keep: to see them, and have them forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from stompy.admin.rows import Kind, RetainedRow, Role, Row
from stompy.admin.snapshot import row_to_json
from stompy_broker.admin.asking import ask, order
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    not_found,
)
from stompy_broker.admin.commands.listing import LISTING, MATCH, listing, matcher
from stompy_broker.admin.commands.messages import SHOWN_BYTES
from stompy_broker.admin.commands.selection import as_json
from stompy_broker.admin.snapshots.retained import retained_row
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import (
    RETAINED,
    Destination,
    DestinationKind,
    parse_destination,
    topic_text,
)
from stompy_broker.destinations.patterns import REST, name_test
from stompy_broker.message import Message
from stompy_broker.routing.interface import Remove
from stompy_broker.routing.retained_table import Entry
from stompy_broker.security.access import Action

_AT_ONCE = 1000
_TOLD = 20

_TOPIC = Argument("topic", "text", "its name, with or without /topic/", required=True)
_TOPICS = Argument("topics", "list", "their names, with or without /topic/")
_MATCH = replace(
    MATCH,
    meaning="part of the topic's name, a pattern with * and ?, or one as SUBSCRIBE takes it: "
    "prices.>, /topic/prices.*",
)
_PREFIX = DestinationKind.TOPIC.value
_RESTS = tuple(f"{between}{rest}" for rest in (*sorted(REST), "**") for between in "./")


class RetainedCommands:
    """Commands about what topics keep for who subscribes later.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [
            Command(
                "retained.list",
                Role.MONITOR,
                "Topics that keep a message for who subscribes later, as on $SYS.retained.",
                self._list,
                (_MATCH, *LISTING[1:]),
            ),
            Command(
                "retained.get",
                Role.MONITOR,
                "The message that a topic keeps, with its body.",
                self._get,
                (_TOPIC,),
            ),
            Command(
                "retained.delete",
                Role.OPERATOR,
                "Have topics forget the messages that they keep; nobody is told of it live.",
                self._delete,
                (_TOPICS, replace(_MATCH, default=None)),
                changes=True,
            ),
        ]

    def _list(self, call: Call) -> Result | Steps[Result]:
        match = call.args["match"]
        is_meant = _by_pattern(match)
        if is_meant is None:
            return listing(Kind.RETAINED, self._context, call)
        plain = replace(call, args={**call.args, "match": ""})

        def among(row: Row) -> bool:
            return isinstance(row, RetainedRow) and bool(is_meant(row.name))

        return listing(Kind.RETAINED, self._context, plain, among)

    def _get(self, call: Call) -> Steps[Result]:
        topic = _name_in(call.args["topic"])
        self._check(call, topic, Action.BROWSE)
        self._find(topic)
        yield from ask(partial(self._read, topic))
        message = self._find(topic)
        shown = as_json(message, "retained", SHOWN_BYTES // 2)
        return {**row_to_json(retained_row(topic, message)), "message": shown}

    def _read(self, topic: str, done: Callable[[None], None]) -> None:
        """Have the body of what a topic keeps be in memory."""
        kept = self._context.router.retained_messages
        kept.when_there([_destination(topic)], partial(done, None))

    def _find(self, topic: str) -> Message:
        found = self._context.router.retained.messages.get(topic)
        if found is None:
            raise not_found(f"{topic_text(topic)[:200]} keeps no message")
        return found

    def _delete(self, call: Call) -> Steps[Result]:
        found = self._meant(call)
        for topic, _ in found:
            self._check(call, topic, Action.ADMIN)
        call.expect(len(found))
        deleted = 0
        queue = self._context.router.queues.get(RETAINED)
        if queue is not None and not call.dry_run:
            for at in range(0, len(found), _AT_ONCE):
                some = frozenset(message.sequence for _, message in found[at : at + _AT_ONCE])
                deleted += yield from order(queue, Remove(some))
                yield None
        names = [topic for topic, _ in found[:_TOLD]]
        return {"matched": len(found), "deleted": deleted, "names": names}

    def _meant(self, call: Call) -> list[Entry]:
        """The topics that a request means, with what they keep."""
        topics, match = call.args["topics"], call.args["match"]
        if (topics is None) is (match is None):
            raise bad("retained.delete needs 'topics' or 'match', and not both")
        there = self._context.router.retained.messages
        if topics is None:
            is_meant = _by_pattern(match) or matcher(match)
            return [(topic, one) for topic, one in there.items() if is_meant(topic)]
        names = dict.fromkeys(_name_in(str(topic)) for topic in topics)
        return [(name, there[name]) for name in names if name in there]

    def _check(self, call: Call, topic: str, action: Action) -> None:
        """See that the access rules let somebody do something with what a topic keeps.

        Raises:
            ProtocolError: they do not.
        """
        if call.principal is not None:
            self._context.access.check(call.principal, action, _destination(topic))


def _name_in(text: str) -> str:
    """The name of a topic that may have its prefix."""
    return parse_destination(text if text.startswith("/") else _PREFIX + text).name


def _destination(topic: str) -> Destination:
    return Destination(DestinationKind.TOPIC, topic, is_pattern=False)


def _by_pattern(match: str) -> Callable[[str], object] | None:
    """What tells whether a topic is meant by a pattern as SUBSCRIBE takes it; None = it is none."""
    if not match.startswith(_PREFIX) and not match.endswith(_RESTS):
        return None
    pattern = match.removeprefix(_PREFIX)
    return name_test(pattern) or pattern.__eq__
