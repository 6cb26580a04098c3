"""When a link is tried again: soon at first, then in longer pauses."""

from __future__ import annotations

import asyncio

from tests.support.links import SECRET
from tests.support.looping import run, soon

from stompy_broker.cluster.link.connection import LinkConnection
from stompy_broker.cluster.link.dialer import Dialer
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.timers import Clock


class Scene:
    """A dialer whose attempts fail at once, under a clock that the test moves."""

    def __init__(self, address: str = "no address") -> None:
        self.now = 0.0
        self.due = 0.0
        self.failures: list[str] = []
        self.clock = Clock(lambda: self.now, self._wake)
        self.dialer = Dialer(
            "bob",
            address,
            LinkSettings("c", "ann", SECRET, connect_seconds=0.05),
            self.clock,
            self._connect,
            lambda dialer, reason: self.failures.append(reason),
        )

    def _wake(self, when: float) -> None:
        self.due = when

    def _connect(self, peer: str, host: str, address: str) -> LinkConnection:
        raise AssertionError("nobody is there to connect to")

    async def fail(self) -> float:
        """Have one attempt fail; how long it is until the next."""
        before = len(self.failures)
        self.now = max(self.now, self.due)
        self.clock.run()
        await soon(lambda: len(self.failures) > before)
        return self.pause

    @property
    def pause(self) -> float:
        """How long it is until the next attempt."""
        due = self.dialer._timer._when
        assert due is not None
        return round(due - self.now, 3)


def test_pauses_grow_up_to_a_second_and_begin_anew_after_a_link_that_lasted() -> None:
    async def main() -> None:
        one = Scene()
        one.dialer.dial()
        assert [await one.fail() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        assert one.dialer.attempts == 6
        assert one.dialer.trouble == one.failures[-1]
        one.dialer._timer.cancel()  # the next attempt comes to a link
        one.dialer.opened()
        assert one.dialer.trouble == ""
        one.now += 5
        one.dialer.failed("cut")
        one.dialer.again()
        assert one.pause == 0.1
        # One that is lost at once again is no reason to hurry.
        one.dialer._timer.cancel()
        one.dialer.opened()
        one.dialer.failed("cut")
        one.dialer.again()
        assert one.pause == 0.2
        one.dialer.end("enough")
        one.now += 5
        one.clock.run()
        assert not one.dialer.is_dialling
        await one.dialer.ended()

    run(main)


def test_one_that_ends_leaves_no_attempt_behind() -> None:
    async def main() -> None:
        one = Scene("192.0.2.1:1")
        one.dialer.dial()
        one.dialer.dial()
        await asyncio.sleep(0)
        assert one.dialer.is_dialling
        one.dialer.end("enough")
        await one.dialer.ended()
        assert not one.dialer.is_dialling
        assert one.failures == []

    run(main)
