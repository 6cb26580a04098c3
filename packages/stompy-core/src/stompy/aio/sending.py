"""How a client sends: frames, their receipts and confirmations, and settlements by hand.

These are the rules of the sending calls of `STOMPClient`. A frame is queued whole, at one moment. A
call may wait for room before it, and for the broker's answer after it. Who is cancelled in the
first wait has sent nothing; who is cancelled in the second gives up the wait, and the frame goes
its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from stompy.aio.confirmation import Confirmation, take
from stompy.aio.connection import Connection
from stompy.aio.message import Message
from stompy.aio.resending import keep, keeps, wait_for_kept
from stompy.aio.session import Session
from stompy.errors import OutcomeUnknown, STOMPConnectionError, STOMPException
from stompy.protocol.frame import STOMPFrame, as_body
from stompy.session.arguments import (
    check_ack,
    check_bodies,
    check_destination,
    check_receipt_id,
    json_bytes,
    json_headers,
)
from stompy.session.commands import HeaderValue, as_text, message_headers
from stompy.session.confirmations import Outcome
from stompy.session.send_options import cancel_headers, check_each, each_id

T = TypeVar("T")


async def transmit(
    session: Session,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str,
) -> str | None:
    """Send a frame: the **hot path** of sending. Gives the receipt id."""
    if session.reconnects and keeps(session, command, given, transaction):
        return (await keep(session, command, given, body, transaction, receipt))[1]
    connection = session.connection
    if connection.congested or transaction is not None:
        connection = await session.writable(transaction)
    all_headers = as_text(given)
    if transaction is not None:
        all_headers["transaction"] = transaction
        session.follow(command, transaction, connection)
    receipt_id = None
    if receipt:
        receipt_id = receipt_id_for(session, connection, receipt)
        all_headers["receipt"] = receipt_id
    if body.__class__ is not bytes:
        body = body.encode() if isinstance(body, str) else as_body(body)
    connection.write(connection.protocol.send(command, all_headers, body))
    return receipt_id


def receipt_id_for(session: Session, connection: Connection, receipt: str | bool) -> str:
    """The receipt id to send: a given one, which may be used again, or a new one."""
    if isinstance(receipt, str):
        session.inbox.forget_receipt(receipt)
    else:
        receipt = session.new_id("r")
    session.core.asked(receipt, connection)
    return receipt


async def confirmed(
    session: Session,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str,
    timeout: float | None,
) -> str:
    """Send a frame and wait until the broker has confirmed it; gives the receipt id.

    Raises:
        OutcomeUnknown: the connection ended first.
        STOMPError: the broker rejected the frame.
        STOMPTimeout: it did not answer in time.
    """
    confirmation = await post(session, command, given, body, transaction, receipt or True)
    try:
        result = await confirmation.result(timeout)
        return receipt if isinstance(receipt, str) else result
    finally:
        if confirmation.outcome is Outcome.REJECTED:
            session.error_is_reported = True


async def post(
    session: Session,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str = True,
) -> Confirmation:
    """Send a frame whose outcome matters."""
    if session.reconnects and keeps(session, command, given, transaction):
        return (await keep(session, command, given, body, transaction))[0]
    connection = session.connection
    if connection.congested or transaction is not None:
        connection = await session.writable(transaction)
    if transaction is not None:
        connection.dialect.check_confirmation()
        session.follow(command, transaction, connection)
        given["transaction"] = transaction
    receipt_id = receipt if isinstance(receipt, str) else session.new_id("r")
    return session.ask(connection, command, given, receipt_id, body)


async def send_many(
    session: Session,
    destination: str,
    bodies: Iterable[bytes | str] | AsyncIterable[bytes | str] | None,
    window: int,
    headers: Mapping[str, HeaderValue],
    timeout: float | None,
    json: Iterable[object] | AsyncIterable[object] | None,
    dedup: bool | str | None,
) -> int:
    """Send messages, so many of them unconfirmed at once; see `STOMPClient.send_many`."""
    if window < 1:
        raise ValueError(f"the window is 1 or more, not {window}")
    check_bodies(bodies, json)
    if json is not None:
        headers = json_headers(headers)
    check_destination(destination)
    check_each(dedup)
    unconfirmed: deque[Confirmation] = deque()
    posted = 0
    try:
        async for body in _each_body(bodies, json):
            if len(unconfirmed) >= window:
                await take(unconfirmed, window // 2, timeout)
            own = each_id(dedup, session)
            given = message_headers(destination, None, headers, own, session.dialect)
            unconfirmed.append(await post(session, "SEND", given, body, None))
            posted += 1
        await take(unconfirmed, 0, timeout)
    except STOMPException as error:
        accepted = sum(one.outcome is Outcome.ACCEPTED for one in unconfirmed)
        error.add_note(f"{posted - len(unconfirmed) + accepted} messages before it were accepted")
        raise
    return posted


async def _each_body(
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


async def settle(
    session: Session, command: str, ack_id: str | STOMPFrame, transaction: str | None
) -> None:
    """Acknowledge or refuse what an application names by hand."""
    if isinstance(ack_id, Message):  # what knows its own settlement settles itself
        if command == "ACK":
            await ack_id.ack(transaction)
        else:
            await ack_id.nack(transaction=transaction)
        return
    check_ack(ack_id)
    session.dialect.check_settlement(transaction)
    if transaction is not None:
        session.core.resending.let_go(transaction)
    if session.connection.congested or transaction is not None:
        await session.writable(transaction)
    settle_over(session, session.connection, command, ack_id, transaction)


def settle_over(
    session: Session,
    connection: Connection,
    command: str,
    ack_id: str | STOMPFrame,
    transaction: str | None,
) -> None:
    """The same over this connection and no other: there, the id may name another message."""
    names: dict[str, HeaderValue] = {**connection.subscriptions.settlement(command, ack_id)}
    if transaction is not None:
        session.core.resending.let_go(transaction)
        names["transaction"] = transaction
    session.write(connection, command, names)


async def cancel_schedule(
    session: Session, destination: str, schedule_id: str, timeout: float | None
) -> bool:
    """End a schedule; see `STOMPClient.cancel_schedule`."""
    check_destination(destination)
    named = cancel_headers(schedule_id, session.dialect)
    given = message_headers(destination, None, named, {}, session.dialect)
    receipt = await transmit(session, "SEND", given, b"", None, receipt=True)
    assert receipt is not None  # it was asked for
    answer = await wait_for_receipt(session, receipt, timeout)
    return answer.get("cancelled") == "true"


async def wait_for_receipt(session: Session, receipt_id: str, timeout: float | None) -> STOMPFrame:
    """Take the RECEIPT of a frame that was sent before; see `STOMPClient.wait_for_receipt`."""
    check_receipt_id(receipt_id)
    kept = session.core.resending.asked(receipt_id)
    if kept is not None:
        return await wait_for_kept(session, kept, timeout)
    connection = session.core.asked_on(receipt_id) or session.connection
    with session.priority_read():
        frame = await session.inbox.claim_receipt(receipt_id, timeout, lambda: connection.ended)
    session.core.receipt_is_told(receipt_id)
    if frame is not None:
        return frame
    reason = connection.close_reason
    if reason is not None and reason.headers.get("receipt-id") == receipt_id:
        raise reason
    lost = connection.error()
    raise OutcomeUnknown(lost.Message, lost.Frame) from reason


def abandon(session: Session, txn_id: str) -> None:
    """Abort a transaction at this moment, if there still is its connection."""
    session.check_loop()
    session.core.resending.let_go(txn_id)
    with suppress(STOMPConnectionError):
        session.core.check_transaction(txn_id)
        session.follow("ABORT", txn_id, session.connection)
        session.write(session.connection, "ABORT", {"transaction": txn_id})
