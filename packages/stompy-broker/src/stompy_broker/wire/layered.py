"""A connection with TLS or a WebSocket, or both, between the socket and STOMP.

Frames become messages of the WebSocket as they enter the output buffer; everything is encrypted
when it is written. Closing is as gentle as without: the last frame, the close frame, TLS's goodbye,
the end of the write side, and then the peer has its time to do the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from stompy.transport.layers import LayerError
from stompy.transport.tls import TLSLayer
from stompy_broker.session.context import BrokerContext
from stompy_broker.timers import Clock
from stompy_broker.wire.connection import Connection, Flusher
from stompy_broker.wire.intake import Intake
from stompy_broker.wire.turns import Turns
from stompy_broker.wire.websocket import WebSocketOutputBuffer, WebSocketServer

log = logging.getLogger("stompy_broker.connection")

_MESSAGE_ROOM = 64 * 1024
"""What a message may hold beside the largest frame: ends of lines, a small frame behind it."""


class LayeredConnection(Connection):
    """One client's socket with layers upon it, whose handshakes are done.

    Args:
        context: as for `Connection`, like all that is not named here.
        flusher: likewise.
        clock: likewise.
        turns: likewise.
        intake: likewise.
        tls: the layer of TLS; None = none.
        websocket: the layer of the WebSocket; None = none.
        ping: seconds of silence after which a WebSocket is pinged; 0 = never.
        output_mark: as for `Connection`.
        linger: likewise.
        closed: likewise.
        since: likewise.
    """

    def __init__(  # noqa: PLR0913 -- those of `Connection`, and the layers
        self,
        context: BrokerContext,
        flusher: Flusher,
        clock: Clock,
        *,
        turns: Turns,
        intake: Intake,
        tls: TLSLayer | None,
        websocket: WebSocketServer | None,
        ping: float,
        output_mark: int,
        linger: float,
        closed: Callable[[Connection], None],
        since: float | None = None,
    ) -> None:
        super().__init__(
            context,
            flusher,
            clock,
            turns=turns,
            intake=intake,
            output_mark=output_mark,
            linger=linger,
            closed=closed,
            since=since,
        )
        self._tls = tls
        self._websocket = websocket
        self._framed: WebSocketOutputBuffer | None = None
        if websocket is not None:
            self._framed = WebSocketOutputBuffer(
                websocket, lambda: flusher.add(self), self.write_output
            )
            self.output = self._framed
            self.best_version = websocket.version
        self.scheme = {
            (True, False): "stomps",
            (False, True): "ws",
            (True, True): "wss",
        }[tls is not None, websocket is not None]
        limits = context.settings.limits
        self._room = limits.header_block + limits.body + _MESSAGE_ROOM
        self._ping = ping if websocket is not None else 0.0
        self._said_goodbye = False
        self._silent = 0  # intervals
        self._watch = clock.timer(self._look)

    # -- reading ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The layers are ready."""
        super().connection_made(transport)
        self._set_watch()

    def _take(self, data: bytes) -> None:
        """Take bytes of the layers."""
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
        self._look_after()

    def begin(self, first: bytes) -> None:
        """Take the STOMP that the layers held already."""
        super()._take(first)

    @property
    def _unfinished(self) -> int:
        held = super()._unfinished
        return held if self._websocket is None else held + self._websocket.unfinished

    def welcome(self) -> None:
        """The client has logged in: from now on it may send large messages."""
        super().welcome()
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
        """The client has left, or cannot be understood any more."""
        if self._session is not None:
            self._session.closed()
        self.close(self._farewell)

    # -- writing ----------------------------------------------------------------------------

    def write_output(self) -> None:
        """Encrypt and write what waits."""
        data = self.output.take()
        if data and not self._wrote_last:
            self._tell(data if self._tls is None else self._tls.send(data))

    def _tell(self, data: bytes) -> None:
        transport, session = self._transport, self._session
        if self._wrote_last or transport is None or transport.is_closing():
            return
        if data:
            transport.write(data)
            if session is not None and session.heart_beat is not None:
                session.heart_beat.sent(self._clock.now())

    def _end_writing(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self._said_goodbye:
            self._said_goodbye = True
            data = b""
            if self._websocket is not None:
                self._websocket.say_goodbye(self._farewell)
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
            self._watch.set(self._clock.now() + self._ping)

    def _look(self) -> None:
        """Ping a silent client; it is gone when it stays silent, unless nobody reads."""
        if self._transport is None or self._closing or self._websocket is None:
            return
        self._set_watch()
        if self._unread_for or self.has_input:
            self._silent = 0
            return
        self._silent += 1
        if self._silent > _PATIENCE:
            log.warning("%s: does not answer pings", self.address)
            self.abort()
        elif self._silent > 1 and self._framed is not None and self._websocket.is_open:
            self._framed.put_raw(self._websocket.ping())

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._watch.end()
        super().connection_lost(exc)
        if self._websocket is not None:
            self._websocket.release()


_PATIENCE = 3
"""Intervals of silence after which a client is gone."""
