"""A time that moves when it is told to, for tests: thirty days pass in a moment.

What goes by the time fires in order, each at its own instant, and before the next instant the
broker comes to rest: its turns are over, its store has written, its answers are with the clients'
sockets. What is set meanwhile, and is due before the end, fires within the same advance.

What holds at all times:

* The time stands still unless somebody moves it, or lets it run (`VirtualClock.thaw`).
* It never goes back.
* What is about sockets, disk and processor, or about people who watch, goes by real time
  (`Clock.machine`, `Clock.pacing`), so that clients in real time live.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeVar

from stompy.session.clock import Waiter
from stompy_broker.clock_waiters import ClockWaiters
from stompy_broker.durations import Duration, seconds_of
from stompy_broker.event_loop import run_in_thread
from stompy_broker.routing.group import QueueGroups
from stompy_broker.store.interface import MessageStore
from stompy_broker.time_source import Alarm, ClientConnection, RealTime, Surroundings, wall_ms
from stompy_broker.timers import Clock, Timer

T = TypeVar("T")

Time = Literal["real", "virtual"] | datetime
"""Whose time a broker goes by: the system's, or one that is moved, from now or a datetime on."""

PATIENCE = 30.0
"""Real seconds after which a broker that does not come to rest is given up."""
CLIENTS_PATIENCE = 30.0
"""The same of clients, which are to settle what they were given, or to do what is due."""
MOST = timedelta(days=366)
"""How far `run_until_idle` goes unless told otherwise."""
_CALM_TURNS = 4
"""Turns of the event loop in which nothing happens: each has looked at all sockets."""
_PAUSE = 0.0005
"""Real seconds between two looks at a thread that works."""
_OTHERS = 0.002
"""Real seconds after which the event loop has a turn, also when nothing is to be waited for."""
_BEGIN = 1000.0
"""What the clock shows at first; its zero means nothing."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOSE = 0.01
"""Part of a millisecond that the rounding of seconds may take away."""
_NEVER = float("inf")

_WORDS: Final = {
    "Delays._release": "messages come again after a delay",
    "LocalQueue._expire": "messages expire",
    "ScheduleQueue._ring": "messages that were scheduled are sent",
    "TurnLine._serve": "users who have used up a quota go on",
    "GroupTable._ring": "groups that were held go on",
    "DeliveryRate._ring": "a queue hands out again, at its rate",
    "ActiveConsumer._ring": "a consumer waits no longer to become the active one",
    "_Open.__init__.<locals>.<lambda>": "a request that nobody replied to is answered",
    "UnmatchedWatch._tell": "messages that nobody takes are told of",
    "LimitedSubscription._look": "deliveries were held too long",
    "CheckQueue._rested": "logins that failed may be tried again",
    "CheckQueue._answer": "a login that failed is answered",
}
"""What timers do, in words; others are called by their names."""


@dataclass(frozen=True, slots=True)
class NextEvent:
    """What is due next.

    Attributes:
        what: in words.
        at: when, in UTC.
    """

    what: str
    at: datetime


class VirtualClock:
    """The time of a broker that is moved by hand. Its methods belong to the broker's event loop.

    Args:
        loop: on which the broker runs.
        start: where it begins; None = at the present second.

    Attributes:
        clock: rings.
    """

    is_virtual = True
    """Whether somebody else moves it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime | None = None) -> None:
        self._loop = loop
        self._machine, self._pacing = Alarm(loop), Alarm(loop)
        self.clock = Clock(self._seconds, self._wake)
        self.clock.upkeep = Clock(self._seconds, self._wake)
        self.clock.machine, self.clock.pacing = self._machine.clock, self._pacing.clock
        self._waiters = ClockWaiters()
        self._due: asyncio.TimerHandle | None = None
        self._base = wall_ms() // 1000 * 1000 if start is None else _ms_of(start)
        self._now = _BEGIN
        self._ran_from: float | None = None  # on the loop's clock; None = it stands still
        self._pending = self._threads = 0
        self._around: Surroundings | None = None
        self._turn = asyncio.Lock()
        self._ended = False
        self._moving: set[asyncio.Task[object]] = set()

    # -- what it shows --------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What time it is, in UTC. It may be asked for on any thread."""
        return self._datetime(self._seconds())

    @property
    def frozen(self) -> bool:
        """Whether the time stands still until it is moved."""
        return self._ran_from is None

    @property
    def next_event(self) -> NextEvent | None:
        """What is due next, and when; None = nothing.

        Heart-beats, and the rounds that look for idle queues, are none.
        """
        timer = self.clock.next_timer()
        if timer is None or timer.when is None:
            return None
        return NextEvent(_what(timer), self._datetime(max(timer.when, self._seconds())))

    def seconds(self) -> float:
        """What the clock shows, for clients that go by it. It may be asked for on any thread."""
        return self._seconds()

    def wait_until(self, who: Waiter, due: float | None) -> None:
        """Wake a client at a time, which the time waits for; see `stompy.session.clock.Clock`.

        Args:
            who: is woken.
            due: when; None = not at all.
        """
        self._waiters.set(who, due)
        if due is not None and due <= self._seconds():
            who.wake()
        elif not self.frozen:
            with contextlib.suppress(RuntimeError):  # the broker has stopped
                self._loop.call_soon_threadsafe(self._set_alarm)

    def _seconds(self) -> float:
        if self._ran_from is None:
            return self._now
        return self._now + self._loop.time() - self._ran_from

    def wall(self) -> int:
        """The time in milliseconds since the epoch."""
        return self._base + int((self._seconds() - _BEGIN) * 1000 + _CLOSE)

    def _datetime(self, seconds: float) -> datetime:
        passed = round((seconds - _BEGIN) * 1_000_000)
        return _EPOCH + timedelta(milliseconds=self._base, microseconds=passed)

    # -- moving it ------------------------------------------------------------------------------

    async def advance(self, by: Duration, *, settled: bool = False) -> datetime:
        """Let time pass: everything that is due meanwhile happens, in order, each at its instant.

        What clients sent before is worked on first. At the end the broker is at rest.

        Args:
            by: how much: ``"30 days"``, ``"1 h 30 min"``, seconds, or a timedelta.
            settled: wait at each instant until clients have settled all that they were given.

        Returns:
            What time it is then.

        Raises:
            TimeoutError: the broker does not come to rest, or clients do not settle.
            ValueError: that is no span of time.
        """
        seconds = seconds_of(by)
        try:
            self._datetime(self._seconds() + seconds)
        except OverflowError:
            raise ValueError(f"time goes no further than the calendar: not by {by}") from None

        async def move() -> datetime:
            await self._move(self._now + seconds, settled)
            return self.now

        return await self._alone(move)

    async def advance_to(self, when: datetime, *, settled: bool = False) -> datetime:
        """Let time pass until then; see `advance`.

        Args:
            when: with a time zone.
            settled: see `advance`.

        Raises:
            TimeoutError: the broker does not come to rest, or clients do not settle.
            ValueError: it is over already, or has no time zone.
        """
        target = _BEGIN + (_ms_of(when) - self._base) / 1000

        async def move() -> datetime:
            if target < self._now:
                raise ValueError(f"time does not go back: it is {self.now} already, not {when}")
            await self._move(target, settled)
            return self.now

        return await self._alone(move)

    async def run_until_idle(
        self, max_advance: Duration = MOST, *, settled: bool = False
    ) -> timedelta:
        """Go from event to event until nothing is due any more, and stay at the last one.

        Args:
            max_advance: go no further than that.
            settled: see `advance`.

        Returns:
            How much time has passed.

        Raises:
            TimeoutError: the broker does not come to rest, or clients do not settle.
            ValueError: that is no span of time.
        """
        seconds = seconds_of(max_advance)

        async def move() -> timedelta:
            begun = self._now
            await self._move(begun + seconds, settled, only_events=True)
            return timedelta(seconds=round(self._now - begun, 6))

        return await self._alone(move)

    async def settled_next_event(self) -> NextEvent | None:
        """What is due next, once what clients sent before was worked on; see `next_event`.

        Raises:
            TimeoutError: the broker does not come to rest.
        """

        async def look() -> NextEvent | None:
            await self._rest()
            return self.next_event

        return await self._alone(look)

    def freeze(self) -> None:
        """Have the time stand still until it is moved. So it does from the beginning."""
        self._now, self._ran_from = self._seconds(), None
        self._set_alarm()

    def thaw(self) -> None:
        """Let the time run on by itself, as fast as real time, from where it stands."""
        if self._ran_from is None:
            self._ran_from = self._loop.time()
            self._set_alarm()

    async def _alone(self, move: Callable[[], Awaitable[T]]) -> T:
        """Move the time, when nobody else does; meanwhile it does not run by itself.

        Raises:
            RuntimeError: the broker has stopped.
        """
        if self._ended:
            raise RuntimeError("the broker has stopped, and its time with it")
        task = asyncio.current_task()
        assert task is not None
        self._moving.add(task)
        try:
            async with self._turn:
                runs = not self.frozen
                self.freeze()
                try:
                    return await move()
                finally:
                    if runs:
                        self.thaw()
        finally:
            self._moving.discard(task)

    async def _move(self, target: float, settled: bool, *, only_events: bool = False) -> None:
        await self._rest()
        if settled:
            await self._all_settled()
        others = self._loop.time() + _OTHERS
        while (when := self._next(only_events, target)) is not None and when <= target:
            self._now = max(self._now, when)
            self._fire()
            if await self._clients_woken() or self._is_busy:
                await self._rest()
            elif self._loop.time() >= others:
                await asyncio.sleep(0)
                others = self._loop.time() + _OTHERS
            if settled:
                await self._all_settled()
        if not only_events:
            self._now = max(self._now, target)
        await self._rest()

    def _next(self, only_events: bool, until: float = _NEVER) -> float | None:
        """When something is due next; of events, if one is due by then."""
        event, upkeep = self.clock.next_timer(), self.clock.upkeep.next_timer()
        if only_events and (event is None or event.when is None or event.when > until):
            return None
        times = [timer.when for timer in (event, upkeep) if timer is not None]
        times.append(self._waiters.next())
        return min((when for when in times if when is not None), default=None)

    def _fire(self) -> None:
        """Do what is due now."""
        self.clock.run()
        self.clock.upkeep.run()
        self._waiters.wake(self._seconds())
        if not self.frozen:
            self._set_alarm()

    async def _clients_woken(self) -> bool:
        """Wait until clients that go by the time have done what is due; say whether any had to.

        Raises:
            TimeoutError: one does not.
        """
        until = self._loop.time() + CLIENTS_PATIENCE
        waited = False
        while (due := self._waiters.next()) is not None and due <= self._now:
            if self._loop.time() > until:
                raise TimeoutError(
                    f"it is {self.now.isoformat()}, and a client that goes by this time does not "
                    f"do what is due, after {CLIENTS_PATIENCE:g} s of real time: does its thread, "
                    "or its event loop, wait for something else?"
                )
            waited = True
            await asyncio.sleep(_PAUSE)
        return waited

    # -- coming to rest -------------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        around = self._around
        return bool(
            self._pending
            or self._threads
            or self.clock.pacing.next_timer() is not None
            or (around is not None and around.is_working)
        )

    @property
    def _unsettled(self) -> int:
        return 0 if self._around is None else self._around.unsettled

    async def _rest(self) -> None:
        """Wait until nothing is under way: no turn, no thread, nothing unread or unwritten.

        Raises:
            TimeoutError: that does not come.
        """
        until = self._loop.time() + PATIENCE
        calm = 0
        while calm < _CALM_TURNS:
            if self._loop.time() > until:
                raise TimeoutError(f"the broker does not come to rest: {self._why_not()}")
            await self._safe(until)
            await asyncio.sleep(_PAUSE if self._waits_for_others else 0)
            busy = self._is_busy or (self._around is not None and self._around.has_unread)
            calm = 0 if busy else calm + 1

    @property
    def _waits_for_others(self) -> bool:
        """Whether turns of the event loop alone bring nothing on."""
        working = self._around is not None and self._around.is_working
        return not self._pending and bool(
            self._threads or working or self.clock.pacing.next_timer()
        )

    def _why_not(self) -> str:
        if self._around is not None and self._around.has_unread:
            return "clients go on sending"
        return "it goes on working"

    async def _safe(self, until: float) -> None:
        """Wait until the store has written everything.

        Raises:
            TimeoutError: it cannot.
        """
        if self._around is not None:
            safe = asyncio.Event()
            self._around.sync(safe.set)
            if not safe.is_set():
                async with asyncio.timeout_at(until):
                    await safe.wait()

    async def _all_settled(self) -> None:
        """Wait until no delivery is with a client.

        Raises:
            TimeoutError: that does not come.
        """
        until = self._loop.time() + CLIENTS_PATIENCE
        while held := self._unsettled:
            if self._loop.time() > until:
                raise TimeoutError(
                    f"it is {self.now.isoformat()}, and {held} deliveries are with clients, "
                    f"which have not settled them after {CLIENTS_PATIENCE:g} s of real time"
                )
            await asyncio.sleep(_PAUSE)
            await self._rest()

    # -- what the broker asks -------------------------------------------------------------------

    def watch(
        self, connections: Iterable[ClientConnection], groups: QueueGroups, store: MessageStore
    ) -> None:
        """Have these come to rest before the time goes on."""
        self._around = Surroundings(connections, groups, store)

    def soon(self, what: Callable[[], None]) -> None:
        """Call a function at the next turn of the event loop; the time waits for it."""
        self._pending += 1
        self._loop.call_soon(self._do, what)

    def _do(self, what: Callable[[], None]) -> None:
        self._pending -= 1
        what()

    def in_thread(
        self, work: Callable[[], bool | None], done: Callable[[bool | None], None]
    ) -> None:
        """Run slow work on a thread; the time waits for it."""

        def told(result: bool | None) -> None:
            self._threads -= 1
            done(result)

        self._threads += 1
        run_in_thread(self._loop, work, told)

    def _wake(self, when: float) -> None:
        """Ring at once what is due; what is due later waits until the time is moved there."""
        if self._ran_from is not None:
            self._set_alarm()
        elif when <= self._now:
            self.soon(self._fire)

    def _set_alarm(self) -> None:
        """Ring by the event loop while the time runs by itself."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        when = self._next(only_events=False)
        if self._ran_from is not None and when is not None and when < _NEVER:
            self._due = self._loop.call_at(self._ran_from + when - self._now, self._fire)

    async def end(self) -> None:
        """Stand still for good; who moves the time is told."""
        self._ended = True
        self.freeze()
        moving = list(self._moving)
        for task in moving:
            task.cancel()
        await asyncio.gather(*moving, return_exceptions=True)
        self._pacing.clear()
        self._machine.clear()


def time_source(
    loop: asyncio.AbstractEventLoop, time: Time, cluster: str
) -> RealTime | VirtualClock:
    """Choose where a broker has its time from.

    Args:
        loop: on which it runs.
        time: what was asked for.
        cluster: to which it belongs; empty = to none.

    Raises:
        ValueError: there is no such time, or none for a broker of a cluster.
    """
    if time == "real":
        return RealTime(loop)
    if cluster:
        raise ValueError(f"a broker of cluster {cluster!r} goes by the time of the others")
    if time == "virtual":
        return VirtualClock(loop)
    if isinstance(time, datetime):
        return VirtualClock(loop, time)
    raise ValueError(f"time is 'real', 'virtual', or a datetime at which it begins, not {time!r}")


def virtual_clock_of(source: RealTime | VirtualClock) -> VirtualClock:
    """What moves the time.

    Raises:
        RuntimeError: nothing does, for it is the real one.
    """
    if isinstance(source, VirtualClock):
        return source
    raise RuntimeError(
        'the time of this broker passes by itself: only one that was made with time="virtual" '
        "can be moved"
    )


def _ms_of(when: datetime) -> int:
    """Milliseconds since the epoch.

    Raises:
        ValueError: it has no time zone.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when} is the time of no place: give it a time zone, such as UTC")
    return round((when - _EPOCH) / timedelta(milliseconds=1))


def _what(timer: Timer) -> str:
    """What a timer does, in words, and the name of what it belongs to."""
    action = timer.action
    name = getattr(getattr(action, "func", action), "__qualname__", repr(action))
    subject = getattr(getattr(action, "__self__", None), "name", "")
    words = _WORDS.get(name, name)
    return f"{words}: {subject}" if isinstance(subject, str) and subject else words
