"""Waiting on an event loop for something to happen."""

from __future__ import annotations

import asyncio

from stompy.session.timeouts import until


class Signal:
    """Wakes whoever waits for something to happen; they look for themselves what it was."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Let everybody who waits look for themselves."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, deadline: float | None) -> bool:
        """Wait until it happens; false when a time of the event loop came first."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            if deadline is None:
                await waiter  # who takes what comes, batch by batch, waits often
            else:
                async with asyncio.timeout_at(deadline):
                    await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True


def deadline_after(seconds: float | None) -> float | None:
    """Turn a time-out into a time of the event loop; None for no end."""
    if seconds is None:
        return None
    return until(asyncio.get_running_loop().time(), seconds)
