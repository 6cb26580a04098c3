"""How a client sends: frames, their receipts and confirmations, and settlements by hand.

These are the rules of the sending calls of `STOMPClient`. A frame goes to one connection; what asks
for an answer is answered on that one, or has an unknown outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

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
from stompy.session.confirmations import Outcome, unknown_outcome
from stompy.session.send_options import cancel_headers, check_each, each_id
from stompy.sync.confirmation import Confirmation, take
from stompy.sync.connection import Connection
from stompy.sync.message import Message
from stompy.sync.resending import keep, keeps, wait_for_kept
from stompy.sync.session import Session


def transmit(
    session: Session,
    connection: Connection,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str,
) -> str | None:
    """Send a frame over a connection: the **hot path** of sending. Gives the receipt id."""
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
    connection.send(connection.protocol.send(command, all_headers, body))
    return receipt_id


def send(
    session: Session,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str,
) -> str | None:
    """Send a frame over the connection that there is, or will be. Gives the receipt id."""
    if keeps(session, command, given, transaction):
        return keep(session, command, given, body, transaction, receipt)[1]
    connection = session.writable(transaction)
    return transmit(session, connection, command, given, body, transaction, receipt)


def receipt_id_for(session: Session, connection: Connection, receipt: str | bool) -> str:
    """The receipt id to send: a given one, which may be used again, or a new one."""
    if isinstance(receipt, str):
        connection.inbox.forget_receipt(receipt)
    else:
        receipt = session.new_id("r")
    if session.reconnects:
        session.asked(receipt, connection)
    return receipt


def confirmed(
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
    confirmation = post(session, command, given, body, transaction, receipt or True)
    try:
        result = confirmation.result(timeout)
        return receipt if isinstance(receipt, str) else result
    finally:
        if confirmation.outcome is Outcome.REJECTED:
            session.error_is_reported = True


def post(
    session: Session,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str = True,
) -> Confirmation:
    """Send a frame whose outcome matters."""
    if keeps(session, command, given, transaction):
        return keep(session, command, given, body, transaction)[0]
    while True:
        connection = session.writable(transaction)
        if transaction is not None:
            connection.dialect.check_confirmation()
        try:
            return post_over(session, connection, command, given, body, transaction, receipt)
        except STOMPConnectionError:
            # It ended before anything was sent; where another follows, that one is waited for.
            if not session.reconnects:
                raise


def post_over(
    session: Session,
    connection: Connection,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None = None,
    receipt: bool | str = True,
) -> Confirmation:
    """Send a frame whose outcome matters over this connection and no other."""
    receipt_id = receipt if isinstance(receipt, str) else session.new_id("r")
    confirmation = Confirmation(receipt_id, session, command, given.get("destination"))
    session.expect(confirmation)
    try:
        headers = {**given, "receipt": receipt_id}
        transmit(session, connection, command, headers, body, transaction, False)
    except OutcomeUnknown:
        # Perhaps it left before the connection broke.
        session.forget(confirmation)
        if not confirmation.done:
            error = unknown_outcome(receipt_id, connection.close_reason)
            confirmation.settle(Outcome.UNKNOWN, error)
    except BaseException:
        session.forget(confirmation)
        raise
    return confirmation


def send_many(
    session: Session,
    destination: str,
    bodies: Iterable[bytes | str] | None,
    window: int,
    headers: Mapping[str, HeaderValue],
    timeout: float | None,
    json: Iterable[object] | None,
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
        for body in _each_body(bodies, json):
            if len(unconfirmed) >= window:
                take(unconfirmed, window // 2, timeout)
            own = each_id(dedup, session)
            given = message_headers(destination, None, headers, own, session.dialect)
            unconfirmed.append(post(session, "SEND", given, body, None))
            posted += 1
        take(unconfirmed, 0, timeout)
    except STOMPException as error:
        accepted = sum(one.outcome is Outcome.ACCEPTED for one in unconfirmed)
        error.add_note(f"{posted - len(unconfirmed) + accepted} messages before it were accepted")
        raise
    return posted


def _each_body(
    bodies: Iterable[bytes | str] | None, json: Iterable[object] | None
) -> Iterable[bytes | str]:
    """The bodies, or the values as JSON."""
    if json is not None:
        return map(json_bytes, json)
    return () if bodies is None else bodies


def settle(
    session: Session, command: str, ack_id: str | STOMPFrame, transaction: str | None
) -> None:
    """Acknowledge or refuse what an application names by hand."""
    if isinstance(ack_id, Message):  # what knows its own settlement settles itself
        if command == "ACK":
            ack_id.ack(transaction)
        else:
            ack_id.nack(transaction=transaction)
        return
    check_ack(ack_id)
    settle_over(session, session.writable(transaction), command, ack_id, transaction)


def settle_over(
    session: Session,
    connection: Connection,
    command: str,
    ack_id: str | STOMPFrame,
    transaction: str | None,
) -> None:
    """The same over this connection and no other: there, the id may name another message."""
    names: dict[str, HeaderValue] = {**connection.subscriptions.settlement(command, ack_id)}
    transmit(session, connection, command, names, b"", transaction, False)


def cancel_schedule(
    session: Session, destination: str, schedule_id: str, timeout: float | None
) -> bool:
    """End a schedule; see `STOMPClient.cancel_schedule`."""
    check_destination(destination)
    named = cancel_headers(schedule_id, session.dialect)
    given = message_headers(destination, None, named, {}, session.dialect)
    connection = session.writable(None)
    receipt = transmit(session, connection, "SEND", given, b"", None, receipt=True)
    assert receipt is not None  # it was asked for
    answer = wait_for_receipt(session, receipt, timeout)
    return answer.get("cancelled") == "true"


def wait_for_receipt(session: Session, receipt_id: str, timeout: float | None) -> STOMPFrame:
    """Take the RECEIPT of a frame that was sent before; see `STOMPClient.wait_for_receipt`."""
    check_receipt_id(receipt_id)
    kept = session.core.resending.asked(receipt_id)
    if kept is not None:
        return wait_for_kept(session, kept, timeout)
    connection = session.core.asked_on(receipt_id)
    if connection is None:
        raise session.error()
    frame = connection.inbox.claim_receipt(receipt_id, timeout)
    session.core.receipt_is_told(receipt_id)
    if frame is not None:
        return frame
    reason = connection.close_reason
    if reason is not None and reason.headers.get("receipt-id") == receipt_id:
        raise reason
    lost = connection.error()
    raise OutcomeUnknown(lost.Message, lost.Frame) from reason
