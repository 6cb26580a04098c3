"""How a client leaves its broker."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from stompy.errors import STOMPTimeout
from stompy.sync.lifeline import Lifeline as Session

_CLOSE_SECONDS = 1.0


def disconnect(session: Session | None, timeout: float) -> None:
    """Send DISCONNECT and wait for its receipt; see `STOMPClient.disconnect`."""
    if session is None or session.is_foreign:
        return
    deadline = monotonic() + timeout
    session.close()
    session.drain(deadline)
    last = session.last
    if last is None:  # it is being made for the first time
        _drop(session)
        return
    link = last.link
    receipt = session.new_id("r")
    refused = False
    if link.say_goodbye(receipt):
        with suppress(STOMPTimeout):
            remaining = max(0.0, deadline - monotonic())
            refused = link.inbox.claim_receipt(receipt, remaining) is None
    else:
        # It has ended, or another thread waits for the receipt.
        link.join(max(0.0, deadline - monotonic()))
    _drop(session)
    reason = link.close_reason
    by_error = reason is not None and reason.Frame is not None
    if refused and reason is not None and by_error and not session.error_is_reported:
        raise reason


def close(session: Session | None) -> None:
    """Send DISCONNECT and close the connection; see `STOMPClient.close`."""
    if session is None or session.is_foreign:
        return
    session.close()
    last = session.last
    if last is not None and last.link.say_goodbye(session.new_id("r")):
        last.link.flush(_CLOSE_SECONDS)
    _drop(session)


def _drop(session: Session) -> None:
    session.stop()
    session.join(_CLOSE_SECONDS)
    session.discard()
