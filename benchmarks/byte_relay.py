"""A relay of bytes that reads no frame: what sockets and asyncio alone can move.

The first of two connections gets what the second sends, and no more is read than is taken. The
second says one byte of its own first, so that whoever dials knows which is which.
``byte_relay.py PORT [asyncio|uvloop]``
"""

from __future__ import annotations

import asyncio
import sys


class End(asyncio.Protocol):
    """One of two connections."""

    waiting: End | None = None
    """The first one, until the second is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.other, End.waiting = End.waiting, None
        if self.other is None:
            End.waiting = self
        else:
            self.other.other = self
        transport.write(b"\0")

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()
            self.other.other = None
        elif End.waiting is self:
            End.waiting = None


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(End, "127.0.0.1", int(sys.argv[1]))
    port = server.sockets[0].getsockname()[1]
    print(f"relay ready tcp://127.0.0.1:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[2:] == ["uvloop"]:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
