"""One request by HTTP and its answer; then the connection is closed.

It takes the place of a handshake once the request is complete. What comes behind the request is
read and thrown away, so that the answer arrives. The answer is written as fast as the client takes
it, in pieces; a client that takes too long is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from stompy.errors import ProtocolError
from stompy.transport.layers import LayerError
from stompy.transport.tls import TLSLayer
from stompy_broker.admin.pages import Page, note
from stompy_broker.session.holdings import Holdings
from stompy_broker.timers import Clock
from stompy_broker.wire.connection import free_transport, input_waits
from stompy_broker.wire.http_request import HTTPRequest
from stompy_broker.wire.http_service import Caller, HTTPService

log = logging.getLogger("stompy_broker.connection")

_SECONDS = 30.0
"""For the answer to be made, and to be taken."""
_PIECE = 64 * 1024
_NO_BODY = "HEAD"


@dataclass(frozen=True, slots=True)
class ExchangeContext:
    """What exchanges need from the broker.

    Attributes:
        clock: for time-outs.
        linger: seconds for a client to close after we did.
        service: answers.
        replace: gives an exchange the place of the handshake that it came of.
        gone: told when the connection has ended.
    """

    clock: Clock
    linger: float
    service: HTTPService
    replace: Callable[[Any, HTTPExchange], None]
    gone: Callable[[HTTPExchange], None]


class HTTPExchange(asyncio.Protocol):
    """One client's socket, from its request to the end of the answer.

    Args:
        context: what all of them share.
        request: what it wants.
        caller: who it is.
        address: the same for the log, with the port.
        tls: the layer of TLS; None = none.

    Attributes:
        address: who is there, for the log.
        host: the same without the port.
    """

    has_unsettled = False
    """Nobody takes messages by HTTP."""
    login = None
    before_connect = True
    """It makes way for somebody who wants to log in."""

    def __init__(
        self,
        context: ExchangeContext,
        request: HTTPRequest,
        caller: Caller,
        address: str,
        tls: TLSLayer | None,
    ) -> None:
        self.address, self.host = address, caller.host
        self._context = context
        self._request = request
        self._caller = caller
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._left: memoryview | None = None  # of the answer; None = there is none yet
        self._full = False
        self._ended = self._peer_ended = False
        self._give_up: Callable[[], None] = _nothing
        self._timer = context.clock.timer(self.abort)

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the socket, and have the request answered."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_PIECE)
        self._timer.set(self._context.clock.now() + _SECONDS)
        self._give_up = self._context.service.answer(
            self._request, self._caller, self._take, self._is_over
        )

    def data_received(self, data: bytes) -> None:
        """Throw away what comes behind a request."""
        if self._tls is None:
            return
        try:
            self._tls.receive(data)
        except LayerError:
            self.abort()
        else:
            self._tell(self._tls.take())

    def eof_received(self) -> bool:
        """Go on: who has nothing more to say may wait for the answer."""
        self._peer_ended = True
        return not self._ended

    def pause_writing(self) -> None:
        """Write no more: the client does not take it."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on writing what is left."""
        self._full = False
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and let go of everything."""
        self._timer.end()
        self._give_up()
        self._give_up = _nothing
        transport, self._transport, self._left = self._transport, None, None
        self._context.gone(self)
        if transport is not None:
            free_transport(transport)

    # -- the answer -------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._transport is None or self._left is not None

    def _take(self, page: Page) -> None:
        """Write an answer, the first that comes."""
        if self._is_over():
            return
        if page.status >= HTTPStatus.BAD_REQUEST and page.status != HTTPStatus.SERVICE_UNAVAILABLE:
            log.info("%s: HTTP: answered with %d", self.address, page.status)
        head = response_head(page)
        body = b"" if self._request.method == _NO_BODY else page.content
        if len(body) <= _PIECE:
            self._left = memoryview(head + body)
        else:
            self._tell(head if self._tls is None else self._tls.send(head))
            self._left = memoryview(body)  # shared with whoever asked for the same
        self._write()

    def _write(self) -> None:
        while self._left is not None and not self._full and not self._ended:
            piece, self._left = self._left[:_PIECE], self._left[_PIECE:]
            if piece:
                self._tell(piece if self._tls is None else self._tls.send(piece))
            if not self._left:
                self._end()

    def _tell(self, data: bytes | memoryview) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self) -> None:
        """Close so that the answer arrives: the rest of the time is the client's."""
        self._ended = True
        if self._tls is not None:
            self._tls.close()
            self._tell(self._tls.take())
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._peer_ended:
            transport.close()
            return
        self._timer.set(self._context.clock.now() + self._context.linger)
        try:
            transport.write_eof()
        except OSError:
            transport.abort()  # the client has gone, and did not wait for the answer

    # -- what the broker asks ---------------------------------------------------------------

    def stop_deliveries(self) -> None:
        """Do nothing: there are none."""

    @property
    def holdings(self) -> Holdings:
        """What the client has of the broker: nothing."""
        return Holdings(self.address, "")

    reads = True
    """Whether what the client sends is read."""

    @property
    def has_input(self) -> bool:
        """Whether the client sent something, or left, and that was not read yet."""
        return input_waits(self._transport)

    def evict(self, error: ProtocolError) -> None:
        """Cut it off: somebody else needs the place."""
        self.abort()

    def refuse(self, error: ProtocolError) -> None:
        """Say why there is no answer, unless it is on its way."""
        self._take(note(HTTPStatus.SERVICE_UNAVAILABLE, error.Message))

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()


def response_head(page: Page) -> bytes:
    """What stands before the content of an answer."""
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.type}",
        f"Content-Length: {len(page.content)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        *(f"{name}: {value}" for name, value in page.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _nothing() -> None:
    pass
