"""The broker's end of a WebSocket: who may open one, and how frames travel in it.

A browser opens a WebSocket to any address for any page, and tells which page in ``Origin``. So the
origins are listed; clients that are no browsers send none, and come in.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from http import HTTPStatus

from websockets import http11
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from stompy.errors import ErrorCode
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.transport.layers import LayerError
from stompy.transport.websocket import SUBPROTOCOLS, WebSocketLayer, is_text, silent

_VERSIONS = dict(zip(SUBPROTOCOLS, ALL_VERSIONS, strict=True))
_BEFORE_LOGIN = 160 * 1024
"""The longest fragment of a message before login: the largest CONNECT, and what lies round it."""

# Cookies and tokens of gateways make long lines. The library takes 8 KiB, and has a variable of the
# environment for it, but no argument.
http11.MAX_LINE_LENGTH = max(http11.MAX_LINE_LENGTH, 16 * 1024 + 256)

_CLOSE_CODES = {
    None: 1000,
    ErrorCode.SHUTTING_DOWN: 1001,
    ErrorCode.INTERNAL_ERROR: 1011,
    ErrorCode.FRAME_TOO_LARGE: 1009,
    ErrorCode.AUTHENTICATION_FAILED: 1008,
    ErrorCode.ACCESS_REFUSED: 1008,
    ErrorCode.LOGIN_TIMEOUT: 1008,
    ErrorCode.LIMIT_EXCEEDED: 1013,
    ErrorCode.STORE_UNAVAILABLE: 1013,
    ErrorCode.QUEUE_FULL: 1013,
}
_PROTOCOL_ERROR = 1002
_FINAL, _LENGTH_16, _LENGTH_64 = 0x80, 126, 127
_NO_PAGE = "This port speaks STOMP, over a WebSocket or without; there are no pages here.\n"


class WebSocketServer(WebSocketLayer):
    """The broker's end of a WebSocket.

    Args:
        allowed_origins: as in the configuration.
        refusal: why nobody is let in just now; None to let in.
    """

    _server: ServerProtocol

    def __init__(self, allowed_origins: Sequence[str], refusal: str | None = None) -> None:
        self._server = ServerProtocol(
            select_subprotocol=_select, max_size=(None, _BEFORE_LOGIN), logger=silent
        )
        super().__init__(self._server)
        self._allowed_origins = allowed_origins
        self._refusal = refusal
        self._text = False

    def _answer(self, request: Request | Response) -> None:
        """Answer a client that wants to open a WebSocket.

        Raises:
            LayerError: it was refused.
        """
        assert isinstance(request, Request)
        origins = request.headers.get_all("Origin")
        refused = self._refusal is not None
        if refused:
            response = self._server.reject(HTTPStatus.SERVICE_UNAVAILABLE, f"{self._refusal}.\n")
        elif not all(is_allowed(origin, self._allowed_origins) for origin in origins):
            refused = True
            response = self._server.reject(
                HTTPStatus.FORBIDDEN,
                f"Pages of {origins[0][:200]} may not connect; see websocket.allowed_origins.\n",
            )
        else:
            response = self._server.accept(request)
            if response.status_code == HTTPStatus.UPGRADE_REQUIRED:
                response = self._server.reject(HTTPStatus.UPGRADE_REQUIRED, _NO_PAGE)
                response.headers["Upgrade"] = "websocket"
        self._server.send_response(response)
        if refused or response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._ended = True
            raise LayerError(
                self.name, f"refused with {response.status_code}: {_text_of(response)}"
            )

    def _is_data(self, frame: Frame) -> bool:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            # The client is answered as it speaks.
            self._text = frame.opcode is Opcode.TEXT
            return True
        return frame.opcode is Opcode.CONT

    def expect(self, size: int) -> None:
        """Take fragments of this size from now on: the client has logged in."""
        self._server.max_fragment_size = size

    def wrap(self, frame: bytes) -> bytes:
        """A STOMP frame as a message of its own: text, if the client sends that and it is."""
        if self._text and is_text(frame):
            self._server.send_text(frame)
        else:
            self._server.send_binary(frame)
        return self.take()

    def head_of_message(self, front: bytes, body: bytes, end: bytes) -> bytes:
        """What `wrap` puts before a STOMP frame, for one too large to be copied for that.

        RFC 6455, section 5.2: a message in one piece, without a mask. The library gives it with a
        copy of the rest only.
        """
        text = self._text and is_text(front) and is_text(body)
        kind = _FINAL | (Opcode.TEXT if text else Opcode.BINARY)
        size = len(front) + len(body) + len(end)
        if size < 1 << 16:
            return struct.pack("!BBH", kind, _LENGTH_16, size)
        return struct.pack("!BBQ", kind, _LENGTH_64, size)

    @property
    def version(self) -> Version:
        """The highest version that the sub-protocol allows; without one, any."""
        agreed = self._server.subprotocol
        return Version.V1_2 if agreed is None else _VERSIONS[agreed]

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self.ready and self._server.close_sent is None and not self._ended

    def release(self) -> None:
        """Break the circles that the library makes, so that it is freed: the socket is gone."""
        super().release()
        # It was made a method of this one object.
        vars(self._server).pop("select_subprotocol", None)

    def send_close(self, reason: ErrorCode | None) -> None:
        """Close the WebSocket with the code that fits the reason; None = all is well."""
        self.close(_CLOSE_CODES.get(reason, _PROTOCOL_ERROR), reason.value if reason else "")


def is_allowed(origin: str, allowed: Sequence[str]) -> bool:
    """Whether pages of an origin may connect."""
    given = origin.lower()
    scheme_and_host, colon, port = given.rpartition(":")
    any_port = f"{scheme_and_host}:*" if colon and port.isdigit() else f"{given}:*"
    return not {"*", given, any_port}.isdisjoint(rule.lower() for rule in allowed)


def _select(server: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The best version that the client knows, or none, as with clients that do not ask."""
    return next((known for known in SUBPROTOCOLS if known in offered), None)


def _text_of(response: Response) -> str:
    return (response.body or b"").decode("utf-8", "replace").strip().partition("\n")[0]
