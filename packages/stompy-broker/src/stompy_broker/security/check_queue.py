"""Whose passcode is looked at next: few at once, and in turn by who asks.

Who waits stands in a lane: that of an address, or of something finer that the owner names. Lanes
have their turns one after the other, those of a better rank before the others. A lane with many
failures has one check at a time, and rests after each that fails. What waits in a lane with the
same question, as the connections of one program do, is answered by one check.

What holds at all times:

* A lane that may be served stands in the ring of one rank, once; one that may not stands in none.
* A lane exists as long as somebody waits in it or is checked, or it rests.
* Whoever has gone, or has been answered, waits no more.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.security.auth import Credentials, Verdict
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.login")

MOST_IN_LANE, MOST_IN_SLOW_LANE = 2000, 64
"""So many may wait in a lane; the second for one that failed often."""

LAST_RANK = 3

_ANSWERED_AT_ONCE = 50
"""Logins that are answered before others have their turn at the event loop."""


@dataclass(eq=False, slots=True)
class Attempt:
    """Somebody who wants to come in.

    Attributes:
        lane: where it waits.
        question: the same for those who bring the same.
        credentials: what it brings.
        answer: takes the verdict.
        gone: tells whether nobody waits for the answer any more.
    """

    lane: str
    question: bytes
    credentials: Credentials
    answer: Callable[[Verdict], None]
    gone: Callable[[], bool]


class FailurePolicy(Protocol):
    """What a queue of checks needs to know of failures."""

    def rank(self, attempt: Attempt) -> int:
        """How late its lane has its turn: 0 to `LAST_RANK`."""
        ...

    def is_slow(self, lane: str) -> bool:
        """Whether too many checks of a lane have failed lately."""
        ...

    def penalty(self, attempt: Attempt, verdict: Verdict) -> tuple[float, float]:
        """Count a verdict; say how many seconds its lane rests, and how late the answer comes."""
        ...


class _Lane:
    __slots__ = ("checks", "count", "key", "rests", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.waiting: OrderedDict[bytes, dict[Attempt, None]] = OrderedDict()
        self.count = self.checks = 0
        self.rests: float | None = None  # until then


class CheckQueue:
    """Has logins wait, and checks them in turn.

    Args:
        clock: for lanes that rest.
        check: checks credentials, then calls back.
        policy: knows of failures.
        most: checks at once.

    Attributes:
        waiting: how many wait for a verdict, those who are being checked included.
    """

    def __init__(
        self,
        clock: Clock,
        check: Callable[[Credentials, Callable[[Verdict], None]], None],
        policy: FailurePolicy,
        most: int,
    ) -> None:
        self.waiting = 0
        self._clock = clock
        self._check = check
        self._policy = policy
        self._most = most
        self._checks = 0
        self._lanes: dict[str, _Lane] = {}
        self._rings = [OrderedDict[str, _Lane]() for _ in range(LAST_RANK + 1)]
        self._is_serving = False
        self._closed: ProtocolError | None = None
        self._answers: deque[tuple[Attempt, Verdict]] = deque()
        self._answering = clock.timer(self._answer_some)

    def enter(self, attempt: Attempt) -> None:
        """Have somebody wait, who gets an answer now or later."""
        lane = self._lanes.get(attempt.lane) or _Lane(attempt.lane)
        if self._closed is not None:
            attempt.answer(self._closed)
        elif lane.count >= self._room(lane):
            attempt.answer(_busy(lane.count))
        else:
            self._lanes[lane.key] = lane
            lane.waiting.setdefault(attempt.question, {})[attempt] = None
            lane.count += 1
            self.waiting += 1
            self._place(lane)
            self._serve()

    def leave(self, attempt: Attempt) -> None:
        """Take out somebody who has gone; harmless when repeated, or when it was answered."""
        lane = self._lanes.get(attempt.lane)
        group = {} if lane is None else lane.waiting.get(attempt.question, {})
        if lane is not None and attempt in group:
            del group[attempt]
            if not group:
                del lane.waiting[attempt.question]
            lane.count -= 1
            self.waiting -= 1
            self._place(lane)

    def close(self, why: ProtocolError) -> None:
        """Turn away all who wait, and whoever comes from now on."""
        self._closed = why
        for lane in list(self._lanes.values()):
            self._turn_away(lane, 0, why)

    def _room(self, lane: _Lane) -> int:
        return MOST_IN_SLOW_LANE if self._policy.is_slow(lane.key) else MOST_IN_LANE

    # -- turns ------------------------------------------------------------------------------

    def _place(self, lane: _Lane) -> None:
        """Have a lane stand where it belongs; in its ring it goes behind the others."""
        key = lane.key
        alone = not lane.checks or not self._policy.is_slow(key)
        waits = bool(lane.waiting) and lane.rests is None and alone
        place = self._rings[self._rank(lane)] if waits else None
        for ring in self._rings:
            if ring is not place:
                ring.pop(key, None)
        if place is not None:
            place.setdefault(key, lane)
        elif not (lane.waiting or lane.checks or lane.rests is not None):
            self._lanes.pop(key, None)

    def _rank(self, lane: _Lane) -> int:
        """That of who waits longest in it."""
        return self._policy.rank(next(iter(next(iter(lane.waiting.values())))))

    def _serve(self) -> None:
        """Begin as many checks as there may be. A check may be over at once."""
        if self._is_serving:
            return
        self._is_serving = True
        try:
            while self._checks < self._most and (lane := self._next()) is not None:
                self._begin(lane)
        finally:
            self._is_serving = False

    def _next(self) -> _Lane | None:
        for rank, ring in enumerate(self._rings):
            while ring:
                key, lane = ring.popitem(last=False)
                now = self._rank(lane)
                if now <= rank:
                    return lane
                # Others have failed since it was placed.
                self._rings[now][key] = lane
        return None

    def _begin(self, lane: _Lane) -> None:
        _, group = lane.waiting.popitem(last=False)
        lane.count -= len(group)
        present = [attempt for attempt in group if not attempt.gone()]
        self.waiting -= len(group) - len(present)
        if present:
            lane.checks += 1
            self._checks += 1
        self._place(lane)
        if present:
            self._check(present[0].credentials, partial(self._checked, lane, present))

    def _checked(self, lane: _Lane, group: list[Attempt], verdict: Verdict) -> None:
        lane.checks -= 1
        self._checks -= 1
        self.waiting -= len(group)
        rest, late = self._policy.penalty(group[0], verdict)
        if rest:
            lane.rests = max(lane.rests or 0.0, self._clock.now() + rest)
            self._clock.timer(partial(self._rested, lane)).set(lane.rests)
        self._place(lane)
        self._turn_away(lane, self._room(lane), _busy(lane.count))
        if late:
            answer = partial(self._answer, group, verdict)
            self._clock.timer(answer).set(self._clock.now() + late)
        else:
            self._answer(group, verdict)
        self._serve()

    def _rested(self, lane: _Lane) -> None:
        if lane.rests is not None and lane.rests <= self._clock.now():
            lane.rests = None
            self._place(lane)
            self._serve()

    def _turn_away(self, lane: _Lane, room: int, why: ProtocolError) -> None:
        """Have no more wait than there is room for; who came last goes first."""
        while lane.count > room:
            _, group = lane.waiting.popitem()
            lane.count -= len(group)
            self.waiting -= len(group)
            self._answer(group, why)
        self._place(lane)

    # -- answers ----------------------------------------------------------------------------

    def _answer(self, group: Iterable[Attempt], verdict: Verdict) -> None:
        self._answers.extend((attempt, verdict) for attempt in group)
        self._answer_some()

    def _answer_some(self) -> None:
        for _ in range(min(_ANSWERED_AT_ONCE, len(self._answers))):
            attempt, verdict = self._answers.popleft()
            try:
                attempt.answer(verdict)
            except Exception:
                # The others are not to wait for ever because of one.
                log.exception("fault while a login was answered")
        if self._answers:
            self._answering.set(self._clock.now())


def _busy(waiting: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.LIMIT_EXCEEDED,
        f"the broker is busy: {waiting} logins from this address wait to be looked at; "
        "try again later",
    )
