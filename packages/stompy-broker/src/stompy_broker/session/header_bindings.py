"""SUBSCRIBE to a headers exchange: ``x-match`` and header pairs, made into a selector.

Whatever else the frame says is a pair, as in an AMQP binding: a message is taken if its headers
have the same values, all of them or any. Headers whose names begin with ``x-`` count only with
``all-with-x`` and ``any-with-x``, and those that tell the broker something never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.exchanges import Exchanges, ExchangeType
from stompy_broker.destinations.lasting import NAME_HEADERS
from stompy_broker.destinations.names import Destination
from stompy_broker.destinations.policy import ARGUMENTS
from stompy_broker.foreign_headers import NAMES
from stompy_broker.session.header_values import PREFETCH_HEADERS

MATCH: Final = "x-match"

_WITH_X: Final = "-with-x"
_JOINED = {"all": " AND ", "any": " OR "}

_OWN = (
    frozenset(
        (
            "destination",
            "id",
            "ack",
            "receipt",
            "selector",
            "durable",
            "persistent",
            "auto-delete",
            "exclusive",
            "share",
            "browser",
            "no-local",
            "pending-limit",
            "transaction",
            "consumer-window-size",
            "content-length",
            "x-queue-name",
            "x-consumer-timeout",
            "x-priority",
            MATCH,
        )
    )
    | NAMES
    | frozenset(NAME_HEADERS)
    | frozenset(PREFETCH_HEADERS)
    | frozenset(ARGUMENTS)
)
"""Headers of SUBSCRIBE that tell the broker something."""


def bound_selector(
    parts: Sequence[Destination], headers: Mapping[str, str], exchanges: Exchanges
) -> str | None:
    """The selector that a SUBSCRIBE means.

    Args:
        parts: where from.
        headers: of the frame.
        exchanges: which there are.

    Returns:
        Its text; None = all messages are taken.

    Raises:
        ProtocolError: it has ``x-match``, and that means nothing there, or no such value.
    """
    chosen = headers.get("selector")
    if MATCH not in headers and not any(part.of_exchange for part in parts):
        return chosen
    kinds = {exchanges.type_of(part) for part in parts}
    if ExchangeType.HEADERS not in kinds:
        if MATCH not in headers:
            return chosen
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED, f"{MATCH!r} is for the SUBSCRIBE of a headers exchange alone"
        )
    if len(parts) > 1:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED, "a headers exchange cannot be one of several destinations"
        )
    bound = _conditions(headers)
    if bound is None or chosen is None:
        return bound or chosen
    return f"({bound}) AND ({chosen})"


def _conditions(headers: Mapping[str, str]) -> str | None:
    """What header pairs ask for; None if there are none, and all is asked for."""
    word = headers.get(MATCH, "all")
    kind = word.removesuffix(_WITH_X)
    if kind not in _JOINED:
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"{MATCH} must be all, any, all{_WITH_X} or any{_WITH_X}, not {word[:40]!r}",
        )
    conditions = [
        f"{_quoted(name, chr(34))} = {_quoted(value, chr(39))}"
        for name, value in headers.items()
        if name not in _OWN
        and not name.startswith("activemq.")
        and (kind != word or not name.startswith("x-"))
    ]
    if not conditions and kind == "any":
        raise ProtocolError(ErrorCode.BAD_HEADER, f"{MATCH}:{word} needs a header to match")
    return _JOINED[kind].join(conditions) or None


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, mark * 2) + mark
