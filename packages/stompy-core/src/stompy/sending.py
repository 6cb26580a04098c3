"""What a client says: the verbs that write frames, their receipts, and headers as they are given.

`FrameSender` knows frames and the link they go to. Connecting and receiving are the business of
`stompy.client`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from stompy.errors import STOMPConnectionError
from stompy.frame import AckMode, STOMPFrame
from stompy.link import Link
from stompy.subscriptions import SubscriptionId, Subscriptions
from stompy.verbs import (
    HeaderValue,
    as_text,
    message_headers,
    subscribe_headers,
    unsubscribe_headers,
)


class FrameSender:
    """The sending half of a client."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._subscriptions = Subscriptions(None)
        self._numbers = itertools.count(1)

    def send(
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
        return self._transmit(command, {**headers, **kv_headers}, body, transaction, receipt)

    def _transmit(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str,
    ) -> str | None:
        """Send a frame: the **hot path** of sending."""
        link = self._last_link()
        all_headers = as_text(given)
        if transaction is not None:
            all_headers["transaction"] = transaction
        receipt_id = None
        if receipt:
            receipt_id = self._receipt_id(link, receipt)
            all_headers["receipt"] = receipt_id
        if isinstance(body, str):
            body = body.encode()
        link.send(link.protocol.send(command, all_headers, body))
        return receipt_id

    def message(
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
        all_headers = message_headers(destination, id, headers, kv_headers)
        return self._transmit("SEND", all_headers, body, transaction, receipt)

    def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the ACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            ValueError: this names no message that can be acknowledged.
        """
        self.send("ACK", self._subscriptions.settlement("ACK", ack_id), transaction=transaction)

    def nack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Refuse a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the NACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: STOMP 1.0 has no NACK.
            ValueError: this names no message that can be refused.
        """
        self.send("NACK", self._subscriptions.settlement("NACK", ack_id), transaction=transaction)

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
    ) -> SubscriptionId:
        """Subscribe to a destination.

        Args:
            dest: destination.
            ack_mode: ``auto``, ``client`` or ``client-individual``.
            send_acks: whether messages are acknowledged for you; see the top of this module.
            id: subscription id; a new one by default.
            headers: more headers.
            receipt: True waits until the broker has confirmed the subscription; a text is sent as
                receipt id and not waited for.
            kv_headers: more headers.

        Returns:
            The subscription id, which can be used with ``with``.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: with ``receipt=True``: the broker refused.
            STOMPTimeout: with ``receipt=True``: it did not answer.
            ValueError: there is no such ack mode.
        """
        sub_id = id or self._new_id("s")
        mode = AckMode(ack_mode)
        self._subscriptions.add(sub_id, mode, send_acks)
        all_headers = subscribe_headers(dest, sub_id, mode, {**headers, **kv_headers})
        asked = self.send("SUBSCRIBE", all_headers, receipt=receipt)
        if receipt is True and asked is not None:
            self.wait_for_receipt(asked)
        return SubscriptionId(sub_id, dest, self.unsubscribe)

    def unsubscribe(
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
        all_headers = unsubscribe_headers(sub_id, {**headers, **kv_headers})
        return self.send("UNSUBSCRIBE", all_headers, receipt=receipt)

    def wait_for_receipt(self, receipt_id: str, timeout: float | None = 10.0) -> STOMPFrame:
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
        frame = link.inbox.claim_receipt(receipt_id, timeout)
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
