"""Going through the messages of a client with ``async for``."""

from __future__ import annotations

from typing import Protocol

from stompy.protocol.frame import STOMPFrame


class Receiving(Protocol):
    """What gives messages one by one."""

    async def recv(self) -> STOMPFrame | None:
        """The next message, or None if the connection has ended."""


class Messages:
    """What ``async for frame in client`` goes through."""

    def __init__(self, client: Receiving) -> None:
        self._client = client

    def __aiter__(self) -> Messages:
        """Itself."""
        return self

    async def __anext__(self) -> STOMPFrame:
        """The next message.

        Raises:
            STOMPError: the broker sent ERROR.
        """
        frame = await self._client.recv()
        if frame is None:
            raise StopAsyncIteration
        return frame
