"""One TCP connection: an `asyncio.Protocol` round a session (**hot path**).

Reading: each chunk goes to the session at once, or in slices if it is long (`FairScheduler`).
Writing: the session writes into its `OutputBuffer`; all buffers that were written to in one turn of
the event loop are emptied together at its end, each with one write. Nothing here awaits, and there
is no task for a connection.

Closing is gentle, or the ERROR that explains it would be lost: write what waits, end the write
side, read and forget until the peer has ended its own, at most for the linger time (1.2,
*Connection Lingering*).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from stompy.admin.json_types import Tls
from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.headers import Version
from stompy.session.address import Scheme
from stompy_broker.session.context import BrokerContext
from stompy_broker.session.holdings import Holdings
from stompy_broker.session.output import BURST, OutputBuffer
from stompy_broker.session.session import Session
from stompy_broker.timers import Clock
from stompy_broker.wire.fair_scheduler import FIRST, LEAST, MODEST, FairScheduler, next_slice
from stompy_broker.wire.input_memory import FREE, InputMemory
from stompy_broker.wire.unix_socket import is_unix, unix_address_of

log = logging.getLogger("stompy_broker.connection")

_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A minute of silence, then three questions: how a client that is gone is noticed without beats."""
_PROBE_MILLISECONDS = 10_000
"""For how long what is written to a client of whom there is doubt may stay without answer."""
SMALL_READ = 4 * 1024
"""Bytes of one read before the login."""
_WRITES = 6
"""How often a turn writes to one socket, each time up to twice `WRITE_SIZE`: who reads a large body
as fast as it is written would get all of it while everybody else waits."""
_TURN, _ROOM, _ANSWERS, _SESSION = 1, 2, 4, 8
"""Why nothing is read: input waits for its turn, there is no room for more that is unfinished,
answers are not taken, the session says so."""

_OUT_OF_MEMORY = ProtocolError(
    ErrorCode.LIMIT_EXCEEDED, "the broker has no memory left for what this connection sends"
)
_CLOSED_BY_PEER = (7, 8)  # Linux: TCP_CLOSE, TCP_CLOSE_WAIT


class Flusher:
    """Empties the output buffers that were written to, once per turn of the event loop.

    Args:
        soon: calls a function at the next turn of the event loop.
    """

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self._soon = soon
        self._written: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Write out a connection's buffer at the end of this turn: it is not empty any more."""
        if not self._written:
            self._soon(self.flush)
        self._written.append(connection)

    def flush(self) -> None:
        """Write out all the buffers that were written to, now."""
        written, self._written = self._written, []
        for connection in written:
            try:
                connection.flush()
            except MemoryError:
                log.warning("%s: cut off, no memory is left to write", connection.address)
                connection.abort()
            except Exception:
                # The others are not to wait for ever because of one.
                log.exception("%s: fault while it was written to", connection.address)
                connection.abort()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from, and what was agreed on below STOMP.

    Attributes:
        address: who is there, for the log.
        host: the same without the port.
        since: when it connected, on the clock.
        scheme: what the client speaks, as in URLs.
        listener: the URL that it came in by.
        certificate: the login that its certificate stands for.
        tls: its encryption, for reports; None = there is none.
        ws: whether it speaks STOMP over WebSocket.
        best_version: none beyond this one was agreed on.
    """

    address: str
    host: str
    since: float
    scheme: Scheme = Scheme.STOMP
    listener: str = ""
    certificate: str | None = None
    tls: Tls | None = None
    ws: bool = False
    best_version: Version = Version.V1_2


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """What all connections of a broker share.

    Attributes:
        sessions: what their sessions share.
        flusher: empties their output buffers.
        clock: for lingering.
        scheduler: where input waits when it is long.
        input_memory: counts what is unfinished.
        output_mark: bytes that may wait for a client before its consumers wait.
        linger: seconds to wait for a client to close after we did.
        ping: seconds of silence after which a WebSocket is pinged; 0 = never.
        closed: called when a connection is gone.
    """

    sessions: BrokerContext
    flusher: Flusher
    clock: Clock
    scheduler: FairScheduler
    input_memory: InputMemory
    output_mark: int
    linger: float
    ping: float
    closed: Callable[[Connection], None]


class _MoreOutput:
    """Waits for a turn to write more to a client that reads as fast as the broker writes."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run_slice(self) -> None:
        self._connection.deliver_more()


class Connection(asyncio.Protocol):
    """One client's socket.

    Args:
        context: what all connections share.
        origin: where it comes from.
        output: where the session writes; None = an `OutputBuffer` of its own.

    Attributes:
        address: who is there, for the log.
        host: the same without the port.
        since: when it connected, on the clock.
        listener: the URL that the client came in by.
        certificate: the login that the client's certificate stands for.
        tls: its encryption, for reports; None = there is none.
        ws: whether it speaks STOMP over WebSocket.
        best_version: none beyond this one was agreed on below STOMP.
        output: where the session writes.
    """

    # There may be very many, idle most of the time.
    __slots__ = (
        "_at",
        "_clock",
        "_close_reason",
        "_closing",
        "_counted",
        "_cut",
        "_finished",
        "_flusher",
        "_input_memory",
        "_linger",
        "_on_closed",
        "_output_mark",
        "_parser",
        "_rest",
        "_scheduler",
        "_scheme",
        "_session",
        "_slice",
        "_socket_full",
        "_transport",
        "_unread_for",
        "_wrote_last",
        "address",
        "best_version",
        "certificate",
        "host",
        "listener",
        "output",
        "since",
        "tls",
        "ws",
    )

    def __init__(
        self, context: ConnectionContext, origin: Origin, output: OutputBuffer | None = None
    ) -> None:
        self.address, self.host = origin.address, origin.host
        self.since = origin.since
        self.listener = origin.listener
        self.certificate = origin.certificate
        self.tls, self.ws = origin.tls, origin.ws
        self.best_version = origin.best_version
        self._flusher = flusher = context.flusher
        self.output = output or OutputBuffer(lambda: flusher.add(self), self.write_output)
        self._clock = context.clock
        self._scheduler = context.scheduler
        self._input_memory = context.input_memory
        self._output_mark = context.output_mark
        self._linger = context.linger
        self._on_closed = context.closed
        self._transport: asyncio.Transport | None = None
        self._unread_for = 0  # why nothing is read just now: a bit for each reason
        self._rest = b""  # what waits for its turn, from here on
        self._at = 0
        self._slice = FIRST
        self._counted = False  # by the input memory
        self._socket_full = False
        self._closing = False
        self._close_reason: ErrorCode | None = None
        self._finished = False  # the client has closed its side
        self._wrote_last = False
        self._cut = context.clock.machine.timer(self.abort)
        self._scheme = origin.scheme
        session = Session(context.sessions, self)
        self._session: Session | None = session
        self._parser = session.parser

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the socket, which is open."""
        self._transport = cast(asyncio.Transport, transport)
        sock: socket.socket = transport.get_extra_info("socket")
        _keep_alive(sock)
        self._transport.set_write_buffer_limits(high=self._output_mark)
        log.debug("%s: connected by %s", self.address, self._scheme)

    def data_received(self, data: bytes) -> None:
        """Hand what arrived to the session, or put it where input waits for its turn."""
        size = len(data)
        if not self._rest and (size <= LEAST or size <= self._parser.missing):
            # Little, or the middle of a body, which is no work and says nothing about slices.
            self._take(data)
        elif (
            size <= self._slice and (size <= MODEST or not self._scheduler.busy) and not self._rest
        ):
            self._work(data)
        else:
            # Bytes are worked through in order, so these come behind what waits already.
            self._rest = self._rest[self._at :] + data
            self._at = 0
            self._stop_reading(_TURN)
            self._scheduler.wait(self)

    def run_slice(self) -> None:
        """Work on a slice of what waits."""
        # Something else may have stopped the reading since it began to wait; then whoever lets it
        # go on gives it a turn again.
        if not self._rest or self._unread_for != _TURN:
            return
        # The middle of a body is no work: it goes whole, as in `data_received`.
        piece = self._rest[self._at : self._at + max(self._slice, self._parser.missing)]
        self._at += len(piece)
        if self._at >= len(self._rest):
            self._rest, self._at = b"", 0
        self._work(piece)
        if not self._rest:
            self._go_on_reading(_TURN)
        elif self._unread_for == _TURN:
            self._scheduler.wait(self)

    def _work(self, data: bytes) -> None:
        """Hand bytes to the session, and measure how long that takes, for the next slice."""
        now = self._scheduler.now
        begun = now()
        self._take(data)
        self._slice = next_slice(self._slice, len(data), now() - begun)

    def _take(self, data: bytes) -> None:
        """Hand bytes to the session."""
        session = self._session
        if self._closing or session is None:
            return
        try:
            session.receive(data)
        except MemoryError:
            # A frame too large for this machine costs its sender the connection, not the others.
            session.refuse(_OUT_OF_MEMORY)
        except Exception:
            self._fault()
        if self._parser.pending or self._counted or self._socket_full:
            self._check_limits()

    def _check_limits(self) -> None:
        """Stop reading from a client that takes no answers; account for an unfinished frame."""
        if self._socket_full and self.output.size > self._output_mark:
            # It asks for answers and does not take them.
            self._stop_reading(_ANSWERS)
        unfinished = self._unfinished
        if unfinished > FREE or self._counted:
            self._counted = unfinished > FREE and not self._closing
            self._input_memory.set_size(self, unfinished if self._counted else 0)

    @property
    def _unfinished(self) -> int:
        return self._parser.buffered

    def begin(self, first: bytes) -> None:
        """Take the STOMP that came before this was a connection."""
        self.data_received(first)

    def eof_received(self) -> bool:
        """End the session of a client that sends no more; still write what waits for it."""
        if self._session is None or not self.output.size:
            # Nothing is left to be written: asyncio may close.
            return False
        self._finished = True
        if not self._closing:
            self._session.closed()
            self.close()
        return True

    def pause_writing(self) -> None:
        """Pause the output buffer: the socket takes no more."""
        self._socket_full = True
        self.output.pause()

    def resume_writing(self) -> None:
        """Resume the output buffer, and write what waits: the socket takes more."""
        self._socket_full = False
        self.output.resume()
        if self._write_much():
            # It takes its answers again, so it may ask for more.
            self._go_on_reading(_ANSWERS)
            self._after_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session, and let go of everything: the socket is gone."""
        self._cut.end()
        if self._rest and self._unread_for == _TURN:
            # It was read before the end, so it counts: an ACK may be in it.
            self._take(self._rest[self._at :])
        self._rest, self._at = b"", 0
        self._input_memory.set_size(self, 0)
        transport, self._transport = self._transport, None
        session, self._session = self._session, None
        if session is not None:
            try:
                session.closed()
                session.release()
            except Exception:
                log.exception("%s: fault while its session ended", self.address)
        self.output.close()
        if transport is not None:
            free_transport(transport)
        log.debug("%s: gone", self.address)
        self._on_closed(self)

    # -- what the broker asks -----------------------------------------------------------------

    def stop_deliveries(self) -> None:
        """Leave in its queue what is not on its way yet."""
        self.output.stop()
        if self._session is not None:
            self._session.stop_deliveries()

    @property
    def has_unsettled(self) -> bool:
        """Whether the client has deliveries to settle."""
        return self._session is not None and self._session.has_unsettled

    @property
    def holdings(self) -> Holdings:
        """What the client has of us. Not for the hot path."""
        return Holdings(self.address, "") if self._session is None else self._session.holdings

    @property
    def has_input(self) -> bool:
        """Whether the client sent something, or left, and that was not read yet."""
        return bool(self._rest) or input_waits(self._transport)

    @property
    def reads(self) -> bool:
        """Whether what the client sends is read, now or at its turn."""
        return not self._unread_for & ~_TURN

    @property
    def login(self) -> str | None:
        """Who has logged in."""
        principal = None if self._session is None else self._session.principal
        return None if principal is None else principal.name

    @property
    def before_connect(self) -> bool:
        """Whether there was no CONNECT yet."""
        return not self._closing and self._session is not None and self._session.before_connect

    def evict(self, error: ProtocolError) -> None:
        """Say why, and cut the connection off at once."""
        self.refuse(error)
        self.flush()
        self.abort()

    def refuse(self, error: ProtocolError) -> None:
        """Say why, and close."""
        if self._session is not None:
            self._session.refuse(error)

    # -- what the session asks --------------------------------------------------------------

    @property
    def has_left(self) -> bool:
        """Whether the client has closed its side; Linux knows without reading."""
        transport, info = self._transport, getattr(socket, "TCP_INFO", None)
        if transport is None or info is None:
            return False
        sock: socket.socket = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            return _has_hung_up(sock)
        try:
            return sock.getsockopt(socket.IPPROTO_TCP, info, 1)[0] in _CLOSED_BY_PEER
        except OSError:
            return True

    @property
    def unwritten(self) -> int:
        """Bytes that the socket has not taken yet."""
        buffered = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self.output.size + buffered

    def probe(self) -> None:
        """Have what is written next show soon whether anybody is there."""
        if self._transport is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            sock: socket.socket = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _PROBE_MILLISECONDS)

    def pause(self) -> None:
        """Read no more from the client for now."""
        self._stop_reading(_SESSION)

    def resume(self) -> None:
        """Read from the client again."""
        self._go_on_reading(_SESSION)

    def raise_read_limits(self) -> None:
        """Read as much at once as asyncio likes: the client has logged in."""
        if self._transport is not None:
            unlimit_reads(self._transport)

    # -- what the input memory asks ---------------------------------------------------------------

    def pause_for_memory(self) -> None:
        """Read no more of a frame until there is memory for it."""
        self._stop_reading(_ROOM)

    def resume_for_memory(self) -> None:
        """Read on: there is memory for its frame."""
        self._go_on_reading(_ROOM)

    def close(self, reason: ErrorCode | None = None) -> None:
        """Write what waits, then close gracefully."""
        self._closing = True
        self._rest, self._at = b"", 0
        self._input_memory.set_size(self, 0)
        self._close_reason = reason
        # 1.2, *Connection Lingering*: the peer has this time to read the last frame and to close.
        self._cut.set(self._clock.machine.now() + self._linger)
        if self.output.size == 0:
            self._end_writing()

    # -- writing ----------------------------------------------------------------------------

    def write_output(self) -> None:
        """Give the socket what the buffer gives at once, which counts as a heart-beat."""
        transport, session = self._transport, self._session
        data = self.output.take()
        if self._wrote_last or transport is None or transport.is_closing():
            return
        if data and session is not None:
            transport.write(data)
            if session.heart_beat is not None:
                session.heart_beat.sent(self._clock.now())

    def flush(self) -> None:
        """Write what waits, at the end of a turn, and let consumers go on.

        While the socket is full it stays in the buffer, where messages that several
        subscriptions get are there once.
        """
        burst, self.output.burst = self.output.burst, 0
        if not self._socket_full and self._write_much():
            self._go_on_reading(_ANSWERS)
            self._after_flush(is_long=burst >= BURST)

    def _write_much(self) -> bool:
        """Write what waits, but not too much in one turn; say whether the socket took it all."""
        output = self.output
        for _ in range(_WRITES):
            if self._socket_full or not output.size:
                return not self._socket_full
            self.write_output()
        if output.size and not self._socket_full:
            self._flusher.add(self)
            return False
        return not self._socket_full

    def _after_flush(self, *, is_long: bool = False) -> None:
        if self._closing:
            if not self.output.size:
                self._end_writing()
        elif self.output.was_full and not self._socket_full:
            # Who takes a burst as fast as it is written waits for its turn, as long input does.
            if is_long or self._scheduler.busy:
                self._scheduler.wait(_MoreOutput(self))
            else:
                self.deliver_more()

    def deliver_more(self) -> None:
        """Let the consumers go on that were told to wait."""
        if self.output.was_full and not self._socket_full:
            self.output.was_full = False
            if self._session is not None and not self._session.ended:
                try:
                    self._session.writable()
                except Exception:
                    self._fault()

    def _end_writing(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._wrote_last:
            return
        self._wrote_last = True
        if self._finished:
            # Closed within `resume_writing`, asyncio's transport would end twice.
            asyncio.get_running_loop().call_soon(transport.close)
            return
        if transport.can_write_eof():
            # A peer that reset the connection is found out here before `connection_lost` tells.
            with contextlib.suppress(OSError):
                transport.write_eof()
        # Unread input would make the kernel reset the connection and destroy what we wrote.
        for reason in (_TURN, _ROOM, _ANSWERS, _SESSION):
            self._go_on_reading(reason)

    # -- reading ----------------------------------------------------------------------------

    def _stop_reading(self, reason: int) -> None:
        if not self._unread_for and self._transport is not None:
            self._transport.pause_reading()
        self._unread_for |= reason

    def _go_on_reading(self, reason: int) -> None:
        if self._unread_for & reason:
            self._unread_for ^= reason
            transport = self._transport
            if self._rest and self._unread_for == _TURN:
                # What was read before comes first; the socket is read when that is done.
                self._scheduler.wait(self)
            if not self._unread_for and transport is not None and not transport.is_closing():
                transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    def _fault(self) -> None:
        """Log a fault of our own, and end the session with a word to the client."""
        log.exception("%s: fault while its session ran", self.address)
        assert self._session is not None
        self._session.refuse(
            ProtocolError(
                ErrorCode.INTERNAL_ERROR, "a fault in the broker; its log has the details"
            )
        )

    def __repr__(self) -> str:
        """Address and what waits."""
        return f"<Connection {self.address} waiting:{self.output.size}B>"


def _keep_alive(sock: socket.socket) -> None:
    if sock.family == socket.AF_UNIX:
        return  # the system knows whether the other process is there
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # not everywhere
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _has_hung_up(sock: socket.socket) -> bool:
    """Whether the process at the other end has closed its side, told without reading."""
    poll = select.poll()
    poll.register(sock, select.POLLHUP | getattr(select, "POLLRDHUP", 0))
    return bool(poll.poll(0))


def input_waits(transport: asyncio.BaseTransport | None) -> bool:
    """Whether something came, or the peer left, and that was not read yet."""
    if transport is None or transport.is_closing():
        return False
    # Needs no descriptor of its own, of which there may be none left.
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))


def limit_reads(transport: asyncio.BaseTransport) -> None:
    """Have asyncio read little at once: who has not logged in is not to cost much."""
    if hasattr(transport, "max_size"):
        transport.max_size = SMALL_READ


def unlimit_reads(transport: asyncio.BaseTransport) -> None:
    """Have asyncio read as much as it likes."""
    getattr(transport, "__dict__", {}).pop("max_size", None)


def free_transport(transport: asyncio.BaseTransport) -> None:
    """Free a transport that is closed at once: asyncio's keep methods of their own as attributes.

    That makes a circle of each, which only the garbage collector would find.
    """
    attributes = getattr(transport, "__dict__", {})
    for name, value in list(attributes.items()):
        if getattr(value, "__self__", None) is transport:
            del attributes[name]


def address_of(transport: asyncio.BaseTransport) -> tuple[str, str]:
    """Who is on the other side: address and port for the log, and the address alone."""
    if is_unix(transport):
        return unix_address_of(transport)
    peername = transport.get_extra_info("peername")
    if isinstance(peername, tuple):
        host, port, *_ = peername
        return (f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"), str(host)
    return str(peername) or "?", str(peername)
