"""A STOMP frame in the application's hands: command, headers, body.

The names are those of the STOMPyMQ manual, section 1.4. `Command`, `Headers` and `Body` are the
real attributes; everything else is convenience over them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from email.message import Message as MimeHeaders
from enum import StrEnum
from typing import Any, Literal, overload

from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.codec import encode_frame
from stompy.protocol.header_cache import Head
from stompy.protocol.headers import Version

__all__ = ["AckMode", "AckWord", "HeadersCopy", "STOMPError", "STOMPFrame", "STOMPTimeout"]

_SECRETS = frozenset(("passcode", "login"))


class AckMode(StrEnum):
    """How deliveries on a subscription are settled (1.2, *SUBSCRIBE ack Header*)."""

    AUTO = "auto"
    """A message counts as settled when the broker has sent it."""
    CLIENT = "client"
    """An ACK or NACK settles the message and all earlier ones of the subscription."""
    CLIENT_INDIVIDUAL = "client-individual"
    """An ACK or NACK settles one message."""


AckWord = AckMode | Literal["auto", "client", "client-individual"]
"""An ack mode as callers write it."""


class HeadersCopy(dict[str, str]):
    """A copy of a frame's headers. Calling it gives it again.

    The manual uses both ``frame.headers`` and ``frame.headers()``.
    """

    def __call__(self) -> dict[str, str]:
        """Copy the headers into a dictionary of their own."""
        return dict(self)


def as_body(body: object) -> bytes:
    """A body as it is sent.

    Raises:
        TypeError: it is neither text nor bytes.
    """
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    kind = type(body).__name__
    if body is None or isinstance(body, dict | list | tuple | int | float):
        raise TypeError(
            f"the body must be str or bytes, not {kind}; json=… sends it as JSON, where the call "
            "has that argument"
        )
    raise TypeError(f"the body must be str or bytes, not {kind}")


class STOMPFrame:
    """One frame.

    Args:
        command: frame command.
        body: message body; text is encoded as UTF-8.
        headers: frame headers; they are copied.
        headers_kv: more headers, added to ``headers``.

    Attributes:
        Command: the command; None if none was given.
        Headers: the headers, changeable.
        Body: the body, always bytes.
    """

    __slots__ = ("Body", "Command", "Headers", "_head")

    _head: Head | None

    def __init__(
        self,
        command: str | None = None,
        body: bytes | str = b"",
        headers: dict[str, str] | None = None,
        **headers_kv: str,
    ) -> None:
        self.Command: str | None = command
        self.Headers: dict[str, str] = {**(headers or {}), **headers_kv}
        self.Body: bytes = as_body(body)
        self._head = None

    def __getattr__(self, name: str) -> Any:
        """Decode the headers when they are asked for the first time."""
        if name == "_head":
            return None  # of a frame that was copied or unpickled
        head = self._head if name == "Headers" else None
        if head is None:
            return object.__getattribute__(self, name)  # which says that there is none
        self.Headers = headers = head.headers
        self._head = None
        return headers

    def __getstate__(self) -> Any:
        """What is pickled: what an application sees."""
        if self._head is not None:
            assert self.Headers is not None
        state: Any = object.__getstate__(self)
        state[1].pop("_head", None)
        return state

    def _ack(self) -> str | None:
        """The ``ack`` header, without a look at the others."""
        head = self._head
        return self.Headers.get("ack") if head is None else head.ack

    def _shared(self) -> dict[str, str]:
        """The headers, but that ``message-id`` and ``ack`` may be those of another message."""
        head = self._head
        return self.Headers if head is None else head.shared

    @property
    def command(self) -> str | None:
        """The same as `Command`."""
        return self.Command

    @property
    def body(self) -> bytes:
        """The same as `Body`."""
        return self.Body

    @property
    def headers(self) -> HeadersCopy:
        """A copy of the headers; ``frame.headers()`` gives a plain dictionary."""
        return HeadersCopy(self.Headers)

    @property
    def destination(self) -> str | None:
        """The ``destination`` header, or None."""
        return self.Headers.get("destination")

    @property
    def text(self) -> str:
        """The body as text, by the charset of ``content-type`` or else UTF-8.

        Raises:
            UnicodeDecodeError: the body is not text in that encoding.
            LookupError: the charset is unknown here.
        """
        return self.Body.decode(self._charset())

    @property
    def json(self) -> Any:
        """The body read as JSON: what it holds, only who wrote it knows.

        Raises:
            ValueError: the body is not JSON.
        """
        return json.loads(self.text)

    def _charset(self) -> str:
        content_type = self.Headers.get("content-type")
        if content_type is None or "charset" not in content_type:
            return "utf-8"
        parsed = MimeHeaders()
        parsed["content-type"] = content_type
        return str(parsed.get_param("charset") or "utf-8")

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...

    @overload
    def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """A header's value, or ``default``."""
        return self.Headers.get(name, default)

    def to_bytes(self, version: Version = Version.V1_2) -> bytes:
        """The frame as it goes over the wire in a version.

        Raises:
            ValueError: a frame without command, or a CONNECT or CONNECTED frame with a line break
                in a header.
        """
        if not self.Command:
            raise ValueError("a frame without command cannot be written")
        return encode_frame(self.Command, self.Headers, self.Body, version)

    def __getitem__(self, name: str) -> str:
        """A header's value.

        Raises:
            KeyError: there is no such header.
        """
        return self.Headers[name]

    def __setitem__(self, name: str, value: str) -> None:
        """Set a header, which replaces one of that name."""
        self.Headers[name] = value

    def __contains__(self, name: object) -> bool:
        """Whether there is such a header."""
        return name in self.Headers

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the headers."""
        return iter(self.Headers)

    def __eq__(self, other: object) -> bool:
        """Same command, headers and body."""
        if not isinstance(other, STOMPFrame):
            return NotImplemented
        return (self.Command, self.Headers, self.Body) == (
            other.Command,
            other.Headers,
            other.Body,
        )

    __hash__ = None  # type: ignore[assignment]  # frames are changeable

    def __repr__(self) -> str:
        """Command, headers without secrets, and the size of the body."""
        headers = " ".join(f"{name}:{value}" for name, value in self._shown_headers().items())
        return f"<STOMPFrame {self.Command} {headers} body:{len(self.Body)}B>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from stompy.notebook import frame_html  # noqa: PLC0415 -- needed in notebooks only

        return frame_html(self.Command or "", self._shown_headers(), self.Body)

    def _ipython_key_completions_(self) -> list[str]:
        """What a notebook offers behind ``frame["``."""
        return list(self.Headers)

    def _shown_headers(self) -> dict[str, str]:
        return {name: "***" if name in _SECRETS else value for name, value in self.Headers.items()}


def received(read: Iterable[tuple[Head, bytes]]) -> list[STOMPFrame]:
    """Frames from what a parser read. No head may be shared: nothing is copied."""
    frames = []
    new = STOMPFrame.__new__
    for head, body in read:
        frame = new(STOMPFrame)
        frame.Command = head.command
        frame._head = head
        frame.Body = body
        frames.append(frame)
    return frames
