"""What a client says: the verbs that write frames, and their receipts.

`FrameSender` knows frames and the connection they go to. Connecting and receiving are the business
of ``stompy.client``.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal, overload

from stompy.errors import (
    OutcomeUnknown,
    STOMPConnectionError,
    STOMPException,
)
from stompy.protocol.frame import STOMPFrame, as_body
from stompy.session.arguments import (
    MESSAGE,
    NOTHING,
    SEND,
    check_ack,
    check_bodies,
    check_command,
    check_destination,
    check_receipt_id,
    json_body,
    json_bytes,
    json_headers,
)
from stompy.session.client_info import Standing
from stompy.session.commands import HeaderValue, as_text, merged, message_headers
from stompy.session.confirmations import Outcome, unknown_outcome
from stompy.sync.confirmation import Confirmation, take
from stompy.sync.connection import Link
from stompy.sync.lifeline import Epoch, Lifeline
from stompy.sync.message import Message


class FrameSender(Standing):
    """The sending half of a client."""

    def __init__(self) -> None:
        self._line: Lifeline | None = None
        self._numbers = itertools.count(1)
        self._error_is_told = False

    @property
    def _link(self) -> Link | None:
        """The last connection's link."""
        last = None if self._line is None else self._line.last
        return None if last is None else last.link

    @overload
    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        receipt: Literal[False] = ...,
        *,
        confirm: Literal[False] = ...,
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> None: ...

    @overload
    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        *,
        receipt: Literal[True] | str,
        confirm: bool = ...,
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> str: ...

    @overload
    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        receipt: bool | str = ...,
        *,
        confirm: Literal[True],
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> str: ...

    @overload
    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = ...,
        body: bytes | str = ...,
        transaction: str | None = ...,
        receipt: bool | str = ...,
        *,
        confirm: bool = ...,
        timeout: float | None = ...,
        **kv_headers: HeaderValue,
    ) -> str | None: ...

    def send(
        self,
        command: str,
        headers: Mapping[str, HeaderValue] = {},
        body: bytes | str = b"",
        transaction: str | None = None,
        receipt: bool | str = False,
        *,
        confirm: bool = False,
        timeout: float | None = 10.0,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """Send a frame of any command.

        Args:
            command: frame command.
            headers: frame headers.
            body: frame body; text is encoded as UTF-8.
            transaction: id of the transaction that the frame belongs to.
            receipt: a receipt id to ask for, or True for a new one.
            confirm: whether to wait until the broker has confirmed it.
            timeout: seconds for that.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            OutcomeUnknown: with ``confirm``: the connection ended before the broker answered.
            STOMPConnectionError: there is no connection; the text says why.
            STOMPError: with ``confirm``: the broker rejected the frame.
            STOMPTimeout: the broker took nothing for too long, and the frame was not sent; or,
                with ``confirm``, it did not answer in time.
            ValueError: a header that the version in use cannot carry.
        """
        check_command(command)
        if kv_headers:
            SEND.check(kv_headers)
        given = merged(headers, kv_headers)
        if confirm:
            return self._confirmed(command, given, body, transaction, receipt, timeout)
        epoch = self._sending(transaction)
        return self._transmit(epoch, command, given, body, transaction, receipt)

    def _transmit(
        self,
        epoch: Epoch,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str,
    ) -> str | None:
        """Send a frame over a connection: the **hot path** of sending."""
        all_headers = as_text(given)
        if transaction is not None:
            all_headers["transaction"] = transaction
            self._last_line().follow(command, transaction, epoch)
        receipt_id = None
        if receipt:
            receipt_id = self._receipt_id(epoch, receipt)
            all_headers["receipt"] = receipt_id
        if body.__class__ is not bytes:
            body = body.encode() if isinstance(body, str) else as_body(body)
        link = epoch.link
        link.send(link.protocol.send(command, all_headers, body))
        return receipt_id

    @overload
    def message(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: Literal[False] = ...,
        transaction: str | None = ...,
        *,
        confirm: Literal[False] = ...,
        timeout: float | None = ...,
        json: object = ...,
        **kv_headers: HeaderValue,
    ) -> None: ...

    @overload
    def message(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        *,
        receipt: Literal[True] | str,
        transaction: str | None = ...,
        confirm: bool = ...,
        timeout: float | None = ...,
        json: object = ...,
        **kv_headers: HeaderValue,
    ) -> str: ...

    @overload
    def message(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str = ...,
        transaction: str | None = ...,
        *,
        confirm: Literal[True],
        timeout: float | None = ...,
        json: object = ...,
        **kv_headers: HeaderValue,
    ) -> str: ...

    @overload
    def message(
        self,
        destination: str,
        body: bytes | str = ...,
        id: str | None = ...,
        headers: Mapping[str, HeaderValue] = ...,
        receipt: bool | str = ...,
        transaction: str | None = ...,
        *,
        confirm: bool = ...,
        timeout: float | None = ...,
        json: object = ...,
        **kv_headers: HeaderValue,
    ) -> str | None: ...

    def message(  # noqa: PLR0913 -- the manual's arguments and one for JSON
        self,
        destination: str,
        body: bytes | str = b"",
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        receipt: bool | str = False,
        transaction: str | None = None,
        *,
        confirm: bool = False,
        timeout: float | None = 10.0,
        json: object = NOTHING,
        **kv_headers: HeaderValue,
    ) -> str | None:
        """Send a message.

        >>> client.message("/queue/orders", "1 spoon", confirm=True)  # doctest: +SKIP
        >>> client.message("/queue/orders", json={"item": "spoon"})  # doctest: +SKIP

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            id: becomes the ``message-id`` header, or what the broker has in its place.
            headers: more headers.
            receipt: a receipt id to ask for, or True for a new one.
            transaction: id of the transaction that the message belongs to.
            confirm: whether to wait until the broker has confirmed the message.
            timeout: seconds for that.
            json: instead of a body, what to send as JSON, with the content type that says so.
            kv_headers: more headers, as in ``priority=5``. One that looks like a mistyped
                argument is refused; ``headers`` takes any.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            OutcomeUnknown: with ``confirm``: the connection ended before the broker answered.
            STOMPConnectionError: there is no connection, and nothing was sent; the text says why.
            STOMPError: with ``confirm``: the broker rejected the message.
            STOMPTimeout: the broker took nothing for too long, and the message was not sent; or,
                with ``confirm``, it did not answer in time.
            TypeError: an argument of the wrong kind, or that there is not.
            ValueError: a header that the version in use cannot carry, or a destination that
                cannot be meant.
        """
        line = self._line or self._last_line()
        if destination.__class__ is not str or destination[:1] != "/":
            check_destination(destination, body)
        if kv_headers:
            MESSAGE.check(kv_headers)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        all_headers = message_headers(destination, id, headers, kv_headers, line.dialect)
        if confirm:
            return self._confirmed("SEND", all_headers, body, transaction, receipt, timeout)
        epoch = (line.direct if transaction is None else None) or self._sending(transaction)
        return self._transmit(epoch, "SEND", all_headers, body, transaction, receipt)

    def post(
        self,
        destination: str,
        body: bytes | str = b"",
        id: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        transaction: str | None = None,
        *,
        json: object = NOTHING,
    ) -> Confirmation:
        """Send a message and do not wait for its confirmation yet.

        Arguments are those of `message`.

        Returns:
            What will tell the outcome.

        Raises:
            STOMPConnectionError: there is no connection; nothing was sent.
            STOMPTimeout: the broker took nothing for too long; the message was not sent.
            TypeError: an argument of the wrong kind.
            UnsupportedByBroker: this broker confirms what belongs to a transaction at its end.
            ValueError: a header that the version in use cannot carry, or a destination that
                cannot be meant.
        """
        line = self._line or self._last_line()
        if destination.__class__ is not str or destination[:1] != "/":
            check_destination(destination, body)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        all_headers = message_headers(destination, id, headers, {}, line.dialect)
        return self._post("SEND", all_headers, body, transaction)

    def _confirmed(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str,
        timeout: float | None,
    ) -> str:
        confirmation = self._post(command, given, body, transaction, receipt or True)
        try:
            return confirmation.result(timeout)
        finally:
            if confirmation.outcome is Outcome.REJECTED:
                self._error_is_told = True

    def _post(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str = True,
    ) -> Confirmation:
        while True:
            epoch = self._sending(transaction)
            if transaction is not None:
                epoch.dialect.check_confirmation()
            try:
                return self._post_on(epoch, command, given, body, transaction, receipt)
            except STOMPConnectionError:
                # It ended before anything was sent; where another follows, that one is waited for.
                if not self._last_line().supervised:
                    raise

    def _post_on(
        self,
        epoch: Epoch,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None = None,
        receipt: bool | str = True,
    ) -> Confirmation:
        room = self._last_line().room
        receipt_id = receipt if isinstance(receipt, str) else self._new_id("r")
        confirmation = Confirmation(receipt_id, room, command, given.get("destination"))
        room.expect(confirmation)
        try:
            headers = {**given, "receipt": receipt_id}
            self._transmit(epoch, command, headers, body, transaction, False)
        except OutcomeUnknown:
            # Perhaps it left before the connection broke.
            room.forget(confirmation)
            if not confirmation.done:
                error = unknown_outcome(receipt_id, epoch.link.close_reason)
                confirmation.settle(Outcome.UNKNOWN, error)
        except BaseException:
            room.forget(confirmation)
            raise
        return confirmation

    def send_many(
        self,
        destination: str,
        bodies: Iterable[bytes | str] | None = None,
        window: int = 256,
        headers: Mapping[str, HeaderValue] = {},
        timeout: float | None = 10.0,
        *,
        json: Iterable[object] | None = None,
    ) -> int:
        """Send messages and wait until all of them are confirmed, many at a time.

        >>> client.send_many("/queue/lines", ["a", "b", "c"])  # doctest: +SKIP

        Args:
            destination: where to.
            bodies: the messages' bodies.
            window: how many may be unconfirmed at once.
            headers: headers of each message.
            timeout: seconds to wait for one confirmation.
            json: instead of bodies, values to send as JSON.

        Returns:
            How many were accepted: all.

        Raises:
            OutcomeUnknown: the connection ended; a note tells how many were accepted before.
            STOMPError: the broker rejected one, with the same note.
            STOMPTimeout: the broker did not answer in time; likewise.
            TypeError: what is sent is one body, or no body at all.
            ValueError: a window of nothing.
        """
        if window < 1:
            raise ValueError(f"the window is 1 or more, not {window}")
        check_bodies(bodies, json)
        if json is not None:
            headers = json_headers(headers)
        line = self._last_line()
        check_destination(destination)
        unconfirmed: deque[Confirmation] = deque()
        accepted = 0
        try:
            for body in _each(bodies, json):
                if len(unconfirmed) >= window:
                    for _ in take(unconfirmed, window // 2, timeout):
                        accepted += 1
                given = message_headers(destination, None, headers, {}, line.dialect)
                unconfirmed.append(self._post("SEND", given, body, None))
            for _ in take(unconfirmed, 0, timeout):
                accepted += 1
        except STOMPException as error:
            accepted += sum(one.outcome is Outcome.ACCEPTED for one in unconfirmed)
            error.add_note(f"{accepted} messages before it were accepted")
            raise
        return accepted

    def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every confirmation is settled, one way or another.

        Raises:
            STOMPTimeout: that did not happen in time.
        """
        if self._line is not None:
            room = self._line.room
            room.wait(lambda: not room.confirmations, timeout, "not everything was confirmed")

    def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the ACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            StaleMessageError: the message came over an earlier connection; nothing was sent.
            ValueError: this names no message that can be acknowledged.
        """
        self._settle("ACK", ack_id, transaction)

    def nack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Refuse a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the NACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: STOMP 1.0 has no NACK.
            StaleMessageError: the message came over an earlier connection; nothing was sent.
            ValueError: this names no message that can be refused.
        """
        self._settle("NACK", ack_id, transaction)

    def _settle(self, command: str, ack_id: str | STOMPFrame, transaction: str | None) -> None:
        if not isinstance(ack_id, Message):
            check_ack(ack_id)
            self._settle_on(self._sending(transaction), command, ack_id, transaction)
        elif command == "ACK":  # what knows its own settlement settles itself
            ack_id.ack(transaction)
        else:
            ack_id.nack(transaction=transaction)

    def _settle_on(
        self, epoch: Epoch, command: str, ack_id: str | STOMPFrame, transaction: str | None
    ) -> None:
        # Over this connection and no other: elsewhere the same id may name another message.
        names: dict[str, HeaderValue] = {**epoch.subscriptions.settlement(command, ack_id)}
        self._transmit(epoch, command, names, b"", transaction, False)

    def wait_for_receipt(self, receipt_id: str, timeout: float | None = 10.0) -> STOMPFrame:
        """Wait for the RECEIPT of something sent before, and take it.

        Messages that come meanwhile stay for who receives them.

        Args:
            receipt_id: what `send` or `message` returned.
            timeout: seconds.

        Raises:
            STOMPTimeout: it did not come in time.
            STOMPError: the broker answered that frame with ERROR.
            OutcomeUnknown: the connection ended first; whether the frame took effect is not
                known.
            TypeError: this is no receipt id.
        """
        check_receipt_id(receipt_id)
        line = self._last_line()
        asked_on = line.asked_on(receipt_id)
        if asked_on is None:
            raise line.error()
        link = asked_on.link
        frame = link.inbox.claim_receipt(receipt_id, timeout)
        line.answered(receipt_id)
        if frame is not None:
            return frame
        reason = link.close_reason
        if reason is not None and reason.headers.get("receipt-id") == receipt_id:
            raise reason
        lost = link.error()
        raise OutcomeUnknown(lost.Message, lost.Frame) from reason

    def _sending(self, transaction: str | None) -> Epoch:
        """The connection to send over."""
        line = self._line or self._last_line()
        return line.sending() if transaction is None else line.sending_in(transaction)

    def _new_id(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    def _receipt_id(self, epoch: Epoch, receipt: str | bool) -> str:
        if isinstance(receipt, str):
            epoch.link.inbox.forget_receipt(receipt)
        else:
            receipt = self._new_id("r")
        line = self._last_line()
        if line.supervised:
            line.asked(receipt, epoch)
        return receipt

    def _last_line(self) -> Lifeline:
        if self._line is None:
            raise STOMPConnectionError("not connected: call connect() first")
        return self._line

    def _last_link(self) -> Link:
        link = self._link
        if link is None:
            raise STOMPConnectionError("not connected: call connect() first")
        return link


def _each(
    bodies: Iterable[bytes | str] | None, json: Iterable[object] | None
) -> Iterable[bytes | str]:
    """The bodies, or the values as JSON."""
    if json is not None:
        return map(json_bytes, json)
    return () if bodies is None else bodies
