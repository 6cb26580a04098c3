"""A connection with TLS or a WebSocket, or both, between the socket and STOMP.

Frames become messages of the WebSocket as they enter the output buffer; everything is encrypted
when it is written. Closing is as gentle as without: the last frame, the close frame, TLS's goodbye,
the end of the write side, and then the peer has its time to do the same.
"""

from __future__ import annotations

import asyncio
import logging

from stompy.transport.layers import LayerError
from stompy.transport.tls import TLSLayer
from stompy_broker.wire.connection import Connection, ConnectionContext, Origin
from stompy_broker.wire.websocket import WebSocketServer
from stompy_broker.wire.websocket_output import WebSocketOutputBuffer

log = logging.getLogger("stompy_broker.connection")

_MESSAGE_ROOM = 64 * 1024
"""What a message may hold beside the largest frame: ends of lines, a small frame behind it."""


class LayeredConnection(Connection):
    """One client's socket with layers upon it, whose handshakes are done.

    Args:
        context: what all connections share.
        origin: where it comes from.
        tls: the layer of TLS; None = none.
        websocket: the layer of the WebSocket; None = none.
    """

    def __init__(
        self,
        context: ConnectionContext,
        origin: Origin,
        tls: TLSLayer | None,
        websocket: WebSocketServer | None,
    ) -> None:
        self._tls = tls
        self._websocket = websocket
        self._framed: WebSocketOutputBuffer | None = None
        if websocket is not None:
            flusher = context.flusher
            self._framed = WebSocketOutputBuffer(
                websocket, lambda: flusher.add(self), self.write_output
            )
        super().__init__(context, origin, self._framed)
        limits = context.sessions.settings.limits
        self._room = limits.header_block + limits.body + _MESSAGE_ROOM
        self._ping = context.ping if websocket is not None else 0.0
        self._close_sent = False
        self._silent = 0  # intervals
        self._watch = context.clock.machine.timer(self._check_silence)

    # -- reading ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the socket, and begin to look for silence."""
        super().connection_made(transport)
        self._set_watch()

    def _take(self, data: bytes) -> None:
        """Hand bytes to the session, without their layers."""
        self._silent = 0
        if self._closing:
            return
        try:
            if self._tls is not None:
                data = self._tls.receive(data)
                self._tell(self._tls.take())
            self._receive(data)
        except LayerError as error:
            log.warning("%s: %s: %s", self.address, error.layer, str(error))
            self._give_up()
            return
        if self._tls is not None and self._tls.ended and not self._closing:
            self._give_up()
        self._check_limits()

    def begin(self, first: bytes) -> None:
        """Take the STOMP that the layers held already."""
        super()._take(first)

    @property
    def _unfinished(self) -> int:
        held = super()._unfinished
        return held if self._websocket is None else held + self._websocket.unfinished

    def raise_read_limits(self) -> None:
        """Read as much at once as asyncio likes, and take large messages of the WebSocket."""
        super().raise_read_limits()
        if self._websocket is not None:
            self._websocket.expect(self._room)

    def _receive(self, data: bytes) -> None:
        """Take what TLS, if any, has decrypted.

        Raises:
            LayerError: the WebSocket is broken.
        """
        websocket = self._websocket
        if websocket is not None and data:
            try:
                data = websocket.receive(data)
            finally:
                assert self._framed is not None
                self._framed.put_raw(websocket.take())
        if data:
            super()._take(data)
        if websocket is not None and websocket.ended and not self._closing:
            self._give_up()

    def _give_up(self) -> None:
        """End the session of a client that has left, or cannot be understood any more."""
        if self._session is not None:
            self._session.closed()
        self.close(self._close_reason)

    # -- writing ----------------------------------------------------------------------------

    def write_output(self) -> None:
        """Encrypt and write what waits."""
        data = self.output.take()
        if data and not self._wrote_last:
            self._tell(data if self._tls is None else self._tls.send(data))

    def _tell(self, data: bytes | memoryview) -> None:
        transport, session = self._transport, self._session
        if self._wrote_last or transport is None or transport.is_closing():
            return
        if data:
            transport.write(data)
            if session is not None and session.heart_beat is not None:
                session.heart_beat.sent(self._clock.now())

    def _end_writing(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self._close_sent:
            self._close_sent = True
            data = b""
            if self._websocket is not None:
                self._websocket.send_close(self._close_reason)
                data = self._websocket.take()
            if self._tls is not None:
                data = self._tls.send(data)
                self._tls.close()
                data += self._tls.take()
            self._tell(data)
        super()._end_writing()

    # -- pings ------------------------------------------------------------------------------

    def _set_watch(self) -> None:
        if self._ping:
            self._watch.set(self._clock.machine.now() + self._ping)

    def _check_silence(self) -> None:
        """Ping a silent client; it is gone when it stays silent, unless nobody reads."""
        if self._transport is None or self._closing or self._websocket is None:
            return
        self._set_watch()
        if self._unread_for or self.has_input:
            self._silent = 0
            return
        self._silent += 1
        if self._silent > _MOST_SILENT:
            log.warning("%s: does not answer pings", self.address)
            self.abort()
        elif self._silent > 1 and self._framed is not None and self._websocket.is_open:
            self._framed.put_raw(self._websocket.ping())

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session, and let go of everything, the layers too."""
        self._watch.end()
        super().connection_lost(exc)
        if self._websocket is not None:
            self._websocket.release()


_MOST_SILENT = 3
"""Intervals of silence after which a client is gone."""
