"""A large body goes out as one message of a WebSocket, the same as if it had been wrapped."""

import pytest

from stompy_broker.session.output import WRITE_SIZE
from stompy_broker.wire.websocket import WebSocketServer
from stompy_broker.wire.websocket_output import WebSocketOutputBuffer

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY = 0x81, 0x82
PREFIX, FRONT = b"MESSAGE\nsubscription:1\nmessage-id:", b"7\ncontent-length:1\n\n"


def nothing() -> None:
    pass


def opened(opcode: int) -> tuple[WebSocketServer, WebSocketOutputBuffer]:
    """A WebSocket whose client has sent a heart-beat as text or not."""
    websocket = WebSocketServer(["*"])
    websocket.receive(UPGRADE)
    websocket.take()
    websocket.receive(bytes([opcode, 0x81, 0, 0, 0, 0]) + b"\n")
    return websocket, WebSocketOutputBuffer(websocket, nothing, nothing)


def written(output: WebSocketOutputBuffer) -> list[bytes | memoryview]:
    pieces = []
    while output.size:
        pieces.append(output.take())
    return pieces


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("last", [b"x", b"\xff"])
@pytest.mark.parametrize("size", [40_000, 65_400, 70_000, 5 * WRITE_SIZE])
def test_it_is_what_wrapping_gives(opcode: int, last: bytes, size: int) -> None:
    body = b"y" * size + last
    websocket, output = opened(opcode)
    output.put_large_message(PREFIX, FRONT, body)
    assert b"".join(written(output)) == websocket.wrap(PREFIX + FRONT + body + b"\0")


def test_its_body_is_not_copied() -> None:
    body = b"y" * (5 * WRITE_SIZE)
    _, output = opened(BINARY)
    output.put_large_message(PREFIX, FRONT, body)
    views = [piece for piece in written(output) if isinstance(piece, memoryview)]
    assert all(view.obj is body for view in views)
    assert sum(map(len, views)) == len(body)


def test_after_the_end_nothing_is_written() -> None:
    websocket, output = opened(TEXT)
    websocket.send_close(None)
    assert not output.put_large_message(PREFIX, FRONT, b"y" * 40_000)
    assert output.size == 0
