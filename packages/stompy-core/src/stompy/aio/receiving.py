"""How a client receives what is for nobody in particular: `recv`, iteration and `loop`.

What is handed out was brought by one connection and is acknowledged on that one, or not at all.
The rules of automatic acknowledgement stand at the top of `stompy.aio.client`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

from stompy.aio.sending import settle_over
from stompy.aio.session import Session
from stompy.errors import StaleMessageError, STOMPConnectionError, STOMPError, STOMPException
from stompy.protocol.frame import STOMPFrame
from stompy.session.callbacks import check_callable
from stompy.session.handshake import broker_error
from stompy.session.subscriptions import AckDuty


class Receiving(Protocol):
    """What gives messages one by one."""

    async def recv(self) -> STOMPFrame | None:
        """The next message, or None if the connection has ended."""


class Messages:
    """What ``async for frame in client`` goes through."""

    def __init__(self, client: Receiving) -> None:
        self._client = client

    def __aiter__(self) -> Messages:
        """Give the iterator itself."""
        return self

    async def __anext__(self) -> STOMPFrame:
        """The next message.

        Raises:
            STOMPError: the broker sent ERROR.
        """
        frame = await self._client.recv()
        if frame is None:
            raise StopAsyncIteration
        return frame


async def loop(
    session: Session,
    pass_on: Callable[[STOMPFrame], Awaitable[object]],
    transaction: str | None,
    timeout: float | None,
) -> object:
    """Receive frames and pass each on, until that gives something true."""
    says = partial(session.core.nothing_came, timeout)
    while (frame := await session.inbox.get(timeout, says)) is not None:
        if frame.Command == "ERROR":
            raise reported(session, frame)
        duty = _duty(session, frame)
        if duty is AckDuty.ACK and transaction is not None:
            acknowledged = _acknowledged(session, frame, transaction)
            duty = AckDuty.NONE if acknowledged else AckDuty.STALE
        if duty is AckDuty.STALE:
            continue
        try:
            answer = await pass_on(frame)
        except BaseException:
            if duty is AckDuty.ACK:
                with suppress(STOMPException):
                    _settle_if_owed(session, "NACK", frame)
            raise
        if duty is AckDuty.ACK:
            with suppress(STOMPConnectionError, StaleMessageError):
                _settle_if_owed(session, "ACK", frame)
        if answer:
            return answer
    check_owner(session)
    return None


def checked_callback(callback: object) -> Callable[..., object]:
    """The callback that `STOMPClient.loop` was given; one that does nothing if none.

    Raises:
        TypeError: it cannot be called, or calling it would do nothing.
    """
    if callback is None:
        return _no_callback
    return check_callable(callback, "the callback of loop()")


def _no_callback(*_: object, **__: object) -> None:
    """Do nothing with a frame."""


def accepted(session: Session, frame: STOMPFrame, transaction: str | None) -> bool:
    """Acknowledge a message where that is our duty; false if it is not ours any more."""
    duty = session.subscriptions.receive(frame)
    if duty is AckDuty.ACK:
        return _acknowledged(session, frame, transaction)
    return duty is not AckDuty.STALE


def reported(session: Session, frame: STOMPFrame) -> STOMPError:
    """The exception for an ERROR frame, which `disconnect` then need not raise again."""
    session.error_is_reported = True
    return broker_error(frame)


def check_owner(session: Session) -> None:
    """See that this process made the connection: in a fork nothing will be received.

    Raises:
        STOMPConnectionError: it did not.
    """
    if session.is_foreign:
        raise session.error()


def _duty(session: Session, frame: STOMPFrame) -> AckDuty:
    subscriptions = session.subscriptions
    return AckDuty.NONE if subscriptions.needs_no_acks else subscriptions.receive(frame)


def _acknowledged(session: Session, frame: STOMPFrame, transaction: str | None) -> bool:
    try:
        settle_over(session, session.connection, "ACK", frame, transaction)
    except STOMPConnectionError:
        return False
    return True


def _settle_if_owed(session: Session, command: str, frame: STOMPFrame) -> None:
    # The callback may have ended the subscription, which gave the message back.
    if session.subscriptions.owes(frame):
        settle_over(session, session.connection, command, frame, None)
