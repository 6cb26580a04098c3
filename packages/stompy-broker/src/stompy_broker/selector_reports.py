"""What operators are told of selectors: that one raised, which none should."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from stompy.admin.rows import Event
from stompy_broker.events import Events
from stompy_broker.selectors.faults import FaultWatch


def watch_selectors(loop: asyncio.AbstractEventLoop, events: Events) -> FaultWatch:
    """Have an event of each selector that raises, for as long as somebody has what this gives.

    Args:
        loop: of the broker.
        events: to tell it.
    """
    return FaultWatch(partial(_pass_on, loop, events))


def _pass_on(loop: asyncio.AbstractEventLoop, events: Events, text: str, why: str) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(_tell, events, text, why)


def _tell(events: Events, text: str, why: str) -> None:
    events.tell(
        Event(
            type="selector.failed",
            severity="critical",
            reason=f"a selector failed, and takes nothing of what it fails with: {why}",
            detail={"selector": text},
        )
    )
