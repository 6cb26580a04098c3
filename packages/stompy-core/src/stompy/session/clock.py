"""By which time a client goes: the system's, unless a test moves it.

What runs by itself goes by it: heart-beats, and the pauses before a client connects again. The
time-outs of calls are for who waits, and stay in real time. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Waiter(Protocol):
    """Somebody who has something to do at a time."""

    def wake(self) -> None:
        """Look what is due; called on any thread."""
        ...


class Clock(Protocol):
    """A time that is not the system's, such as `stompy_broker.VirtualTime`."""

    def seconds(self) -> float:
        """What time it is; it only goes forward. Called on any thread."""
        ...

    def wait_until(self, who: Waiter, due: float | None) -> None:
        """Wake somebody at a time and at no other; None = not at all. Called on any thread.

        The time goes on only once the waiter has done what was due, and has said until when it
        waits now.

        Args:
            who: is woken; nobody else may refer to it.
            due: when; at once, if that is over.
        """
        ...


def seconds_of(clock: Clock | None, real: Callable[[], float]) -> Callable[[], float]:
    """Give what tells the time.

    Args:
        clock: by which a client goes; None = the system's.
        real: tells the system's.
    """
    return real if clock is None else clock.seconds


def pause_until(
    clock: Clock | None, who: Waiter, due: float | None, now: Callable[[], float]
) -> float | None:
    """Give how many seconds to wait at most, unless woken before; None = until woken.

    Args:
        clock: by which a client goes; None = the system's. Another one wakes the waiter.
        who: waits.
        due: until when.
        now: tells the time.
    """
    if clock is not None:
        clock.wait_until(who, due)
        return None
    return None if due is None else max(0.0, due - now())
