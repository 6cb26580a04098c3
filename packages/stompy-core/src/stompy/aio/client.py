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

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from stompy.aio.dial import dial
from stompy.aio.link import Link
from stompy.aio.opening import Opening
from stompy.aio.sending import FrameSender
from stompy.aio.transaction import STOMPTransaction
from stompy.dial import ConnectionSettings, broker_error
from stompy.errors import STOMPConnectionError, STOMPError, STOMPException, STOMPTimeout
from stompy.frame import STOMPFrame
from stompy.headers import ALL_VERSIONS, Version
from stompy.heartbeat import DEFAULT_HEART_BEAT
from stompy.limits import DEFAULT_LIMITS, Limits
from stompy.verbs import HeaderValue, as_text
from stompy.subscriptions import Duty, Subscriptions
from stompy.transport.address import Address, AddressLike, parse_addresses

_CLOSE_SECONDS = 1.0


class STOMPClient(FrameSender):
    """A client of a STOMP broker.

    Use it in an ``async with`` statement to be sure that it disconnects.
    """

    def __init__(self) -> None:
        super().__init__()
        self._error_is_told = False

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
        **kv_headers: HeaderValue,
    ) -> STOMPFrame:
        """Connect to the first broker of a list that answers.

        Args:
            addr_list: a tuple ``(host, port)``, a URL ``stomp://login:passcode@host:port/vhost``,
                or a list of them, tried in order.
            login: login id; one in the URL counts when this is None.
            passcode: pass code; likewise.
            headers: more headers for CONNECT.
            timeout: seconds for each address, over look-up, TCP and the broker's answer.
            host: the virtual host; default: the path of the URL, or else ``/``.
            versions: the STOMP versions to offer.
            heart_beat: milliseconds between our beats, and between those that we want.
            heart_beat_grace: after how many intervals of silence the broker counts as dead.
            limits: how large a received frame may be.
            send_timeout: seconds that sending may wait when the broker takes nothing.
            kv_headers: more headers for CONNECT.

        Returns:
            The CONNECTED frame.

        Raises:
            STOMPConnectionError: no broker answered; the text says what happened at each address.
            STOMPError: the broker refused, or this client is connected already.
            ValueError: an address, a version or a header that cannot be.
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
        )

        def headers_for(address: Address) -> dict[str, str]:
            chosen = {
                "host": host or address.vhost or "/",
                "login": address.login if login is None else login,
                "passcode": address.passcode if passcode is None else passcode,
            }
            given = {name: value for name, value in chosen.items() if value is not None}
            return as_text({**given, **headers, **kv_headers})

        link = await dial(parse_addresses(addr_list), headers_for, settings)
        self._error_is_told = False
        self._subscriptions = Subscriptions(link.protocol.version)
        self._link = link
        return link.connected

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
        link = self._link
        if link is None:
            return
        receipt = self._new_id("r")
        refused = False
        try:
            if link.say_goodbye(receipt):
                with suppress(STOMPTimeout):
                    refused = await link.inbox.claim_receipt(receipt, timeout) is None
            else:
                # It has ended, or another task waits for the receipt.
                await link.wait_ended(timeout)
        finally:
            await self._drop(link)
        reason = link.close_reason
        by_error = reason is not None and reason.Frame is not None
        if refused and reason is not None and by_error and not self._error_is_told:
            raise reason

    async def close(self) -> None:
        """Send DISCONNECT and close the connection, without waiting for a receipt."""
        link = self._link
        if link is None:
            return
        link.say_goodbye(self._new_id("r"))
        await self._drop(link)

    async def _drop(self, link: Link) -> None:
        link.close()
        link.inbox.discard()
        await link.wait_closed(_CLOSE_SECONDS)
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
        link = self._last_link()
        inbox = link.inbox
        deadline = None if timeout is None else link.now() + timeout
        # Once a frame was taken nothing is awaited, so that cancelling never loses one.
        while True:
            frame = inbox.take()
            if frame is None:
                if inbox.ended:
                    return None
                await inbox.wait(deadline)
            elif frame.Command == "MESSAGE":
                if self._subscriptions.carefree or self._accepted(link, frame, transaction):
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
        """
        callback, *positional = params or (callback_args.pop("callback", None),)
        if callback is not None and not callable(callback):
            raise TypeError(f"the callback must be callable, not {type(callback).__name__}")
        call = _no_callback if callback is None else callback
        link = self._last_link()
        while (frame := await link.inbox.get(timeout)) is not None:
            if frame.Command == "ERROR":
                raise self._told(frame)
            duty = self._duty(frame)
            if duty is Duty.ACK and transaction is not None:
                accepted = self._acknowledged(link, frame, transaction)
                duty = Duty.NONE if accepted else Duty.STALE
            if duty is Duty.STALE:
                continue
            try:
                answer = await _called(call, self, frame, *positional, **callback_args)
            except BaseException:
                if duty is Duty.ACK:
                    with suppress(STOMPException):
                        self._settle_if_owed(link, "NACK", frame)
                raise
            if duty is Duty.ACK:
                with suppress(STOMPConnectionError):
                    self._settle_if_owed(link, "ACK", frame)
            if answer:
                return answer
        return None

    def _duty(self, frame: STOMPFrame) -> Duty:
        subscriptions = self._subscriptions
        return Duty.NONE if subscriptions.carefree else subscriptions.receive(frame)

    def _told(self, frame: STOMPFrame) -> STOMPError:
        """The exception for an ERROR frame, which `disconnect` then need not raise again."""
        self._error_is_told = True
        return broker_error(frame)

    def _accepted(self, link: Link, frame: STOMPFrame, transaction: str | None) -> bool:
        """Acknowledge a message where that is our duty; false if it is not ours any more."""
        duty = self._subscriptions.receive(frame)
        if duty is Duty.ACK:
            return self._acknowledged(link, frame, transaction)
        return duty is not Duty.STALE

    def _acknowledged(self, link: Link, frame: STOMPFrame, transaction: str | None) -> bool:
        try:
            self._settle(link, "ACK", frame, transaction)
        except STOMPConnectionError:
            return False
        return True

    def _settle_if_owed(self, link: Link, command: str, frame: STOMPFrame) -> None:
        # The callback may have ended the subscription, which gave the message back.
        if self._subscriptions.owes(frame):
            self._settle(link, command, frame)

    def _settle(
        self, link: Link, command: str, frame: STOMPFrame, transaction: str | None = None
    ) -> None:
        headers = self._subscriptions.settlement(command, frame)
        self._write(link, command, {**headers}, transaction=transaction)

    def transaction(self, txn_id: str | None = None) -> Opening[STOMPTransaction]:
        """Begin a transaction.

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

    async def __aenter__(self) -> STOMPClient:
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
        state = "connected" if link.is_open else ended
        return f"<stompy.aio.STOMPClient {link.address} STOMP {self.version} {state}>"


class Messages:
    """What ``async for frame in client`` goes through."""

    def __init__(self, client: STOMPClient) -> None:
        self._client = client

    def __aiter__(self) -> Messages:
        """Itself."""
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
    **kv_headers: HeaderValue,
) -> Opening[STOMPClient]:
    """Make a client and connect it.

    Arguments and exceptions are those of `STOMPClient.connect`.

    Returns:
        To be awaited: the connected client. With ``async with`` it disconnects at the end of the
        block.
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
            **kv_headers,
        )
        return client

    return Opening(opened())
