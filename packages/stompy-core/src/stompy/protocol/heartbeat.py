"""Heart-beats (1.1 and 1.2, *Heart-beating*): who beats how often, and when a peer is dead.

Pure: the time is handed in, in seconds of a clock that only goes forward. Any byte received is a
sign of life; only bytes that we sent put off our own beat. The two directions are independent.
"""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError

BEAT = b"\n"
"""What is sent when there is nothing to say."""

DEFAULT_HEART_BEAT = (10_000, 10_000)
"""Milliseconds: what we can send, what we want to receive."""

_EARLY = 0.75
"""We beat after this share of the interval, so that a busy moment does not make us late."""


def parse_heart_beat(value: str) -> tuple[int, int]:
    """Read a ``heart-beat`` header: two numbers of milliseconds; blanks are tolerated.

    Raises:
        ProtocolError: it is something else.
    """
    first, comma, second = (part.strip() for part in value.partition(","))
    if not comma or not all(part.isascii() and part.isdigit() for part in (first, second)):
        raise ProtocolError(
            ErrorCode.BAD_HEADER,
            f"heart-beat must be two numbers of milliseconds as in '10000,10000', not {value!r}",
        )
    return int(first[:9]), int(second[:9])


def negotiate(mine: tuple[int, int], theirs: tuple[int, int]) -> tuple[float, float]:
    """The intervals that follow from both headers, in seconds: (we send, we receive); 0 = never."""

    def interval(can: int, wants: int) -> float:
        return max(can, wants) / 1000 if can and wants else 0.0

    return interval(mine[0], theirs[1]), interval(theirs[0], mine[1])


class HeartBeat:
    """Both directions of one connection.

    Args:
        send: seconds between our beats, 0 for none.
        receive: seconds between the peer's beats, 0 for none.
        now: the time at which both start.
        grace: after how many intervals without a byte the peer is dead; at least one second
            more than the interval.
    """

    __slots__ = ("_grace", "_last_received", "_last_sent", "receive", "send", "suspended")

    def __init__(self, send: float, receive: float, now: float, grace: float = 2.0) -> None:
        self.send = send
        self.receive = receive
        self.suspended = False
        """Set while we ourselves do not read: the peer's silence then means nothing."""
        self._grace = max(receive * grace, receive + 1.0)
        self._last_sent = now
        self._last_received = now

    def sent(self, now: float) -> None:
        """Note that something was written: the next beat is due an interval later."""
        self._last_sent = now

    def received(self, now: float) -> None:
        """Note that something was read: the peer is alive."""
        self._last_received = now

    def resume(self, now: float) -> None:
        """We read again, and give the peer a full interval."""
        self.suspended = False
        self._last_received = now

    def beat_is_due(self, now: float) -> bool:
        """Whether it is time to send `BEAT`."""
        return bool(self.send) and now >= self._last_sent + self.send * _EARLY

    def peer_is_dead(self, now: float) -> bool:
        """Whether the peer was silent for too long."""
        return bool(self.receive) and not self.suspended and now > self._last_received + self._grace

    def overslept(self, now: float) -> bool:
        """Whether we look so late that we stood still ourselves; then silence proves nothing."""
        return now > self._last_received + self._grace + max(self.receive, 1.0)

    def lateness(self, now: float) -> float:
        """By how many seconds we are late with a beat, if by more than an interval; else 0."""
        late = now - self._last_sent - self.send * _EARLY
        return late if self.send and late > max(self.send, 1.0) else 0.0

    def silence(self, now: float) -> float:
        """Seconds since the last byte from the peer."""
        return now - self._last_received

    def next_deadline(self) -> float | None:
        """When to look again; None when there is nothing to watch."""
        deadlines = []
        if self.send:
            deadlines.append(self._last_sent + self.send * _EARLY)
        if self.receive and not self.suspended:
            # A little later than the grace, because death needs more silence than that.
            deadlines.append(self._last_received + self._grace + 0.001)
        return min(deadlines, default=None)
