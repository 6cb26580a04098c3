"""What a subscription may ask for beside messages, and how a broker is told. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stompy.session.dialects import Dialect

_MOST_PRIORITY = 1 << 31


@dataclass(frozen=True, slots=True)
class SubscribeOptions:
    """What holds for one subscription; most subscriptions ask for none of it.

    Attributes:
        no_local: whether what the same connection sends is not for it.
        window_bytes: bytes that may be unsettled at once; 0 = one message at a time, None = no
            limit.
        pending_limit: how many messages of a topic may wait for it; None = the broker's default.
        consumer_timeout: seconds after which a message that is not settled goes back; 0 = never,
            None = the broker's default.
        share: a name; all subscriptions to a topic that say the same share its messages.
        queue_name: the queue that gets the messages of a topic.
        exclusive: whether nobody else may subscribe to the queue.
        auto_delete: whether the queue ends with its last consumer; None = as it is.
        priority: who has a higher one gets messages first; None = 0.
        single_active: whether one of all who say so gets everything.
    """

    no_local: bool = False
    window_bytes: int | None = None
    pending_limit: int | None = None
    consumer_timeout: float | None = None
    share: str | None = None
    queue_name: str | None = None
    exclusive: bool = False
    auto_delete: bool | None = None
    priority: int | None = None
    single_active: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            TypeError: something that is no number.
            ValueError: a number out of bounds, or an empty name.
        """
        for name in ("window_bytes", "pending_limit"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} is a whole number, not {value!r}")
            if value < 0:
                raise ValueError(f"{name} is 0 or more, not {value}")
        seconds = self.consumer_timeout
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError(f"consumer_timeout is a number of seconds, not {seconds}")
        self._check_priority()
        for name in ("share", "queue_name"):
            if getattr(self, name) == "":
                raise ValueError(f"{name} is a name, and not empty")

    def _check_priority(self) -> None:
        priority: object = self.priority
        if priority is None:
            return
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise TypeError(f"priority is a whole number, not {priority!r}")
        if not -_MOST_PRIORITY <= priority < _MOST_PRIORITY:
            raise ValueError(f"priority is from -2**31 to 2**31 - 1, not {priority}")

    def headers_for(self, dialect: Dialect) -> dict[str, str]:
        """Make the headers of SUBSCRIBE for a broker.

        Raises:
            UnsupportedByBroker: it has no such thing.
        """
        if self == NO_OPTIONS:
            return {}
        seconds = self.consumer_timeout
        wanted = {
            "no_local": "true" if self.no_local else None,
            "window_bytes": _text(self.window_bytes),
            "pending_limit": _text(self.pending_limit),
            "consumer_timeout": None if seconds is None else str(round(seconds * 1000)),
            "share": self.share,
            "queue_name": self.queue_name,
            "exclusive": "true" if self.exclusive else None,
            "auto_delete": None if self.auto_delete is None else str(self.auto_delete).lower(),
            "priority": _text(self.priority),
            "single_active": "true" if self.single_active else None,
        }
        return {
            dialect.option_header(name): value
            for name, value in wanted.items()
            if value is not None
        }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


NO_OPTIONS = SubscribeOptions()
"""What most subscriptions ask for: nothing."""
