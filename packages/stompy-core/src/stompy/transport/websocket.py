"""STOMP over a WebSocket: the layer of both sides, and the client's end. Pure.

Each STOMP frame travels in a message of its own, because some peers expect that; a long one may
take several fragments. Messages of the peer may be cut anywhere. A frame is sent as text when it
is UTF-8 and as binary otherwise: there are brokers that overlook binary messages.

The framing is that of the library `websockets`, which comes with the extra ``stompy-core[ws]``.
"""

from __future__ import annotations

import logging

from stompy.session.address import Address
from stompy.transport.layers import LayerError

try:
    from websockets.client import ClientProtocol
    from websockets.exceptions import InvalidState, InvalidStatus
    from websockets.frames import CloseCode, Frame, Opcode
    from websockets.http11 import Request, Response
    from websockets.protocol import Protocol, State
    from websockets.typing import Subprotocol
    from websockets.uri import WebSocketURI
except ImportError as error:
    raise ImportError(
        "WebSocket needs the package 'websockets' (16 or newer): pip install 'stompy-core[ws]'"
    ) from error

SUBPROTOCOLS = tuple(Subprotocol(f"{version}.stomp") for version in ("v12", "v11", "v10"))
"""The names of STOMP 1.2, 1.1 and 1.0 in a WebSocket handshake, the best first."""

_REASON_BYTES = 123
"""The longest reason that a close frame can carry."""

# The library would log the first bytes of each message, and these may be a passcode.
silent = logging.Logger("stompy.websocket")
silent.disabled = True


class WebSocketLayer:
    """One end of a WebSocket.

    Args:
        protocol: the library's end.
    """

    name = "WebSocket"

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._cutter = FrameCutter()
        self._ended = False

    @property
    def ready(self) -> bool:
        """Whether the handshake is done; also true after the end."""
        return self._protocol.state is not State.CONNECTING

    @property
    def ended(self) -> bool:
        """Whether the peer has closed the WebSocket."""
        return self._ended

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the peer; give what its messages hold.

        Raises:
            LayerError: the peer breaks the rules, or closes with a code that means a failure.
        """
        protocol = self._protocol
        if self._ended:
            return b""
        protocol.receive_data(data)
        self._check_handshake()
        parts = []
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                self._answer(event)
            elif self._is_data(event):
                parts.append(event.data)
        if protocol.parser_exc is not None:
            self._ended = True
            raise LayerError(self.name, f"broken WebSocket: {protocol.parser_exc}")
        if protocol.close_rcvd is not None:
            self._ended = True
        return b"".join(parts)

    def _check_handshake(self) -> None:
        """Whether the handshake has failed.

        Raises:
            LayerError: it has.
        """
        error = self._protocol.handshake_exc
        if error is not None:
            self._ended = True
            raise LayerError(self.name, f"the handshake failed: {error}")

    def _answer(self, event: Request | Response) -> None:
        """The peer's part of the handshake came."""

    def _is_data(self, frame: Frame) -> bool:
        return frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

    @property
    def end_reason(self) -> str:
        """Code and reason with which the peer closed, unless all was well."""
        close = self._protocol.close_rcvd
        if close is None or close.code in (CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD):
            return ""
        return f"the WebSocket was closed with {close.code} {close.reason}".rstrip()

    def send(self, data: bytes) -> bytes:
        """Wrap a stretch of STOMP frames, which may begin and end inside one.

        Raises:
            LayerError: the WebSocket has been closed.
        """
        try:
            for piece, whole, last in self._cutter.cut(data):
                self._send_piece(piece, whole, last)
        except InvalidState:
            raise LayerError(self.name, "the WebSocket is closed") from None
        return self.take()

    def _send_piece(self, piece: bytes, whole: bool, last: bool) -> None:
        protocol = self._protocol
        if protocol.expect_continuation_frame:
            protocol.send_continuation(piece, last)
        elif whole and is_text(piece):
            protocol.send_text(piece)
        else:
            protocol.send_binary(piece, last)

    def take(self) -> bytes:
        """Take what the layer itself has to write: handshake, pongs, the closing."""
        return b"".join(self._protocol.data_to_send())

    @property
    def unfinished(self) -> int:
        """Bytes that were received and are no part of a message yet."""
        return len(self._protocol.reader.buffer)

    def ping(self) -> bytes:
        """A ping for the peer, which must answer it."""
        self._protocol.send_ping(b"")
        return self.take()

    def release(self) -> None:
        """The socket is gone: break the circle that the library's parser makes, and free it."""
        protocol = self._protocol
        protocol.parser.close()
        protocol.parser_exc = protocol.handshake_exc = None

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin or end the closing handshake; harmless when repeated."""
        if self._protocol.state is State.OPEN:
            short = reason.encode()[:_REASON_BYTES].decode("utf-8", "ignore")
            self._protocol.send_close(code, short)


class WebSocketClient(WebSocketLayer):
    """The client's end.

    Args:
        address: where the WebSocket is.
        max_size: bytes of the longest message that is taken.
    """

    def __init__(self, address: Address, max_size: int) -> None:
        uri = WebSocketURI(
            address.is_secure, address.host, address.port, address.path or "/", address.query
        )
        protocol = ClientProtocol(uri, subprotocols=SUBPROTOCOLS, max_size=max_size, logger=silent)
        super().__init__(protocol)
        protocol.send_request(protocol.connect())

    def _check_handshake(self) -> None:
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            self._ended = True
            response = error.response
            raise LayerError(
                self.name,
                f"the server answered {response.status_code} {response.reason_phrase} instead of "
                "opening a WebSocket: look at the path of the URL",
            )
        super()._check_handshake()


class FrameCutter:
    """Finds where the frames end in a stream of frames that we encoded ourselves."""

    def __init__(self) -> None:
        self._head = bytearray()  # of the frame that is on its way, while it is incomplete
        self._begun = False  # part of the frame has been given
        self._body: int | None = None  # bytes to its end with the NUL; -1 = up to a NUL

    def cut(self, data: bytes) -> list[tuple[bytes, bool, bool]]:
        """Cut a stretch of the stream.

        Returns:
            Pieces; for each whether it is a whole frame, and whether a frame ends with it. An
            end of line between frames, which is a heart-beat, counts as one.
        """
        pieces = []
        at = 0
        while at < len(data):
            end = self._end(data, at)
            last = end is not None
            stop = len(data) if end is None else end
            pieces.append((data[at:stop], last and not self._begun, last))
            self._begun = not last
            at = stop
        return pieces

    def _end(self, data: bytes, at: int) -> int | None:
        """Where the frame ends that goes on at ``at``; None = not in this stretch."""
        if self._body is None:
            if not self._head and data[at] == ord("\n"):
                return at + 1
            seen = len(self._head)
            self._head += data[at:]
            blank = self._head.find(b"\n\n", max(0, seen - 1))
            if blank < 0:
                return None
            at += blank + 2 - seen
            self._body = _body_length(bytes(self._head[:blank]))
            self._head.clear()
        if self._body < 0:
            end = data.find(b"\0", at) + 1
            if not end:
                return None
        else:
            end = at + self._body
            if end > len(data):
                self._body = end - len(data)
                return None
        self._body = None
        return end


def _body_length(head: bytes) -> int:
    """The length of a body and its NUL; -1 when only the NUL can tell."""
    at = head.find(b"\ncontent-length:")
    return -1 if at < 0 else int(head[at + 16 :].partition(b"\n")[0]) + 1


def is_text(data: bytes) -> bool:
    """Whether bytes may travel as text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
