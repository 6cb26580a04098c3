"""How a client that connects again sends what is kept until it is confirmed.

What is kept and how it goes out again, `stompy.session.resending` says. A frame is kept first and
then written, so whatever becomes of the connection meanwhile, the next one brings it.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from stompy.errors import STOMPConnectionError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame, as_body
from stompy.session.commands import HeaderValue, as_text
from stompy.session.confirmations import Outcome
from stompy.session.resending import KeptFrame
from stompy.sync.confirmation import Confirmation
from stompy.sync.connection import Connection
from stompy.sync.session import Session


def keeps(
    session: Session, command: str, given: dict[str, HeaderValue], transaction: str | None
) -> bool:
    """Whether a frame is one to keep until it is confirmed; if not, it may be sent as it is."""
    return session.core.resending.keeps(command, given, transaction, session.dialect)


def keep(
    session: Session,
    command: str,
    given: dict[str, HeaderValue],
    body: bytes | str,
    transaction: str | None,
    receipt: bool | str = False,
) -> tuple[Confirmation, str | None]:
    """Send a frame, now or when there is a connection, and again until it is confirmed.

    Returns:
        What will tell the outcome, and the receipt id that the application asked for.

    Raises:
        STOMPConnectionError: there is no connection, and nobody makes one.
        STOMPTimeout: too much is unconfirmed, for too long; it was not sent.
        TransactionLost: its transaction belongs to an earlier connection.
        ValueError: a header that the version in use cannot carry.
    """
    resending = session.core.resending
    confirmation = Confirmation(session.new_id("r"), session, command, given.get("destination"))
    shown = confirmation.receipt_id if receipt is True else receipt or None
    connection = session.connection
    if isinstance(receipt, str):  # it may be used again
        connection.inbox.forget_receipt(receipt)
    kept = resending.frame(
        command,
        as_text(given),
        as_body(body),
        transaction,
        confirmation,
        shown,
        session.dialect,
    )
    data = kept.prepare(connection.protocol)
    _wait_for_room(session)
    ready = _kept(session, kept)
    if ready is not None:
        if ready is not connection:
            data = kept.bytes_for(ready.protocol)
        _write(session, ready, kept, data)
    return confirmation, shown


def _wait_for_room(session: Session) -> None:
    """Wait until one more may be kept."""
    core = session.core
    if core.resending.has_room():
        return
    patience = core.settings.send_timeout
    try:
        session.wait(lambda: core.resending.has_room() or core.is_over, patience, "")
    except STOMPTimeout:
        raise STOMPTimeout(f"{core.resending.no_room()}, within {patience:g} s") from None


def _kept(session: Session, kept: KeptFrame) -> Connection | None:
    """Keep a frame; give the connection to write it to, if there is one."""
    core = session.core
    with session._lock:
        if session.is_foreign or (core.is_over and not core.is_usable):
            raise session.error()
        return core.keep(kept, session.now())


def _write(session: Session, connection: Connection, kept: KeptFrame, data: bytes) -> None:
    """Write a frame that is kept already."""
    try:
        connection.send(data)
    except STOMPConnectionError:
        pass  # the next connection brings it
    except STOMPTimeout:
        if _taken_back(session, connection, kept):
            raise
    except BaseException:
        _taken_back(session, connection, kept)
        raise


def _taken_back(session: Session, connection: Connection, kept: KeptFrame) -> bool:
    """Keep a frame no more that was not written, unless the next connection has it already."""
    with session._lock:
        if session.core.current is not connection or kept.confirmation.done:
            return False
        session.core.resending.take_back(kept)
        session._changed.notify_all()
        return True


def wait_for_kept(session: Session, kept: KeptFrame, timeout: float | None) -> STOMPFrame:
    """Take the RECEIPT of something that is kept, or was; see `STOMPClient.wait_for_receipt`."""
    confirmation, receipt_id = kept.confirmation, kept.shown or ""
    session.wait(lambda: confirmation.done, timeout, confirmation.missing)
    session.core.resending.told(receipt_id)
    if confirmation.outcome is Outcome.REJECTED:
        session.error_is_reported = True
    confirmation.check()
    # `loop` would have given it, or has.
    session.connection.inbox.forget_receipt(receipt_id)
    return session.core.resending.receipt_of(kept)


def wait_until_confirmed(session: Session, deadline: float) -> None:
    """Wait until nothing is kept any more; or until a time, or the end of the client."""
    core = session.core
    if core.resending:
        with suppress(STOMPTimeout):
            session.wait(
                lambda: not core.resending or core.is_over, max(0.0, deadline - monotonic()), ""
            )
