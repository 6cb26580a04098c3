"""The asyncio client: `STOMPClient` and `connect`, with the names of the blocking client.

What holds at all times:

* A client belongs to the event loop on which it was connected. Any number of tasks may use it;
  one should receive at a time.
* Cancelling is safe everywhere. Who is cancelled while it receives has taken no message; who is
  cancelled while it sends has either sent nothing, or gives up waiting for the answer.
* Every wait is bounded, except those that the caller wants unbounded: `STOMPClient.recv` and
  `STOMPClient.loop` without a time-out.
* Messages of a subscription with ``send_acks`` are acknowledged as by the blocking client: when
  `STOMPClient.recv` or the iterator hands them out; in `STOMPClient.loop` after the callback
  returned, and refused if it raised; with ``transaction`` at once, as part of it.
* Frames that came before the end of a connection are still handed out, except after our own
  `STOMPClient.disconnect`, and except those that would have to be acknowledged: the broker has
  them back.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from stompy.aio.connection import Link, Owner
from stompy.aio.connector import dial
from stompy.aio.iteration import Messages
from stompy.aio.opening import Opening
from stompy.aio.session import Session, SessionSettings
from stompy.aio.subscribing import Subscriber
from stompy.aio.subscription import Subscription
from stompy.aio.transaction import STOMPTransaction
from stompy.aio.waiting import deadline_after
from stompy.errors import (
    StaleMessageError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
)
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.session.address import Address, AddressLike
from stompy.session.arguments import CONNECT, check_times, versions_of
from stompy.session.callbacks import check_callable, check_plain
from stompy.session.commands import HeaderValue, Introduction, merged
from stompy.session.confirmations import Outcome
from stompy.session.failover import read_addresses
from stompy.session.handshake import broker_error
from stompy.session.health import NEVER_CONNECTED, ClientHealth
from stompy.session.reconnect import Reconnect
from stompy.session.state import ConnectionState, StateChange
from stompy.session.subscriptions import Duty
from stompy.transport.settings import ConnectionSettings
from stompy.transport.tls import TLS

_CLOSE_SECONDS = 1.0


class STOMPClient(Subscriber):
    """A client of a STOMP broker.

    Use it in an ``async with`` statement to be sure that it disconnects.
    """

    def __init__(self) -> None:
        super().__init__()
        self._connecting: Session | None = None
        self._finalizer: weakref.finalize[[Session, asyncio.AbstractEventLoop], STOMPClient] | None
        self._finalizer = None

    # -- the connection ----------------------------------------------------------------------

    async def connect(  # noqa: PLR0913 -- the manual's arguments and one for each side of a connection
        self,
        addr_list: AddressLike | Sequence[AddressLike],
        login: str | None = None,
        passcode: str | None = None,
        headers: Mapping[str, HeaderValue] = {},
        *,
        timeout: float = 10.0,
        host: str | None = None,
        versions: Sequence[Version | str] = ALL_VERSIONS,
        heart_beat: tuple[int, int] = DEFAULT_HEART_BEAT,
        heart_beat_grace: float = 2.0,
        limits: Limits = DEFAULT_LIMITS,
        send_timeout: float = 60.0,
        tls: ssl.SSLContext | TLS | None = None,
        reconnect: bool | Reconnect = False,
        on_state: Callable[[StateChange], object] | None = None,
        content_length: bool = True,
        on_send: Callable[[STOMPFrame], object] | None = None,
        **kv_headers: HeaderValue,
    ) -> STOMPFrame:
        """Connect to the first broker of a list that answers.

        Args:
            addr_list: a tuple ``(host, port)``, a URL ``stomp://login:passcode@host:port/vhost``,
                or a list of them, tried in order. ``stomps://``, ``ws://`` and ``wss://`` are
                TLS, WebSocket, and the one over the other.
            login: login id; one in the URL counts when this is None.
            passcode: pass code; likewise.
            headers: more headers for CONNECT.
            timeout: seconds for each address, over look-up, TCP, TLS, WebSocket and the broker's
                answer.
            host: the virtual host; default: the path of the URL, or else ``/``.
            versions: the STOMP versions to offer.
            heart_beat: milliseconds between our beats, and between those that we want.
            heart_beat_grace: after how many intervals of silence the broker counts as dead.
            limits: how large a received frame may be; by default what the broker tells, with
                room for what it adds.
            send_timeout: seconds that sending may wait when the broker takes nothing, or while
                the connection is made again.
            tls: how to use TLS: a `stompy.TLS` or an SSL context. A tuple then means TLS. Without
                it the system's authorities are trusted.
            reconnect: whether a connection that was lost is made again, and how. A ``failover:``
                address brings a `Reconnect` of its own, which one given here overrules.
            on_state: called with each `StateChange`, soon after it. What it raises is logged and
                counted.
            content_length: whether messages say how long their bodies are. ActiveMQ and Artemis
                make text messages of those that do not.
            on_send: called with each SEND before it is written, by who sends it; it may change the
                frame's headers. What it raises comes out of the sending call, and nothing is sent.
            kv_headers: more headers for CONNECT.

        Returns:
            The CONNECTED frame.

        Raises:
            STOMPCertificateError: TLS failed because of a certificate; the text says what to do.
            STOMPConnectionError: no broker answered; the text says what happened at each address.
            STOMPError: the broker refused, or this client is connected already.
            ValueError: an address, a version, a header or options for TLS that cannot be.
            ImportError: a WebSocket is wanted, and the extra ``stompy-core[ws]`` is not installed.
        """
        if self.is_connected or self.state is ConnectionState.RECONNECTING:
            raise STOMPError(f"this client is connected already, to {self.broker_address}")
        if self._connecting is not None:
            raise STOMPError("this client is connecting already")
        if on_state is not None:
            check_plain(on_state, "on_state", "it may create a task")
        CONNECT.check(kv_headers)
        check_times(heart_beat, timeout=timeout, send_timeout=send_timeout)
        if on_send is not None:
            check_plain(
                on_send, "on_send", "it is called in the middle of a send, where nothing is awaited"
            )
        settings = ConnectionSettings(
            timeout=timeout,
            send_timeout=send_timeout,
            versions=versions_of(versions),
            heart_beat=heart_beat,
            heart_beat_grace=heart_beat_grace,
            limits=limits,
            tls=tls,
            content_length=content_length,
            on_send=on_send,
        )
        addresses, policy = read_addresses(addr_list, reconnect, secure=tls is not None)
        introduction = Introduction(login, passcode, host, merged(headers, kv_headers))

        def one_round(owner: Owner, round: Sequence[Address]) -> Awaitable[Link]:
            return dial(round, introduction.to, settings, owner)

        session = Session(
            addresses,
            one_round,
            SessionSettings(policy, send_timeout, introduction.client_id),
            on_state,
        )
        self._connecting = session
        try:
            await session.open()
        except STOMPException as error:
            # Its text says it all; the way down to the socket is of no use to who reads it.
            raise error.with_traceback(None) from error.__cause__
        finally:
            self._connecting = None
        self._session = session
        self._error_is_told = False
        if self._finalizer is not None:
            self._finalizer.detach()  # that connection has ended
        self._finalizer = weakref.finalize(self, _forget, session, asyncio.get_running_loop())
        self._finalizer.atexit = False
        return session.link.connected

    async def disconnect(self, *, timeout: float = 5.0) -> None:
        """Send DISCONNECT, wait for its receipt, and close the connection.

        The receipt says that the broker has taken everything that was sent before. Harmless when
        repeated, from several tasks, and when there is no connection. What was not received
        until now never will be.

        Args:
            timeout: seconds to wait for the receipt.

        Raises:
            STOMPError: the broker answered with ERROR: it refused something sent before, and
                neither `recv` nor `loop` has told so yet.
        """
        session = self._leaving()
        if session is None:
            return
        deadline = session.now() + timeout
        await session.leave()
        for handle in (handles := self._handles(session)):
            handle._excuse()
        for handle in handles:
            await handle._drain(deadline)
        link = session.link
        receipt = session.expect(self._new_id("r"))
        refused = False
        try:
            if link.say_goodbye(receipt.receipt_id):
                await receipt.wait(max(0.0, deadline - session.now()))
                refused = receipt.outcome is not Outcome.ACCEPTED
            else:
                # It has ended, or another task waits for the receipt.
                await link.wait_ended(max(0.0, deadline - session.now()))
        finally:
            session.confirmations.forget(receipt)
            await self._drop(session)
        reason = link.close_reason
        by_error = reason is not None and reason.Frame is not None
        if refused and reason is not None and by_error and not self._error_is_told:
            raise reason

    async def close(self) -> None:
        """Send DISCONNECT and close the connection, without waiting for a receipt."""
        session = self._leaving()
        if session is None:
            return
        await session.leave()
        session.link.say_goodbye(self._new_id("r"))
        await self._drop(session)

    def _leaving(self) -> Session | None:
        """The session to leave. Whoever connects at this time is told that it is over."""
        if self._connecting is not None:
            self._connecting.give_up()
        session = self._session
        if session is None or session.is_foreign:
            return None
        if not session.ended:
            session.check_loop()
        return session

    async def _drop(self, session: Session) -> None:
        session.link.close()
        session.inbox.discard()
        await session.link.wait_closed(_CLOSE_SECONDS)
        session.inbox.discard()

    @property
    def is_connected(self) -> bool:
        """Whether frames can be sent; false from the moment that the connection ends."""
        return self._session is not None and self._session.is_usable

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        session = self._connecting or self._session
        return ConnectionState.DISCONNECTED if session is None else session.lifecycle.state

    async def wait_connected(self, timeout: float | None = 10.0) -> None:
        """Wait until frames can be sent; all subscriptions are back then.

        Args:
            timeout: seconds.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
            STOMPError: the broker refused, and nobody tries again.
            STOMPTimeout: there was none in time.
        """
        await self._last_session().wait_ready(timeout)

    def health(self) -> ClientHealth:
        """How the client and each of its subscriptions are."""
        session = self._session
        if session is None:
            return NEVER_CONNECTED
        return session.health(tuple(handle.health() for handle in self._handles(session)))

    @staticmethod
    def _handles(session: Session) -> list[Subscription]:
        return [one for one in session.receivers.values() if isinstance(one, Subscription)]

    # -- receiving ---------------------------------------------------------------------------

    async def recv(
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
        session = self._session or self._last_session()
        inbox = session.inbox
        deadline = deadline_after(timeout)
        # Once a frame was taken nothing is awaited, so that cancelling never loses one.
        while True:
            frame = inbox.take()
            if frame is None:
                if inbox.ended:
                    _check_owner(session)
                    return None
                session.check_loop()  # only here: it costs as much as all the rest
                await inbox.wait(deadline, partial(session.nothing_came, timeout))
            elif frame.Command == "MESSAGE":
                if session.subscriptions.carefree or self._accepted(session, frame, transaction):
                    return frame
            elif frame.Command == "ERROR":
                raise self._told(frame)

    def __aiter__(self) -> Messages:
        """Messages as they come, until the connection ends.

        Raises:
            STOMPError: the broker sent ERROR.
        """
        return Messages(self)

    async def loop(
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
                to pass to it after the client and the frame. It may be a coroutine function.
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
        call = check_callable(given, "the callback of loop()")
        session = self._last_session()
        says = partial(session.nothing_came, timeout)
        while (frame := await session.inbox.get(timeout, says)) is not None:
            if frame.Command == "ERROR":
                raise self._told(frame)
            duty = _duty(session, frame)
            if duty is Duty.ACK and transaction is not None:
                accepted = self._acknowledged(session, frame, transaction)
                duty = Duty.NONE if accepted else Duty.STALE
            if duty is Duty.STALE:
                continue
            try:
                answer = await _called(call, self, frame, *positional, **callback_args)
            except BaseException:
                if duty is Duty.ACK:
                    with suppress(STOMPException):
                        self._settle_if_owed(session, "NACK", frame)
                raise
            if duty is Duty.ACK:
                with suppress(STOMPConnectionError, StaleMessageError):
                    self._settle_if_owed(session, "ACK", frame)
            if answer:
                return answer
        _check_owner(session)
        return None

    def _told(self, frame: STOMPFrame) -> STOMPError:
        """The exception for an ERROR frame, which `disconnect` then need not raise again."""
        self._error_is_told = True
        return broker_error(frame)

    def _accepted(self, session: Session, frame: STOMPFrame, transaction: str | None) -> bool:
        """Acknowledge a message where that is our duty; false if it is not ours any more."""
        duty = session.subscriptions.receive(frame)
        if duty is Duty.ACK:
            return self._acknowledged(session, frame, transaction)
        return duty is not Duty.STALE

    def _acknowledged(self, session: Session, frame: STOMPFrame, transaction: str | None) -> bool:
        try:
            self._settle(session, "ACK", frame, transaction)
        except STOMPConnectionError:
            return False
        return True

    def _settle_if_owed(self, session: Session, command: str, frame: STOMPFrame) -> None:
        # The callback may have ended the subscription, which gave the message back.
        if session.subscriptions.owes(frame):
            self._settle(session, command, frame)

    def _settle(
        self, session: Session, command: str, frame: STOMPFrame, transaction: str | None = None
    ) -> None:
        """Acknowledge or refuse at this moment, without a wait for room."""
        headers = dict(session.subscriptions.settlement(command, frame))
        if transaction is not None:
            headers["transaction"] = transaction
        session.write(session.link, command, headers)

    # -- transactions ------------------------------------------------------------------------

    def transaction(self, txn_id: str | None = None) -> Opening[STOMPTransaction]:
        """Begin a transaction.

        >>> async with client.transaction() as transaction:  # doctest: +SKIP
        ...     await transaction.message("/queue/bills", "1 spoon")
        ...     await transaction.ack(message)

        Args:
            txn_id: its id; a new one by default.

        Returns:
            To be awaited: the transaction. With ``async with`` it commits at the end of the block.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        return Opening(self._begin(txn_id or self._new_id("t")))

    async def _begin(self, txn_id: str) -> STOMPTransaction:
        await self.send("BEGIN", transaction=txn_id)
        return STOMPTransaction(self, txn_id)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        try:
            await self.disconnect()
        except STOMPException:
            if error is None:
                raise

    def __repr__(self) -> str:
        """Address, version and state."""
        link = self._link
        if link is None:
            return "<stompy.aio.STOMPClient not connected>"
        ended = f"lost: {link.close_reason}" if link.close_reason else "closed"
        state = self.state.value if link.is_open else ended
        return f"<stompy.aio.STOMPClient {link.address} STOMP {self.version} {state}>"


def _forget(session: Session, loop: asyncio.AbstractEventLoop) -> None:
    """A client was forgotten; this may be any thread. A loop that is closed took all with it."""
    if not session.is_foreign:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(session.forgotten)


def _check_owner(session: Session) -> None:
    """Nothing will be received; in a fork the caller must learn why."""
    if session.is_foreign:
        raise session.error()


def _duty(session: Session, frame: STOMPFrame) -> Duty:
    subscriptions = session.subscriptions
    return Duty.NONE if subscriptions.carefree else subscriptions.receive(frame)


async def _called(
    function: Callable[..., object], *arguments: object, **keywords: object
) -> object:
    """What a function gives, or the coroutine that it gives."""
    answer = function(*arguments, **keywords)
    return await answer if inspect.isawaitable(answer) else answer


def _no_callback(*_: object, **__: object) -> None:
    """What `STOMPClient.loop` calls when it was given nothing to call."""


def connect(  # noqa: PLR0913 -- the arguments of STOMPClient.connect
    addr_list: AddressLike | Sequence[AddressLike],
    login: str | None = None,
    passcode: str | None = None,
    headers: Mapping[str, HeaderValue] = {},
    *,
    timeout: float = 10.0,
    host: str | None = None,
    versions: Sequence[Version | str] = ALL_VERSIONS,
    heart_beat: tuple[int, int] = DEFAULT_HEART_BEAT,
    heart_beat_grace: float = 2.0,
    limits: Limits = DEFAULT_LIMITS,
    send_timeout: float = 60.0,
    tls: ssl.SSLContext | TLS | None = None,
    reconnect: bool | Reconnect = False,
    on_state: Callable[[StateChange], object] | None = None,
    content_length: bool = True,
    on_send: Callable[[STOMPFrame], object] | None = None,
    **kv_headers: HeaderValue,
) -> Opening[STOMPClient]:
    """Make a client and connect it to the first broker of a list that answers.

    >>> async with aio.connect("stomp://ann:secret@127.0.0.1") as client:  # doctest: +SKIP
    ...     await client.message("/queue/hello", "world", confirm=True)

    Args:
        addr_list: a tuple ``(host, port)``, a URL ``stomp://login:passcode@host:port/vhost``,
            or a list of them, tried in order. ``stomps://``, ``ws://`` and ``wss://`` are
            TLS, WebSocket, and the one over the other.
        login: login id; one in the URL counts when this is None.
        passcode: pass code; likewise.
        headers: more headers for CONNECT.
        timeout: seconds for each address, over look-up, TCP, TLS, WebSocket and the broker's
            answer.
        host: the virtual host; default: the path of the URL, or else ``/``.
        versions: the STOMP versions to offer.
        heart_beat: milliseconds between our beats, and between those that we want.
        heart_beat_grace: after how many intervals of silence the broker counts as dead.
        limits: how large a received frame may be; by default what the broker tells, with
            room for what it adds.
        send_timeout: seconds that sending may wait when the broker takes nothing, or while
            the connection is made again.
        tls: how to use TLS: a `stompy.TLS` or an SSL context. A tuple then means TLS. Without
            it the system's authorities are trusted.
        reconnect: whether a connection that was lost is made again, and how. A ``failover:``
            address brings a `Reconnect` of its own, which one given here overrules.
        on_state: called with each `StateChange`, soon after it. What it raises is logged and
            counted.
        content_length: whether messages say how long their bodies are. ActiveMQ and Artemis
            make text messages of those that do not.
        on_send: called with each SEND before it is written, by who sends it; it may change the
            frame's headers. What it raises comes out of the sending call, and nothing is sent.
        kv_headers: more headers for CONNECT.

    Returns:
        To be awaited: the connected client. With ``async with`` it disconnects at the end of the
        block.

    Raises:
        STOMPCertificateError: TLS failed because of a certificate; the text says what to do.
        STOMPConnectionError: no broker answered; the text says what happened at each address.
        STOMPError: the broker refused, or this client is connected already.
        ValueError: an address, a version, a header or options for TLS that cannot be.
        ImportError: a WebSocket is wanted, and the extra ``stompy-core[ws]`` is not installed.
    """
    client = STOMPClient()

    async def opened() -> STOMPClient:
        await client.connect(
            addr_list,
            login,
            passcode,
            headers,
            timeout=timeout,
            host=host,
            versions=versions,
            heart_beat=heart_beat,
            heart_beat_grace=heart_beat_grace,
            limits=limits,
            send_timeout=send_timeout,
            tls=tls,
            reconnect=reconnect,
            on_state=on_state,
            content_length=content_length,
            on_send=on_send,
            **kv_headers,
        )
        return client

    return Opening(opened())
