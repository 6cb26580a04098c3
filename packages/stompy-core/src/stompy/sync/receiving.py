"""How a client receives what is for nobody in particular: `recv`, iteration and `loop`.

What is handed out was brought by one connection and is acknowledged on that one, or not at all.
The rules of automatic acknowledgement stand at the top of `stompy.client`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from time import monotonic

from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.session.callbacks import check_done, check_plain
from stompy.session.handshake import broker_error
from stompy.session.subscriptions import Duty
from stompy.session.timeouts import nothing_came, until
from stompy.sync.lifeline import Epoch
from stompy.sync.subscribing import Subscriber


class FrameReceiver(Subscriber):
    """The receiving half of a client, on top of the sending one."""

    def __init__(self) -> None:
        super().__init__()
        # The connection that is read from. It may have ended, with another one there already.
        self._reading: Epoch | None = None

    def recv(
        self, timeout: float | None = None, transaction: str | None = None
    ) -> STOMPFrame | None:
        """The next message, or None if the connection has ended; see `close_reason`.

        Receipts are noted for `wait_for_receipt` and never given.

        Args:
            timeout: seconds; None waits for as long as the connection lasts.
            transaction: id of the transaction that automatic ACKs belong to.

        Raises:
            STOMPTimeout: nothing came in time.
            STOMPError: the broker sent ERROR; the connection is closed.
        """
        epoch = self._reading or self._reading_epoch()
        remaining = timeout
        deadline = None if timeout is None else until(monotonic(), timeout)
        while True:
            try:
                frame = epoch.link.inbox.get(remaining)
            except STOMPTimeout:
                raise STOMPTimeout(self._nothing_came(timeout)) from None
            if frame is None:
                following = self._following(epoch, remaining)
                if following is None:
                    return None
                epoch = following
            elif frame.Command == "MESSAGE":
                if epoch.subscriptions.carefree or self._accepted(epoch, frame, transaction):
                    return frame
            elif frame.Command == "ERROR":
                raise self._told(frame)
            if deadline is not None:
                remaining = max(0.0, deadline - monotonic())

    def __iter__(self) -> Iterator[STOMPFrame]:
        """Messages as they come, until the connection ends.

        Raises:
            STOMPError: the broker sent ERROR.
        """
        following: Epoch | None = self._reading_epoch()
        while following is not None:
            epoch, subscriptions = following, following.subscriptions
            get = epoch.link.inbox.get
            while (frame := get()) is not None:
                if frame.Command == "MESSAGE":
                    if subscriptions.carefree or self._accepted(epoch, frame, None):
                        yield frame
                elif frame.Command == "ERROR":
                    raise self._told(frame)
            following = self._following(epoch, None)

    def loop(
        self,
        *params: object,
        transaction: str | None = None,
        timeout: float | None = None,
        **callback_args: object,
    ) -> object:
        """Receive frames and pass each to a callback, receipts included.

        It ends when the callback returns something true, or with the connection. An exception of
        the callback ends it too. To stop from inside the callback, return something true: a
        message whose callback disconnects is not acknowledged any more.

        Args:
            params: the callback, which may also be given as the keyword ``callback``, then what
                to pass to it after the client and the frame.
            transaction: id of the transaction that automatic ACKs belong to.
            timeout: seconds to wait for each frame.
            callback_args: passed to the callback.

        Returns:
            What the callback returned last, or None if the connection has ended.

        Raises:
            STOMPTimeout: nothing came in time.
            STOMPError: the broker sent ERROR; the callback does not get that frame.
            TypeError: the callback cannot be called.
        """
        callback, *positional = params or (callback_args.pop("callback", None),)
        given = _no_callback if callback is None else callback
        call = check_plain(given, "the callback of loop()", "stompy.aio has a client that does")
        for epoch, frame in self._frames(timeout):
            duty = _duty(epoch, frame)
            if duty is Duty.ACK and transaction is not None:
                duty = Duty.NONE if self._acknowledged(epoch, frame, transaction) else Duty.STALE
            if duty is Duty.STALE:
                continue
            try:
                answer = call(self, frame, *positional, **callback_args)
                check_done(answer, call)
            except BaseException:
                if duty is Duty.ACK:
                    with suppress(STOMPException):
                        self._settle_if_owed(epoch, "NACK", frame)
                raise
            if duty is Duty.ACK:
                with suppress(STOMPConnectionError):
                    self._settle_if_owed(epoch, "ACK", frame)
            if answer:
                return answer
        return None

    def _nothing_came(self, timeout: float | None) -> str:
        line = self._last_line()
        handles = line.handles()
        ours = [wanted.destination for wanted in line.wanted if wanted.id not in handles]
        return nothing_came(ours, timeout)

    def _frames(self, timeout: float | None) -> Iterator[tuple[Epoch, STOMPFrame]]:
        """Frames of every kind but ERROR, each with the connection that brought it."""
        following: Epoch | None = self._reading_epoch()
        while following is not None:
            epoch = following
            while (frame := self._next(epoch, timeout)) is not None:
                if frame.Command == "ERROR":
                    raise self._told(frame)
                yield epoch, frame
            following = self._following(epoch, timeout)

    def _next(self, epoch: Epoch, timeout: float | None) -> STOMPFrame | None:
        try:
            return epoch.link.inbox.get(timeout)
        except STOMPTimeout:
            raise STOMPTimeout(self._nothing_came(timeout)) from None

    def _reading_epoch(self) -> Epoch:
        if self._reading is None:
            raise STOMPConnectionError("not connected: call connect() first")
        return self._reading

    def _following(self, epoch: Epoch, timeout: float | None) -> Epoch | None:
        """The connection after one that has ended, or None."""
        if epoch.link.is_foreign:
            # Nothing will be received; in a fork the caller must learn why.
            raise epoch.link.error()
        following = self._last_line().next_epoch(epoch, timeout)
        if following is not None:
            self._reading = following
        return following

    def _told(self, frame: STOMPFrame) -> STOMPError:
        """The exception for an ERROR frame, which `disconnect` then need not raise again."""
        self._error_is_told = True
        return broker_error(frame)

    def _accepted(self, epoch: Epoch, frame: STOMPFrame, transaction: str | None) -> bool:
        """Acknowledge a message where that is our duty; false if it is not ours any more."""
        duty = epoch.subscriptions.receive(frame)
        if duty is Duty.ACK:
            return self._acknowledged(epoch, frame, transaction)
        return duty is not Duty.STALE

    def _acknowledged(self, epoch: Epoch, frame: STOMPFrame, transaction: str | None) -> bool:
        try:
            self._settle_on(epoch, "ACK", frame, transaction)
        except STOMPConnectionError:
            return False
        return True

    def _settle_if_owed(self, epoch: Epoch, command: str, frame: STOMPFrame) -> None:
        # The callback may have ended the subscription, which gave the message back.
        if epoch.subscriptions.owes(frame):
            self._settle_on(epoch, command, frame, None)


def _duty(epoch: Epoch, frame: STOMPFrame) -> Duty:
    subscriptions = epoch.subscriptions
    return Duty.NONE if subscriptions.carefree else subscriptions.receive(frame)


def _no_callback(*_: object, **__: object) -> None:
    """What `STOMPClient.loop` calls when it was given nothing to call."""
