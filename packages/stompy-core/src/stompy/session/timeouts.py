"""What a time-out says: what was waited for, how long, and what stands in the way. Pure."""

from __future__ import annotations

from collections.abc import Sequence

STARVING_SECONDS = 30.0
"""After so long who waits for messages without end is told if it has used up its own prefetch."""

_NAMED = 3


def until(now: float, timeout: float | None) -> float | None:
    """When a time-out will be over; None for never.

    Raises:
        TypeError: it is no number.
    """
    if timeout is None:
        return None
    try:
        return now + timeout
    except TypeError:
        raise TypeError(f"a time-out is a number of seconds, not {timeout!r}") from None


def within(timeout: float | None) -> str:
    """How long somebody has waited, behind what for."""
    return "" if timeout is None else f" within {timeout:g} s"


def hindrance(unfetched: int) -> str:
    """Why an answer is not read, behind that it did not come."""
    return (
        f": {unfetched} frames that came before it are not fetched, and no more are read until "
        "some are (fetch in another thread, or subscribe with an ack mode and a prefetch)"
    )


def complaint(reason: str | None) -> str:
    """Why a broker may not answer, as it said itself when it let us in; empty = it said nothing."""
    return f"; when we logged in the broker said that producers wait: {reason}" if reason else ""


def nothing_came(
    destinations: Sequence[str],
    timeout: float | None,
    unsettled: int = 0,
    prefetch: int | None = None,
) -> str:
    """That no message came.

    Args:
        destinations: what is subscribed to.
        timeout: seconds that were waited.
        unsettled: how many messages were received and not settled.
        prefetch: how many may be.
    """
    if not destinations:
        return (
            f"nothing came{within(timeout)}, and there is no subscription that it could come from"
        )
    named = ", ".join(destinations[:_NAMED])
    others = len(destinations) - _NAMED
    more = f" and {others} more" if others > 0 else ""
    text = f"nothing came from {named}{more}{within(timeout)}"
    if not unsettled:
        return text
    text += f"; {unsettled} messages of it are not settled"
    if prefetch and unsettled >= prefetch:
        text += ", which is its prefetch: acknowledge some, and more will come"
    return text
