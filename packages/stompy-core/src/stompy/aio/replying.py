"""Answers to messages: sent over the connection that there is now, to where the message says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from stompy.aio.connection import Link
from stompy.aio.message import Message
from stompy.session.commands import HeaderValue, reply_headers
from stompy.session.dialects import Dialect


class Writer(Protocol):
    """What answers need of the session."""

    dialect: Dialect

    async def writable(self, transaction: str | None = None) -> Link:
        """The link, once a frame may be written to it."""

    def write(
        self, link: Link, command: str, headers: Mapping[str, HeaderValue], body: bytes | str = ...
    ) -> None:
        """Queue a frame."""


class Replier:
    """What messages come from, and can be answered over."""

    _session: Writer

    async def _reply(
        self,
        message: Message,
        body: bytes,
        headers: Mapping[str, HeaderValue],
        transaction: str | None,
    ) -> None:
        session = self._session
        link = await session.writable(transaction)
        given = reply_headers(message.Headers, headers, session.dialect)
        if transaction is not None:
            given["transaction"] = transaction
        session.write(link, "SEND", given, body)
