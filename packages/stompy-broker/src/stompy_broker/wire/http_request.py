"""HTTP requests read strictly: requests without a body, and nothing but those. Pure.

What is read is small and bounded. What is not exactly as RFC 9112 has it is refused with the
status that fits: two programs that read one request in two ways is how requests are smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

LARGEST_HEAD = 32 * 1024
"""Bytes of a request; one line of it may have half of them."""
MOST_HEADERS = 128

_LONGEST_LINE = LARGEST_HEAD // 2
_END, _LINE_END = b"\r\n\r\n", b"\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_AUTHORITY = re.compile(r"https?://[^/?#]+", re.IGNORECASE)


class BadRequestError(Exception):
    """A request that is refused, or cannot be read.

    Attributes:
        status: what it is refused with.
        reason: why, for people.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A request that was read.

    Attributes:
        method: `GET`, `HEAD` or whatever the client wrote.
        path: of the page, decoded.
        headers: by names in small letters; values of one name are joined by commas.
    """

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def opens_websocket(self) -> bool:
        """Whether it asks for a WebSocket rather than for a page."""
        upgrades = self.headers.get("upgrade", "").lower().split(",")
        return "websocket" in (one.strip() for one in upgrades)


class RequestReader:
    """Reads one request, however its bytes come.

    Attributes:
        raw: the bytes so far, with what came behind the request.
    """

    def __init__(self) -> None:
        self.raw = bytearray()
        self._lines = 0  # where the line begins that is not complete

    def receive(self, data: bytes) -> HTTPRequest | None:
        """Read on; gives the request once it is complete, and None before.

        Raises:
            BadRequestError: it is none, or it is too large.
        """
        raw = self.raw
        searched = max(0, len(raw) - len(_END) + 1)
        raw += data
        end = raw.find(_END, searched)
        self._check_lines(len(raw) if end < 0 else end + len(_LINE_END))
        if end >= 0:
            return parse_request(bytes(raw[:end]))
        return None

    def _check_lines(self, end: int) -> None:
        """See that no line is too long, without looking twice at what came before.

        Args:
            end: of what is to be looked at.
        """
        raw = self.raw
        while (found := raw.find(b"\n", self._lines, end)) >= 0:
            self._check_line(found - self._lines)
            if found == self._lines or raw[found - 1] != _LINE_END[0]:
                raise BadRequestError(HTTPStatus.BAD_REQUEST, "lines end with CR and LF")
            self._lines = found + 1
        self._check_line(end - self._lines)

    def _check_line(self, length: int) -> None:
        if length > _LONGEST_LINE or self._lines + length > LARGEST_HEAD:
            raise BadRequestError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"a request has at most {LARGEST_HEAD} bytes, and half of them in a line",
            )


def parse_request(head: bytes) -> HTTPRequest:
    """Read a complete request.

    Args:
        head: its lines, without the empty one at the end.

    Raises:
        BadRequestError: it is none.
    """
    first, *lines = head.split(_LINE_END)
    method, target, version = _request_line(first)
    if len(lines) > MOST_HEADERS:
        raise BadRequestError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MOST_HEADERS} headers"
        )
    headers: dict[str, str] = {}
    for line in lines:
        name, value = _header(line)
        if name in headers:
            if name in ("host", "content-length"):
                raise BadRequestError(HTTPStatus.BAD_REQUEST, f"there are two headers {name!r}")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if version == b"HTTP/1.1" and "host" not in headers:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "there is no header 'host'")
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise BadRequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "requests with a body are not taken"
        )
    return HTTPRequest(method, _path_of(target), headers)


def _request_line(line: bytes) -> tuple[str, str, bytes]:
    parts = line.split(b" ")
    if len(parts) != len(("method", "target", "version")) or not all(
        pattern.fullmatch(part)
        for pattern, part in zip((_TOKEN, _TARGET, _VERSION), parts, strict=True)
    ):
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "the first line is no request")
    method, target, version = parts
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise BadRequestError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and 1.1 are spoken"
        )
    return method.decode("ascii"), target.decode("ascii"), version


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "a line is no header")
    return name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")


def _path_of(target: str) -> str:
    """The page that a target names; proxies write the whole URL."""
    return unquote(_AUTHORITY.sub("", target, count=1).partition("?")[0], errors="replace")
