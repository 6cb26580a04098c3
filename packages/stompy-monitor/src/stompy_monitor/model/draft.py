"""A dead letter on its way to being another message: what can be edited, and what was.

Whatever a client has written into a header is shown as one line that can be read and typed:
characters that would not show stand as escapes, and a line break is no line break.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff

from stompy_monitor.model.escape import safe

LONGEST = 256 * 1024
"""Bytes of a body that can be edited."""

_WRITTEN_BY_BROKER = frozenset(
    (
        "ack",
        "content-length",
        "delivery-count",
        "destination",
        "edited-at",
        "edited-by",
        "message-id",
        "original-body-sha256",
        "original-destination",
        "original-expiration",
        "original-expires",
        "original-subscription",
        "original-ttl",
        "redelivered",
        "subscription",
    )
)
_OF_A_DEATH = ("x-death-", "x-first-death-", "x-last-death-")
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_MEANINGS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_ESCAPE = re.compile(r"\\(?:([nrt\\])|u\{([0-9a-fA-F]{1,6})\}|(.?))", re.DOTALL)
_LAST = 0x10FFFF


class DraftError(ValueError):
    """What was typed is no message; the text says which line, and why."""


@dataclass(frozen=True)
class Draft:
    """What can be edited of a dead letter.

    Attributes:
        queue: the destination of the queue that it is in.
        message_id: its id, as the broker told it.
        headers: those that can be edited, as the broker told them.
        fixed: the others, which the broker writes.
        body: its text; None = it is no text that can be edited as such.
        why: why it is not; empty = it is.
        reason: why it died.
    """

    queue: str
    message_id: str
    headers: Mapping[str, str]
    fixed: Mapping[str, str]
    body: str | None
    why: str = ""
    reason: str = ""

    @classmethod
    def read(cls, queue: str, told: Mapping[str, object]) -> Draft:
        """Begin with a message as ``message.get`` tells it."""
        named = told.get("headers")
        everything = {str(name): str(value) for name, value in dict(named or {}).items()}  # type: ignore[call-overload]  # JSON
        fixed = {name: value for name, value in everything.items() if _is_fixed(name)}
        headers = {name: value for name, value in everything.items() if name not in fixed}
        body, why = _editable(told)
        return cls(
            queue,
            str(told.get("message_id") or ""),
            headers,
            fixed,
            body,
            why,
            ", ".join(filter(None, map(fixed.get, ("x-last-death-reason", "x-death-info")))),
        )

    @property
    def lines(self) -> list[str]:
        """The headers, a line each."""
        return [_line(name, value) for name, value in self.headers.items()]

    def changes(self, headers: str, body: str | None) -> dict[str, object]:
        """Say what was edited, as ``message.edit_and_retry`` takes it; empty = nothing.

        Args:
            headers: a line for each.
            body: the text; None = it was not shown.

        Raises:
            DraftError: a line is no header.
        """
        wanted = _parsed(headers)
        changed: dict[str, str | None] = {
            name: value for name, value in wanted.items() if self.headers.get(name) != value
        }
        changed |= dict.fromkeys(name for name in self.headers if name not in wanted)
        found: dict[str, object] = {}
        if changed:
            found["headers"] = changed
        if body is not None and body != self.body:
            found["body"] = body
        return found

    def diff(self, headers: str, body: str | None) -> list[str]:
        """What was edited, as lines that begin with ``-``, ``+`` or a blank."""
        before, after = self.lines, [_line(*one) for one in _parsed(headers).items()]
        lines = list(_changed_lines(before, after, len(before) + len(after)))
        if body is not None and self.body is not None and body != self.body:
            lines += ["", *_changed_lines(self.body.split("\n"), body.split("\n"), 2)]
        return lines


def _is_fixed(name: str) -> bool:
    return name in _WRITTEN_BY_BROKER or name.startswith(_OF_A_DEATH)


def _editable(told: Mapping[str, object]) -> tuple[str | None, str]:
    """The body as a text that can be edited; or why it cannot."""
    body = told.get("body")
    if not isinstance(body, str):
        return None, "it is not there any more"
    if told.get("truncated"):
        return None, f"it is longer than {LONGEST // 1024} KiB"
    if told.get("encoding") == "base64":
        return None, "it is no text"
    if "\r" in body:
        return None, "its lines end in CR"
    wide = len(body) + 1
    if any(
        safe(line.replace("\t", " "), wide) != line.replace("\t", " ") for line in body.split("\n")
    ):
        return None, "it has characters that would not show"
    return body, ""


def _line(name: str, value: str) -> str:
    shown = _written(name).replace(":", "\\u{3a}")
    return f"{shown}: {_written(value)}"


def _written(text: str) -> str:
    """A text in one line, that is the same when it is read again."""
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    return char if safe(char, 4) == char else f"\\u{{{ord(char):x}}}"


def _parsed(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise DraftError(f"line {number} of the headers is no “name: value”")
        name = _meant(name.strip(), number)
        if name in headers:
            raise DraftError(f"line {number} of the headers: {safe(name, 40)} is there twice")
        if _is_fixed(name):
            raise DraftError(f"line {number}: {safe(name, 40)} is written by the broker")
        headers[name] = _meant(value.removeprefix(" "), number)
    return headers


def _meant(text: str, number: int) -> str:
    def meaning(found: re.Match[str]) -> str:
        short, code, _ = found.groups()
        if short:
            return _MEANINGS[short]
        if code is None or int(code, 16) > _LAST:
            words = "write \\\\ for a backslash, \\n for a line break, \\u{41} for A"
            raise DraftError(f"line {number} of the headers: {words}")
        return chr(int(code, 16))

    return _ESCAPE.sub(meaning, text)


def _changed_lines(before: list[str], after: list[str], around: int) -> Iterator[str]:
    diff = unified_diff(before, after, n=around, lineterm="")
    for number, line in enumerate(diff):
        if number < _NAMES_AND_FIRST:  # the names of the files, and where the first lines stand
            continue
        yield "…" if line.startswith("@@") else line


_NAMES_AND_FIRST = 3
