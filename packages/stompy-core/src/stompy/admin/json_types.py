"""What stands within rows: JSON objects as they are, with names for their keys."""

from __future__ import annotations

from typing import TypedDict

Rate = TypedDict("Rate", {"in": float, "out": float, "ack": float})
"""Messages a second, over the last second or more."""

Traffic = TypedDict(
    "Traffic", {"in": float, "out": float, "ack": float, "in_bytes": float, "out_bytes": float}
)
"""`Rate`, and bytes a second on the wire."""


class Listener(TypedDict):
    """Where a broker takes connections."""

    url: str
    clients: int


class Lag(TypedDict):
    """By how much the event loop was late, in milliseconds, over the last ten seconds."""

    avg: float
    p99: float
    max: float


class StoreFigures(TypedDict):
    """How the message store is.

    ``kind`` is ``memory`` or ``sqlite``; ``trouble`` says why nothing can be written, if so;
    ``unwritten`` changes are not safe yet; ``commits`` counts, each of them one ``fsync``, and
    ``fsync_avg_ms`` is what a whole one takes; ``damaged`` messages are given to nobody.
    """

    kind: str
    bytes: int
    trouble: str
    unwritten: int
    commits: int
    fsync_per_s: float
    fsync_avg_ms: float
    damaged: int


class Alarm(TypedDict):
    """Something that needs a person: ``memory``, ``disk`` or ``store``."""

    name: str
    since: int
    reason: str


class Watching(TypedDict):
    """What the ``$SYS`` topics themselves cost; not part of the other counters."""

    watchers: int
    out_msgs: int
    out_bytes: int
    dropped: int
    commands: int


class Tls(TypedDict):
    """The encryption of a connection."""

    version: str
    cipher: str
    subject: str


class Beat(TypedDict):
    """Heart-beat intervals as agreed, in milliseconds; 0 = none."""

    in_ms: int
    out_ms: int


class Holding(TypedDict):
    """What an open transaction holds for one destination."""

    name: str
    sends: int
    acks: int
    nacks: int
    bytes: int


class TransactionLimits(TypedDict):
    """How large a transaction may become."""

    frames: int
    bytes: int


class Series(TypedDict):
    """Recent history: the counters at the end of each step, the newest last."""

    step_ms: int
    until: int
    in_msgs: list[int]
    out_msgs: list[int]
    ready: list[int]
