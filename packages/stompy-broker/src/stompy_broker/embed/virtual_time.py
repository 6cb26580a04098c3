"""The time of a broker on another thread, moved from here: thirty days pass in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from stompy.session.clock import Waiter
from stompy_broker.broker import Broker
from stompy_broker.durations import Duration
from stompy_broker.embed.inspect import ANSWER_SECONDS, BrokerTimeoutError
from stompy_broker.virtual_clock import MOST, NextEvent, VirtualClock

T = TypeVar("T")

_LOOK_SECONDS = 0.5
"""How often is looked whether the broker is still there."""


class Moved(Protocol):
    """A broker on another thread."""

    @property
    def is_running(self) -> bool:
        """Whether clients can connect."""
        ...

    def _submit(self, work: Callable[[Broker], Coroutine[object, object, T]]) -> Future[T]:
        """Do something on the broker's thread."""
        ...

    def describe(self) -> str:
        """Tell of queues and clients in some lines, for people."""
        ...


class VirtualTime:
    """The time of a broker, which stands still unless it is moved. From any thread.

    Args:
        broker: it.
        clock: its clock.
    """

    def __init__(self, broker: Moved, clock: VirtualClock) -> None:
        self._broker = broker
        self._clock = clock

    @property
    def now(self) -> datetime:
        """What time it is, in UTC."""
        return self._clock.now

    @property
    def next_event(self) -> NextEvent | None:
        """What is due next, and when; None = nothing.

        What clients sent before is worked on first. Heart-beats, and the rounds that look for idle
        queues, are no events.
        """
        return self._wait(lambda clock: clock.settled_next_event())

    @property
    def frozen(self) -> bool:
        """Whether the time stands still until it is moved."""
        return self._clock.frozen

    def advance(self, by: Duration, *, settled: bool = False) -> datetime:
        """Let time pass: everything that is due meanwhile happens, in order, each at its instant.

        What clients sent before is worked on first. At the end the broker is at rest: all is
        written, also to the sockets of clients.

        Args:
            by: how much: ``"30 days"``, ``"1 h 30 min"``, seconds, or a timedelta.
            settled: wait at each instant until clients have settled all that they were given.

        Returns:
            What time it is then.

        Raises:
            BrokerTimeoutError: the broker does not come to rest, or clients do not settle.
            ValueError: that is no span of time.
        """
        __tracebackhide__ = True
        return self._wait(lambda clock: clock.advance(by, settled=settled))

    def advance_to(self, when: datetime, *, settled: bool = False) -> datetime:
        """Let time pass until then; see `advance`.

        Args:
            when: with a time zone.
            settled: see `advance`.

        Returns:
            What time it is then.

        Raises:
            BrokerTimeoutError: the broker does not come to rest, or clients do not settle.
            ValueError: it is over already, or has no time zone.
        """
        __tracebackhide__ = True
        return self._wait(lambda clock: clock.advance_to(when, settled=settled))

    def run_until_idle(self, max_advance: Duration = MOST, *, settled: bool = False) -> timedelta:
        """Go from event to event until nothing is due any more, and stay at the last one.

        Args:
            max_advance: go no further than that; a year by default.
            settled: see `advance`.

        Returns:
            How much time has passed.

        Raises:
            BrokerTimeoutError: the broker does not come to rest, or clients do not settle.
            ValueError: that is no span of time.
        """
        __tracebackhide__ = True
        return self._wait(lambda clock: clock.run_until_idle(max_advance, settled=settled))

    def freeze(self) -> None:
        """Have the time stand still until it is moved. So it does from the beginning."""
        self._do(VirtualClock.freeze)

    def thaw(self) -> None:
        """Let the time run on by itself, as fast as real time, from where it stands."""
        self._do(VirtualClock.thaw)

    @property
    def aio(self) -> AwaitableTime:
        """The same for coroutines, which must not block their event loop."""
        return AwaitableTime(self)

    def seconds(self) -> float:
        """What the clock shows, for clients that go by it: ``connect(clock=…)``."""
        return self._clock.seconds()

    def wait_until(self, who: Waiter, due: float | None) -> None:
        """Wake a client at a time, which the time waits for; see `stompy.session.clock.Clock`.

        Args:
            who: is woken.
            due: when; None = not at all.
        """
        self._clock.wait_until(who, due)

    def _do(self, what: Callable[[VirtualClock], None]) -> None:
        async def do(broker: Broker) -> None:
            what(broker.time)

        self._broker._submit(do).result(ANSWER_SECONDS)

    def _wait(self, move: Callable[[VirtualClock], Coroutine[object, object, T]]) -> T:
        __tracebackhide__ = True
        moved = self._submit(move)
        # A loop that has just ended takes what is handed to it, and never does it.
        while not moved.done() and self._broker.is_running:
            wait((moved,), _LOOK_SECONDS)
        if not moved.done():
            raise _stopped()
        try:
            return moved.result()
        except CancelledError:
            raise _stopped() from None
        except TimeoutError as error:
            raise self._in_vain(error) from None

    def _submit(self, move: Callable[[VirtualClock], Coroutine[object, object, T]]) -> Future[T]:
        return self._broker._submit(lambda broker: move(broker.time))

    def _in_vain(self, error: TimeoutError) -> BrokerTimeoutError:
        return BrokerTimeoutError(f"{error}\n{self._broker.describe()}")

    def __repr__(self) -> str:
        """Show what time it is."""
        return f"<VirtualTime {self.now.isoformat()}{'' if self.frozen else ' running'}>"


class AwaitableTime:
    """`VirtualTime` for coroutines.

    Args:
        time: of the broker.
    """

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    async def advance(self, by: Duration, *, settled: bool = False) -> datetime:
        """Let time pass; see `VirtualTime.advance`."""
        __tracebackhide__ = True
        return await self._wait(lambda clock: clock.advance(by, settled=settled))

    async def advance_to(self, when: datetime, *, settled: bool = False) -> datetime:
        """Let time pass until then; see `VirtualTime.advance_to`."""
        __tracebackhide__ = True
        return await self._wait(lambda clock: clock.advance_to(when, settled=settled))

    async def run_until_idle(
        self, max_advance: Duration = MOST, *, settled: bool = False
    ) -> timedelta:
        """Go from event to event; see `VirtualTime.run_until_idle`."""
        __tracebackhide__ = True
        return await self._wait(lambda clock: clock.run_until_idle(max_advance, settled=settled))

    async def next_event(self) -> NextEvent | None:
        """What is due next, and when; see `VirtualTime.next_event`."""
        return await self._wait(lambda clock: clock.settled_next_event())

    async def _wait(self, move: Callable[[VirtualClock], Coroutine[object, object, T]]) -> T:
        __tracebackhide__ = True
        there = self._time._submit(move)
        moved = asyncio.wrap_future(there)
        try:
            while not there.done() and self._time._broker.is_running:
                await asyncio.wait((moved,), timeout=_LOOK_SECONDS)
        except asyncio.CancelledError:
            moved.cancel()
            raise
        if not there.done():
            raise _stopped()
        try:
            return await moved
        except asyncio.CancelledError:
            if there.cancelled():
                raise _stopped() from None
            raise
        except TimeoutError as error:
            raise self._time._in_vain(error) from None


def _stopped() -> RuntimeError:
    return RuntimeError("the broker was stopped while its time was moved")
