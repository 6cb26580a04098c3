"""Looking at the messages of a queue without touching them, and choosing some.

Messages are looked at where they wait. Bodies that are on disk only are read into copies, so that
nothing about the queue changes.
"""

from __future__ import annotations

import heapq
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice

from stompy.admin.command import CommandError, CommandErrorCode
from stompy.protocol.headers import RULES, Version, escape, unescape
from stompy_broker.admin.tasks import Steps
from stompy_broker.message import Message, as_text
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.store.base import MessageStore

LOOKED_AT_ONCE = 500
"""Messages that are looked at in one step."""

ALIASES: Mapping[str, str] = {
    "reason": "x-last-death-reason",
    "origin": "original-destination",
    "queue": "x-last-death-queue",
    "error": "x-death-info",
}
"""Short names of headers of dead letters."""


_DIGITS = 20


class Picker:
    """Which messages are meant: by id, by headers that have certain values, by when they came.

    Args:
        ids: message-ids; None = any.
        headers: values by header name; None stands for a header that is not there.
        up_to: the last one that is meant, as `last_of` names it; None = those that come later too.
    """

    def __init__(
        self,
        ids: Sequence[str] | None = None,
        headers: Mapping[str, object] | None = None,
        up_to: str | None = None,
    ) -> None:
        self._ids = None if ids is None else frozenset(map(str, ids))
        self._last = None if up_to is None else _sequence(up_to)
        self._headers = [
            (header_reader(name), None if value is None else str(value))
            for name, value in (headers or {}).items()
        ]

    @property
    def picks_all(self) -> bool:
        """Whether every message is meant."""
        return self._ids is None and not self._headers and self._last is None

    def __call__(self, message: Message) -> bool:
        """Whether a message is meant."""
        if self._ids is not None and message.message_id not in self._ids:
            return False
        if self._last is not None and message.sequence > self._last:
            return False
        return all(read(message) == value for read, value in self._headers)


def last_of(messages: Iterable[Message]) -> str:
    """The name of the last one that came, for ``up_to``: text, as it is a very large number."""
    return str(max((message.sequence for message in messages), default=0))


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        words = "'up_to' is what a dry run or message.count tells under that name"
        raise CommandError(CommandErrorCode.BAD_REQUEST, words)
    return int(text)


def header_reader(name: str) -> Callable[[Message], str | None]:
    """Finds one header in messages, without taking all of them apart."""
    line = escape(ALIASES.get(name, name), Version.V1_2).encode("utf-8", "surrogateescape") + b":"
    return partial(_read_header, line)


def _read_header(line: bytes, message: Message) -> str | None:
    block = message.head.block
    if block.startswith(line):
        start = len(line)
    else:
        at = block.find(b"\n" + line)
        if at < 0:
            return None
        start = at + 1 + len(line)
    value = block[start : block.index(b"\n", start)].decode("utf-8", "surrogateescape")
    return as_text(unescape(value, RULES[Version.V1_2]) if "\\" in value else value)


def in_order(queue: Queue, most: int) -> list[Message]:
    """The first messages that are ready, in order."""
    ordered = heapq.nsmallest(most, queue.line.ordered)
    return [*(entry[2] for entry in ordered), *islice(queue.line.fresh, most - len(ordered))]


def all_in_order(queue: Queue) -> list[Message]:
    """Everything that waits: what is ready in order, then what is delayed."""
    line = queue.line
    return [
        *(entry[2] for entry in sorted(line.ordered)),
        *line.fresh,
        *(entry[2] for entry in sorted(line.delayed)),
    ]


def pick(queue: Queue, picker: Picker, most: int) -> Steps[list[Message]]:
    """The first messages of a queue that are meant, in order; delayed ones last."""
    if picker.picks_all and most <= queue.ready:
        yield None
        return in_order(queue, most)
    picked: list[Message] = []
    everything = all_in_order(queue)
    for at in range(0, len(everything), LOOKED_AT_ONCE):
        some = everything[at : at + LOOKED_AT_ONCE]
        picked += some if picker.picks_all else filter(picker, some)
        if len(picked) >= most:
            break
        yield None
    return picked[:most]


def with_bodies(store: MessageStore, messages: Sequence[Message]) -> Steps[list[Message]]:
    """Messages with their bodies; copies of those whose bodies are on disk only.

    A body that is gone meanwhile stays None.
    """
    copies = [_copy(message) if message.body is None else message for message in messages]
    missing = [message for message in copies if message.body is None]
    if missing:
        yield partial(store.load, missing)
    return copies


def _copy(message: Message) -> Message:
    copy = message.restored(message.deliveries, message.failures)
    copy.body = None
    return copy


def as_json(message: Message, state: str, most: int | None) -> dict[str, object]:
    """A message as ``message.peek`` shows it.

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
    return {**shown, **_body(message.body, most)}


def _body(body: bytes, most: int) -> dict[str, object]:
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


def states(messages: Sequence[Message], queue: Queue) -> Iterator[tuple[Message, str]]:
    """Each message with where it is: ``ready`` or ``delayed``."""
    delayed = {id(entry[2]) for entry in queue.line.delayed}
    for message in messages:
        yield message, "delayed" if id(message) in delayed else "ready"


def first_bytes(messages: Sequence[Message], most: int) -> int:
    """How many of the first messages are not larger than so many bytes together; at least one."""
    size = 0
    for number, message in enumerate(chain(messages)):
        size += message.size
        if size > most:
            return max(1, number)
    return len(messages)
