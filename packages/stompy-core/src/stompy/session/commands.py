"""The headers of every verb, as all clients write them. Pure.

**Hot path** (`as_text`, `message_headers`). What depends on the broker met comes from its
`stompy.dialect.Dialect`; what the application says itself wins over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from stompy.protocol.frame import AckMode
from stompy.session.dialects import Dialect
from stompy.session.request_answers import timeout_headers

HeaderValue = str | int | float
"""What a header may be given as; numbers are written as text, booleans as true and false."""

_PLAIN = (str, int, float)
"""The types of most values, whose text is what is sent."""


def as_text(headers: dict[str, HeaderValue]) -> dict[str, str]:
    """Headers as they are written; the same dictionary if they are text already.

    Raises:
        TypeError: a value that is neither text nor a number.
    """
    # Compiled, what is of another type would be refused where it is looked at.
    given = cast("dict[object, object]", headers)
    for value in given.values():
        if value.__class__ is not str:
            text: dict[object, str] = {
                name: str(value) if value.__class__ in _PLAIN else _text(name, value)
                for name, value in given.items()
            }
            return cast("dict[str, str]", text)
    return cast("dict[str, str]", headers)


def _text(name: object, value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise TypeError(f"header {name!r} must be text or a number, not {type(value).__name__}")


def merged(
    headers: Mapping[str, HeaderValue], more: Mapping[str, HeaderValue]
) -> dict[str, HeaderValue]:
    """Headers, and those that were given as keywords.

    Raises:
        TypeError: ``headers`` is no mapping.
    """
    try:
        return {**headers, **more}
    except TypeError:
        raise _no_headers(headers) from None


def _no_headers(headers: object) -> TypeError:
    return TypeError(
        f"headers must be a mapping such as {{'priority': 9}}, not {type(headers).__name__}"
    )


def message_headers(
    destination: str,
    message_id: object,
    headers: Mapping[str, HeaderValue],
    more: Mapping[str, HeaderValue],
    dialect: Dialect,
) -> dict[str, HeaderValue]:
    """Of SEND.

    Raises:
        TypeError: ``headers`` is no mapping.
    """
    try:
        all_headers: dict[str, HeaderValue] = {"destination": destination, **headers, **more}
    except TypeError:
        raise _no_headers(headers) from None
    if message_id is not None:
        all_headers[dialect.message_id_header] = cast("HeaderValue", message_id)
    if dialect.routing:
        kind = dialect.destination_headers(destination, for_subscribe=False)
        return {**kind, **all_headers}
    return all_headers


def subscribe_headers(
    destination: str, sub_id: str, mode: AckMode, headers: Mapping[str, HeaderValue]
) -> dict[str, HeaderValue]:
    """Make the headers of SUBSCRIBE; more ones win over those that follow from the rest."""
    return {"destination": destination, "id": sub_id, "ack": mode.value, **headers}


def unsubscribe_headers(sub_id: str, headers: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    """Make the headers of UNSUBSCRIBE; more ones win."""
    return {"id": str(sub_id), **headers}


def reply_headers(
    asked: Mapping[str, str], headers: Mapping[str, HeaderValue], dialect: Dialect
) -> dict[str, HeaderValue]:
    """Of a SEND that answers a message.

    Args:
        asked: the headers of that message.
        headers: more headers, which win.
        dialect: the broker's.

    Raises:
        ValueError: the message asks for no reply.
    """
    reply_to = asked.get("reply-to")
    if not reply_to:
        raise ValueError("this message asks for no reply: it has no reply-to header")
    given: dict[str, HeaderValue] = {
        **dialect.destination_headers(reply_to, for_subscribe=False),
        "destination": reply_to,
    }
    if "correlation-id" in asked:
        given["correlation-id"] = asked["correlation-id"]
    return {**given, **headers}


def request_headers(
    destination: str,
    reply_to: str,
    correlation_id: str,
    headers: Mapping[str, HeaderValue],
    dialect: Dialect,
    timeout: float,
) -> dict[str, HeaderValue]:
    """Of a SEND that asks for a reply, for which somebody waits so many seconds."""
    return {
        **dialect.destination_headers(destination, for_subscribe=False),
        "destination": destination,
        **(timeout_headers(timeout, headers) if dialect.answers_requests else {}),
        **headers,
        "reply-to": reply_to,
        "correlation-id": correlation_id,
    }
