"""How a client receives what is for nobody in particular: `recv`, iteration and `loop`.

What is handed out was brought by one connection and is acknowledged on that one, or not at all.
The rules of automatic acknowledgement stand at the top of `stompy.client`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.callbacks import check_plain
from stompy.session.handshake import broker_error
from stompy.session.subscriptions import AckDuty
from stompy.sync.connection import Connection
from stompy.sync.sending import settle_over
from stompy.sync.session import Session


def messages(session: Session) -> Iterator[STOMPFrame]:
    """Give messages as they come; see `STOMPClient.__iter__`."""
    following: Connection | None = reading_connection(session)
    while following is not None:
        connection, subscriptions = following, following.subscriptions
        take, get = connection.inbox.take, connection.inbox.get
        while True:
            try:
                frame = take()
            except IndexError:
                if (waited_for := get()) is None:
                    break
                frame = waited_for
            if frame.Command == "MESSAGE":
                if subscriptions.needs_no_acks or accepted(session, connection, frame, None):
                    yield frame
            elif frame.Command == "ERROR":
                raise reported(session, frame)
        following = next_connection(session, connection, None)


def loop(
    session: Session,
    pass_on: Callable[[STOMPFrame], object],
    transaction: str | None,
    timeout: float | None,
) -> object:
    """Receive frames and pass each on, until that gives something true."""
    for connection, frame in _frames(session, timeout):
        duty = _duty(connection, frame)
        if duty is AckDuty.ACK and transaction is not None:
            acknowledged = _acknowledged(session, connection, frame, transaction)
            duty = AckDuty.NONE if acknowledged else AckDuty.STALE
        if duty is AckDuty.STALE:
            continue
        try:
            answer = pass_on(frame)
        except BaseException:
            if duty is AckDuty.ACK:
                with suppress(STOMPException):
                    _settle_if_owed(session, connection, "NACK", frame)
            raise
        if duty is AckDuty.ACK:
            with suppress(STOMPConnectionError):
                _settle_if_owed(session, connection, "ACK", frame)
        if answer:
            return answer
    return None


def checked_callback(callback: object) -> Callable[..., object]:
    """The callback that `STOMPClient.loop` was given; one that does nothing if none.

    Raises:
        TypeError: it cannot be called, or calling it would do nothing.
    """
    if callback is None:
        return _no_callback
    return check_plain(callback, "the callback of loop()", "stompy.aio has a client that does")


def _no_callback(*_: object, **__: object) -> None:
    """Do nothing with a frame."""


def accepted(
    session: Session, connection: Connection, frame: STOMPFrame, transaction: str | None
) -> bool:
    """Acknowledge a message where that is our duty; false if it is not ours any more."""
    duty = connection.subscriptions.receive(frame)
    if duty is AckDuty.ACK:
        return _acknowledged(session, connection, frame, transaction)
    return duty is not AckDuty.STALE


def reported(session: Session, frame: STOMPFrame) -> STOMPError:
    """The exception for an ERROR frame, which `disconnect` then need not raise again."""
    session.error_is_reported = True
    return broker_error(frame)


def reading_connection(session: Session) -> Connection:
    """The connection that is read from.

    Raises:
        STOMPConnectionError: there is none yet.
    """
    if session.reading is None:
        raise STOMPConnectionError("not connected: call connect() first")
    return session.reading


def next_connection(
    session: Session, connection: Connection, timeout: float | None
) -> Connection | None:
    """The connection to read from after one that has ended, or None.

    Raises:
        STOMPConnectionError: in a fork, where nothing will be received.
        STOMPTimeout: none came in time.
    """
    if connection.is_foreign:
        raise connection.error()
    following = session.next_connection(connection, timeout)
    if following is not None:
        session.reading = following
    return following


def _frames(session: Session, timeout: float | None) -> Iterator[tuple[Connection, STOMPFrame]]:
    """Frames of every kind but ERROR, each with the connection that brought it."""
    following: Connection | None = reading_connection(session)
    while following is not None:
        connection = following
        while (frame := _next_frame(session, connection, timeout)) is not None:
            if frame.Command == "ERROR":
                raise reported(session, frame)
            yield connection, frame
        following = next_connection(session, connection, timeout)


def _next_frame(
    session: Session, connection: Connection, timeout: float | None
) -> STOMPFrame | None:
    try:
        return connection.inbox.get(timeout)
    except STOMPTimeout:
        raise STOMPTimeout(session.core.nothing_came(timeout)) from None


def _duty(connection: Connection, frame: STOMPFrame) -> AckDuty:
    subscriptions = connection.subscriptions
    return AckDuty.NONE if subscriptions.needs_no_acks else subscriptions.receive(frame)


def _acknowledged(
    session: Session, connection: Connection, frame: STOMPFrame, transaction: str | None
) -> bool:
    try:
        settle_over(session, connection, "ACK", frame, transaction)
    except STOMPConnectionError:
        return False
    return True


def _settle_if_owed(
    session: Session, connection: Connection, command: str, frame: STOMPFrame
) -> None:
    # The callback may have ended the subscription, which gave the message back.
    if connection.subscriptions.owes(frame):
        settle_over(session, connection, command, frame, None)
