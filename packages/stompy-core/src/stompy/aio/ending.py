"""How a client leaves its broker."""

from __future__ import annotations

from stompy.aio.resending import wait_until_confirmed
from stompy.aio.session import Session
from stompy.session.confirmations import Outcome

_CLOSE_SECONDS = 1.0


async def disconnect(connecting: Session | None, session: Session | None, timeout: float) -> None:
    """Send DISCONNECT and wait for its receipt; see `STOMPClient.disconnect`."""
    session = _leaving(connecting, session)
    if session is None:
        return
    deadline = session.now() + timeout
    await wait_until_confirmed(session, timeout)
    await session.leave()
    await session.drain(deadline)
    connection = session.connection
    receipt = session.expect(session.new_id("r"))
    refused = False
    try:
        if connection.send_disconnect(receipt.receipt_id):
            await receipt.wait(max(0.0, deadline - session.now()))
            refused = receipt.outcome is not Outcome.ACCEPTED
        else:
            # It has ended, or another task waits for the receipt.
            await connection.wait_ended(max(0.0, deadline - session.now()))
    finally:
        session.core.forget(receipt)
        await _drop(session)
    reason = connection.close_reason
    by_error = reason is not None and reason.Frame is not None
    if refused and reason is not None and by_error and not session.error_is_reported:
        raise reason
    session.core.resending.say_what_is_left()


async def close(connecting: Session | None, session: Session | None) -> None:
    """Send DISCONNECT and close the connection; see `STOMPClient.close`."""
    session = _leaving(connecting, session)
    if session is None:
        return
    await session.leave()
    session.connection.send_disconnect(session.new_id("r"))
    await _drop(session)


def _leaving(connecting: Session | None, session: Session | None) -> Session | None:
    """The session to leave. Whoever connects at this time is told that it is over."""
    if connecting is not None:
        connecting.give_up()
    if session is None or session.is_foreign:
        return None
    return session


async def _drop(session: Session) -> None:
    session.connection.close()
    session.inbox.discard()
    await session.connection.wait_closed(_CLOSE_SECONDS)
    session.inbox.discard()
