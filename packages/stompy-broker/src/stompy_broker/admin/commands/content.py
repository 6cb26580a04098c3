"""What requests say that messages consist of, and where they are to go."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping

from stompy_broker.admin.commands.base import Argument, bad
from stompy_broker.destinations.names import RESERVED, Destination, DestinationKind, sendable

ENCODING = Argument("encoding", "text", "of body", words=("utf8", "base64"))


def read_body(text: str, encoding: str | None) -> bytes:
    """Give a body as a request writes it.

    Raises:
        CommandError: it is not what ``encoding`` says.
    """
    if encoding != "base64":
        return text.encode("utf-8", "surrogatepass")
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise bad(f"'body' is not base64: {error}") from None


def read_headers(given: Mapping[str, object] | None) -> dict[str, str]:
    """Give headers as a request writes them.

    Raises:
        CommandError: one of them cannot be a header.
    """
    headers = {str(name): str(value) for name, value in (given or {}).items()}
    if any("\0" in text for pair in headers.items() for text in pair):
        raise bad("a header cannot hold a NUL")
    return headers


def read_place(name: str, text: str) -> Destination:
    """Give a destination that an operator may have messages sent to.

    Args:
        name: of the argument.
        text: what it says.

    Raises:
        CommandError: it is no such destination.
        ProtocolError: it is no destination at all.
    """
    destination = sendable(text)
    allowed = (DestinationKind.QUEUE, DestinationKind.TOPIC)
    if destination.kind not in allowed or destination.name.startswith(RESERVED):
        raise bad(f"{name!r} must be a /queue/ or /topic/")
    return destination
