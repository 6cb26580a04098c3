"""Which event loop a broker runs on where it makes one: asyncio's own, or uvloop's.

`stompy_broker.Broker` runs on the loop that it finds, which is somebody else's. The command
``stompy-broker`` and the thread of `stompy_broker.running` make theirs here.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

LoopName = Literal["auto", "asyncio", "uvloop"]

log = logging.getLogger("stompy_broker")

_UVLOOP = "uvloop"


def check_installed(name: LoopName) -> LoopName:
    """Refuse a loop that is not here.

    Raises:
        ValueError: its library is not installed.
    """
    if name == _UVLOOP and find_spec(_UVLOOP) is None:
        raise ValueError(
            "uvloop is not installed; `pip install 'stompy-broker[uvloop]'` brings it, and "
            '"auto" takes it where it is installed'
        )
    return name


def chosen(name: LoopName) -> LoopName:
    """What ``auto`` stands for here."""
    if name == "auto":
        return "asyncio" if find_spec(_UVLOOP) is None else "uvloop"
    return name


def new_event_loop(name: LoopName) -> asyncio.AbstractEventLoop:
    """Make an event loop.

    Raises:
        ImportError: uvloop is asked for, and cannot be loaded.
    """
    if chosen(name) == _UVLOOP:
        try:
            loop: asyncio.AbstractEventLoop = importlib.import_module(_UVLOOP).new_event_loop()
        except ImportError as error:
            if name == _UVLOOP:
                raise
            log.warning(
                "uvloop is installed and cannot be loaded, so asyncio's loop runs: %s", error
            )
        else:
            return loop
    return asyncio.new_event_loop()


def name_of(loop: asyncio.AbstractEventLoop) -> str:
    """Whose loop it is, by the library that it comes from."""
    return type(loop).__module__.partition(".")[0]


def run_in_thread(
    loop: asyncio.AbstractEventLoop,
    work: Callable[[], bool | None],
    done: Callable[[bool | None], None],
) -> None:
    """Run slow work on a thread.

    Args:
        loop: the loop that runs.
        work: what to do.
        done: called on the loop with what it gave; None = it could not be done.
    """
    try:
        future = loop.run_in_executor(None, work)
    except RuntimeError as error:
        log.error("no thread for a login: %s", error)
        done(None)
        return
    future.add_done_callback(lambda f: None if f.cancelled() else done(_outcome(f)))


def _outcome(future: asyncio.Future[bool | None]) -> bool | None:
    error = future.exception()
    if error is not None:
        log.error("fault in a thread for logins", exc_info=error)
        return None
    return future.result()
