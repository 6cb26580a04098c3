"""The temporary topics of one connection: names of its own for addresses that nobody can guess.

They are topics as others are, and end with their subscriptions. So whoever was given the address,
as a ``reply-to`` or in any other way, can send there and subscribe as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import (
    REPLY_TOPIC,
    TEMPORARY_TOPICS,
    Destination,
    DestinationKind,
    plain_spelling,
)

_PREFIX = DestinationKind.TEMPORARY_TOPIC.value


class TemporaryTopics:
    """Gives the addresses of a connection's temporary topics.

    Args:
        new_token: gives a text that nobody can guess.
        most: how many there may be.
    """

    def __init__(self, new_token: Callable[[], str], most: int) -> None:
        self._new_token = new_token
        self._most = most
        self._tokens: dict[str, str] = {}

    def own(self, destination: Destination) -> Destination:
        """The topic behind a temporary one; any other destination as it is.

        Raises:
            ProtocolError: the connection has as many as it may have.
        """
        if destination.kind is not DestinationKind.TEMPORARY_TOPIC:
            return destination
        name = TEMPORARY_TOPICS + self._token(destination.name)
        return Destination(DestinationKind.TOPIC, name, destination.is_pattern)

    def addresses(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What others are told instead of names of temporary topics in the headers of a SEND.

        Raises:
            ProtocolError: the connection has as many as it may have.
        """
        found: dict[str, str] = {}
        for name in ("destination", "reply-to"):
            text = plain_spelling(headers.get(name, ""))
            if text.startswith(_PREFIX) and len(text) > len(_PREFIX):
                found[name] = REPLY_TOPIC + self._token(text.removeprefix(_PREFIX))
        return found

    def _token(self, name: str) -> str:
        token = self._tokens.get(name)
        if token is None:
            if len(self._tokens) >= self._most:
                raise ProtocolError(
                    ErrorCode.LIMIT_EXCEEDED,
                    f"{len(self._tokens)} temporary topics on one connection are the limit "
                    "(limits.temporary_queues)",
                )
            token = self._tokens[name] = self._new_token()
        return token
