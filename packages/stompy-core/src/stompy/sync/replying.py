"""Answers to messages: sent over the connection that there is now, to where the message says."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.session.commands import HeaderValue, as_text, reply_headers
from stompy.sync.lifeline import Lifeline
from stompy.sync.message import Message


class Replier:
    """What messages come from, and can be answered over."""

    _line: Lifeline

    def _reply(
        self,
        message: Message,
        body: bytes,
        headers: Mapping[str, HeaderValue],
        transaction: str | None,
    ) -> None:
        line = self._line
        epoch = line.sending() if transaction is None else line.sending_in(transaction)
        given = as_text(reply_headers(message.Headers, headers, epoch.dialect))
        if transaction is not None:
            given["transaction"] = transaction
        epoch.link.send(epoch.link.protocol.send("SEND", given, body))
