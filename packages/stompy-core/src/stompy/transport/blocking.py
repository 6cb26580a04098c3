"""Opening a connection from a thread, within one deadline over look-up, TCP, TLS and WebSocket.

Every failure is an `AttemptFailed` that says in which phase the attempt ended, but for those that
are the same everywhere, as with certificates. Deadlines are times of `time.monotonic`.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from time import monotonic
from typing import ClassVar, Protocol

from stompy.session.address import Address
from stompy.session.handshake import TIMED_OUT, AttemptFailed
from stompy.transport.layers import Layer, LayerError, Layers
from stompy.transport.lookup import Place, needs_no_lookup, resolve, resolve_aside

_CHUNK = 256 * 1024


class Stream(Protocol):
    """What carries STOMP: a socket, or one with layers upon it. Its methods are a socket's.

    Non-blocking, `recv` and `send` raise `BlockingIOError` when nothing can be done now.
    """

    @property
    def unsent(self) -> bool:
        """Whether ``send(b"")`` has something left to do, once the socket takes more."""
        ...

    def fileno(self) -> int:
        """The number of the socket, for a selector."""
        ...

    def settimeout(self, value: float | None, /) -> None:
        """Seconds that each call may wait."""
        ...

    def setblocking(self, flag: bool, /) -> None:
        """Whether calls wait at all."""
        ...

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Send; give how much of it was taken."""
        ...

    def recv(self, size: int, /) -> bytes:
        """What has come; empty at the end of the connection."""
        ...

    def close(self) -> None:
        """Close the socket without a word to the peer."""
        ...


class PlainSocket(socket.socket):
    """A TCP socket as a `Stream`; nothing lies between it and its user."""

    unsent: ClassVar[bool] = False


class LayeredSocket:
    """A socket with layers upon it, as a `Stream`.

    One thread may receive while another sends: a lock keeps them apart, and is never held while
    the socket is waited for.

    Args:
        connection: the connected socket.
        layers: what lies upon it.
    """

    def __init__(self, connection: socket.socket, layers: Layers) -> None:
        self._socket = connection
        self._layers = layers
        self._lock = threading.Lock()
        self._pending = bytearray()  # what is encoded and not written yet

    @property
    def unsent(self) -> bool:
        """Whether something encoded waits to be written."""
        return bool(self._pending)

    def fileno(self) -> int:
        """The number of the socket, for a selector."""
        return self._socket.fileno()

    def settimeout(self, value: float | None, /) -> None:
        """As for a socket."""
        self._socket.settimeout(value)

    def setblocking(self, flag: bool, /) -> None:
        """As for a socket."""
        self._socket.setblocking(flag)

    def open(self, remaining: Callable[[], float]) -> None:
        """Do the handshakes of the layers.

        Args:
            remaining: the seconds that are left; raises `TimeoutError` when none are.

        Raises:
            AttemptFailed: the connection ended, or it took too long; the phase is the layer's name.
            LayerError: a handshake failed.
        """
        layers = self._layers
        phase = layers.next
        try:
            while phase:
                self._pending += layers.take()
                while self._pending:
                    self._socket.settimeout(remaining())
                    self._push()
                self._socket.settimeout(remaining())
                data = self._socket.recv(_CHUNK)
                if not data:
                    raise AttemptFailed(phase, "the connection was closed during the handshake")
                layers.receive(data)
                phase = layers.next
        except LayerError:
            raise
        except TimeoutError:
            raise AttemptFailed(phase, TIMED_OUT) from None
        except OSError as error:
            raise AttemptFailed(phase, error.strerror or str(error)) from error

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """Encode and send; what the socket does not take now is `unsent`.

        Raises:
            BlockingIOError: there is something unsent from before.
        """
        with self._lock:
            self._push()
            if self._pending:
                raise BlockingIOError
            taken = bytes(data[:_CHUNK])
            self._pending += self._layers.send(taken)
            with contextlib.suppress(BlockingIOError):
                self._push()
            return len(taken)

    def recv(self, size: int, /) -> bytes:
        """What has come, decoded.

        Raises:
            BlockingIOError: nothing has come for STOMP, even if it has for the layers.
            LayerError: a layer is broken.
        """
        data = self._socket.recv(size)
        if not data:
            return self._end()
        with self._lock:
            try:
                decoded = self._layers.receive(data)
            finally:
                # An alert, a pong, the answer to a close.
                self._pending += self._layers.take()
                with contextlib.suppress(OSError):
                    self._push()
        if decoded:
            return decoded
        if self._layers.ended:
            return self._end()
        raise BlockingIOError

    def _end(self) -> bytes:
        if self._layers.end_reason:
            raise LayerError(self._layers.name, self._layers.end_reason)
        return b""

    def _push(self) -> None:
        """Write until nothing is left or the socket takes no more."""
        while self._pending:
            del self._pending[: self._socket.send(self._pending)]

    def close(self) -> None:
        """Say goodbye as far as the socket takes it, and close."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.setblocking(False)
            self._layers.close()
            self._pending += self._layers.take()
            self._push()
        self._socket.close()


def open_stream(
    address: Address, deadline: float, layers_of: Callable[[Address], list[Layer]]
) -> Stream:
    """Connect to an address, up to where STOMP begins.

    Args:
        address: where to.
        deadline: until when.
        layers_of: makes the layers that an address needs.

    Raises:
        AttemptFailed: it did not work, or not in time.
        LayerError: the handshake of a layer failed.
    """
    layers = layers_of(address)
    connection = open_socket(address, deadline)
    if not layers:
        return connection
    try:
        stream = LayeredSocket(connection, Layers(layers))
        stream.open(lambda: remaining(deadline))
    except BaseException:
        connection.close()
        raise
    return stream


def remaining(deadline: float) -> float:
    """The seconds until then.

    Raises:
        TimeoutError: there are none.
    """
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def open_socket(address: Address, deadline: float) -> PlainSocket:
    """Connect to an address; the socket still blocks, and Nagle's delay is off.

    Raises:
        AttemptFailed: no connection; every IP address of the name was tried.
    """
    places = _look_up(address, deadline)
    reason = "the name has no IP address"
    for index, place in enumerate(places):
        # A place that swallows packets leaves the others their share of the time.
        share = (deadline - monotonic()) / (len(places) - index)
        try:
            return _connect(place, share)
        except TimeoutError:
            reason = TIMED_OUT
        except OSError as error:
            reason = error.strerror or str(error)
    raise AttemptFailed("socket" if address.is_unix else "TCP", reason)


def _connect(place: Place, seconds: float) -> PlainSocket:
    if seconds <= 0:
        raise TimeoutError
    connection = PlainSocket(place.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(place.address)
        place.prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _look_up(address: Address, deadline: float) -> list[Place]:
    if needs_no_lookup(address):
        return resolve(address)
    answers: queue.SimpleQueue[list[Place] | AttemptFailed] = queue.SimpleQueue()
    resolve_aside(address, answers.put)
    try:
        answer = answers.get(timeout=max(0.0, deadline - monotonic()))
    except queue.Empty:
        raise AttemptFailed("DNS", TIMED_OUT) from None
    if isinstance(answer, AttemptFailed):
        raise answer
    return answer
