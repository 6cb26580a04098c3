"""Answers to messages: sent over the connection that there is now, to where the message says."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.aio.message import Message
from stompy.aio.resending import keep, keeps
from stompy.aio.session import Session
from stompy.session.commands import HeaderValue, reply_headers


class Replier:
    """What messages come from, and can be answered over."""

    _session: Session

    async def _reply(
        self,
        message: Message,
        body: bytes,
        headers: Mapping[str, HeaderValue],
        transaction: str | None,
    ) -> None:
        session = self._session
        answer = reply_headers(message.Headers, headers, session.dialect)
        if keeps(session, "SEND", answer, transaction):
            await keep(session, "SEND", answer, body, transaction)
            return
        connection = await session.writable(transaction)
        given = reply_headers(message.Headers, headers, connection.dialect)
        if transaction is not None:
            given["transaction"] = transaction
        session.write(connection, "SEND", given, body)
