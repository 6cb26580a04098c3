"""Opening a connection from an event loop, within one deadline over look-up, TCP, TLS, WebSocket.

The same steps as in `stompy.transport.blocking`, none of which holds up the loop. Every failure is
an `AttemptFailed` that says in which phase the attempt ended, but for those of a layer; an attempt
that is cancelled leaves no socket behind. Deadlines are times of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from stompy.session.address import Address
from stompy.session.handshake import TIMED_OUT, AttemptFailed
from stompy.transport.layers import Layer, LayerError, Layers
from stompy.transport.lookup import Place, needs_no_lookup, resolve, resolve_aside

_LAST_WORDS_SIZE = 256 * 1024

P = TypeVar("P", bound=asyncio.Protocol)


async def open_connection(
    address: Address, factory: Callable[[], P], deadline: float, layers: Sequence[Layer] = ()
) -> P:
    """Connect to an address, and give the connection to a protocol.

    Args:
        address: where to.
        factory: makes the protocol that serves the connection.
        deadline: when to give up, in the time of the running event loop.
        layers: what lies between TCP and the protocol.

    Returns:
        The protocol, after its `asyncio.Protocol.connection_made`.

    Raises:
        AttemptFailed: no connection; every IP address of the name was tried.
        LayerError: the handshake of a layer failed.
    """
    connection = await _open_socket(address, deadline)
    loop = asyncio.get_running_loop()
    protocol = factory()
    if not layers:
        await loop.create_connection(lambda: protocol, sock=connection)
        return protocol
    carrier = LayeredProtocol(protocol, Layers(layers))
    await loop.create_connection(lambda: carrier, sock=connection)
    try:
        await carrier.handshake(deadline)
    except BaseException:
        carrier.abort()
        raise
    return protocol


async def _open_socket(address: Address, deadline: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    places = await _look_up(address, deadline)
    reason = "the name has no IP address"
    for index, place in enumerate(places):
        # A place that swallows packets leaves the others their share of the time.
        share = (deadline - loop.time()) / (len(places) - index)
        try:
            async with asyncio.timeout(share):
                return await _connect(place)
        except TimeoutError:
            reason = TIMED_OUT
        except OSError as error:
            # asyncio puts words of its own in place of the system's.
            reason = os.strerror(error.errno) if error.errno else str(error)
    raise AttemptFailed("socket" if address.is_unix else "TCP", reason)


async def _connect(place: Place) -> socket.socket:
    connection = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, place.address)
        place.prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


async def _look_up(address: Address, deadline: float) -> list[Place]:
    """All places of a name.

    The look-up does not go to the executor of the loop, at whose end `asyncio.run` would wait for
    a name server that does not answer.
    """
    if needs_no_lookup(address):
        return resolve(address)
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[list[Place] | AttemptFailed] = loop.create_future()

    def settle(answer: list[Place] | AttemptFailed) -> None:
        if not answered.done():
            answered.set_result(answer)

    def tell(answer: list[Place] | AttemptFailed) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, answer)

    resolve_aside(address, tell)
    try:
        async with asyncio.timeout_at(deadline):
            answer = await answered
    except TimeoutError:
        raise AttemptFailed("DNS", TIMED_OUT) from None
    if isinstance(answer, AttemptFailed):
        raise answer
    return answer


def read_rest(transport: asyncio.BaseTransport) -> bytes:
    """What the peer said before it hung up, and what asyncio did not read after a failed write.

    It explains more than a broken pipe. To be called in `connection_lost`, while the socket is
    still open.
    """
    shared = transport.get_extra_info("socket")
    if shared is None:
        return b""
    # Some event loops give no real socket, and then there is nothing to hear.
    with (
        contextlib.suppress(OSError, TypeError),
        cast(socket.socket, shared.dup()) as connection,
    ):
        connection.setblocking(False)
        return connection.recv(_LAST_WORDS_SIZE)
    return b""


def input_waits(transport: asyncio.BaseTransport) -> bool:
    """Whether something came, or the peer left, and that was not read yet."""
    shared = transport.get_extra_info("socket")
    if shared is None or transport.is_closing():
        return False
    with contextlib.suppress(OSError, TypeError, ValueError), selectors.DefaultSelector() as look:
        look.register(shared, selectors.EVENT_READ)
        return bool(look.select(0))
    return False


class LayeredProtocol(asyncio.Protocol):
    """Carries a protocol over layers, which it believes to be a transport.

    Args:
        protocol: what is carried; it learns of the connection when all handshakes are done.
        layers: what lies between.
    """

    def __init__(self, protocol: asyncio.Protocol, layers: Layers) -> None:
        self._protocol = protocol
        self._layers = layers
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None

    async def handshake(self, deadline: float) -> None:
        """Wait until all handshakes are done.

        Raises:
            AttemptFailed: the connection ended, or it took too long.
            LayerError: a handshake failed.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self._opened
        except TimeoutError:
            raise AttemptFailed(self._layers.next, TIMED_OUT) from None

    def abort(self) -> None:
        """Close at once, without writing what is left."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open; the handshakes begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._layers.take())

    def data_received(self, data: bytes) -> None:
        """Hand on bytes that were read."""
        transport = self._transport
        if transport is None or self._failure is not None:
            return
        try:
            decoded = self._layers.receive(data)
        except LayerError as failure:
            decoded = b""
            self._failure = failure
        if answer := self._layers.take():
            transport.write(answer)  # an alert, a pong, the answer to a close
        if self._failure is None and not self._opened.done() and self._layers.ready:
            self._protocol.connection_made(LayeredTransport(transport, self._layers))
            self._opened.set_result(None)
        if decoded:
            self._protocol.data_received(decoded)
        if self._failure is not None or self._layers.ended:
            self._end()

    def eof_received(self) -> None:
        """The peer has closed the socket."""
        self._end()

    def _end(self) -> None:
        if self._failure is None and self._layers.end_reason:
            self._failure = LayerError(self._layers.name, self._layers.end_reason)
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        """The socket takes no more."""
        if self._opened.done():
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The socket takes more again."""
        if self._opened.done():
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is about to be closed."""
        if exc is not None and self._failure is None and self._transport is not None:
            self.data_received(read_rest(self._transport))
        self._transport = None
        failure = self._failure or exc
        if not self._opened.done():
            words = "the connection was closed during the handshake"
            self._opened.set_exception(
                failure
                if isinstance(failure, LayerError)
                else AttemptFailed(self._layers.next, str(failure or words))
            )
            # Nobody may wait for it any more.
            self._opened.exception()
        elif not self._opened.cancelled():
            self._protocol.connection_lost(failure)


class LayeredTransport(asyncio.Transport):
    """What a carried protocol writes to.

    Args:
        transport: the socket's.
        layers: what lies between.
    """

    def __init__(self, transport: asyncio.Transport, layers: Layers) -> None:
        super().__init__()
        self._transport = transport
        self._layers = layers

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encode what is to be written, and write it."""
        if self._transport.is_closing():
            return
        try:
            self._transport.write(self._layers.send(bytes(data)))
        except LayerError:
            self._transport.close()

    def close(self) -> None:
        """Say goodbye, write what waits, and close."""
        if not self._transport.is_closing():
            with contextlib.suppress(LayerError):
                self._layers.close()
                self._transport.write(self._layers.take())
            self._transport.close()

    def abort(self) -> None:
        """Close at once, without writing what is left."""
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading from the socket."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told that the socket is full."""
        self._transport.set_write_buffer_limits(high, low)
