"""A time that is moved by hand: everything in order, each at its own instant."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from stompy_broker.virtual_clock import NextEvent, VirtualClock, time_source, virtual_clock_of

START = datetime(2030, 1, 1, tzinfo=UTC)
Test = Callable[[VirtualClock], Awaitable[None]]


def with_clock(test: Test) -> None:
    """Run a test with a clock that begins at `START`."""

    async def run() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)
        try:
            await test(clock)
        finally:
            await clock.end()

    asyncio.run(run())


class Fires:
    """Timers that note when they have fired."""

    def __init__(self, clock: VirtualClock) -> None:
        self.fired: list[tuple[str, datetime]] = []
        self._clock = clock

    def at(self, name: str, seconds: float, then: Callable[[], object] = int) -> None:
        """Note a name that many seconds from now, and do something."""

        def fire() -> None:
            self.fired.append((name, self._clock.now))
            then()

        self._clock.clock.timer(fire).set(self._clock.clock.now() + seconds)

    @property
    def told(self) -> list[tuple[str, float]]:
        """Names, and how many seconds after `START` they were noted."""
        return [(name, (when - START).total_seconds()) for name, when in self.fired]


def test_it_stands_still() -> None:
    async def test(clock: VirtualClock) -> None:
        before = clock.now
        fires = Fires(clock)
        fires.at("later", 0.0001)
        for _ in range(10):
            await asyncio.sleep(0)
        assert clock.now == before == START
        assert fires.told == []

    with_clock(test)


def test_what_is_due_now_happens_by_itself() -> None:
    async def test(clock: VirtualClock) -> None:
        fires, happened = Fires(clock), asyncio.Event()
        fires.at("now", 0, happened.set)
        await happened.wait()
        assert fires.told == [("now", 0)]

    with_clock(test)


def test_everything_happens_in_order_at_its_own_instant() -> None:
    async def test(clock: VirtualClock) -> None:
        fires = Fires(clock)
        for seconds in random.Random(3).sample(range(1, 1000), 200):
            fires.at("x", seconds / 8)
        assert await clock.advance(1000) == START + timedelta(seconds=1000)
        times = [seconds for _, seconds in fires.told]
        assert len(times) == 200
        assert times == sorted(times)
        assert all(seconds * 8 == round(seconds * 8) for seconds in times)

    with_clock(test)


def test_what_is_set_meanwhile_happens_within_the_same_advance() -> None:
    async def test(clock: VirtualClock) -> None:
        fires = Fires(clock)
        fires.at("first", 10, lambda: fires.at("between", 5))
        fires.at("last", 20, lambda: fires.at("beyond", 81))
        await clock.advance("100 s")
        assert fires.told == [("first", 10), ("between", 15), ("last", 20)]
        await clock.advance(1)
        assert fires.told[-1] == ("beyond", 101)

    with_clock(test)


def test_a_timer_that_was_put_off_happens_when_it_should() -> None:
    async def test(clock: VirtualClock) -> None:
        fired: list[datetime] = []
        timer = clock.clock.timer(lambda: fired.append(clock.now))
        timer.set(clock.clock.now() + 1)
        timer.set(clock.clock.now() + 50)
        event = clock.next_event
        assert event is not None
        assert event.at == START + timedelta(seconds=50)
        await clock.advance(60)
        assert fired == [START + timedelta(seconds=50)]

    with_clock(test)


def test_upkeep_keeps_its_place_and_is_no_event() -> None:
    async def test(clock: VirtualClock) -> None:
        fires = Fires(clock)
        upkeep = clock.clock.upkeep.timer(lambda: fires.fired.append(("upkeep", clock.now)))
        upkeep.set(clock.clock.now() + 2)
        assert clock.next_event is None
        assert await clock.run_until_idle() == timedelta(0)
        fires.at("before", 1)
        fires.at("after", 3)
        await clock.advance(3)
        assert fires.told == [("before", 1), ("upkeep", 2), ("after", 3)]

    with_clock(test)


def test_it_runs_until_nothing_is_due() -> None:
    async def test(clock: VirtualClock) -> None:
        fires = Fires(clock)
        fires.at("one", 60, lambda: fires.at("two", 3600))
        assert await clock.run_until_idle() == timedelta(hours=1, minutes=1)
        assert [name for name, _ in fires.told] == ["one", "two"]
        assert clock.now == START + timedelta(hours=1, minutes=1)
        assert clock.next_event is None

    with_clock(test)


def test_it_stays_at_the_last_event_that_it_may_go_to() -> None:
    async def test(clock: VirtualClock) -> None:
        fires = Fires(clock)
        upkeep = clock.clock.upkeep.timer(lambda: upkeep.set(clock.clock.now() + 1))
        upkeep.set(clock.clock.now() + 1)
        fires.at("one", 60)
        fires.at("far", 3600)
        assert await clock.run_until_idle("10 min") == timedelta(minutes=1)
        assert [name for name, _ in fires.told] == ["one"]

    with_clock(test)


def test_it_runs_no_further_than_it_may() -> None:
    async def test(clock: VirtualClock) -> None:
        fires = Fires(clock)

        def again() -> None:
            fires.at("again", 60, again)

        again()
        assert await clock.run_until_idle("10 min") == timedelta(minutes=10)
        assert len(fires.told) == 10
        assert clock.next_event is not None

    with_clock(test)


def test_the_wall_goes_with_it() -> None:
    async def test(clock: VirtualClock) -> None:
        begin = int(START.timestamp() * 1000)
        assert clock.wall() == begin
        for milliseconds in (1, 2, 333, 86_400_000, 10):
            await clock.advance(milliseconds / 1000)
            begin += milliseconds
            assert clock.wall() == begin

    with_clock(test)


def test_it_goes_to_a_time() -> None:
    async def test(clock: VirtualClock) -> None:
        later = datetime(2031, 7, 1, 12, tzinfo=UTC)
        assert await clock.advance_to(later) == clock.now == later
        with pytest.raises(ValueError, match="does not go back"):
            await clock.advance_to(START)
        with pytest.raises(ValueError, match="time zone"):
            await clock.advance_to(datetime(2040, 1, 1))
        with pytest.raises(ValueError, match="calendar"):
            await clock.advance("4000000 days")
        with pytest.raises(ValueError, match="forward"):
            await clock.advance(-1)
        assert clock.now == later

    with_clock(test)


def test_two_who_move_it_have_their_turns() -> None:
    async def test(clock: VirtualClock) -> None:
        await asyncio.gather(clock.advance(10), clock.advance(20))
        assert clock.now == START + timedelta(seconds=30)

    with_clock(test)


def test_it_waits_for_turns_and_threads() -> None:
    async def test(clock: VirtualClock) -> None:
        seen: list[tuple[str, datetime]] = []

        def fire() -> None:
            clock.soon(lambda: clock.soon(lambda: seen.append(("turn", clock.now))))
            clock.in_thread(lambda: True, lambda _: seen.append(("thread", clock.now)))
            pace = clock.clock.pacing.timer(lambda: seen.append(("pause", clock.now)))
            pace.set(clock.clock.pacing.now() + 0.001)

        clock.clock.timer(fire).set(clock.clock.now() + 1)
        Fires(clock).at("later", 2)
        await clock.advance(10)
        assert sorted(name for name, _ in seen) == ["pause", "thread", "turn"]
        assert {when for _, when in seen} == {START + timedelta(seconds=1)}

    with_clock(test)


def test_it_runs_by_itself_once_it_is_thawed() -> None:
    async def test(clock: VirtualClock) -> None:
        fires, happened = Fires(clock), asyncio.Event()
        fires.at("by itself", 0.001, happened.set)
        clock.thaw()
        assert not clock.frozen
        await happened.wait()
        assert clock.now > START
        clock.freeze()
        at = clock.now
        await asyncio.sleep(0)
        assert clock.now == at
        # Moved while it runs, it goes on running from there.
        clock.thaw()
        await clock.advance("1 day")
        assert not clock.frozen
        assert clock.now >= at + timedelta(days=1)

    with_clock(test)


def test_who_moves_it_is_told_of_its_end() -> None:
    async def test() -> None:
        clock = VirtualClock(asyncio.get_running_loop(), START)

        def again() -> None:
            clock.clock.timer(again).set(clock.clock.now() + 0.001)

        again()
        moving = asyncio.ensure_future(clock.advance("4000 days"))
        await asyncio.sleep(0)
        await clock.end()
        assert moving.cancelled()

    asyncio.run(test())


def test_an_event_has_a_name() -> None:
    async def test(clock: VirtualClock) -> None:
        clock.clock.timer(clock.freeze).set(clock.clock.now() + 1)
        assert clock.next_event == NextEvent("VirtualClock.freeze", START + timedelta(seconds=1))

    with_clock(test)


def test_a_time_is_chosen() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(time_source(loop, "virtual", ""), VirtualClock)
        assert virtual_clock_of(time_source(loop, START, "")).now == START
        assert not time_source(loop, "real", "a cluster").is_virtual
        with pytest.raises(RuntimeError, match="virtual"):
            virtual_clock_of(time_source(loop, "real", ""))
        with pytest.raises(ValueError, match="cluster 'x'"):
            time_source(loop, "virtual", "x")
        with pytest.raises(ValueError, match="not 'slow'"):
            time_source(loop, "slow", "")  # type: ignore[arg-type] -- that is the mistake

    asyncio.run(test())
