"""A message as a person can read it: its headers, and its body as text, as JSON or in hex."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stompy_monitor.model import formats
from stompy_monitor.model.escape import safe, safe_lines

PREVIEW_BYTES = 400
"""Of each body in a list of messages."""
BODY_BYTES = 64 * 1024
"""Of the body of one message; more is fetched to a file."""
LINES = 5_000
"""More are not laid out: that would hold up the screen."""
_LAID_OUT_BYTES = 16 * BODY_BYTES
_HEX_WIDTH = 16
_INSTANTS = frozenset(("x-death-time", "timestamp", "expires", "original-expires"))
_DIGITS = 16


class BodyFormat(StrEnum):
    """How a body is shown."""

    TEXT = "text"
    JSON = "json"
    HEX = "hex"


@dataclass(frozen=True)
class Message:
    """One message of a queue, as ``message.peek`` tells of it.

    Attributes:
        message_id: as in the header.
        headers: all of them, made safe.
        body: its first bytes.
        body_bytes: how long it really is.
        state: ``ready``, ``unacked`` or ``delayed``.
        facts: the rest of what the broker says.
    """

    message_id: str
    headers: dict[str, str]
    body: bytes
    body_bytes: int
    state: str
    facts: dict[str, object] = field(default_factory=dict)

    @classmethod
    def read(cls, told: Mapping[str, object]) -> Message:
        """Make one from the JSON of a command's answer."""
        headers = told.get("headers")
        names = headers if isinstance(headers, dict) else {}
        body = _decoded(told)
        length = told.get("body_bytes")
        rest = ("headers", "body", "body_bytes", "encoding", "message_id", "state", "truncated")
        return cls(
            message_id=safe(str(told.get("message_id") or names.get("message-id") or "")),
            headers={safe(str(name)): safe(str(value)) for name, value in names.items()},
            body=body,
            body_bytes=length if isinstance(length, int) else len(body),
            state=safe(str(told.get("state") or "ready")),
            facts={safe(name): value for name, value in told.items() if name not in rest},
        )

    @property
    def truncated(self) -> bool:
        """Whether only the beginning of the body is here."""
        return len(self.body) < self.body_bytes

    def told(self, name: str) -> str:
        """A header as a person reads it: beside an instant in milliseconds stands when that is."""
        value = self.headers[name]
        if name in _INSTANTS and value.isascii() and value.isdecimal() and len(value) <= _DIGITS:
            return f"{value}  ({formats.moment(int(value))})"
        return value

    def guess(self) -> BodyFormat:
        """How to show it at first: by its content type, then by its bytes."""
        content_type = self.headers.get("content-type", "")
        text = _text(self.body, cut=self.truncated)
        if text is None:
            return BodyFormat.HEX
        looks_so = text.lstrip()[:1] in ("{", "[")
        return BodyFormat.JSON if "json" in content_type or looks_so else BodyFormat.TEXT

    def preview(self, cells: int) -> str:
        """The beginning in one line."""
        text = _text(self.body[:PREVIEW_BYTES], cut=True)
        return safe(text if text is not None else self.body[:24].hex(" "), cells)

    def lines(self, kind: BodyFormat) -> list[str]:
        """The body, line by line, harmless; of very many lines the first."""
        lines = _hex(self.body) if kind is BodyFormat.HEX else self._text_lines(kind)
        if len(lines) > LINES:
            more = len(lines) - LINES
            return [*lines[:LINES], "", f"({more:,} more lines are not shown)"]
        return lines

    def _text_lines(self, kind: BodyFormat) -> list[str]:
        text, above = self.body.decode("utf-8", "replace"), []
        if kind is BodyFormat.JSON:
            try:
                text = _laid_out(text)
            except RecursionError:
                above = ["(too deep to lay out; this is the text)", ""]
            except ValueError:
                reason = "cut short" if self.truncated else "not JSON"
                above = [f"({reason}; this is the text)", ""]
        return [*above, *safe_lines(text, BODY_BYTES)]


def _laid_out(text: str) -> str:
    """JSON with a line for each value.

    Raises:
        RecursionError: it is so deep that hardly anything but indentation would be seen.
        ValueError: it is no JSON.
    """
    shown: list[str] = []
    size = 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(json.loads(text)):
        shown.append(part)
        size += len(part)
        if size > _LAID_OUT_BYTES:
            raise RecursionError("more indentation than text")
    return "".join(shown)


def _decoded(told: Mapping[str, object]) -> bytes:
    body = told.get("body")
    if not isinstance(body, str):
        return b""
    if told.get("encoding") == "base64":
        try:
            return base64.b64decode(body)
        except (ValueError, binascii.Error):
            return b""
    return body.encode("utf-8", "replace")


def _text(body: bytes, *, cut: bool) -> str | None:
    """The text, when it is some: UTF-8 without NUL; a cut may have split the last character."""
    for end in range(4 if cut else 1):
        try:
            text = body[: len(body) - end].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def _hex(body: bytes) -> list[str]:
    lines = []
    for start in range(0, len(body), _HEX_WIDTH):
        part = body[start : start + _HEX_WIDTH]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 -- ASCII
        lines.append(f"{start:08x}  {part.hex(' '):<{3 * _HEX_WIDTH}} {shown}")
    return lines
