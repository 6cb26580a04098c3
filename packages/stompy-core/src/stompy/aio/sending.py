"""What the asyncio client says: the verbs that write frames, their receipts and their outcomes.

A frame is queued whole, at one moment. A verb may wait for room before it, and for the broker's
answer after it. Who is cancelled in the first wait has sent nothing; who is cancelled in the second
gives up the wait, and the frame goes its way.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Literal, TypeVar, overload

from stompy.aio.confirmation import Confirmation
from stompy.aio.connection import Link
from stompy.aio.message import Message
from stompy.aio.session import Session
from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPException
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
from stompy.session.confirmations import Outcome

T = TypeVar("T")


class FrameSender(Standing):
    """The sending half of a client."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._error_is_told = False
        self._numbers = itertools.count(1)

    @property
    def _link(self) -> Link | None:
        """The last link."""
        session = self._session
        return session.link if session is not None and session.has_link else None

    @overload
    async def send(
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
    async def send(
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
    async def send(
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
    async def send(
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

    async def send(
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
            confirm: whether to wait until the broker has accepted the frame.
            timeout: seconds to wait for that.
            kv_headers: more headers.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPConnectionError: there is no connection; the text says why.
            STOMPTimeout: the broker took nothing for too long, and the frame was not sent; or,
                with ``confirm``, no answer came in time.
            STOMPError: with ``confirm``: the broker rejected the frame.
            OutcomeUnknown: with ``confirm``: the connection ended before the answer.
            ValueError: a header that the version in use cannot carry.
        """
        check_command(command)
        if kv_headers:
            SEND.check(kv_headers)
        given = merged(headers, kv_headers)
        if confirm:
            return await self._confirmed(command, given, body, transaction, receipt, timeout)
        return await self._transmit(command, given, body, transaction, receipt)

    async def _transmit(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str,
    ) -> str | None:
        """Send a frame: the **hot path** of sending."""
        session = self._session or self._last_session()
        link = session.link
        if link.crowded or transaction is not None:
            link = await session.writable(transaction)
        all_headers = as_text(given)
        if transaction is not None:
            all_headers["transaction"] = transaction
            session.follow(command, transaction)
        receipt_id = None
        if receipt:
            receipt_id = self._receipt_id(session, receipt)
            all_headers["receipt"] = receipt_id
        if body.__class__ is not bytes:
            body = body.encode() if isinstance(body, str) else as_body(body)
        link.write(link.protocol.send(command, all_headers, body))
        return receipt_id

    async def _confirmed(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None,
        receipt: bool | str,
        timeout: float | None,
    ) -> str:
        confirmation = await self._post(command, given, body, transaction, receipt or True)
        try:
            return await confirmation.result(timeout)
        finally:
            if confirmation.outcome is Outcome.REJECTED:
                self._error_is_told = True

    async def _post(
        self,
        command: str,
        given: dict[str, HeaderValue],
        body: bytes | str,
        transaction: str | None = None,
        receipt: bool | str = True,
    ) -> Confirmation:
        session = self._session or self._last_session()
        link = session.link
        if link.crowded or transaction is not None:
            link = await session.writable(transaction)
        if transaction is not None:
            session.dialect.check_confirmation()
            session.follow(command, transaction)
            given["transaction"] = transaction
        receipt_id = receipt if isinstance(receipt, str) else self._new_id("r")
        return session.ask(link, command, given, receipt_id, body)

    @overload
    async def message(
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
    async def message(
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
    async def message(
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
    async def message(
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

    async def message(  # noqa: PLR0913 -- the manual's arguments and one for JSON
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

        >>> await client.message("/queue/orders", "1 spoon", confirm=True)  # doctest: +SKIP
        >>> await client.message("/queue/orders", json={"item": "spoon"})  # doctest: +SKIP

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            id: becomes the ``message-id`` header.
            headers: more headers.
            receipt: a receipt id to ask for, or True for a new one.
            transaction: id of the transaction that the message belongs to.
            confirm: whether to wait until the broker has accepted the message.
            timeout: seconds to wait for that.
            json: instead of a body, what to send as JSON, with the content type that says so.
            kv_headers: more headers, as in ``priority=5``. One that looks like a mistyped
                argument is refused; ``headers`` takes any.

        Returns:
            The receipt id if a receipt was asked for, otherwise None.

        Raises:
            STOMPConnectionError: there is no connection; the text says why.
            STOMPTimeout: the broker took nothing for too long, and the message was not sent; or,
                with ``confirm``, no answer came in time.
            STOMPError: with ``confirm``: the broker rejected the message.
            OutcomeUnknown: with ``confirm``: the connection ended before the answer.
            TypeError: an argument of the wrong kind, or that there is not.
            ValueError: a header that the version in use cannot carry, or a destination that
                cannot be meant.
        """
        dialect = (self._session or self._last_session()).dialect
        if destination.__class__ is not str or destination[:1] != "/":
            check_destination(destination, body)
        if kv_headers:
            MESSAGE.check(kv_headers)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        given = message_headers(destination, id, headers, kv_headers, dialect)
        if confirm:
            return await self._confirmed("SEND", given, body, transaction, receipt, timeout)
        return await self._transmit("SEND", given, body, transaction, receipt)

    async def post(
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

        Args:
            destination: where to.
            body: message body; text is encoded as UTF-8.
            id: becomes the ``message-id`` header.
            headers: more headers.
            transaction: id of the transaction that the message belongs to.
            json: instead of a body, what to send as JSON, with the content type that says so.

        Returns:
            What the broker will say; to be awaited when that matters.

        Raises:
            STOMPConnectionError: there is no connection; the text says why.
            STOMPTimeout: the broker took nothing for too long; the message was not sent.
            TypeError: an argument of the wrong kind.
            UnsupportedByBroker: this broker confirms what belongs to a transaction at its end.
            ValueError: a header that the version in use cannot carry, or a destination that
                cannot be meant.
        """
        dialect = (self._session or self._last_session()).dialect
        if destination.__class__ is not str or destination[:1] != "/":
            check_destination(destination, body)
        if json is not NOTHING:
            body, headers = json_body(json, body, headers)
        given = message_headers(destination, id, headers, {}, dialect)
        return await self._post("SEND", given, body, transaction)

    async def send_many(
        self,
        destination: str,
        bodies: Iterable[bytes | str] | AsyncIterable[bytes | str] | None = None,
        window: int = 256,
        headers: Mapping[str, HeaderValue] = {},
        timeout: float | None = 10.0,
        *,
        json: Iterable[object] | AsyncIterable[object] | None = None,
    ) -> int:
        """Send messages and wait until all of them are confirmed, many at a time.

        >>> await client.send_many("/queue/lines", ["a", "b", "c"])  # doctest: +SKIP

        Args:
            destination: where to.
            bodies: their bodies.
            window: how many may be unconfirmed at the same time.
            headers: more headers, of each.
            timeout: seconds to wait for each confirmation.
            json: instead of bodies, values to send as JSON.

        Returns:
            How many were accepted: all.

        Raises:
            STOMPError: the broker rejected one, or there is no connection. A note says how many
                were accepted before.
            OutcomeUnknown: the connection ended; likewise.
            STOMPTimeout: no answer came in time; likewise.
            TypeError: what is sent is one body, or no body at all.
            ValueError: ``window`` is less than 1.
        """
        if window < 1:
            raise ValueError(f"the window is 1 or more, not {window}")
        check_bodies(bodies, json)
        if json is not None:
            headers = json_headers(headers)
        check_destination(destination)
        unconfirmed: deque[Confirmation] = deque()
        posted = 0
        try:
            async for body in _each(bodies, json):
                if len(unconfirmed) >= window:
                    await _take(unconfirmed, window // 2, timeout)
                unconfirmed.append(await self.post(destination, body, None, headers))
                posted += 1
            await _take(unconfirmed, 0, timeout)
        except STOMPException as error:
            accepted = sum(one.outcome is Outcome.ACCEPTED for one in unconfirmed)
            error.add_note(
                f"{posted - len(unconfirmed) + accepted} messages before it were accepted"
            )
            raise
        return posted

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until every confirmation is settled, one way or another.

        What became of each, its `Confirmation` says.

        Args:
            timeout: seconds.

        Raises:
            STOMPTimeout: some answers did not come in time.
        """
        if self._session is not None:
            await self._session.wait_settled(timeout)

    async def ack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Acknowledge a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the ACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            StaleMessageError: the message came over an earlier connection.
            ValueError: this names no message that can be acknowledged.
        """
        await self._settle_by_hand("ACK", ack_id, transaction)

    async def nack(self, ack_id: str | STOMPFrame, transaction: str | None = None) -> None:
        """Refuse a message.

        Args:
            ack_id: the message, or its ``ack`` header.
            transaction: id of the transaction that the NACK belongs to.

        Raises:
            STOMPConnectionError: there is no connection.
            STOMPError: STOMP 1.0 has no NACK.
            StaleMessageError: the message came over an earlier connection.
            ValueError: this names no message that can be refused.
        """
        await self._settle_by_hand("NACK", ack_id, transaction)

    async def _settle_by_hand(
        self, command: str, ack_id: str | STOMPFrame, transaction: str | None
    ) -> None:
        if isinstance(ack_id, Message):  # what knows its own settlement settles itself
            if command == "ACK":
                await ack_id.ack(transaction)
            else:
                await ack_id.nack(transaction=transaction)
            return
        check_ack(ack_id)
        session = self._last_session()
        session.dialect.check_settlement(transaction)
        if session.link.crowded or transaction is not None:
            await session.writable(transaction)
        # Of this connection and no other: elsewhere the same id may name another message.
        headers = dict(session.subscriptions.settlement(command, ack_id))
        if transaction is not None:
            headers["transaction"] = transaction
        session.write(session.link, command, headers)

    # -- receipts ----------------------------------------------------------------------------

    async def wait_for_receipt(self, receipt_id: str, timeout: float | None = 10.0) -> STOMPFrame:
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
        session = self._last_session()
        link = session.asked_on(receipt_id)
        with session.urgently():
            frame = await session.inbox.claim_receipt(receipt_id, timeout, lambda: link.ended)
        if frame is not None:
            return frame
        reason = link.close_reason
        if reason is not None and reason.headers.get("receipt-id") == receipt_id:
            raise reason
        lost = link.error()
        raise OutcomeUnknown(lost.Message, lost.Frame) from reason

    def _abandon(self, txn_id: str) -> None:
        """Abort a transaction at this moment, if there still is its connection."""
        session = self._last_session()
        with suppress(STOMPConnectionError):
            session.transactions.check(txn_id, session.epoch)
            session.follow("ABORT", txn_id)
            session.write(session.link, "ABORT", {"transaction": txn_id})

    def _new_id(self, kind: str) -> str:
        return f"{kind}{next(self._numbers)}"

    def _receipt_id(self, session: Session, receipt: str | bool) -> str:
        if isinstance(receipt, str):
            session.inbox.forget_receipt(receipt)
        else:
            receipt = self._new_id("r")
        session.asked(receipt)
        return receipt

    def _last_session(self) -> Session:
        if self._session is None:
            raise STOMPConnectionError("not connected: call connect() first")
        self._session.check_loop()
        return self._session


async def _take(unconfirmed: deque[Confirmation], keep: int, timeout: float | None) -> None:
    """Take the oldest ones until so many are left, and wait for each; who fails stays."""
    if len(unconfirmed) > keep:
        # Our broker answers in the order of the frames, so this is mostly the only wait.
        await unconfirmed[len(unconfirmed) - keep - 1].wait(timeout)
    while len(unconfirmed) > keep:
        oldest = unconfirmed[0]
        if oldest.done:
            oldest.check()
        else:
            await oldest.result(timeout)
        unconfirmed.popleft()


async def _each(
    bodies: Iterable[bytes | str] | AsyncIterable[bytes | str] | None,
    json: Iterable[object] | AsyncIterable[object] | None,
) -> AsyncIterator[bytes | str]:
    """The bodies, or the values as JSON, wherever they come from."""
    if json is not None:
        async for value in _one_by_one(json):
            yield json_bytes(value)
    else:
        async for body in _one_by_one(() if bodies is None else bodies):
            yield body


async def _one_by_one(things: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(things, AsyncIterable):
        async for thing in things:
            yield thing
    else:
        for thing in things:
            yield thing
