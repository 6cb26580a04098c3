"""What a broker itself answers to a request, and what that means for who waits. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stompy.errors import (
    FrameLike,
    NoResponders,
    ReplyStatus,
    RequestRejected,
    STOMPException,
    STOMPTimeout,
)
from stompy.session.timeouts import within

_WORDS = {
    ReplyStatus.EXPIRED: "its time to live was over before anybody answered",
    ReplyStatus.REJECTED: "it was given up, and nobody answered",
    ReplyStatus.REFUSED: "the queue is full",
}


def timeout_headers(timeout: float, headers: Mapping[str, object]) -> dict[str, str | int | float]:
    """Headers of a request by which the broker answers if nobody else does.

    Args:
        timeout: seconds that somebody waits.
        headers: what the application says itself.
    """
    if "reply-timeout" in headers or not math.isfinite(timeout):
        return {}
    return {"reply-timeout": max(1, math.ceil(timeout * 1000))}


def status_of(frame: FrameLike) -> ReplyStatus | None:
    """What the broker answers by a frame; None = it is a reply of somebody else."""
    status = frame.Headers.get("reply-status")
    if status is None or frame.Body:
        return None
    try:
        return ReplyStatus(status)
    except ValueError:
        return None


def failure_in(frame: FrameLike, destination: str, timeout: float) -> STOMPException | None:
    """What who waits for a reply is to be told in place of one; None = it is one.

    Args:
        frame: what came.
        destination: of the request.
        timeout: seconds that it waits for.
    """
    status = status_of(frame)
    if status is None:
        return None
    if status is ReplyStatus.NO_CONSUMERS:
        return NoResponders(f"nobody consumes from {destination}, so nobody would answer", frame)
    if status is ReplyStatus.TIMEOUT:
        return STOMPTimeout(f"no reply from {destination} came{within(timeout)}")
    info = frame.Headers.get("x-death-info", "")
    reason = f" ({info})" if info else ""
    words = f"a request to {destination} came to nothing: {_WORDS[status]}{reason}"
    return RequestRejected(words, frame, status)
