"""How many there may be of what clients make by naming it, and how long a name may be."""

from __future__ import annotations

from dataclasses import dataclass, field

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Caps:
    """The limits; each `check` raises `ProtocolError` with the setting that is reached.

    Attributes:
        queues: queues, with those of durable subscriptions.
        durables: durable subscriptions.
        name: bytes of a destination, and of the name of a durable subscription.
        headers: of one message.
        retained: topics that keep a message for who subscribes later.
        retained_bytes: of all those messages.
        short: characters of a name that need not be checked.
    """

    queues: int = 50_000
    durables: int = 10_000
    name: int = 1024
    headers: Limits = DEFAULT_LIMITS
    retained: int = 10_000
    retained_bytes: int = 64 * 1024 * 1024
    short: int = field(init=False)

    def __post_init__(self) -> None:
        """A character has at most four bytes."""
        object.__setattr__(self, "short", self.name // 4)

    def check_name(self, name: str, what: str = "destination") -> None:
        """Whether a name is short enough."""
        size = len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))
        if size > self.name:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"the {what} {name[:40]!r}... has {size} bytes; {self.name} are the limit "
                "(limits.name)",
            )

    def check_headers(self, block: bytes) -> None:
        """Whether consumers can take a message with these header lines, as 1.2 writes them.

        They make room for twice of what a SEND may have (`Limits.with_room`), because escapes
        may double it. Half of what that adds is left for what the broker writes itself.
        """
        limits, lines = self.headers, block.split(b"\n")
        count, longest = len(lines) - 2, max(map(len, lines))
        for what, size, most in (
            ("number of headers", count, limits.header_count),
            ("header line", longest, 2 * limits.header_line),
            ("header block, escaped,", len(block), limits.header_block * 3 // 2),
        ):
            if size > most:
                raise ProtocolError(
                    ErrorCode.FRAME_TOO_LARGE, f"{what} {size} is over the limit of {most}"
                )

    def check_queues(self, there: int) -> None:
        """Whether there may be one more queue."""
        if there >= self.queues:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"the broker has {there} queues, and takes no new ones (limits.queues)",
            )

    def check_durables(self, there: int) -> None:
        """Whether there may be one more durable subscription."""
        if there >= self.durables:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"the broker has {there} durable subscriptions, and takes no new ones "
                "(limits.durables); `expires` in a [[policy]] has those deleted that nobody uses",
            )
