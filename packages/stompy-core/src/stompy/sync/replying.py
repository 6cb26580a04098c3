"""Answers to messages: sent over the connection that there is now, to where the message says."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.session.commands import HeaderValue, as_text, reply_headers
from stompy.sync.message import Message
from stompy.sync.resending import keep, keeps
from stompy.sync.session import Session


class Replier:
    """What messages come from, and can be answered over."""

    _session: Session

    def _reply(
        self,
        message: Message,
        body: bytes,
        headers: Mapping[str, HeaderValue],
        transaction: str | None,
    ) -> None:
        answer = reply_headers(message.Headers, headers, self._session.dialect)
        if keeps(self._session, "SEND", answer, transaction):
            keep(self._session, "SEND", answer, body, transaction)
            return
        connection = self._session.writable(transaction)
        given = as_text(reply_headers(message.Headers, headers, connection.dialect))
        if transaction is not None:
            given["transaction"] = transaction
        connection.send(connection.protocol.send("SEND", given, body))
