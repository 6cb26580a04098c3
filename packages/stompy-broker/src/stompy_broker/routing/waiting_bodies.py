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
        self._loaded: list[Message] = []  # whose bodies may be left on disk before long
        self._unload = services.clock.machine.timer(self._leave_bodies)

    def note(self, message: Message) -> None:
        """Look before long whether the body of a message that waits is on disk."""
        if self._accounts.store is not None and message.head.traits.persistent:
            self._loaded.append(message)
            if len(self._loaded) == 1:
                self._unload.set(self._services.clock.machine.now() + _UNLOAD)

    def close(self) -> None:
        """Look no more: the queue ends."""
        self._unload.end()
        self._loaded.clear()

    def _leave_bodies(self) -> None:
        loaded, self._loaded = self._loaded, []
        store, memory = self._accounts.store, self._accounts.memory
        near = self._services.wall() + _NEAR
        if store is None:
            return
        waiting = {id(entry[2]) for entry in self._delayed if entry[0] > near}
        for message in loaded:
            if message.body is None or id(message) not in waiting:
                continue
            if store.is_written(message):
                message.leave_body(memory)
            else:
                self._loaded.append(message)
        memory.check()
        if self._loaded:
            self._unload.set(self._services.clock.machine.now() + _UNLOAD)
