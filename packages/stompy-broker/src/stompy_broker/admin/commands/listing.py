"""Listings: rows matched, sorted and cut, as all commands that end in ``.list`` give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stompy.admin.rows import Kind, Row
from stompy.admin.snapshot import KEYS, aged, field_names, row_to_json
from stompy_broker.admin.commands.base import Argument, Call, CommandContext, Result, bad
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import DestinationKind
from stompy_broker.destinations.patterns import REST
from stompy_broker.routing.queue_patterns import QueuePattern

MOST_ROWS = 10_000

_RESTS = tuple(f".{rest}" for rest in sorted(REST))
_QUEUE = DestinationKind.QUEUE.value

MATCH = Argument(
    "match",
    "text",
    "part of the name, a pattern with * and ?, or one by words: orders.>, /queue/orders.*",
    default="",
)
SORT = Argument("sort", "text", "field to sort by; with - before it, falling", default="")
LIMIT = Argument("limit", "number", "rows to give at most", default=200, most=MOST_ROWS)
OFFSET = Argument("offset", "number", "rows to leave out", default=0)
FIELDS = Argument("fields", "list", "fields to give; all if left out")
LISTING = (MATCH, SORT, LIMIT, OFFSET, FIELDS)


def listing(
    kind: Kind, context: CommandContext, call: Call, among: Callable[[Row], bool] | None = None
) -> Steps[Result]:
    """Give the rows that a listing asks for: matched by their keys, sorted, cut, as JSON.

    Args:
        kind: of the rows.
        context: where they are.
        call: what is asked for.
        among: which of them are meant at all; None = all.

    Raises:
        CommandError: a field that there is not.
    """
    found, at = yield from context.look(kind, call)
    rows = found.rows if among is None else [row for row in found.rows if among(row)]
    args, names = call.args, field_names(kind, clustered=context.cluster is not None)
    key = KEYS[kind]
    if args["match"]:
        matches = matcher(args["match"], kind)
        rows = [row for row in rows if matches(str(getattr(row, key)))]
    sort = args["sort"] or key
    column = sort.removeprefix("-")
    wanted = args["fields"] or list(names)
    unknown = next((name for name in (column, *wanted) if name not in names), None)
    if unknown is not None:
        raise bad(f"there is no field {unknown!r}; there are {', '.join(names)}")
    rows = sorted(rows, key=lambda row: _sortable(getattr(row, column)))
    if sort.startswith("-"):
        rows = rows[::-1]
    cut = rows[args["offset"] : args["offset"] + args["limit"]]
    own = call.client.key if call.client is not None else ""
    result: Result = {
        "total": len(rows),
        "offset": args["offset"],
        "rows": [_chosen(aged(row, at), wanted, own) for row in cut],
    }
    if found.brokers:
        result |= {"brokers": found.brokers, "missing": found.missing}
    return result


def matcher(match: str, kind: Kind | None = None) -> Callable[[str], bool]:
    """Make what tells whether a key is meant.

    With a prefix, or with a wildcard for the rest, it is a pattern as SUBSCRIBE takes it.
    """
    if kind is Kind.QUEUES and (match.startswith(_QUEUE) or match.endswith(_RESTS)):
        return QueuePattern(match.removeprefix(_QUEUE)).matches
    pattern = match if any(c in match for c in "*?[") else f"*{match}*"
    return lambda key: fnmatchcase(key, pattern)


def _chosen(row: Row, wanted: Sequence[str], own: str) -> dict[str, object]:
    everything = row_to_json(row)
    chosen = {name: everything.get(name) for name in wanted}
    if "self" in everything and own in (everything["id"], everything.get("connection")):
        chosen["self"] = True
    return chosen


def _sortable(value: object) -> tuple[int, Any]:
    """What is not known comes first, then numbers, then the rest."""
    if value is None:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    return (2, str(value))
