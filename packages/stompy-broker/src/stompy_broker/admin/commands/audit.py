"""The trace that commands leave: an event for who watches, a line in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from stompy.admin.command import CommandError, Request
from stompy.admin.rows import Event, Role
from stompy_broker.events import Events
from stompy_broker.session.context import Client

log = logging.getLogger("stompy_broker.admin")

_LONGEST_SHOWN, _MOST_SHOWN = 200, 16
"""Characters of an argument, and arguments, that are shown."""


class Audit:
    """Tells what was done, and what was refused.

    Args:
        events: where it is told.
    """

    def __init__(self, events: Events) -> None:
        self._events = events

    def tell(
        self,
        client: Client,
        request: Request | None,
        error: CommandError | None,
        result: Mapping[str, object] | None,
    ) -> None:
        """Tell of a command that changed something, or failed.

        Args:
            client: who wanted it.
            request: what it was; None = it could not be read.
            error: why it failed; None when it did not.
            result: what came of it; None when it failed.
        """
        principal = client.principal
        event = Event(
            type="admin.command",
            severity="info" if error is None else "warn",
            connection=client.key,
            user=principal.name if principal is not None else "",
            destination=_destination(request),
            reason="" if error is None else error.message,
            detail=_detail(request, error, result),
        )
        if principal is None or principal.role is Role.NONE:
            # Anybody can fail as often as he wants.
            self._events.refuse(event)
        else:
            self._events.tell(event)
        log.info("%s: %s", client.peer.address, _sentence(event))


def _detail(
    request: Request | None, error: CommandError | None, result: Mapping[str, object] | None
) -> dict[str, object]:
    name = "" if request is None else request.cmd
    detail: dict[str, object] = {"cmd": name[:_LONGEST_SHOWN], "ok": error is None}
    if request is not None:
        detail |= {"args": shown(request.args), "dry_run": request.dry_run}
    if result is not None:
        detail["result"] = {n: v for n, v in result.items() if isinstance(v, int | str)}
    if error is not None:
        detail["code"] = error.code
    return detail


def _destination(request: Request | None) -> str:
    """The queue or topic that a request is about."""
    args = {} if request is None else request.args
    queue, destination = args.get("queue"), args.get("destination")
    if isinstance(queue, str):
        return f"/queue/{queue.removeprefix('/queue/')}"[:_LONGEST_SHOWN]
    return destination[:_LONGEST_SHOWN] if isinstance(destination, str) else ""


def _sentence(event: Event) -> str:
    """A command as the log has it: who, what, and what came of it."""
    detail = event.detail or {}
    words = [f"user {event.user[:60]!r} ({event.connection}): command {_word(detail['cmd'])}"]
    args, result = detail.get("args"), detail.get("result")
    if isinstance(args, dict):
        words += [f"{name}={json.dumps(value)}" for name, value in args.items()]
    if detail.get("dry_run"):
        words.append("(dry run)")
    if event.reason:
        return f"{' '.join(words)}: {event.reason}"
    counts = result.items() if isinstance(result, dict) else ()
    told = [f"{value} {name}" for name, value in counts if isinstance(value, int)]
    return f"{' '.join(words)}: done{', ' * bool(told)}{', '.join(told)}"


def shown(args: Mapping[str, object]) -> dict[str, object]:
    """Arguments as the log and an event show them: no bodies, no headers, nothing long."""
    some = list(args.items())[:_MOST_SHOWN]
    return {_word(name[:60]): _cut(name, value) for name, value in some}


def _word(text: object) -> str:
    """A text that nobody can take for more than one word, or for another line of the log."""
    word = str(text)
    return word if word.isprintable() and word and " " not in word else repr(word)


def _cut(name: str, value: object) -> object:
    if name in ("body", "headers"):
        return "..."  # what is in messages is nobody's business here
    text = str(value)
    return value if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
