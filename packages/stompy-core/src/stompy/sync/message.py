"""Messages that settle themselves: they know the subscription and the connection they came over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from stompy.errors import StaleMessageError, STOMPException
from stompy.protocol.frame import STOMPFrame, as_body
from stompy.session.arguments import NOTHING, json_body
from stompy.session.commands import HeaderValue
from stompy.session.delivery import Delivery
from stompy.session.dialects import NackScopeWord

logger = logging.getLogger("stompy")


class Settler(Protocol):
    """What a message needs of the subscription it came from."""

    def ack(self, message: Message, transaction: str | None) -> None:
        """Acknowledge a message."""

    def nack(
        self,
        message: Message,
        requeue: bool,
        delay: float | None,
        reason: str | None,
        transaction: str | None,
        failed: bool,
        scope: NackScopeWord,
    ) -> None:
        """Refuse a message."""

    def _reply(
        self,
        message: Message,
        body: bytes,
        headers: Mapping[str, HeaderValue],
        transaction: str | None,
    ) -> None:
        """Answer a message."""


class Message(Delivery):
    """A message of a subscription's handle.

    As a context manager it is acknowledged at the end of the block, and refused when an exception
    leaves it. One that is settled inside the block is left alone.
    """

    __slots__ = ("_settler",)

    _settler: Settler

    @classmethod
    def _delivered(cls, frame: STOMPFrame, epoch: int, settler: Settler) -> Message:
        """A message from the frame that was read. The frame is used up: nothing is copied."""
        message = cls.__new__(cls)
        message.Command = frame.Command
        message._head = frame._head
        if message._head is None:
            message.Headers = frame.Headers
        message.Body = frame.Body
        message.epoch = epoch
        message.settlement = None
        message._settler = settler
        return message

    def ack(self, transaction: str | None = None) -> None:
        """Acknowledge the message. Once it is settled this does nothing but log a warning.

        Args:
            transaction: id of the transaction that the ACK belongs to.

        Raises:
            StaleMessageError: its connection or subscription has ended; nothing was sent.
            STOMPTimeout: the broker takes nothing; nothing was sent.
            UnsupportedByBroker: the broker would ignore the transaction.
        """
        self._settler.ack(self, transaction)

    def nack(
        self,
        requeue: bool = True,
        delay: float | None = None,
        reason: str | None = None,
        transaction: str | None = None,
        *,
        failed: bool = True,
        scope: NackScopeWord = "message",
    ) -> None:
        """Refuse the message. Once it is settled this does nothing but log a warning.

        Args:
            requeue: whether it is to be delivered again; if not, it is for the dead letters.
            delay: seconds until then, where the broker knows such a thing.
            reason: why, likewise.
            transaction: id of the transaction that the NACK belongs to.
            failed: False gives it back without blame: it does not count towards the deliveries
                after which it is a dead letter, where the broker knows such a thing.
            scope: ``group`` has all messages of its group wait for ``delay``, not only this one,
                likewise.

        Raises:
            StaleMessageError: its connection or subscription has ended; nothing was sent.
            STOMPError: STOMP 1.0 has no NACK.
            STOMPTimeout: the broker takes nothing; nothing was sent.
            UnsupportedByBroker: this broker would lose the message, or ignore the transaction.
        """
        self._settler.nack(self, requeue, delay, reason, transaction, failed, scope)

    def reply(
        self,
        body: bytes | str = b"",
        headers: Mapping[str, HeaderValue] = {},
        transaction: str | None = None,
        *,
        json: object = NOTHING,
    ) -> None:
        """Answer the message: send to its ``reply-to``, with its ``correlation-id``.

        That settles nothing: acknowledge the message beside it, as any other.

        >>> request.reply(request.text.upper())  # doctest: +SKIP

        Args:
            body: body of the answer; text is encoded as UTF-8.
            headers: more headers.
            transaction: id of the transaction that the answer belongs to.
            json: instead of a body, what to send as JSON, with the content type that says so.

        Raises:
            STOMPConnectionError: there is no connection; nothing was sent.
            STOMPTimeout: the broker takes nothing; nothing was sent.
            TypeError: the body is of the wrong kind.
            ValueError: the message asks for no reply, or a header cannot be sent.
        """
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        self._settler._reply(self, as_body(body), headers, transaction)

    def __enter__(self) -> Self:
        """Give the message itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Acknowledge; after an exception refuse, with its type as the reason."""
        if self.settlement is not None:
            return
        try:
            if kind is None:
                self._settler.ack(self, None)
            else:
                self.nack(reason=kind.__name__)
        except StaleMessageError as stale:
            # The broker has it back already, and there is nothing that the block could do now.
            logger.warning("%s", stale)
        except STOMPException as failure:
            if error is None:
                raise
            logger.warning("message %s was not refused: %s", self.id, failure)
