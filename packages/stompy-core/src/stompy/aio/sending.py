"""What the asyncio client says: the verbs that write frames, and their receipts.

A frame is queued whole, at one moment. A verb may wait for room before it, and for a receipt after
it. Who is cancelled in the first wait has sent nothing; who is cancelled in the second gives up
the wait, and the frame goes its way.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from stompy.aio.link import Link
from stompy.aio.opening import Opening
from stompy.errors import STOMPConnectionError
from stompy.frame import AckMode, STOMPFrame
from stompy.verbs import HeaderValue, as_text
from stompy.subscriptions import Subscriptions


class FrameSender:
    """The sending half of a client."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._subscriptions = Subscriptions(None)
        self._numbers = itertools.count(1)

    async def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = {},
        body: bytes | str = b"",
        transaction: str | None = None,
        receipt: bool | str = False,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """Send a frame of any command.

        Args:
            command: frame command.
            headers: frame headers.
            body: frame body; text is encoded as UTF-8.
            transaction: id of the transaction that the frame belongs to.
            receipt: a receipt id to ask for, or True for a new one.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPConnectionError: there is no connection; the text says why.
            STOMPTimeout: the broker took nothing for too long; the frame was not sent.
            ValueError: a header that the version in use cannot carry.
        """
        return await self._transmit(command, {**headers, **kv_headers}, body, transaction, receipt)

    async def _transmit(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str,
    ) -> str | None:
        """Send a frame: the **hot path** of sending."""
        link = self._last_link()
        if link.crowded:
            await link.room()
        return self._write(link, command, given, body, transaction, receipt)

    def _write(
        self,
        link: Link,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str = b"",
        transaction: str | None = None,
        receipt: bool | str = False,
    ) -> str | None:
        """Queue a frame, at this moment and whole."""
        all_headers = as_text(given)
        if transaction is not None:
            all_headers["transaction"] = transaction
        receipt_id = None
        if receipt:
            receipt_id = self._receipt_id(link, receipt)
            all_headers["receipt"] = receipt_id
        if isinstance(body, str):
            body = body.encode()
        link.write(link.protocol.send(command, all_headers, body))
        return receipt_id

    async def message(
        self,
        destination: str,
        body: bytes | str = b"",
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        transaction: str | None = None,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """Send a message.

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            id: becomes the ``message-id`` header.
            headers: more headers.
            receipt: a receipt id to ask for, or True for a new one.
            transaction: id of the transaction that the message belongs to.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPConnectionError: there is no connection; the text says why.
            STOMPTimeout: the broker took nothing for too long; the message was not sent.
            ValueError: a header that the version in use cannot carry.
        """
        all_headers: dict[str, HeaderValue] = {
            "destination": destination,
            **headers,
            **kv_headers,
        }
        if id is not None:
            all_headers["message-id"] = id
        return await self._transmit("SEND", all_headers, body, transaction, receipt)

    async def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the ACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            ValueError: this names no message that can be acknowledged.
        """
        headers = self._subscriptions.settlement("ACK", ack_id)
        await self.send("ACK", headers, transaction=transaction)

    async def nack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Refuse a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the NACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: STOMP 1.0 has no NACK.
            ValueError: this names no message that can be refused.
        """
        headers = self._subscriptions.settlement("NACK", ack_id)
        await self.send("NACK", headers, transaction=transaction)

    def subscribe(
        self,
        dest: str,
        ack_mode: str = "auto",
        send_acks: bool = True,
        *,
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        **kv_headers: HeaderValue,
    ) -> Opening[Subscription]:
        """Subscribe to a destination.

        Args:
            dest: destination.
            ack_mode: ``auto``, ``client`` or ``client-individual``.
            send_acks: whether messages are acknowledged for you.
            id: subscription id; a new one by default.
            headers: more headers.
            receipt: True waits until the broker has confirmed the subscription; a text is sent as
                receipt id and not waited for.
            kv_headers: more headers.

        Returns:
            To be awaited: the subscription id. With ``async with`` the subscription ends with
            the block.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: with ``receipt=True``: the broker refused.
            STOMPTimeout: with ``receipt=True``: it did not answer.
            ValueError: there is no such ack mode.
        """
        mode = AckMode(ack_mode)
        return Opening(
            self._subscribe(dest, mode, send_acks, id, {**headers, **kv_headers}, receipt)
        )

    async def _subscribe(
        self,
        dest: str,
        mode: AckMode,
        send_acks: bool,
        id: str | None,
        headers: dict[str, HeaderValue],
        receipt: bool | str,
    ) -> Subscription:
        sub_id = id or self._new_id("s")
        self._subscriptions.add(sub_id, mode, send_acks)
        all_headers = {"destination": dest, "id": sub_id, "ack": mode.value}
        asked = await self.send("SUBSCRIBE", {**all_headers, **headers}, receipt=receipt)
        if receipt is True and asked is not None:
            await self.wait_for_receipt(asked)
        return Subscription(sub_id, dest, self)

    async def unsubscribe(
        self,
        sub_id: str,
        *,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """End a subscription; messages that were not acknowledged go back to the broker.

        Args:
            sub_id: what `subscribe` returned.
            headers: more headers.
            receipt: a receipt id to ask for, or True for a new one.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        self._subscriptions.remove(sub_id)
        return await self.send(
            "UNSUBSCRIBE", {"id": str(sub_id), **headers, **kv_headers}, receipt=receipt
        )

    async def wait_for_receipt(self, receipt_id: str, timeout: float | None = 10.0) -> STOMPFrame:
        """Wait for the RECEIPT of something sent before, and take it.

        Messages that come meanwhile stay for who receives them.

        Args:
            receipt_id: what `send` or `message` returned.
            timeout: seconds.

        Raises:
            STOMPTimeout: it did not come in time.
            STOMPError: the broker answered that frame with ERROR.
            STOMPConnectionError: the connection ended first; whether the frame took effect is
                not known.
        """
        link = self._last_link()
        frame = await link.inbox.claim_receipt(receipt_id, timeout)
        if frame is not None:
            return frame
        reason = link.close_reason
        if reason is not None and reason.headers.get("receipt-id") == receipt_id:
            raise reason
        raise link.error()

    def _new_id(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    def _receipt_id(self, link: Link, receipt: str | bool) -> str:
        if not isinstance(receipt, str):
            return self._new_id("r")
        link.inbox.forget_receipt(receipt)
        return receipt

    def _last_link(self) -> Link:
        if self._link is None:
            raise STOMPConnectionError("not connected: call connect() first")
        return self._link


class Subscription(str):
    """The id of a subscription. It can be used with ``async with``, which unsubscribes at the end.

    Attributes:
        destination: what was subscribed to.
    """

    destination: str
    _sender: FrameSender

    def __new__(cls, sub_id: str, destination: str, sender: FrameSender) -> Subscription:
        """An id with what it takes to end it."""
        subscription = super().__new__(cls, sub_id)
        subscription.destination = destination
        subscription._sender = sender
        return subscription

    async def __aenter__(self) -> Subscription:
        """The id itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, if there still is a connection."""
        with suppress(STOMPConnectionError):
            await self._sender.unsubscribe(str(self))
