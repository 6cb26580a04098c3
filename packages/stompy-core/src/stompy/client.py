"""The blocking client: `STOMPClient`, `STOMPTransaction` and `connect` of the STOMPyMQ manual.

What holds at all times:

* Every method may be called from any thread, also from inside a callback of `STOMPClient.loop`.
  One thread may receive while others send.
* No callback runs on the I/O thread, so a slow one does not stop the heart-beats.
* Every wait is bounded, except those that the caller wants unbounded: `recv` and `loop` without a
  time-out.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType

from stompy.dial import ConnectionSettings, broker_error, dial
from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.frame import STOMPFrame
from stompy.headers import ALL_VERSIONS, Version
from stompy.heartbeat import DEFAULT_HEART_BEAT
from stompy.limits import DEFAULT_LIMITS, Limits
from stompy.link import Link
from stompy.sending import FrameSender, HeaderValue, as_text
from stompy.subscriptions import Duty, Subscriptions
from stompy.transaction import STOMPTransaction
from stompy.transport.address import Address, AddressLike, parse_addresses
from stompy.transport.tls import TLS

__all__ = ["STOMPClient", "STOMPTransaction", "connect"]

_CLOSE_SECONDS = 1.0


class STOMPClient(FrameSender):
    """A client of a STOMP broker (manual, section 1.2).

    Use it in a ``with`` statement to be sure that it disconnects.
    """

    def __init__(self) -> None:
        super().__init__()
        self._finalizer: weakref.finalize[[], STOMPClient] | None = None
        self._error_is_told = False

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
            limits: how large a received frame may be.
            send_timeout: seconds that sending may wait when the broker takes nothing.
            tls: how to use TLS: a `stompy.TLS` or an SSL context. A tuple then means TLS. Without
                it the system's authorities are trusted.
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
        if self.is_connected:
            raise STOMPError(f"this client is connected already, to {self.broker_address}")
        settings = ConnectionSettings(
            timeout=timeout,
            send_timeout=send_timeout,
            versions=tuple(Version(version) for version in versions),
            heart_beat=heart_beat,
            heart_beat_grace=heart_beat_grace,
            limits=limits,
            tls=tls,
        )

        def headers_for(address: Address) -> dict[str, str]:
            chosen = {
                "host": host or address.vhost or "/",
                "login": address.login if login is None else login,
                "passcode": address.passcode if passcode is None else passcode,
            }
            given = {name: value for name, value in chosen.items() if value is not None}
            return as_text({**given, **headers, **kv_headers})

        conversation = dial(
            parse_addresses(addr_list, secure=tls is not None), headers_for, settings
        )
        if self._finalizer is not None:
            self._finalizer.detach()
        link = Link(conversation, send_timeout)
        self._error_is_told = False
        self._subscriptions = Subscriptions(conversation.protocol.version)
        self._link = link
        # A client that was forgotten takes its thread and its socket with it.
        self._finalizer = weakref.finalize(self, link.stop)
        self._finalizer.atexit = False
        link.start()
        return conversation.connected

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
        link = self._link
        if link is None or link.is_foreign:
            return
        receipt = self._new_id("r")
        refused = False
        if link.say_goodbye(receipt):
            with suppress(STOMPTimeout):
                refused = link.inbox.claim_receipt(receipt, timeout) is None
        else:
            # It has ended, or another thread waits for the receipt.
            link.join(timeout)
        self._drop(link)
        reason = link.close_reason
        by_error = reason is not None and reason.Frame is not None
        if refused and reason is not None and by_error and not self._error_is_told:
            raise reason

    def close(self) -> None:
        """Send DISCONNECT and close the connection, without waiting for a receipt."""
        link = self._link
        if link is None or link.is_foreign:
            return
        if link.say_goodbye(self._new_id("r")):
            link.flush(_CLOSE_SECONDS)
        self._drop(link)

    def _drop(self, link: Link) -> None:
        link.stop()
        link.join(_CLOSE_SECONDS)
        link.inbox.discard()

    @property
    def is_connected(self) -> bool:
        """Whether frames can be sent; false from the moment that the connection ends."""
        return self._link is not None and self._link.is_open

    @property
    def Connected(self) -> bool:  # noqa: N802 -- the manual's name
        """The same as `is_connected`."""
        return self.is_connected

    @property
    def connected(self) -> STOMPFrame | None:
        """The CONNECTED frame while there is a connection, None otherwise."""
        return self.connected_frame if self.is_connected else None

    @property
    def connected_frame(self) -> STOMPFrame | None:
        """The CONNECTED frame of the last connection, also after its end."""
        return None if self._link is None else self._link.connected

    @property
    def broker_address(self) -> tuple[str, int] | None:
        """Host and port of the broker, as they were given to `connect`."""
        return None if self._link is None else (self._link.address.host, self._link.address.port)

    @property
    def BrokerAddress(self) -> tuple[str, int] | None:  # noqa: N802 -- the manual's name
        """The same as `broker_address`."""
        return self.broker_address

    @property
    def version(self) -> Version | None:
        """The version of STOMP that was agreed with the broker."""
        return None if self._link is None else self._link.protocol.version

    @property
    def session(self) -> str | None:
        """The ``session`` header of CONNECTED."""
        return None if self._link is None else self._link.connected.get("session")

    @property
    def close_reason(self) -> STOMPError | None:
        """Why the connection was lost; None while there is one, and after our own disconnect."""
        return None if self._link is None else self._link.close_reason

    # -- receiving ---------------------------------------------------------------------------

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
        link = self._last_link()
        remaining = timeout
        deadline = None if timeout is None else monotonic() + timeout
        while (frame := link.inbox.get(remaining)) is not None:
            if frame.Command == "MESSAGE":
                if self._subscriptions.carefree or self._accepted(frame, transaction):
                    return frame
            elif frame.Command == "ERROR":
                raise self._told(frame)
            if deadline is not None:
                remaining = max(0.0, deadline - monotonic())
        self._check_process(link)
        return None

    def __iter__(self) -> Iterator[STOMPFrame]:
        """Messages as they come, until the connection ends.

        Raises:
            STOMPError: the broker sent ERROR.
        """
        while (frame := self.recv()) is not None:
            yield frame

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
        """
        callback, *positional = params or (callback_args.pop("callback", None),)
        if callback is not None and not callable(callback):
            raise TypeError(f"the callback must be callable, not {type(callback).__name__}")
        call = _no_callback if callback is None else callback
        link = self._last_link()
        while (frame := link.inbox.get(timeout)) is not None:
            if frame.Command == "ERROR":
                raise self._told(frame)
            duty = self._duty(frame)
            if duty is Duty.ACK and transaction is not None:
                duty = Duty.NONE if self._acknowledged(frame, transaction) else Duty.STALE
            if duty is Duty.STALE:
                continue
            try:
                answer = call(self, frame, *positional, **callback_args)
            except BaseException:
                if duty is Duty.ACK:
                    with suppress(STOMPException):
                        self._settle_if_owed("NACK", frame)
                raise
            if duty is Duty.ACK:
                with suppress(STOMPConnectionError):
                    self._settle_if_owed("ACK", frame)
            if answer:
                return answer
        self._check_process(link)
        return None

    def _duty(self, frame: STOMPFrame) -> Duty:
        subscriptions = self._subscriptions
        return Duty.NONE if subscriptions.carefree else subscriptions.receive(frame)

    def _told(self, frame: STOMPFrame) -> STOMPError:
        """The exception for an ERROR frame, which `disconnect` then need not raise again."""
        self._error_is_told = True
        return broker_error(frame)

    def _accepted(self, frame: STOMPFrame, transaction: str | None) -> bool:
        """Acknowledge a message where that is our duty; false if it is not ours any more."""
        duty = self._subscriptions.receive(frame)
        if duty is Duty.ACK:
            return self._acknowledged(frame, transaction)
        return duty is not Duty.STALE

    def _acknowledged(self, frame: STOMPFrame, transaction: str | None) -> bool:
        try:
            self.ack(frame, transaction)
        except STOMPConnectionError:
            return False
        return True

    def _settle_if_owed(self, command: str, frame: STOMPFrame) -> None:
        # The callback may have ended the subscription, which gave the message back.
        if self._subscriptions.owes(frame):
            self.send(command, self._subscriptions.settlement(command, frame))

    def _check_process(self, link: Link) -> None:
        """Nothing was received, and nothing will be; in a fork the caller must learn why."""
        if link.is_foreign:
            raise link.error()

    def transaction(self, txn_id: str | None = None) -> STOMPTransaction:
        """Begin a transaction.

        Args:
            txn_id: its id; a new one by default.

        Raises:
            STOMPConnectionError: there is no connection.
        """
        txn_id = txn_id or self._new_id("t")
        self.send("BEGIN", transaction=txn_id)
        return STOMPTransaction(self, txn_id)

    def __enter__(self) -> STOMPClient:
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
        state = "connected" if link.is_open else ended
        return f"<STOMPClient {link.address} STOMP {self.version} {state}>"


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
    **kv_headers: HeaderValue,
) -> STOMPClient:
    """Make a client and connect it (manual, section 1.1.2).

    Arguments and exceptions are those of `STOMPClient.connect`.

    Returns:
        The connected client.
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
        **kv_headers,
    )
    return client
