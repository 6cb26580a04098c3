"""Running coroutines in tests: debug mode on, and nothing may be left over or complained about."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

from tests.support.scripted_server import PATIENCE


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test on an event loop.

    It fails when a task outlives it, or when the loop had to report something, such as an
    exception that was never retrieved.
    """
    complaints: list[str] = []

    async def watched() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 10.0
        loop.set_exception_handler(lambda _, context: complaints.append(str(context)))
        await main()
        here = asyncio.current_task()
        assert [task for task in asyncio.all_tasks() if task is not here] == []
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(watched(), debug=True)
    assert complaints == []


def looped(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a test of a coroutine function, as `run` does."""

    @wraps(test)
    def run_it() -> None:
        run(test)

    return run_it


async def soon(condition: Callable[[], object], what: str = "it") -> None:
    """Let the loop turn until a condition holds; fail when it does not in time."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not happen"
        await asyncio.sleep(0.001)


async def cancelled(awaitable: Awaitable[object]) -> bool:
    """Whether an awaitable ends by being cancelled."""
    try:
        await awaitable
    except asyncio.CancelledError:
        return True
    return False
