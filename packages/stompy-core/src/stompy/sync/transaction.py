"""A transaction: what is sent through it takes effect at COMMIT, or never.

It begins with `stompy.client.STOMPClient.transaction` and ends once, by commit or abort.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, Unpack

from stompy.errors import STOMPError, STOMPException
from stompy.protocol.frame import STOMPFrame
from stompy.session.arguments import NOTHING, TRANSACTION_MESSAGE, TRANSACTION_SEND
from stompy.session.commands import HeaderValue, merged
from stompy.session.send_options import SendValue, SendWords, taken_apart, with_send_options
from stompy.session.signatures import (
    EndCall,
    LooksLike,
    TransactionMessageCall,
    TransactionSendCall,
)


class TransactionClient(Protocol):
    """What a transaction needs of its client."""

    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = None,
        receipt: bool | str = False,
    ) -> str | None:
        """Send a frame."""

    def message(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str = False,
        transaction: str | None = None,
        *,
        json: object = NOTHING,
        **options: Unpack[SendWords],
    ) -> str | None:
        """Send a message."""

    def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message."""

    def nack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Refuse a message."""

    def recv(
        self, timeout: float | None = None, transaction: str | None = None
    ) -> STOMPFrame | None:
        """Receive a message."""

    def wait_for_receipt(self, receipt_id: str, timeout: float | None = 10.0) -> STOMPFrame:
        """Wait for a receipt."""


class STOMPTransaction:
    """A transaction that has begun.

    As a context manager it commits at the end and waits until the broker has confirmed that, or
    aborts when an exception leaves the block.

    Attributes:
        id: the transaction id.
    """

    def __init__(self, client: TransactionClient, txn_id: str) -> None:
        self.id = txn_id
        self._client = client
        self._outcome: str | None = None

    @LooksLike[TransactionMessageCall[None, str, str | None]]()
    @with_send_options
    def message(
        self,
        destination: str,
        body: bytes | str = b"",
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        *,
        json: object = NOTHING,
        **kv_headers: SendValue,
    ) -> str | None:
        """Send a message within the transaction; arguments as for `STOMPClient.message`.

        Raises:
            STOMPError: the transaction has ended, or there is no connection.
        """
        self._check_open()
        options: SendWords = {}
        if kv_headers:
            options, more = taken_apart(TRANSACTION_MESSAGE, kv_headers)
            headers = merged(headers, more)
        return self._client.message(
            destination, body, id, headers, receipt, self.id, json=json, **options
        )

    @LooksLike[TransactionSendCall[None, str, str | None]]()
    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = {},
        body: bytes | str = b"",
        receipt: bool | str = False,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """Send a frame within the transaction; arguments as for `STOMPClient.send`.

        Raises:
            STOMPError: the transaction has ended, or there is no connection.
        """
        self._check_open()
        if kv_headers:
            TRANSACTION_SEND.check(kv_headers)
            headers = merged(headers, kv_headers)
        return self._client.send(command, headers, body, self.id, receipt)

    def recv(self, timeout: float | None = None) -> STOMPFrame | None:
        """Receive the next message; an automatic ACK becomes part of the transaction.

        Args:
            timeout: seconds; None waits for as long as the connection lasts.

        Raises:
            STOMPTimeout: nothing came in time.
            STOMPError: the transaction has ended, or the broker sent ERROR.
        """
        self._check_open()
        return self._client.recv(timeout, self.id)

    def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message within the transaction.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: may only be this transaction's id.

        Raises:
            STOMPError: the transaction has ended, or there is no connection.
            ValueError: it is another one's id.
        """
        self._check_open()
        if transaction not in (None, self.id):
            raise ValueError(f"this is transaction {self.id!r}, not {transaction!r}")
        self._client.ack(ack_id, self.id)

    def nack(self, ack_id: str | STOMPFrame) -> None:
        """Refuse a message within the transaction.

        Args:
            ack_id: the message, or its ``ack`` header.

        Raises:
            STOMPError: the transaction has ended, or there is no connection.
        """
        self._check_open()
        self._client.nack(ack_id, self.id)

    @LooksLike[EndCall[None, str, str | None]]()
    def commit(self, receipt: bool | str | None = None) -> str | None:
        """Make everything take effect at once.

        Args:
            receipt: a receipt id to ask for, or True for a new one.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPError: the transaction has ended, or there is no connection.
        """
        return self._end("COMMIT", receipt)

    @LooksLike[EndCall[None, str, str | None]]()
    def abort(self, receipt: bool | str | None = None) -> str | None:
        """Undo everything; messages acknowledged in the transaction are delivered again.

        Args:
            receipt: a receipt id to ask for, or True for a new one.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPError: the transaction has ended, or there is no connection.
        """
        return self._end("ABORT", receipt)

    def _end(self, command: str, receipt: bool | str | None) -> str | None:
        self._check_open()
        asked = self._client.send(command, {}, b"", self.id, receipt or False)
        self._outcome = command
        return asked

    def _check_open(self) -> None:
        if self._outcome is not None:
            raise STOMPError(f"transaction {self.id!r} has ended with {self._outcome}")

    def __enter__(self) -> Self:
        """Give the transaction itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit and wait for the receipt; abort after an exception."""
        if self._outcome is not None:
            return
        if error is None:
            receipt = self.commit(receipt=True)
            assert receipt is not None
            self._client.wait_for_receipt(receipt)
            return
        # Without a connection the broker has undone it already.
        with suppress(STOMPException):
            self.abort()

    def __repr__(self) -> str:
        """Show the id, and how it ended if it did."""
        return f"<STOMPTransaction {self.id} {self._outcome or 'open'}>"
