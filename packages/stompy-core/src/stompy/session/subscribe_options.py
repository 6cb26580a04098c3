"""What a subscription may ask for beside messages, and how a broker is told. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TypedDict, TypeVar

from stompy.session.arguments import nearest, with_fields
from stompy.session.dialects import Dialect

_MOST_PRIORITY = 1 << 31
_MOST_SECONDS = 10**11

_OTHERS = ("ack_mode", "id", "prefetch", "durable", "selector", "headers", "confirm", "timeout")
"""What is said of a subscription beside the options."""


F = TypeVar("F", bound=Callable[..., object])


class SubscribeWords(TypedDict, total=False):
    """The options as keywords."""

    no_local: bool
    window_bytes: int | None
    pending_limit: int | None
    consumer_timeout: float | None
    share: str | None
    queue_name: str | None
    exclusive: bool
    auto_delete: bool | None
    priority: int | None
    single_active: bool
    offset: int | str | datetime | timedelta | None
    reader: str | None
    filters: Sequence[str]
    unfiltered: bool
    retained: bool | None


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
        offset: where it begins in a stream; None = with what is sent from now on.
        reader: the name under which its place in the stream is kept, and then goes before that.
        filters: only messages with one of these values of a filter; none = all.
        unfiltered: whether messages without such a value come beside them.
        retained: whether what the topic keeps comes first; None = the broker's default.
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
    offset: int | str | datetime | timedelta | None = None
    reader: str | None = None
    filters: Sequence[str] = ()
    unfiltered: bool = False
    retained: bool | None = None

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
        start_of(self.offset)
        if isinstance(self.filters, str):
            raise TypeError(f"filters= is a list of values, not {self.filters!r}")
        if any("," in value for value in self.filters):
            raise ValueError(f"a value of a filter holds no comma: {self.filters!r}")
        for name in ("share", "queue_name", "reader"):
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
            "offset": start_of(self.offset),
            # So a new connection goes on where the last one was, and does not begin anew.
            "tracking": "true" if None not in (self.reader, self.offset) else None,
            "reader": self.reader,
            "filters": ",".join(self.filters) or None,
            "unfiltered": "true" if self.unfiltered else None,
            "retained": None if self.retained is None else str(self.retained).lower(),
        }
        return {
            dialect.option_header(name): value
            for name, value in wanted.items()
            if value is not None
        }


def start_of(offset: int | str | datetime | timedelta | None) -> str | None:
    """Where reading of a stream begins, as a broker reads it.

    Raises:
        TypeError: something of the wrong kind.
        ValueError: a time without a zone, or one to come.
    """
    if offset is None or (isinstance(offset, str) and offset):
        return offset
    if isinstance(offset, datetime):
        if offset.utcoffset() is None:
            raise ValueError(
                f"offset= needs a time zone, which {offset.isoformat(' ')} has not: give such as "
                "datetime.now(timezone.utc)"
            )
        milliseconds = math.floor(offset.timestamp() * 1000)
        # What is no more than that would be taken for seconds.
        small = milliseconds <= _MOST_SECONDS
        return f"timestamp={max(milliseconds, 0) // 1000 if small else milliseconds}"
    if isinstance(offset, timedelta):
        if offset < timedelta(0):
            raise ValueError(f"offset= is how long ago, not {offset!r}")
        return f"age={math.ceil(offset.total_seconds())}s"
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(
            "offset= is 'first', 'last', 'next', a whole number, a datetime with a time zone or a "
            f"timedelta, not {offset!r}"
        )
    return f"offset={offset}" if offset >= 0 else f"last={-offset}"


def read_options(words: SubscribeWords) -> SubscribeOptions:
    """Read the options of a call.

    Raises:
        TypeError: there is no such option, or one is of the wrong kind.
        ValueError: one that cannot be.
    """
    for name in words.keys() - NAMES:
        near = nearest(name, (*NAMES, *_OTHERS))
        hint = "" if near is None else f"; did you mean {near}=?"
        raise TypeError(f"subscription() has no argument {name!r}{hint}")
    return SubscribeOptions(**words)


def with_subscribe_options(call: F) -> F:
    """Show a call with these options, which it takes as keywords."""
    return with_fields(call, SubscribeOptions)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


NAMES = frozenset(field.name for field in fields(SubscribeOptions))
"""What an option may be called."""

NO_OPTIONS = SubscribeOptions()
"""What most subscriptions ask for: nothing."""
