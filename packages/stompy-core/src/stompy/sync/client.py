"""The blocking client: `STOMPClient`, `STOMPTransaction` and `connect` of the STOMPyMQ manual.

What holds at all times:

* Every method may be called from any thread, also from inside a callback of `STOMPClient.loop`.
  One thread may receive while others send.
* No callback and no handler runs on the I/O thread, so a slow one does not stop the heart-beats.
* Every wait is bounded, except those that the caller wants unbounded: receiving without a time-out.
* What belongs to one connection stays with it. Where a lost one is made again, its messages are
  stale, its transactions lost, and its unanswered frames have an unknown outcome.
* Without ``transaction``, a message of a subscription with ``send_acks`` is acknowledged when
  `recv` or the iterator hands it out, and in `loop` after the callback returned; if the callback
  raised, it is refused with NACK. With ``transaction`` the ACK belongs to the transaction and
  goes out first.
* Frames that came before the end of a connection are still handed out, except after our own
  `disconnect`, and except those that would have to be acknowledged: the broker has them back.
"""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self

from stompy.errors import STOMPError, STOMPException, STOMPTimeout
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.session.address import AddressLike
from stompy.session.arguments import CONNECT, check_times, versions_of
from stompy.session.callbacks import check_plain
from stompy.session.commands import HeaderValue, Introduction, merged
from stompy.session.failover import read_addresses
from stompy.session.health import NEVER_CONNECTED, ClientHealth
from stompy.session.reconnect import Reconnect
from stompy.session.state import ConnectionState, StateChange
from stompy.sync.connector import dial
from stompy.sync.lifeline import Lifeline
from stompy.sync.receiving import FrameReceiver
from stompy.sync.requests import Replies
from stompy.sync.supervisor import Route, Supervisor
from stompy.sync.transaction import STOMPTransaction
from stompy.transport.settings import ConnectionSettings
from stompy.transport.tls import TLS

__all__ = ["STOMPClient", "STOMPTransaction", "connect"]

_CLOSE_SECONDS = 1.0


class STOMPClient(FrameReceiver):
    """A client of a STOMP broker.

    Use it in a ``with`` statement to be sure that it disconnects.
    """

    def __init__(self) -> None:
        super().__init__()
        self._finalizer: weakref.finalize[[], STOMPClient] | None = None

    # -- the connection ----------------------------------------------------------------------

    def connect(  # noqa: PLR0913 -- the manual's arguments and one for each side of a connection
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
            on_state: called with each `StateChange`, from a thread that does nothing else but
                connect again. What it raises is logged and counted.
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
        if on_state is not None:
            check_plain(on_state, "on_state", "it runs on a thread, where nothing is awaited")
        CONNECT.check(kv_headers)
        check_times(heart_beat, timeout=timeout, send_timeout=send_timeout)
        if on_send is not None:
            check_plain(on_send, "on_send", "its caller awaits nothing")
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
        line = Lifeline(
            supervised=policy is not None,
            send_timeout=send_timeout,
            client_id=introduction.client_id,
            numbers=self._numbers,
        )
        route = Route(
            addresses, lambda round: dial(round, introduction.to, settings), policy, on_state
        )
        return self._open(line, Supervisor(line, route))

    def _open(self, line: Lifeline, supervisor: Supervisor) -> STOMPFrame:
        before, self._line = self._line, line
        try:
            epoch = supervisor.open()
        except STOMPException as error:
            self._line = before
            # Its text says it all; the way down to the socket is of no use to who reads it.
            raise error.with_traceback(None) from error.__cause__
        except BaseException:
            self._line = before
            raise
        if self._finalizer is not None:
            self._finalizer()  # of the connection before, which has ended
        self._error_is_told = False
        self._reading = epoch
        self._replies = Replies(line)
        # A client that was forgotten takes its threads and its socket with it.
        self._finalizer = weakref.finalize(self, line.stop)
        self._finalizer.atexit = False
        return epoch.link.connected

    def disconnect(self, *, timeout: float = 5.0) -> None:
        """Send DISCONNECT, wait for its receipt, and close the connection.

        The receipt says that the broker has taken everything that was sent before. Harmless when
        repeated, from several threads, and when there is no connection. What was not received
        until now never will be.

        Args:
            timeout: seconds to wait for the receipt.

        Raises:
            STOMPError: the broker answered with ERROR: it refused something sent before, and
                neither `recv` nor `loop` has told so yet.
        """
        line = self._line
        if line is None or line.is_foreign:
            return
        deadline = monotonic() + timeout
        line.close()
        line.drain(deadline)
        link = self._link
        if link is None:  # it is being made for the first time
            self._drop(line)
            return
        receipt = self._new_id("r")
        refused = False
        if link.say_goodbye(receipt):
            with suppress(STOMPTimeout):
                remaining = max(0.0, deadline - monotonic())
                refused = link.inbox.claim_receipt(receipt, remaining) is None
        else:
            # It has ended, or another thread waits for the receipt.
            link.join(max(0.0, deadline - monotonic()))
        self._drop(line)
        reason = link.close_reason
        by_error = reason is not None and reason.Frame is not None
        if refused and reason is not None and by_error and not self._error_is_told:
            raise reason

    def close(self) -> None:
        """Send DISCONNECT and close the connection, without waiting for a receipt."""
        line = self._line
        if line is None or line.is_foreign:
            return
        line.close()
        link = self._link
        if link is not None and link.say_goodbye(self._new_id("r")):
            link.flush(_CLOSE_SECONDS)
        self._drop(line)

    def _drop(self, line: Lifeline) -> None:
        line.stop()
        line.join(_CLOSE_SECONDS)
        line.discard()

    @property
    def is_connected(self) -> bool:
        """Whether frames can be sent; false from the moment that the connection ends."""
        return self._line is not None and self._line.is_ready

    @property
    def state(self) -> ConnectionState:
        """Where the client stands."""
        return ConnectionState.DISCONNECTED if self._line is None else self._line.state

    def wait_connected(self, timeout: float | None = 10.0) -> None:
        """Wait until frames can be sent; all subscriptions are back then.

        Args:
            timeout: seconds.

        Raises:
            STOMPConnectionError: there is no connection, and nobody makes one.
            STOMPError: the broker refused, and nobody tries again.
            STOMPTimeout: there was none in time.
        """
        self._last_line().wait_ready(timeout, patient=True)

    def health(self) -> ClientHealth:
        """How the client and each of its subscriptions are."""
        line = self._line
        if line is None:
            return NEVER_CONNECTED
        return line.health(0 if self._replies is None else self._replies.late)

    # -- transactions -------------------------------------------------------------------------

    def transaction(self, txn_id: str | None = None) -> STOMPTransaction:
        """Begin a transaction.

        >>> with client.transaction() as transaction:  # doctest: +SKIP
        ...     transaction.message("/queue/bills", "1 spoon")
        ...     transaction.ack(message)

        Args:
            txn_id: its id; a new one by default.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        txn_id = txn_id or self._new_id("t")
        self.send("BEGIN", transaction=txn_id)
        return STOMPTransaction(self, txn_id)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        try:
            self.disconnect()
        except STOMPException:
            if error is None:
                raise

    def __repr__(self) -> str:
        """Address, version and state."""
        link = self._link
        if link is None:
            return "<STOMPClient not connected>"
        ended = f"lost: {link.close_reason}" if link.close_reason else "closed"
        state = "connected" if self.is_connected else ended
        return f"<STOMPClient {link.address} STOMP {self.version} {state}>"


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
) -> STOMPClient:
    """Make a client and connect it to the first broker of a list that answers.

    >>> with stompy.connect("stomp://ann:secret@127.0.0.1") as client:  # doctest: +SKIP
    ...     client.message("/queue/hello", "world", confirm=True)

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
        on_state: called with each `StateChange`, from a thread that does nothing else but
            connect again. What it raises is logged and counted.
        content_length: whether messages say how long their bodies are. ActiveMQ and Artemis
            make text messages of those that do not.
        on_send: called with each SEND before it is written, by who sends it; it may change the
            frame's headers. What it raises comes out of the sending call, and nothing is sent.
        kv_headers: more headers for CONNECT.

    Returns:
        The connected client. With ``with`` it disconnects at the end of the block.

    Raises:
        STOMPCertificateError: TLS failed because of a certificate; the text says what to do.
        STOMPConnectionError: no broker answered; the text says what happened at each address.
        STOMPError: the broker refused, or this client is connected already.
        ValueError: an address, a version, a header or options for TLS that cannot be.
        ImportError: a WebSocket is wanted, and the extra ``stompy-core[ws]`` is not installed.
    """
    client = STOMPClient()
    client.connect(
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
