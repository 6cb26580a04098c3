"""How much of a stream stays: the oldest messages go, by age, number and bytes.

Nobody removes a message of a stream. What is too much goes from the front, whoever has read it.
What is limited by number is so exactly; age and bytes go by blocks of the store, of a thousand
messages at most, and are looked at now and then. Nothing is done, and no timer runs, where nothing
is limited or nothing is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.stream_source import StreamSource
from stompy_broker.store.entry_log import EntryLogs
from stompy_broker.timers import Clock

_SHARE: Final = 20
"""It is looked so often in the time that a message may stay."""

_SOONEST, _LATEST = 0.05, 60.0
"""Seconds between two looks at least, and at most."""


class StreamRetention:
    """Keeps one stream within its limits.

    Args:
        identity: of the stream, with its policy.
        source: its messages.
        log: the name of its log.
        logs: where it is.
        clock: rings.
        wall: gives the time in milliseconds since the epoch.
        gone: told that messages went.
    """

    __slots__ = (
        "_clock",
        "_closed",
        "_gone",
        "_identity",
        "_log",
        "_logs",
        "_looking",
        "_most",
        "_source",
        "_timer",
        "_wall",
        "watches",
    )

    def __init__(
        self,
        identity: QueueIdentity,
        source: StreamSource,
        log: str,
        logs: EntryLogs,
        clock: Clock,
        wall: Callable[[], int],
        gone: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._source = source
        self._log = log
        self._logs = logs
        self._clock = clock
        self._wall = wall
        self._gone = gone
        self._timer = clock.timer(self._look)
        self._looking = self._closed = False
        self._most = 0
        self.watches = False
        self.renew(identity.policy)

    @property
    def pending(self) -> bool:
        """Whether it is going to look by itself."""
        return self._timer.when is not None

    def renew(self, policy: Policy) -> None:
        """Keep to another policy from now on."""
        self._most = policy.max_length
        self.watches = bool(policy.max_length or policy.max_length_bytes or policy.max_age_ms)
        if not self.watches:
            self._timer.cancel()
        else:
            self.grew()

    def grew(self) -> None:
        """Take note that a message came."""
        source, most = self._source, self._most
        if most and source.next - source.first > most:
            self._cut(source.next - most)
        if self._timer.when is None and not self._looking:
            self._set_timer()

    def _set_timer(self) -> None:
        policy, source = self._identity.policy, self._source
        if self._closed or source.first >= source.next:
            return
        wait = _LATEST
        if policy.max_age_ms:
            wait = min(wait, policy.max_age_ms / 1000 / _SHARE)
        elif not policy.max_length_bytes:
            return
        if policy.max_length_bytes:
            wait = min(wait, 1.0)
        self._timer.set(self._clock.now() + max(wait, _SOONEST))

    def _look(self) -> None:
        """See what is too old, and then what is too much."""
        policy = self._identity.policy
        if self._looking or self._closed:
            return
        self._looking = True
        if policy.max_age_ms:
            self._source.find_time(self._wall() - policy.max_age_ms, self._cut_old)
        else:
            self._look_at_bytes()

    def _cut_old(self, first: int) -> None:
        self._cut(first)
        self._look_at_bytes()

    def _look_at_bytes(self) -> None:
        most = self._identity.policy.max_length_bytes
        if most and not self._closed:
            self._logs.find_bytes(self._log, int(most), self._cut_rest)
        else:
            self._looked()

    def _cut_rest(self, first: int) -> None:
        self._cut(first)
        self._looked()

    def _looked(self) -> None:
        self._looking = False
        if self.watches:
            self._set_timer()

    def _cut(self, first: int) -> None:
        if first > self._source.first and not self._closed:
            self._source.cut(first)
            self._gone()

    def close(self) -> None:
        """Do nothing any more."""
        self._closed = True
        self._timer.end()
