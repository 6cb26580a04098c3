"""Bodies of what is to come later: they wait on disk, for it may be years until they come."""

from __future__ import annotations

from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.named_schedules import Waiting
from stompy_broker.routing.services import Services

_UNLOAD: Final = 1.0
"""Seconds after which bodies are left on disk that have reached it by then, ..."""
_NEAR: Final = 60_000
"""... but for those that are due within so many milliseconds."""


class WaitingBodies:
    """Leaves bodies on disk that have reached it.

    Args:
        services: clock and wall.
        accounts: of the queue, with its store.
        delayed: what waits.
    """

    def __init__(self, services: Services, accounts: Accounts, delayed: list[Waiting]) -> None:
        self._services = services
        self._accounts = accounts
        self._delayed = delayed
        self._loaded: dict[int, Message] = {}  # that wait long, and whose bodies are in memory
        self._unload = services.clock.machine.timer(self._leave_bodies)

    def note(self, message: Message, due: int) -> None:
        """Look before long whether the body of a message is on disk that waits for its time."""
        store = self._accounts.store
        if store is None or not message.head.traits.persistent:
            return
        if due > self._services.wall() + _NEAR:
            self._loaded[message.sequence] = message
            if len(self._loaded) == 1:
                self._unload.set(self._services.clock.machine.now() + _UNLOAD)

    def forget(self, message: Message) -> None:
        """Look no more after a message that waits no more."""
        self._loaded.pop(message.sequence, None)

    def look_again(self) -> None:
        """Look no more after those that do not wait any more: some were taken out."""
        if self._loaded:
            waiting = {entry[1] for entry in self._delayed}
            for sequence in self._loaded.keys() - waiting:
                del self._loaded[sequence]

    def close(self) -> None:
        """Look no more: the queue ends."""
        self._unload.end()
        self._loaded.clear()

    def _leave_bodies(self) -> None:
        store, memory = self._accounts.store, self._accounts.memory
        if store is None:
            return
        left: dict[int, Message] = {}
        for sequence, message in self._loaded.items():
            if message.body is None:
                continue
            if store.is_written(message):
                message.leave_body(memory)
            else:
                left[sequence] = message
        self._loaded = left
        memory.check()
        if left:
            self._unload.set(self._services.clock.machine.now() + _UNLOAD)
