"""How a client leaves its broker."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from stompy.errors import STOMPTimeout
from stompy.sync.resending import wait_until_confirmed
from stompy.sync.session import Session

_CLOSE_SECONDS = 1.0


def disconnect(session: Session | None, timeout: float) -> None:
    """Send DISCONNECT and wait for its receipt; see `STOMPClient.disconnect`."""
    if session is None or session.is_foreign:
        return
    deadline = monotonic() + timeout
    wait_until_confirmed(session, deadline)
    session.leave()
    session.drain(deadline)
    if not session.has_connection:  # it is being made for the first time
        _drop(session)
        return
    connection = session.connection
    receipt = session.new_id("r")
    refused = False
    if connection.send_disconnect(receipt):
        with suppress(STOMPTimeout):
            remaining = max(0.0, deadline - monotonic())
            refused = connection.inbox.claim_receipt(receipt, remaining) is None
    else:
        # It has ended, or another thread waits for the receipt.
        connection.join(max(0.0, deadline - monotonic()))
    _drop(session)
    reason = connection.close_reason
    by_error = reason is not None and reason.Frame is not None
    if refused and reason is not None and by_error and not session.error_is_reported:
        raise reason
    session.core.resending.say_what_is_left()


def close(session: Session | None) -> None:
    """Send DISCONNECT and close the connection; see `STOMPClient.close`."""
    if session is None or session.is_foreign:
        return
    session.leave()
    if session.has_connection and session.connection.send_disconnect(session.new_id("r")):
        session.connection.flush(_CLOSE_SECONDS)
    _drop(session)


def _drop(session: Session) -> None:
    session.stop()
    session.join(_CLOSE_SECONDS)
    session.discard()
