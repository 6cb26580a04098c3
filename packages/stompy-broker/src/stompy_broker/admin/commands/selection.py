"""How requests choose messages, and how answers show them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stompy.admin.command import CommandError, CommandErrorCode
from stompy.errors import ProtocolError
from stompy_broker.admin.commands.base import Argument
from stompy_broker.message import Message
from stompy_broker.routing.interface import Browsed
from stompy_broker.routing.selection import HeaderReader, Selection, header_reader
from stompy_broker.selectors.selector import compile_selector

ALIASES: Mapping[str, str] = {
    "reason": "x-last-death-reason",
    "origin": "original-destination",
    "queue": "x-last-death-queue",
    "error": "x-death-info",
}
"""Short names of headers of dead letters."""

MOST_MOVED = 100_000

QUEUE = Argument("queue", "text", "its name, with or without /queue/", required=True, names="queue")
IDS = Argument("ids", "list", "message-ids; all if left out")
HEADERS = Argument(
    "headers",
    "object",
    f"headers and their values, null = not there; short names: {', '.join(ALIASES)}",
)
SELECTOR = Argument(
    "selector", "text", "an expression that headers match, as on SUBSCRIBE: n > 5 AND kind = 'x'"
)
UP_TO = Argument(
    "up_to", "text", "the last one that is meant, as a dry run or message.count told it"
)
LIMIT = Argument("limit", "number", "messages at most", default=MOST_MOVED, most=MOST_MOVED)
TO = Argument("to", "text", "where to: a queue or topic", required=True, names="destination")

_DIGITS = 20


def select(
    ids: Sequence[object] | None = None,
    headers: Mapping[str, object] | None = None,
    up_to: str | None = None,
    selector: str | None = None,
) -> Selection:
    """Make a selection of what a request names.

    Args:
        ids: message-ids; None = any.
        headers: values by header name or short name; None stands for a header that is not there.
        up_to: the last one that is meant, as `last_of` names it; None = those that come later too.
        selector: an expression that headers match; None = any.

    Raises:
        CommandError: ``up_to`` or the selector is none.
    """
    if selector is not None:
        check_selector(selector)
    return Selection(
        None if ids is None else frozenset(map(str, ids)),
        tuple(
            (ALIASES.get(name, name), None if value is None else str(value))
            for name, value in (headers or {}).items()
        ),
        up_to=None if up_to is None else _sequence(up_to),
        selector=selector or "",
    )


def selected(args: Mapping[str, Any]) -> Selection:
    """Make the selection of all arguments of a request that choose messages.

    Raises:
        CommandError: one of them makes no sense.
    """
    get = args.get
    return select(get("ids"), get("headers"), get("up_to"), get("selector"))


def check_selector(text: str) -> None:
    """Refuse a selector that is none, with the place where that shows.

    Raises:
        CommandError: it is none.
    """
    try:
        compile_selector(text)
    except ProtocolError as error:
        column = error.details.get("error-column", "")
        detail = {"column": int(column)} if column.isdigit() else {}
        raise CommandError(CommandErrorCode.BAD_REQUEST, error.Message, detail) from None


def last_of(messages: Iterable[Message]) -> str:
    """Name the last one that came, for ``up_to``: as text, for it is a very large number."""
    return str(max((message.sequence for message in messages), default=0))


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        words = "'up_to' is what a dry run or message.count tells under that name"
        raise CommandError(CommandErrorCode.BAD_REQUEST, words)
    return int(text)


def read_header(name: str) -> HeaderReader:
    """Find one header in messages, by its name or short name."""
    return header_reader(ALIASES.get(name, name))


def as_json(message: Message, state: str, most: int | None) -> dict[str, object]:
    """Give a message as ``message.peek`` shows it.

    Args:
        message: with its body, unless that is not wanted.
        state: where it is.
        most: bytes of the body to show; None = none of it.
    """
    shown: dict[str, object] = {
        "message_id": message.message_id,
        "state": state,
        "headers": message.head.text_headers(),
        "received_at": message.received_at,
        "deliveries": message.deliveries,
        "failures": message.failures,
        "expires_at": message.expires or None,
        "persistent": message.head.persistent,
        "priority": message.head.priority,
        "size": message.size,
    }
    if most is None:
        return shown
    if message.body is None:
        return {**shown, "body": None}
    return {**shown, **body_as_json(message.body, most)}


def body_as_json(body: bytes, most: int) -> dict[str, object]:
    """Give the first octets of a body as answers show it."""
    head = body[:most]
    encoding = "utf8"
    try:
        # A character that the cut has halved is left out.
        text = head.decode() if len(head) == len(body) else _whole_characters(head)
    except UnicodeDecodeError:
        encoding, text = "base64", b64encode(head).decode()
    return {
        "body": text,
        "encoding": encoding,
        "body_bytes": len(body),
        "truncated": len(head) < len(body),
    }


_LONGEST_CHARACTER = 4


def _whole_characters(head: bytes) -> str:
    for cut in range(_LONGEST_CHARACTER):
        try:
            return head[: len(head) - cut].decode()
        except UnicodeDecodeError as error:
            if error.start < len(head) - _LONGEST_CHARACTER:
                raise
    return head.decode()


def with_states(browsed: Browsed) -> list[tuple[Message, str]]:
    """Say of each message where it is."""
    ready = len(browsed.messages) - browsed.delayed
    return [
        (message, "ready" if number < ready else "delayed")
        for number, message in enumerate(browsed.messages)
    ]
