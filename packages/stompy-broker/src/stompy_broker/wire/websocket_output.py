"""What a client gets through a WebSocket, gathered to be written together (**hot path**)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stompy_broker.session.output import OutputBuffer

if TYPE_CHECKING:
    from stompy_broker.wire.websocket import WebSocketServer

_NUL = b"\0"


class WebSocketOutputBuffer(OutputBuffer):
    """An output buffer in which each STOMP frame becomes a message of a WebSocket.

    Args:
        websocket: whose.
        schedule: as for `OutputBuffer`.
        write: as for `OutputBuffer`.
    """

    __slots__ = ("_websocket",)

    def __init__(
        self, websocket: WebSocketServer, schedule: Callable[[], None], write: Callable[[], None]
    ) -> None:
        super().__init__(schedule, write)
        self._websocket = websocket

    def put(self, data: bytes) -> None:
        """Add one STOMP frame or heart-beat; after the end of the WebSocket nothing."""
        if self._websocket.is_open:
            super().put(self._websocket.wrap(_alone(data)))

    def put_message(self, prefix: bytes, tail: bytes) -> bool:
        """Add a MESSAGE as one message of the WebSocket."""
        if not self._websocket.is_open:
            return False
        return super().put_message(b"", self._websocket.wrap(_alone(prefix + tail)))

    def put_large_message(
        self, prefix: bytes, front: bytes, body: bytes, end: bytes = _NUL
    ) -> bool:
        """Add a MESSAGE as one message of the WebSocket, whose body is not copied."""
        if not self._websocket.is_open:
            return False
        head = self._websocket.head_of_message(prefix + front, body, _NUL)
        return super().put_large_message(head + prefix, front, body, _NUL)

    def put_raw(self, data: bytes) -> None:
        """Add what the WebSocket itself has to say."""
        if data:
            super().put(data)


def _alone(frame: bytes) -> bytes:
    """Strip the LF behind a frame: where its message ends, the frame ends."""
    return frame[:-1] if frame.endswith(b"\0\n") else frame
