"""The socket of a link: handshake, messages, beats, and an end that is told once (**hot path**).

What is sent within one turn of the event loop goes out together at its end. There is no task, and
nothing is awaited. A connection is in one of four states:

* greeting: it is not known yet who is there. The peer has a time, and may say little.
* open: it is a link, and the listener knows it.
* leaving: the link is over, and told so; what was sent goes out, and the peer has a time to close.
* over: nothing is read or written any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol, cast

from stompy.transport.layers import LayerError
from stompy.transport.tls import TLSLayer
from stompy_broker.cluster.link.codec import (
    BEAT,
    GOODBYE,
    LinkProtocolError,
    MessageParser,
    gathered,
    goodbye,
    length_of,
    reason_of,
)
from stompy_broker.cluster.link.handshake import LinkHandshake, LinkRefusedError
from stompy_broker.cluster.link.link import LinkListener
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.cluster.link")

_ENCRYPTED = 256 * 1024
"""Bytes that are encrypted at once: the copy should be small."""
_READ = 64 * 1024
"""Bytes of one read: what is in them is carried out before anybody else has a turn."""
_LATE = 1.0
"""Seconds by which a timer of a broker that runs is never late."""


class LinkKeeper(Protocol):
    """Who has the connections of links, and is told what becomes of them."""

    def begun(self, connection: LinkConnection) -> None:
        """Take notice that a connection has a socket; `gone` will follow."""

    def greeted(self, connection: LinkConnection) -> None:
        """Take a connection that is a link now: it is open, and nobody was told so yet."""

    def failed(self, connection: LinkConnection, reason: str, *, by_peer: bool) -> None:
        """Take notice that a connection has not become a link."""

    def ended(self, connection: LinkConnection, reason: str, *, orderly: bool) -> None:
        """Take notice that an open link is one no more, before the listener does."""

    def gone(self, connection: LinkConnection) -> None:
        """Forget a connection: its socket is closed."""


class _State(Enum):
    GREETING = "greeting"
    OPEN = "open"
    LEAVING = "leaving"
    OVER = "over"


class LinkConnection(asyncio.Protocol):
    """One end of a link, from the first byte to the last; a `Link`.

    Args:
        settings: how long is waited, and for what.
        clock: for that.
        handshake: finds out who is there.
        listener: who is told of messages.
        keeper: who is told of begin and end.
        host: who is there, without a port.
        address: where the peer is, for the log.
        tls: the layer of TLS; None = there is none.

    Attributes:
        host: who is there, without a port.
        first: what has come before this took the socket over.
        refusal: why there will be no link, if that is known before anything is read.
    """

    def __init__(
        self,
        settings: LinkSettings,
        clock: Clock,
        handshake: LinkHandshake,
        listener: LinkListener,
        keeper: LinkKeeper,
        *,
        host: str,
        address: str,
        tls: TLSLayer | None,
    ) -> None:
        self.host = host
        self.first = b""
        self.refusal = ""
        self._settings = settings
        self._clock = clock
        self._handshake = handshake
        self._listener = listener
        self._keeper = keeper
        self._outgoing = handshake.outgoing
        self._address = address
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = MessageParser(settings.longest)
        self._state = _State.GREETING
        self._sends = False  # it is open, and was not told to close
        self._reason = ""  # why it ends, if we end it
        self._output: list[bytes] = []
        self._size = 0  # bytes of it
        self._scheduled = False  # the output will be written at the end of this turn
        self._wrote = False  # since the last look
        self._heard = False
        self._heard_at = clock.now()
        self._due = 0.0
        self._patience = settings.beat_seconds
        self._timer = clock.timer(self._look)

    # -- what a link shows ------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        """The id of the broker at the other end."""
        peer = self._handshake.peer
        return "" if peer is None else peer.broker

    @property
    def instance(self) -> str:
        """What changes each time that the peer starts."""
        peer = self._handshake.peer
        return "" if peer is None else peer.instance

    @property
    def outgoing(self) -> bool:
        """Whether we opened it, and so are the front on it."""
        return self._outgoing

    @property
    def address(self) -> str:
        """Where the peer is, for the log."""
        return self._address

    @property
    def facts(self) -> Mapping[str, str]:
        """What the peer said of itself when it began."""
        return self._handshake.facts

    @property
    def is_open(self) -> bool:
        """Whether it is a link."""
        return self._state is _State.OPEN

    @property
    def unsent(self) -> int:
        """Bytes that were given to `send` and not to the system yet."""
        transport = self._transport
        return self._size + (0 if transport is None else transport.get_write_buffer_size())

    @property
    def heard_at(self) -> float:
        """When it was last seen that something had come."""
        if self._heard:
            self._heard, self._heard_at = False, self._clock.now()
        return self._heard_at

    def send(self, message: bytes | Sequence[bytes]) -> None:
        """Send one message, together with all others of this turn of the event loop.

        Raises:
            ValueError: it is empty or too long.
        """
        if not self._sends:
            return
        size = len(message) if isinstance(message, bytes) else sum(map(len, message))
        if not 0 < size <= self._settings.longest:
            raise ValueError(
                f"a message of {size} bytes; a link takes 1 to {self._settings.longest}"
            )
        output = self._output
        output.append(length_of(size))
        if isinstance(message, bytes):
            output.append(message)
        else:
            output.extend(message)
        self._size += size + 4
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def close(self, reason: str) -> None:
        """End it in order: what was sent still arrives. The listener hears `lost` once, soon."""
        if self._reason or self._state in (_State.LEAVING, _State.OVER):
            return
        self._reason = reason
        if self._sends:
            self.send(goodbye(reason))
            self._sends = False
        self._loop.call_soon(self._leave, reason)

    def abort(self, reason: str) -> None:
        """Cut it off: what was not written yet never is. The listener hears it at once."""
        self._end(reason, orderly=False)
        self._cut()

    def forsake(self) -> None:
        """Let go of a socket that the event loop has taken back, which it need not tell."""
        if self._transport is not None:
            self.connection_lost(None)

    # -- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the socket, and begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self._keeper.begun(self)
        if self._reason:
            self._cut()
            return
        if hasattr(transport, "max_size"):
            transport.max_size = _READ
        now = self._clock.now()
        settings = self._settings
        self._patience = settings.connect_seconds if self._outgoing else settings.login_seconds
        self._set_timer(now + self._patience)
        self._tell_layer()
        if self.refusal:
            self._greet(b"")
        elif self.first:
            self._greet(self.first)
        elif self._outgoing and self._tls is None:
            self._tell(self._handshake.take())

    def data_received(self, data: bytes) -> None:
        """Take what the peer says; anything shows that it is alive."""
        self._heard = True
        if self._reason or self._state in (_State.LEAVING, _State.OVER):
            return
        try:
            if self._tls is not None:
                data = self._decrypted(self._tls, data)
            if self._state is _State.GREETING:
                if data:
                    self._greet(data)
            else:
                self._take(self._parser.feed(data))
        except (LinkProtocolError, LayerError) as error:
            self.abort(f"what it says cannot be understood: {error}")
        except MemoryError:
            self.abort("this broker has no memory left for what it sends")
        else:
            if self._tls is not None and self._tls.ended:
                self.abort("the peer has closed the connection")

    def eof_received(self) -> bool:
        """Close as well: half a link is of no use."""
        self._end("the peer has closed the connection", orderly=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: the socket is gone."""
        if self._state is _State.OVER:
            return
        self._transport = None
        words = "the connection was closed" if exc is None else str(exc) or type(exc).__name__
        self._end(self._reason or words, orderly=bool(self._reason))
        self._state = _State.OVER
        self._timer.end()
        self._keeper.gone(self)

    # -- reading ----------------------------------------------------------------------------------

    def _decrypted(self, tls: TLSLayer, data: bytes) -> bytes:
        was_ready = tls.ready
        try:
            data = tls.receive(data)
        finally:
            self._tell_layer()
        if tls.ready and not was_ready and self._outgoing:
            self._tell(self._handshake.take())
        return data

    def _greet(self, data: bytes) -> None:
        """Go on with the handshake; at its end there is a link."""
        handshake = self._handshake
        try:
            if self.refusal:
                handshake.refuse(self.refusal)
            handshake.receive(data)
        except LinkRefusedError as error:
            self._tell(handshake.take())
            self._end(str(error), orderly=False, by_peer=error.by_peer)
            self._linger()
            return
        self._tell(handshake.take())
        if handshake.done:
            self._open()

    def _open(self) -> None:
        self._state = _State.OPEN
        self._sends = True
        self._heard_at = self._clock.now()
        self._patience = self._settings.beat_seconds
        self._set_timer(self._heard_at + self._patience)
        self._keeper.greeted(self)
        try:
            self._listener.opened(self)
        except Exception:
            log.exception("fault when the link to %s had begun", self.peer)
            self.close("fault in this broker, see its log")
        rest, self._handshake.rest = self._handshake.rest, b""
        if rest:
            self._take(self._parser.feed(rest))

    def _take(self, messages: Sequence[bytes]) -> None:
        received = self._listener.received
        for message in messages:
            if not self._sends:
                return
            if message[0] == GOODBYE:
                self._end(f"the peer has left: {reason_of(message)}", orderly=True)
                self._linger()
                return
            try:
                received(self, message)
            except Exception:
                # What came of it is not known, so the peer has to begin anew, and is told so.
                log.exception("fault in what was to follow a message of %s", self.peer)
                self.close("fault in what was to follow a message, see the log of the other side")

    # -- writing ----------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what was sent in this turn."""
        self._scheduled = False
        output, self._output = self._output, []
        size, self._size = self._size, 0
        for piece in gathered(output, size):
            self._tell(piece)

    def _tell(self, data: bytes) -> None:
        """Write, through TLS if there is any; who cannot be written to finds out by reading."""
        if not data or self._transport is None or self._transport.is_closing():
            return
        self._wrote = True
        if self._tls is None:
            self._transport.write(data)
            return
        view = memoryview(data)
        try:
            for at in range(0, len(view), _ENCRYPTED):
                self._transport.write(self._tls.send(view[at : at + _ENCRYPTED]))
        except LayerError as error:
            self.abort(str(error))

    def _tell_layer(self) -> None:
        data = b"" if self._tls is None else self._tls.take()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # -- time -------------------------------------------------------------------------------------

    def _set_timer(self, due: float) -> None:
        self._due = due
        self._timer.set(due)

    def _look(self) -> None:
        """Send a beat, and look whether there was one; or do what the time is up for."""
        now, settings = self._clock.now(), self._settings
        if now > self._due + _LATE and self._state is not _State.LEAVING:
            # This broker stood still, not the peer.
            self._heard_at = now
            self._set_timer(now + self._patience)
        elif self._state is _State.GREETING:
            self.abort("the handshake takes too long: it is slow, or does not take links")
        elif self._state is not _State.OPEN:
            self._cut()
        elif now - self.heard_at >= settings.silent_seconds:
            self.abort(f"nothing was heard for {now - self._heard_at:.1f} s")
        else:
            if not self._wrote:
                self._tell(BEAT)
            self._wrote = False
            self._set_timer(now + settings.beat_seconds)

    # -- the end ----------------------------------------------------------------------------------

    def _leave(self, reason: str) -> None:
        """End it as we wished; what was sent was written before."""
        self._flush()
        self._end(reason, orderly=True)
        self._linger()

    def _end(self, reason: str, *, orderly: bool, by_peer: bool = False) -> None:
        """Tell that it is over, once."""
        state = self._state
        if state in (_State.LEAVING, _State.OVER):
            return
        self._state = _State.LEAVING
        self._sends = False
        self._output, self._size = [], 0
        if state is _State.GREETING:
            self._keeper.failed(self, reason, by_peer=by_peer)
            return
        self._keeper.ended(self, reason, orderly=orderly)
        try:
            self._listener.lost(self, reason)
        except Exception:
            log.exception("fault when the link to %s had ended", self.peer)

    def _linger(self) -> None:
        """Close gently: what was said would be lost if the peer's bytes met a closed socket."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tls is not None:
            self._tls.close()
            self._tell_layer()
        transport.write_eof()
        self._set_timer(self._clock.now() + self._settings.silent_seconds)

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
