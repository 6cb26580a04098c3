"""Who has to say who it is when it sends, because some subscriptions do not take what it sends.

A subscription with ``no-local`` declines what its own connection sends; a durable one what any
connection with its ``client-id`` sends. Clients whose messages nobody declines pay nothing: their
SEND is carried out as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stompy.protocol.header_cache import Head
from stompy_broker.routing.choices import NOBODY, by_client_id
from stompy_broker.routing.topics import Topics

Send = Callable[[Head, bytes], bool | None]
"""Carries out a SEND; says whether the next frame has to wait."""


class Sending(Protocol):
    """A client as it sends.

    Attributes:
        key: what it is called in reports.
        client_id: header ``client-id`` of CONNECT.
    """

    key: str
    client_id: str | None

    def name_sender(self) -> None:
        """Say from now on who it is, whenever it sends."""
        ...


class Senders:
    """The clients with a ``client-id``, for those who decline what such clients send.

    Args:
        topics: has the subscriptions that decline.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._by_name: dict[str, dict[Sending, None]] = {}
        topics.declined = self._declined

    def enter(self, client: Sending) -> None:
        """Let a client in, which names itself if anybody declines what it sends."""
        if client.client_id is not None:
            name = by_client_id(client.client_id)
            self._by_name.setdefault(name, {})[client] = None
            if self._topics.declines(name):
                client.name_sender()

    def leave(self, client: Sending) -> None:
        """Forget a client that has gone."""
        if client.client_id is not None:
            name = by_client_id(client.client_id)
            clients = self._by_name.get(name, {})
            clients.pop(client, None)
            if not clients:
                self._by_name.pop(name, None)

    def _declined(self, name: str) -> None:
        for client in self._by_name.get(name, ()):
            client.name_sender()


def names_of(client: Sending) -> tuple[str, ...]:
    """What a client is called by those who decline what it sends."""
    if client.client_id is None:
        return (client.key,)
    return (client.key, by_client_id(client.client_id))


def named(send: Send, topics: Topics, names: tuple[str, ...]) -> Send:
    """A SEND that says who sends."""

    def send_named(head: Head, body: bytes) -> bool | None:
        topics.sender = names
        try:
            return send(head, body)
        finally:
            topics.sender = NOBODY

    return send_named
