"""A connection to one of several NATS servers, in the running event loop.

* **Callbacks.** Nothing is made for a message: no task, no future. One task connects, and connects
  again when the connection is lost.
* **No request is lost.** Each is answered once: with the server's answer, or with what is known
  instead. `Unheard`: nobody has taken it, for certain. `InDoubt`: it was sent, and whether it was
  taken cannot be told. Nothing is kept for the next connection; whoever asked asks again.
* **One write a turn.** What is sent within one turn of the event loop goes out together.
* **A server that says nothing is given up**, as one is that was stopped in its tracks.
* **A server that leaves is left** as soon as no request is open, or a second later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from stompy_broker.cluster.nats import codec
from stompy_broker.cluster.nats.codec import (
    NATSError,
    NATSMessage,
    NATSProtocolError,
    Parser,
    Ping,
    Pong,
    ServerFault,
    ServerInfo,
)
from stompy_broker.cluster.nats.server_list import ServerAddress, ServerList

log = logging.getLogger("stompy_broker.cluster.nats")

_NO_RESPONDERS = 503

_LINE = 256
"""Bytes of a line, which do not count as payload."""

_LEAVING_SECONDS = 1.0
"""How long a server that is about to stop is kept because of requests that are open."""

_PINGS = 2
"""So many may be unanswered before a server is given up."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A request was answered.

    Attributes:
        message: the answer.
    """

    message: NATSMessage


@dataclass(frozen=True, slots=True)
class Unheard:
    """Nobody has taken a request, and nobody will: it was not sent, or nobody listened.

    Attributes:
        reason: why.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A request was sent, and it cannot be told whether it was taken, or will be.

    Attributes:
        reason: why.
    """

    reason: str


Outcome = Answered | Unheard | InDoubt


@dataclass(frozen=True, slots=True)
class NATSSettings:
    """How to connect.

    Attributes:
        servers: any of them will do.
        name: what the servers show for us.
        version: of this program.
        tls: for connections that are encrypted; None = what the system trusts.
        connect_seconds: how long one server may take to let us in.
        ping_seconds: how often a server is asked for a sign of life.
        request_seconds: how long an answer may take.
    """

    servers: tuple[ServerAddress, ...]
    name: str = "stompy-broker"
    version: str = "0"
    tls: ssl.SSLContext | None = None
    connect_seconds: float = 2.0
    ping_seconds: float = 1.0
    request_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class NATSListener:
    """What is called when something happens to the connection.

    Attributes:
        connected: told which server lets us in.
        lost: told why the connection ended.
    """

    connected: Callable[[ServerInfo], None] = lambda info: None
    lost: Callable[[str], None] = lambda reason: None


@dataclass(slots=True)
class _Request:
    answer: Callable[[Outcome], None]
    timer: asyncio.TimerHandle


@dataclass(slots=True)
class _Subscription:
    subject: str
    deliver: Callable[[NATSMessage], None]


class _Connection(asyncio.Protocol):
    """One connection, from the first byte to the last.

    Attributes:
        info: what the server said about itself, once it did.
        ready: done once the server has let us in.
        closed: done with the reason once it has ended.
    """

    def __init__(self, deliver: Callable[[NATSMessage], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._parser = Parser()
        self._transport: asyncio.Transport | None = None
        self._output: list[bytes] = []
        self._reason = ""
        self.info = ServerInfo()
        self.introduced: asyncio.Future[ServerInfo] = self._loop.create_future()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.pings = 0
        self.changed: Callable[[ServerInfo], None] = lambda info: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    def encrypted(self, transport: asyncio.Transport) -> None:
        """Go on with TLS."""
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        reason = self._reason or (str(error) if error else "the server has closed the connection")
        self._transport = None
        for waiting in (self.introduced, self.ready):
            if not waiting.done():
                waiting.set_exception(NATSError(reason))
                waiting.exception()  # perhaps nobody waits for it any more
        if not self.closed.done():
            self.closed.set_result(reason)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._parser.feed(data):
                if isinstance(event, NATSMessage):
                    self._deliver(event)
                else:
                    self._heed(event)
        except NATSProtocolError as error:
            self.abort(str(error))

    def _heed(self, event: ServerInfo | ServerFault | Ping | Pong) -> None:
        match event:
            case Ping():
                self.write(codec.PONG)
            case Pong():
                self.pings = 0
                if not self.ready.done():
                    self.ready.set_result(None)
            case ServerInfo():
                self.info = event
                if not self.introduced.done():
                    self.introduced.set_result(event)
                self.changed(event)
            case ServerFault() if event.fatal:
                self.abort(event.text)
            case ServerFault():
                log.error("the NATS server %s says: %s", self.info.name, event.text)

    def write(self, octets: bytes) -> None:
        """Send something at the end of this turn of the event loop."""
        if not self._output:
            self._loop.call_soon(self._flush)
        self._output.append(octets)

    def _flush(self) -> None:
        output, self._output = self._output, []
        if self._transport is not None:
            self._transport.write(output[0] if len(output) == 1 else b"".join(output))

    def ping(self) -> None:
        """Ask for a sign of life; give the server up if it gave none for long."""
        if self.pings >= _PINGS:
            self.abort("the server does not answer")
            return
        self.pings += 1
        self.write(codec.PING)

    def abort(self, reason: str) -> None:
        """End it at once."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    def close(self, reason: str) -> None:
        """End it when all that was to be sent is on its way."""
        self._reason = self._reason or reason
        self._flush_now()
        if self._transport is not None:
            self._transport.close()

    def _flush_now(self) -> None:
        if self._output:
            self._flush()
            self._output = []


class NATSClient:
    """Asks NATS servers, and hears from them.

    Args:
        settings: how to connect.
        listener: is told what happens to the connection.

    Attributes:
        info: what the server says that it is connected to, or was.
        trouble: why it is not connected; empty = it is.
    """

    def __init__(self, settings: NATSSettings, listener: NATSListener | None = None) -> None:
        self.info = ServerInfo()
        self.trouble = "it was not connected yet"
        self._settings = settings
        self._listener = listener or NATSListener()
        self._servers = ServerList(settings.servers)
        self._connection: _Connection | None = None
        self._numbers = 0
        self._subscriptions: dict[int, _Subscription] = {}
        self._requests: dict[str, _Request] = {}
        self._tokens = 0
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()  # set once it is connected, or all servers were tried
        self.subscribe(f"{self._inbox}.*", self._take_answer)

    # -- beginning and end --------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect, and wait until it is.

        Raises:
            NATSError: none of the servers lets us in: each was tried once.
        """
        self._task = asyncio.create_task(self._run(), name="stompy-nats")
        try:
            await self._tried.wait()
        except BaseException:
            await self.close()
            raise
        if self._connection is None:
            trouble = self.trouble
            await self.close()
            names = ", ".join(map(str, self._settings.servers))
            raise NATSError(f"no NATS server of {names}: {trouble}")

    async def connected(self) -> None:
        """Wait until it is connected."""
        await self._up.wait()

    async def close(self) -> None:
        """End it. What is open is in doubt."""
        self._closed = True
        if self._connection is not None:
            self._connection.close("closed")
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.trouble = "closed"
        self._answer_all(InDoubt("closed"))

    async def _run(self) -> None:
        while not self._closed:
            await asyncio.sleep(self._servers.pause)
            address = self._servers.next()
            try:
                connection = await self._connect(address)
            except (OSError, TimeoutError, NATSError, ssl.SSLError) as error:
                reason = str(error) or "it takes too long"
                self._servers.failed()
                if self._servers.pause:
                    self._tried.set()
                self.trouble = f"{address}: {reason}"
                log.debug("the NATS server %s cannot be used: %s", address, reason)
                continue
            self._servers.succeeded()
            await self._stay(address, connection)

    async def _connect(self, address: ServerAddress) -> _Connection:
        loop = asyncio.get_running_loop()
        connection = _Connection(self._take)
        try:
            async with asyncio.timeout(self._settings.connect_seconds):
                transport, _ = await loop.create_connection(
                    lambda: connection, address.host, address.port
                )
                info = await connection.introduced
                encrypt = address.tls or info.tls_required
                if address.tls and not (info.tls_required or info.tls_available):
                    raise NATSError("the server has no TLS")
                if encrypt:
                    context = self._settings.tls or ssl.create_default_context()
                    encrypted = await loop.start_tls(
                        transport, connection, context, server_hostname=address.host
                    )
                    assert encrypted is not None
                    connection.encrypted(encrypted)
                settings = self._settings
                connection.write(
                    codec.connect(settings.name, settings.version, address.login, tls=encrypt)
                )
                connection.write(codec.PING)
                await connection.ready
        except BaseException:
            connection.abort("not let in")
            raise
        return connection

    async def _stay(self, address: ServerAddress, connection: _Connection) -> None:
        """Use a connection until it ends."""
        self._connection = connection
        connection.changed = self._informed
        for number, subscription in self._subscriptions.items():
            connection.write(codec.subscribe(subscription.subject, number))
        self.trouble = ""
        self._informed(connection.info)
        log.info("connected to the NATS server %s at %s", self.info.name, address)
        self._up.set()
        self._tried.set()
        self._listener.connected(self.info)
        pinging = asyncio.create_task(self._ping(connection), name="stompy-nats-ping")
        try:
            reason = await connection.closed
        finally:
            pinging.cancel()
            self._up.clear()
            self._connection = None
        self.trouble = f"{address}: {reason}"
        log.warning("lost the NATS server %s at %s: %s", self.info.name, address, reason)
        self._answer_all(InDoubt(self.trouble))
        self._listener.lost(reason)

    async def _ping(self, connection: _Connection) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_seconds)
            connection.ping()

    def _informed(self, info: ServerInfo) -> None:
        self.info = info
        self._servers.learn(info.others)
        if info.leaving and self._connection is not None:
            log.info("the NATS server %s is about to stop", info.name)
            leave = partial(self._connection.close, "the server is about to stop")
            if self._requests:
                asyncio.get_running_loop().call_later(_LEAVING_SECONDS, leave)
            else:
                leave()

    # -- messages -----------------------------------------------------------------------------

    def subscribe(self, subject: str, deliver: Callable[[NATSMessage], None]) -> int:
        """Have messages to a subject delivered, over all connections to come; gives its number.

        Raises:
            ValueError: it is no subject.
        """
        self._numbers += 1
        line = codec.subscribe(subject, self._numbers)
        self._subscriptions[self._numbers] = _Subscription(subject, deliver)
        if self._connection is not None:
            self._connection.write(line)
        return self._numbers

    def unsubscribe(self, number: int) -> None:
        """End a subscription. Harmless when repeated."""
        if self._subscriptions.pop(number, None) and self._connection is not None:
            self._connection.write(codec.unsubscribe(number))

    def publish(
        self,
        subject: str,
        body: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Send a message, and say whether there is a connection that it goes to.

        Raises:
            ValueError: it cannot be sent as it is.
        """
        octets = codec.publish(subject, body, reply=reply, headers=headers)
        if self._connection is None:
            return False
        if len(octets) > self.info.max_payload + _LINE:
            raise ValueError(f"{len(octets)} bytes; the server takes {self.info.max_payload}")
        self._connection.write(octets)
        return True

    def request(
        self,
        subject: str,
        body: bytes,
        answer: Callable[[Outcome], None],
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Send a message, and call ``answer`` once, never within this call.

        Args:
            subject: where to.
            body: what it says.
            answer: told what came of it.
            headers: more to say.
            seconds: how long it may take; 0 = as long as usual.

        Raises:
            ValueError: it cannot be sent as it is.
        """
        loop = asyncio.get_running_loop()
        self._tokens += 1
        inbox = f"{self._inbox}.{self._tokens}"
        if not self.publish(subject, body, reply=inbox, headers=headers):
            loop.call_soon(answer, Unheard(self.trouble))
            return
        timer = loop.call_later(
            seconds or self._settings.request_seconds,
            self._answer,
            inbox,
            InDoubt(f"{subject}: no answer in time"),
        )
        self._requests[inbox] = _Request(answer, timer)

    async def ask(
        self, subject: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> NATSMessage:
        """Send a message, and wait for the answer.

        Raises:
            NATSError: there is none.
            ValueError: it cannot be sent as it is.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Outcome] = loop.create_future()
        self.request(subject, body, partial(_settle, outcome), headers=headers)
        found = await outcome
        if isinstance(found, Answered):
            return found.message
        raise NATSError(found.reason)

    def _take(self, message: NATSMessage) -> None:
        subscription = self._subscriptions.get(message.number)
        if subscription is not None:
            try:
                subscription.deliver(message)
            except Exception:
                log.exception("fault in what was to follow a message to %s", message.subject)

    def _take_answer(self, message: NATSMessage) -> None:
        if message.status == _NO_RESPONDERS and not message.body:
            self._answer(message.subject, Unheard("nobody listens there"))
        else:
            self._answer(message.subject, Answered(message))

    def _answer(self, inbox: str, outcome: Outcome) -> None:
        request = self._requests.pop(inbox, None)
        if request is None:
            return  # too late: it was said to be in doubt
        request.timer.cancel()
        request.answer(outcome)
        if self.info.leaving and not self._requests and self._connection is not None:
            self._connection.close("the server is about to stop")

    def _answer_all(self, outcome: Outcome) -> None:
        for inbox in list(self._requests):
            try:
                self._answer(inbox, outcome)
            except Exception:
                log.exception("fault in what was to follow a request")


def _settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
