"""What stores report, passed on to the router.

Stores exist before the router, so they cannot be given the router's own methods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from stompy.admin.rows import Event
from stompy_broker.message import Message
from stompy_broker.routing.router import Router
from stompy_broker.selector_reports import watch_selectors
from stompy_broker.store.batch import Damaged
from stompy_broker.store.log_reading import DamagedEntries


class StoreReports:
    """Takes the reports of the stores of one broker.

    Attributes:
        router: of the broker; it is there before any store reports something.
    """

    router: Router

    def begin(self, loop: asyncio.AbstractEventLoop, router: Router) -> None:
        """Pass on to a router what stores report, and selectors that raise beside it."""
        self.router = router
        self._fault_watch = watch_selectors(loop, router.events)

    def written(self, messages: Iterable[Message]) -> None:
        """Let bodies go that are safe."""
        self.router.on_disk(messages)

    def troubled(self, trouble: bool, group: int = 0) -> None:
        """Make who sends to a group wait, or refuse them, while its store cannot write."""
        self.router.store_troubled(trouble, group)

    def damaged(self, damaged: Damaged | DamagedEntries) -> None:
        """Tell operators of a message, or of entries, that are not what was written any more."""
        if isinstance(damaged, DamagedEntries):
            where = f"entries {damaged.first} to {damaged.next - 1}"
            self.router.events.tell(
                Event(
                    type="store.damaged",
                    severity="critical",
                    destination=damaged.log,
                    reason=f"{where}: {damaged.reason}",
                )
            )
            return
        self.router.events.tell(
            Event(
                type="store.damaged",
                severity="critical",
                destination=damaged.destination,
                message_id=str(damaged.sequence),
                reason=damaged.reason,
            )
        )
