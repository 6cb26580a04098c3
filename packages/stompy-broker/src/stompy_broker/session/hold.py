"""A client that has to wait before it may send more (promise 11)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stompy_broker.routing.flow_control import Pressure
from stompy_broker.routing.router import Router
from stompy_broker.session.context import Peer
from stompy_broker.store.base import MessageStore
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.session")

_WATCH_SECONDS = 1.0

_FULL = {
    "memory": "waiting messages have reached limits.memory",
    "disk": "messages on disk have reached limits.disk",
}


def why_producers_wait(router: Router) -> str:
    """What CONNECTED tells a client that comes while there is no room; empty while there is."""
    reasons = (_FULL.get(name) or router.store.trouble for name in router.alarms)
    return " and ".join(reason.replace("\n", " ") for reason in reasons if reason)


class Hold:
    """Reads no more from a client while there is no room for what it sends.

    It may be a matter of milliseconds, until the store has taken over what the client sent
    (`briefly`). Only when that takes longer it is worth telling.

    Args:
        clock: for looking whether it has left meanwhile.
        peer: its connection.
        changed: told whether it has to wait from now on, and whether that is worth telling.
    """

    def __init__(self, clock: Clock, peer: Peer, changed: Callable[[bool, bool], None]) -> None:
        self._clock = clock
        self._peer = peer
        self._changed = changed
        self._held_by: Pressure | MessageStore | None = None
        self._brief = False
        self._leaving = False
        self._ended = False
        self._watch = clock.alarm(self._see_if_left)

    @property
    def holds(self) -> bool:
        """Whether the client has to wait."""
        return self._held_by is not None and not self._brief

    def begin(self, pressure: Pressure, *, consumes: bool) -> None:
        """Let it wait for room, if it has to.

        Args:
            pressure: what is full.
            consumes: whether it has subscriptions.
        """
        if self._held_by is not None or self._leaving or not pressure.stops(consumes=consumes):
            return
        self._wait_for(pressure)
        self._changed(True, True)
        log.info("%s: waits for room before it may send more", self._peer.address)

    def briefly(self, store: MessageStore) -> None:
        """Let it wait until the store, which is behind, takes more."""
        if self._held_by is None and not self._leaving and not self._ended:
            self._brief = True
            self._wait_for(store)
            self._changed(True, False)

    def _wait_for(self, what: Pressure | MessageStore) -> None:
        self._held_by = what
        what.wait(self._go_on)
        self._watch.set(self._clock.now() + _WATCH_SECONDS)
        self._peer.pause()

    def end(self) -> None:
        """The session is over."""
        self._ended = True
        self._watch.end()
        if self._held_by is not None:
            self._held_by.forget(self._go_on)

    def _see_if_left(self) -> None:
        """A client that has gone may hold what keeps the broker full, so read on to its end."""
        if self._held_by is None or self._ended:
            return
        if self._peer.has_left:
            self._held_by.forget(self._go_on)
            self._leaving = True
            self._go_on()
            return
        if self._brief:
            self._brief = False
            self._changed(True, True)
            log.info("%s: waits for the disk before it may send more", self._peer.address)
        self._watch.set(self._clock.now() + _WATCH_SECONDS)

    def _go_on(self) -> None:
        brief, self._brief = self._brief, False
        self._held_by = None
        if self._ended:
            return
        self._changed(False, not brief)
        self._peer.resume()
        if not brief:
            log.info("%s: may send again", self._peer.address)
