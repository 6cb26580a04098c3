"""How a client that connects again sends what is kept until it is confirmed.

What is kept and how it goes out again, `stompy.session.resending` says. A frame is kept and written
at one moment, after every wait. So who is cancelled has sent nothing, or what is sent arrives.
"""

from __future__ import annotations

from contextlib import suppress

from stompy.aio.confirmation import Confirmation
from stompy.aio.session import Session
from stompy.errors import STOMPConnectionError, STOMPTimeout
from stompy.protocol.frame import STOMPFrame, as_body
from stompy.session.commands import HeaderValue, as_text
from stompy.session.confirmations import Outcome
from stompy.session.resending import KeptFrame


def keeps(
    session: Session, command: str, given: dict[str, HeaderValue], transaction: str | None
) -> bool:
    """Whether a frame is one to keep until it is confirmed; if not, it may be sent as it is."""
    return session.core.resending.keeps(command, given, transaction, session.dialect)


async def keep(
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
    session.check_loop()
    core, resending = session.core, session.core.resending
    confirmation = Confirmation(session.new_id("r"), session, command, given.get("destination"))
    shown = confirmation.receipt_id if receipt is True else receipt or None
    await _wait_for_room(session)
    if session.is_foreign or (core.is_over and not core.is_usable):
        raise session.error()
    if isinstance(receipt, str):  # it may be used again
        session.inbox.forget_receipt(receipt)
    kept = resending.frame(
        command,
        as_text(given),
        as_body(body),
        transaction,
        confirmation,
        shown,
        session.dialect,
    )
    data = kept.prepare(session.connection.protocol)
    ready = core.keep(kept, session.now())
    if ready is not None:
        with suppress(STOMPConnectionError):  # the next connection brings it
            ready.write(data)
    return confirmation, shown


async def _wait_for_room(session: Session) -> None:
    """Wait until one more may be kept, and written if there is a connection."""
    core = session.core
    patience = core.settings.send_timeout
    while True:
        if not core.resending.has_room():
            try:
                await session.wait(lambda: core.resending.has_room() or core.is_over, patience, "")
            except STOMPTimeout:
                text = f"{core.resending.no_room()}, within {patience:g} s"
                raise STOMPTimeout(text) from None
        ready = core.ready
        if ready is None or not ready.is_open or not ready.congested:
            return
        await ready.room()


async def wait_for_kept(session: Session, kept: KeptFrame, timeout: float | None) -> STOMPFrame:
    """Take the RECEIPT of something that is kept, or was; see `STOMPClient.wait_for_receipt`."""
    confirmation, receipt_id = kept.confirmation, kept.shown or ""
    await session.wait(lambda: confirmation.done, timeout, confirmation.missing)
    session.core.resending.told(receipt_id)
    if confirmation.outcome is Outcome.REJECTED:
        session.error_is_reported = True
    confirmation.check()
    # `loop` would have given it, or has.
    session.inbox.forget_receipt(receipt_id)
    return session.core.resending.receipt_of(kept)


async def wait_until_confirmed(session: Session, seconds: float) -> None:
    """Wait until nothing is kept any more; or so long, or until the end of the client."""
    core = session.core
    if core.resending:
        with suppress(STOMPTimeout):
            await session.wait(lambda: not core.resending or core.is_over, seconds, "")
