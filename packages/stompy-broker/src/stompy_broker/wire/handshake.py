"""How it is found out what a client speaks, before its connection begins.

One port may take STOMP, TLS, WebSockets and HTTP. The first byte tells: 22 begins TLS, and ``GET``
a WebSocket or the request for a page, under TLS as well as without. The handshakes are done here,
and then the connection begins; all of it has the time of the login time-out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.headers import Version
from stompy.session.address import Scheme
from stompy.transport.layers import LayerError
from stompy.transport.tls import TLSLayer
from stompy_broker.admin.pages import note
from stompy_broker.session.holdings import Holdings
from stompy_broker.timers import Clock
from stompy_broker.wire.acceptor import refusal_frame
from stompy_broker.wire.connection import (
    Connection,
    Origin,
    address_of,
    free_transport,
    input_waits,
    limit_reads,
    unlimit_reads,
)
from stompy_broker.wire.endpoints import Endpoint
from stompy_broker.wire.http_exchange import ExchangeContext, HTTPExchange, response_head
from stompy_broker.wire.http_request import BadRequestError, HTTPRequest, RequestReader
from stompy_broker.wire.http_service import Caller
from stompy_broker.wire.input_memory import InputMemory
from stompy_broker.wire.proxy_protocol import is_proxied, read_proxy_header
from stompy_broker.wire.tls import Certificates, facts_of, login_of
from stompy_broker.wire.unix_socket import peer_of
from stompy_broker.wire.websocket import WebSocketServer

log = logging.getLogger("stompy_broker.connection")

_TLS_HANDSHAKE = 0x16
_HTTP_METHODS = (
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
    b"TRACE ",
    b"PRI ",
)
_LONGEST_METHOD = max(map(len, _HTTP_METHODS))
_HTTP_TEXT = b"This port speaks STOMP, not HTTP.\n"
_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP_TEXT), _HTTP_TEXT)
)
_PAUSE = 1.0
"""Seconds by which a timer of a broker that runs is never late."""
_LONGEST_HEAD = 32 * 1024
"""Bytes of the HTTP request that opens a WebSocket; one line of it may have half of them."""
_HEAD_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)
_PROXIED = ProtocolError(
    ErrorCode.ACCESS_REFUSED,
    "this begins with a PROXY header; listen.proxy_protocol = true lets a load balancer send one",
)
_WANTS_TLS = ProtocolError(ErrorCode.ACCESS_REFUSED, "this port is only for TLS")
_SCHEMES = {
    (False, False): Scheme.STOMP,
    (True, False): Scheme.STOMPS,
    (False, True): Scheme.WS,
    (True, True): Scheme.WSS,
}
"""What is spoken, by whether there is TLS, and whether there is a WebSocket."""


@dataclass(frozen=True, slots=True)
class HandshakeContext:
    """What handshakes need from the broker.

    Attributes:
        clock: for time-outs.
        input_memory: counts what is unfinished.
        login_timeout: seconds for everything up to the login.
        linger: seconds for a client to close after we did.
        certificates: for TLS; None = there is none.
        allowed_origins: for WebSockets.
        login_from: which name in a client's certificate is its login.
        urls: gives all that clients may connect to.
        admit: told of somebody who has connected; says why it is turned away, if it is.
        gone: told of somebody who left before anything began.
        begin: makes the connection that takes the place of a handshake, with its layers.
        take_link: asked about what has begun without a WebSocket, with the first bytes out of TLS,
            and why there may be no link at this port; gives what takes over a link of another
            broker, or None for all else. None = this broker is in no cluster.
        not_ready: tells why clients are turned away for now, if they are; None = they never are.
        exchanges: what requests by HTTP need; None = they are not answered.
    """

    clock: Clock
    input_memory: InputMemory
    login_timeout: float
    linger: float
    certificates: Certificates | None
    allowed_origins: tuple[str, ...]
    login_from: str
    urls: Callable[[], tuple[str, ...]]
    admit: Callable[[Handshake], ProtocolError | None]
    gone: Callable[[Handshake], None]
    begin: Callable[[Handshake, Origin, TLSLayer | None, WebSocketServer | None], Connection]
    take_link: (
        Callable[[Handshake, bytes, TLSLayer | None, str], asyncio.Protocol | None] | None
    ) = None
    not_ready: Callable[[], ProtocolError | None] | None = None
    exchanges: ExchangeContext | None = None


class Handshake(asyncio.Protocol):
    """A connection of which it is not known yet what it speaks.

    Args:
        context: the broker.
        endpoint: where it came in.

    Attributes:
        address: who is there, for the log.
        host: the same without the port.
        since: when it connected.
    """

    def __init__(self, context: HandshakeContext, endpoint: Endpoint) -> None:
        self.address = self.host = "?"
        self.since = context.clock.now()
        self._context = context
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._refusal: ProtocolError | None = None
        self._tls: TLSLayer | None = None
        self._websocket: WebSocketServer | None = None
        self._reader: RequestReader | None = None
        self._first = b""
        self._proxied = endpoint.proxied  # and the header has not come yet
        self._head = 0  # bytes of a request that is not complete
        self._handed_over = False
        self._ended = False
        self._due = context.clock.machine.now() + context.login_timeout
        self._timer = context.clock.machine.timer(self._too_late)

    # -- asyncio.Protocol -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a place, and begin to wait for the first bytes."""
        self._transport = cast(asyncio.Transport, transport)
        self.address, self.host = address_of(transport)
        if self._proxied:
            # All come from the load balancer, so until it has told whom it speaks for each is
            # somebody else.
            self.host = self.address
        limit_reads(transport)
        self._refusal = self._context.admit(self)
        self._timer.set(self._due)
        stomp_only = self._endpoint.schemes == {Scheme.STOMP} and not self._endpoint.pages
        only_stomp = stomp_only and self._context.take_link is None
        if self._refusal is not None and only_stomp:
            self._hand_over(b"")

    def data_received(self, data: bytes) -> None:
        """Find out more of what the client speaks."""
        if self._ended:
            return
        try:
            self._look_at(data)
            self._context.input_memory.set_size(self, 0 if self._handed_over else self._head)
        except LayerError as error:
            log.warning("%s: %s: %s", self.address, error.layer, str(error))
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back: the socket is gone, and nothing has begun."""
        self._timer.end()
        self._context.input_memory.set_size(self, 0)
        transport, self._transport = self._transport, None
        if self._websocket is not None:
            self._websocket.release()
        self._context.gone(self)
        if transport is not None:
            free_transport(transport)

    # -- what the broker asks ---------------------------------------------------------------

    has_unsettled = False
    """Nobody has logged in, so there is nothing to settle."""
    login = None

    def stop_deliveries(self) -> None:
        """Do nothing: there are none yet."""

    @property
    def holdings(self) -> Holdings:
        """What the client has of the broker: nothing yet."""
        return Holdings(self.address, "")

    reads = True
    """Whether what the client sends is read."""

    @property
    def has_input(self) -> bool:
        """Whether the client sent something, or left, and that was not read yet."""
        return input_waits(self._transport)

    before_connect = True
    """Nothing was said yet that could be understood."""

    def evict(self, error: ProtocolError) -> None:
        """Say why, as far as the client would understand it, and cut it off at once."""
        if self._transport is not None:
            if self._may_be_stomp and not self._ended:
                self._tell(refusal_frame(error))
            self.abort()

    def refuse(self, error: ProtocolError) -> None:
        """Say why, as far as the client would understand it, and close."""
        if self._may_be_stomp and not self._ended:
            self._refusal = error
            self._hand_over(b"")
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._transport.abort()

    # -- what the input memory asks ---------------------------------------------------------------

    def pause_for_memory(self) -> None:
        """Read no more of its request until there is memory for it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_for_memory(self) -> None:
        """Read on: there is memory for its request."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- finding out ------------------------------------------------------------------------

    @property
    def _may_be_stomp(self) -> bool:
        """Whether the client would understand an ERROR frame, as far as is known."""
        return self._tls is None and self._websocket is None and self._reader is None

    def _read_proxy_header(self, data: bytes) -> bytes:
        """Read who the client is, and return what comes behind the header."""
        self._first += data
        try:
            header = read_proxy_header(self._first)
        except ValueError as error:
            self._refusal = ProtocolError(
                ErrorCode.ACCESS_REFUSED, f"{error}, as this port is for a load balancer"
            )
            self._hand_over(b"")
            return b""
        if header is None:
            return b""
        self._proxied = False
        rest, self._first = self._first[header.size :], b""
        self._context.gone(self)
        if header.host:
            self.host = header.host
            shown = f"[{header.host}]" if ":" in header.host else header.host
            self.address = f"{shown}:{header.port}"
        else:
            assert self._transport is not None
            self.address, self.host = address_of(self._transport)
        self._refusal = self._context.admit(self)
        return rest

    def _look_at(self, data: bytes) -> None:
        if self._proxied:
            data = self._read_proxy_header(data)
            if not data:
                return
        if self._tls is None and not self._first and data[0] == _TLS_HANDSHAKE:
            self._begin_tls()
        if self._tls is not None:
            try:
                data = self._tls.receive(data)
            finally:
                self._tell(self._tls.take())
            if self._tls.ended:
                self.abort()
                return
        self._look_inside(data)

    def _look_inside(self, data: bytes) -> None:
        """Find out more from what TLS, if any, has decrypted."""
        if self._websocket is not None:
            self._shake_hands(data)
            return
        if self._reader is not None:
            self._read_request(data)
            return
        self._first += data
        first = self._first
        if not first or (len(first) < _LONGEST_METHOD and not first.endswith(b"\0")):
            return
        if first.startswith(_HTTP_METHODS):
            self._begin_http(first)
        elif self._context.take_link is None or not self._begin_link(first):
            self._begin_stomp(first)

    def _begin_tls(self) -> None:
        certificates = self._context.certificates
        if certificates is None or not self._endpoint.takes_tls:
            raise LayerError("TLS", "tried on a port without it")
        self._tls = TLSLayer(certificates.context, server_side=True)

    @property
    def _shows_pages(self) -> bool:
        scheme = "http" if self._tls is None else "https"
        return scheme in self._endpoint.pages and self._context.exchanges is not None

    @property
    def _takes_websockets(self) -> bool:
        return (Scheme.WS if self._tls is None else Scheme.WSS) in self._endpoint.schemes

    def _begin_http(self, first: bytes) -> None:
        if self._shows_pages:
            self._reader = RequestReader()
            self._read_request(first)
        else:
            self._begin_websocket(first)

    def _read_request(self, data: bytes) -> None:
        """Read on in a request, and find out whether it is for a WebSocket or for a page."""
        reader = self._reader
        assert reader is not None
        try:
            request = reader.receive(data)
        except BadRequestError as error:
            page = note(error.status, error.reason)
            self._tell(self._wrapped(response_head(page) + page.content))
            raise LayerError("HTTP", f"refused with {error.status.value}: {error.reason}") from None
        self._head = len(reader.raw)
        if request is None:
            return
        if self._takes_websockets and request.opens_websocket:
            self._reader, self._head = None, 0
            self._begin_websocket(bytes(reader.raw))
        else:
            self._begin_exchange(request)

    def _begin_exchange(self, request: HTTPRequest) -> None:
        """Let what answers a request take the place of this one."""
        if self._transport is None or self._handed_over:
            return
        self._handed_over = True
        self._timer.end()
        caller = Caller(
            self.host,
            self._certificate_login(),
            self._endpoint.trusted,
            self._refusal,
            self._takes_websockets,
        )
        exchanges = self._context.exchanges
        assert exchanges is not None
        exchange = HTTPExchange(exchanges, request, caller, self.address, self._tls)
        exchanges.replace(self, exchange)
        self._transport.set_protocol(exchange)
        exchange.connection_made(self._transport)

    def _begin_websocket(self, first: bytes) -> None:
        if not self._takes_websockets or not first.startswith(b"GET "):
            self._tell(self._wrapped(_HTTP_ANSWER))
            raise LayerError("HTTP", "tried on the STOMP port")
        reason = None if self._refusal is None else self._refusal.Message
        self._websocket = WebSocketServer(self._context.allowed_origins, reason)
        self._shake_hands(first)

    def _shake_hands(self, data: bytes) -> None:
        assert self._websocket is not None
        try:
            rest = self._websocket.receive(data)
        finally:
            self._tell(self._wrapped(self._websocket.take()))
        self._head += len(data)
        if self._websocket.ready:
            self._hand_over(rest)
        elif self._head > _LONGEST_HEAD:
            self._tell(self._wrapped(_HEAD_ANSWER))
            raise LayerError("HTTP", f"its request has more than {_LONGEST_HEAD} bytes")

    def _begin_link(self, first: bytes) -> bool:
        """Let a link of another broker take the place of this one; false = it is none.

        Places are for clients, so it needs none, and there being none left is no hindrance.
        """
        assert self._context.take_link is not None
        assert self._transport is not None
        scheme = Scheme.STOMP if self._tls is None else Scheme.STOMPS
        refusal = ""
        if scheme not in self._endpoint.schemes:
            secure = self._tls is not None or Scheme.STOMPS not in self._endpoint.schemes
            refusal = f"this port takes no links{'' if secure else ' without TLS'}"
        link = self._context.take_link(self, first, self._tls, refusal)
        if link is None:
            return False
        self._handed_over = True
        self._timer.end()
        self._context.gone(self)
        unlimit_reads(self._transport)
        self._transport.set_protocol(link)
        link.connection_made(self._transport)
        return True

    def _begin_stomp(self, first: bytes) -> None:
        if is_proxied(first) and self._refusal is None:
            self._refusal = _PROXIED
        scheme = Scheme.STOMP if self._tls is None else Scheme.STOMPS
        if scheme not in self._endpoint.schemes and self._refusal is None:
            if self._tls is not None or Scheme.STOMPS not in self._endpoint.schemes:
                raise LayerError("STOMP", "tried on a port that is for something else")
            self._refusal = _WANTS_TLS
        self._hand_over(first)

    def _hand_over(self, first: bytes) -> None:
        """Begin the connection, and let it take the place of this one."""
        if self._transport is None or self._handed_over:
            return
        self._handed_over = True
        self._timer.end()
        if self._refusal is None and self._context.not_ready is not None:
            self._refusal = self._context.not_ready()
        connection = self._context.begin(self, self._origin(), self._tls, self._websocket)
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)
        if self._refusal is not None:
            connection.refuse(self._refusal)
        elif first:
            connection.begin(first)

    def _origin(self) -> Origin:
        tls, websocket = self._tls, self._websocket
        scheme = _SCHEMES[tls is not None, websocket is not None]
        own = f"{scheme}://"
        return Origin(
            self.address,
            self.host,
            self.since,
            scheme,
            next((url for url in self._context.urls() if url.startswith(own)), ""),
            certificate=self._certificate_login(),
            tls=None if tls is None else facts_of(tls),
            ws=websocket is not None,
            best_version=Version.V1_2 if websocket is None else websocket.version,
        )

    def _certificate_login(self) -> str | None:
        """The login that the client's certificate or user stands for; None = there is none."""
        if self._endpoint.login_from_uid and self._transport is not None:
            peer = peer_of(self._transport)
            return None if peer is None else peer.login
        tls = self._tls
        return None if tls is None else login_of(tls.ssl_object, self._context.login_from)

    # -- the end ----------------------------------------------------------------------------

    def _wrapped(self, data: bytes) -> bytes:
        return data if self._tls is None else self._tls.send(data)

    def _tell(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _end(self) -> None:
        """Close so that what was said arrives: the rest of the time is the peer's."""
        self._ended = True
        self._timer.set(self._context.clock.machine.now() + self._context.linger)
        if self._tls is not None:
            self._tls.close()
            self._tell(self._tls.take())
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def _too_late(self) -> None:
        now, timeout = self._context.clock.machine.now(), self._context.login_timeout
        if self._ended:
            self.abort()
        elif now > self._due + _PAUSE:
            # The broker stood still, not the client.
            self._due = now + timeout
            self._timer.set(self._due)
        elif self._may_be_stomp:
            self.refuse(
                ProtocolError(
                    ErrorCode.LOGIN_TIMEOUT,
                    f"no complete CONNECT within {timeout:g} s",
                )
            )
        else:
            log.warning("%s: its handshake takes too long", self.address)
            self.abort()
