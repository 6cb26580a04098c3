"""What a client wants to see of a queue without taking it, and how a broker is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stompy.errors import STOMPConnectionError, UnsupportedByBroker
from stompy.protocol.frame import STOMPFrame
from stompy.session.dialects import Dialect

BrowseState = Literal["present", "ready", "unacked", "delayed", "scheduled", "all"]
"""Where messages are: ready or with a consumer; ready; with a consumer; waiting for their time."""

_STATES = BrowseState.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class BrowseOptions:
    """Which messages of a queue to show, and how.

    Attributes:
        state: where they are.
        offset: how many to leave out first.
        limit: how many at most; None = all.
        headers_only: whether without their bodies.
        follow: whether those that come later are shown as well.
        since: only those that came then or later, in milliseconds since the epoch; None = ever.
    """

    state: BrowseState = "present"
    offset: int = 0
    limit: int | None = None
    headers_only: bool = False
    follow: bool = False
    since: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            TypeError: something that is no number.
            ValueError: a number below 0, or there is no such state.
        """
        if self.state not in _STATES:
            words = ", ".join(_STATES)
            raise ValueError(f"state is one of {words}, not {self.state!r}")
        for name in ("offset", "limit", "since"):
            value = getattr(self, name)
            if value is None and name != "offset":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} is a whole number, not {value!r}")
            if value < 0:
                raise ValueError(f"{name} is 0 or more, not {value}")

    def headers_for(self, dialect: Dialect) -> dict[str, str]:
        """Make the headers of SUBSCRIBE for a broker.

        Raises:
            UnsupportedByBroker: it shows no messages without handing them out, or not like that.
        """
        if not dialect.browses:
            raise UnsupportedByBroker(
                f"{dialect.name} cannot show messages over STOMP without handing them out, as far "
                "as this library knows"
            )
        headers = {"browser": "follow" if self.follow else "true"}
        special = {
            "browser-state": self.state if self.state != "present" else "",
            "browser-headers-only": "true" if self.headers_only else "",
            "browser-timestamp": "" if self.since is None else str(self.since),
        }
        wanted = {name: value for name, value in special.items() if value}
        if not dialect.browses_in_part:
            if wanted or self.follow:
                raise UnsupportedByBroker(
                    f"{dialect.name} shows what is in a queue as a whole: state, headers_only, "
                    "since and follow are for other brokers"
                )
            return headers
        if self.offset:
            wanted["browser-offset"] = str(self.offset)
        if self.limit is not None:
            wanted["browser-limit"] = str(self.limit)
        return headers | wanted


class Shown:
    """How far a browse has come: which messages to hand out, and whether it is over.

    Args:
        options: what is wanted.
        dialect: the broker's; what it does not do by itself is done here.
        destination: the queue.
    """

    def __init__(self, options: BrowseOptions, dialect: Dialect, destination: str) -> None:
        own = not dialect.browses_in_part
        self._skip = options.offset if own else 0
        self._limit = options.limit if own else None
        self._destination = destination
        self._epoch: int | None = None
        self.count = 0

    @property
    def complete(self) -> bool:
        """Whether as many were handed out as are wanted, where the broker does not know that."""
        return self._limit is not None and self.count >= self._limit

    def check_connection(self, epoch: int) -> None:
        """Refuse a message that came over another connection than the ones before it.

        Raises:
            STOMPConnectionError: it did; the broker begins anew there.
        """
        if self._epoch not in (None, epoch):
            raise STOMPConnectionError(
                f"the connection was lost while {self._destination} was browsed"
            )
        self._epoch = epoch

    def is_end(self, frame: STOMPFrame) -> bool:
        """Whether a frame is no message but says that all were shown."""
        return frame.get("browser") == "end"

    def wants(self) -> bool:
        """Count a message; say whether it is to be handed out."""
        if self._skip:
            self._skip -= 1
            return False
        self.count += 1
        return True
