"""Whether a client may send on: it waits while there is no room (promise 11)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from stompy_broker.routing.flow_control import Watermark
from stompy_broker.session.context import Peer
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.session")

_WATCH_SECONDS: Final = 1.0


class Waitable(Protocol):
    """What a client may have to wait for."""

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` when the client may send again."""
        ...

    def forget(self, go_on: Callable[[], None]) -> None:
        """Do not call it any more."""
        ...


class ProducerFlowControl:
    """Reads no more from a client while there is no room for what it sends (promise 11).

    It may be a matter of milliseconds, until the store has taken over what the client sent
    (`pause_briefly`). Only when that takes longer it is worth telling.

    Args:
        clock: for looking whether it has left meanwhile.
        peer: its connection.
        changed: told whether it has to wait from now on, and whether that is worth telling.

    Attributes:
        reason: why the client has to wait, in a word; empty = there is no room.
    """

    def __init__(self, clock: Clock, peer: Peer, changed: Callable[[bool, bool], None]) -> None:
        self._clock = clock
        self._peer = peer
        self._changed = changed
        self._waiting_for: Waitable | None = None
        self._is_brief = self._in_turn = False
        self.reason = ""
        self._leaving = False
        self._ended = False
        self._watch = clock.timer(self._check_if_left)

    @property
    def is_paused(self) -> bool:
        """Whether the client has to wait."""
        return self._waiting_for is not None and not self._is_brief

    def pause_for(self, watermark: Watermark, *, consumes: bool, reason: str = "") -> None:
        """Stop reading from the client until there is room, if it has to wait for that.

        Args:
            watermark: what is full.
            consumes: whether it has subscriptions.
            reason: why, in a word.
        """
        if self._waiting_for is not None or self._leaving or self._ended:
            return
        if not watermark.blocks(consumes=consumes):
            return
        self.reason = reason
        self._wait_for(watermark)
        self._changed(True, True)
        log.info("%s: waits for room before it may send more", self._peer.address)

    def pause_briefly(self, what: Waitable) -> None:
        """Stop reading from the client until a store that is behind, or a queue, has answered."""
        if self._waiting_for is None and not self._leaving and not self._ended:
            self._is_brief = True
            self._wait_for(what)
            self._changed(True, False)

    def pause_for_turn(self, what: Waitable) -> None:
        """Stop reading from the client until it is its turn to send; who meters it tells of it."""
        self.pause_briefly(what)
        self._in_turn = self._is_brief

    def wait_no_more(self) -> None:
        """Read on to the end of a client that has left."""
        self._leaving = True
        if self._waiting_for is not None:
            self._waiting_for.forget(self._resume)
            self._resume()

    def _wait_for(self, what: Waitable) -> None:
        self._waiting_for = what
        what.wait(self._resume)
        self._watch.set(self._clock.now() + _WATCH_SECONDS)
        self._peer.pause()

    def close(self) -> None:
        """The session is over."""
        self._ended = True
        self._watch.end()
        if self._waiting_for is not None:
            self._waiting_for.forget(self._resume)

    def _check_if_left(self) -> None:
        """Read on to the end of a client that has gone: it may hold what keeps the broker full."""
        if self._waiting_for is None or self._ended:
            return
        if self._peer.has_left and not self._in_turn:
            self.wait_no_more()
            return
        if self._is_brief and not self._in_turn:
            self._is_brief = False
            self._changed(True, True)
            log.info("%s: waits for the disk before it may send more", self._peer.address)
        self._watch.set(self._clock.now() + _WATCH_SECONDS)

    def _resume(self) -> None:
        brief, self._is_brief, self._in_turn = self._is_brief, False, False
        self._waiting_for = None
        if self._ended:
            return
        self._changed(False, not brief)
        self._peer.resume()
        if not brief:
            self.reason = ""
            log.info("%s: may send again", self._peer.address)
