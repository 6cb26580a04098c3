"""``stompy schedules``: what is to come later at a broker; to end it, have it now, or move it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from stompy.admin.command import Request
from stompy.cli.asking import ask
from stompy.cli.console import FAILED, OK, TIMED_OUT, UsageError, given_output, put, say
from stompy.cli.options import Commands, add_command, at_least, open_client, seconds, tell
from stompy.cli.times import moment
from stompy.data_table import DataTable, Value
from stompy.errors import STOMPTimeout
from stompy.table_text import FORMS, table_lines

_MOST = 10**9
_SHOWN = ("next", "in", "destination", "how", "fired", "bytes", "id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_DETAILS = """\
examples:
  stompy schedules
  stompy schedules list --match reports --format json
  stompy schedules cancel --destination /queue/reports --name weekly
  stompy schedules cancel --selector "customer = 7" --dry-run
  stompy schedules fire weekly --destination /queue/reports
  stompy schedules move ID-7 --at 2027-01-01T09:00

actions:
  list    what is to come, next one first; for the role monitor
  cancel  end schedules, by their ids or --selector, for the role operator; or by --destination and
          --name, for whoever may send there
  fire    have messages come now, for the role operator; what comes again stays as it is
  move    have a message come at another time, for the role operator

An id is what the list shows. The broker has to be stompy-broker. When nothing is meant by an id, a
name or --selector, that fails (exit code 1).
"""


def add_to(commands: Commands) -> None:
    """Make the command known."""
    command = add_command(
        commands, "schedules", _schedules, "see what is to come later, and change it", _DETAILS
    )
    command.add_argument(
        "words",
        metavar="[ACTION] [ID]",
        nargs="*",
        help="list (default), cancel, fire or move; which schedules",
    )
    command.add_argument("--match", metavar="TEXT", help="list: part of the destination, or * ?")
    command.add_argument("--selector", metavar="EXPRESSION", help="only those it matches")
    command.add_argument("--destination", metavar="DESTINATION", help="only those that go there")
    command.add_argument("--name", metavar="NAME", help="cancel: its schedule id at --destination")
    command.add_argument("--at", metavar="WHEN", type=moment, help="move: 2027-01-01T09:00")
    command.add_argument(
        "-n",
        "--count",
        metavar="COUNT",
        type=at_least(1, _MOST, "schedules"),
        default=100,
        help="list: so many at most (default: 100)",
    )
    command.add_argument(
        "--offset",
        metavar="COUNT",
        type=at_least(0, _MOST, "schedules"),
        default=0,
        help="list: leave out so many first",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="say how many that would be, and change nothing"
    )
    command.add_argument(
        "--format",
        choices=FORMS,
        default="table",
        help="list: table: columns of text; json: an object a line; csv (default: table)",
    )
    command.add_argument(
        "--timeout", metavar="S", type=seconds, default=10.0, help="for the answer (default: 10)"
    )


def _schedules(options: argparse.Namespace) -> int:
    action, *ids = options.words or ["list"]
    act = _ACTIONS.get(action)
    if act is None:
        raise UsageError(f"there is no action {action!r}; there are {', '.join(_ACTIONS)}")
    return act(options, ids)


# -- looking -----------------------------------------------------------------------------------


def _list(options: argparse.Namespace, ids: list[str]) -> int:
    if ids:
        raise UsageError("list takes no ids; --match and --selector choose")
    given_output()
    args: dict[str, object] = {"limit": options.count, "offset": options.offset}
    match = options.match or options.destination
    args |= {
        name: value
        for name, value in (("match", match), ("selector", options.selector))
        if value is not None
    }

    def show(result: Mapping[str, Any]) -> None:
        table = _table(result["rows"], plain=options.format != "table")
        for line in table_lines(table, options.format, narrow=sys.stdout.isatty()):
            put(line)
        if result["more"]:
            tell(options, f"there are more; --offset {options.offset + options.count} goes on")

    return ask(options, Request("scheduled.list", args), show)


def _table(rows: list[dict[str, Any]], *, plain: bool) -> DataTable:
    if plain:
        return DataTable(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])
    now = datetime.now(UTC)
    return DataTable(_SHOWN, [_shown(row, now) for row in rows])


def _shown(row: Mapping[str, Any], now: datetime) -> tuple[Value, ...]:
    due = _EPOCH + timedelta(milliseconds=row["next_at"])
    left = max(timedelta(), timedelta(seconds=round((due - now).total_seconds())))
    return (
        due.astimezone().isoformat(" ", "seconds"),
        str(left),
        row["destination"],
        how(row),
        row["fired"],
        row["bytes"],
        row["job_id"],
    )


def how(row: Mapping[str, Any]) -> str:
    """What a schedule does: once, or again and again."""
    parts = []
    if row["cron"]:
        parts.append(f"{row['cron']} ({row['zone']})")
    if row["period_ms"]:
        left = row["repeat_left"]
        more = "" if left < 0 else f", {left} more"
        parts.append(f"every {timedelta(milliseconds=row['period_ms'])}{more}")
    return ", ".join(parts) or "once"


# -- changing ----------------------------------------------------------------------------------


def _cancel(options: argparse.Namespace, ids: list[str]) -> int:
    if options.name is not None:
        return _cancel_named(options, ids)
    if not ids and options.selector is None:
        raise UsageError("cancel needs ids, --selector, or --destination and --name")
    args: dict[str, object] = {}
    if ids:
        args["ids"] = ids
    return _change(options, "scheduled.cancel", args, "cancelled")


def _cancel_named(options: argparse.Namespace, ids: list[str]) -> int:
    """By the right to send there, as its sender would."""
    if ids or options.selector is not None or options.destination is None or options.dry_run:
        raise UsageError("--name goes with --destination, and with nothing else")
    try:
        with open_client(options) as client:
            found = client.cancel_schedule(
                options.destination, options.name, timeout=options.timeout
            )
    except STOMPTimeout:
        say(f"no answer within {options.timeout:g} s")
        return TIMED_OUT
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not found:
        say(f"there is no schedule {options.name!r} at {options.destination}")
        return FAILED
    tell(options, "cancelled 1")
    return OK


def _fire(options: argparse.Namespace, ids: list[str]) -> int:
    if not ids or options.selector is not None:
        raise UsageError("fire needs ids; stompy schedules shows them")
    return _change(options, "scheduled.fire_now", {"ids": ids}, "fired")


def _move(options: argparse.Namespace, ids: list[str]) -> int:
    if len(ids) != 1 or options.at is None or options.selector is not None:
        raise UsageError("move needs one id and --at")
    at = -((_EPOCH - options.at) // timedelta(milliseconds=1))
    return _change(options, "scheduled.reschedule", {"id": ids[0], "at": at}, "rescheduled")


def _change(options: argparse.Namespace, command: str, args: dict[str, object], done: str) -> int:
    for name in ("selector", "destination"):
        if getattr(options, name) is not None:
            args[name] = getattr(options, name)
    matched = 0

    def show(result: Mapping[str, Any]) -> None:
        nonlocal matched
        matched = result["matched"]
        if options.dry_run:
            put(f"{matched} would be {done}")
        elif matched:
            tell(options, f"{done} {result[done]}")

    code = ask(options, Request(command, args, dry_run=options.dry_run), show)
    if code == OK and not matched:
        say("there is no such schedule")
        return FAILED
    return code


_ACTIONS: dict[str, Callable[[argparse.Namespace, list[str]], int]] = {
    "list": _list,
    "cancel": _cancel,
    "fire": _fire,
    "move": _move,
}
