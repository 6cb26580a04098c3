"""The subscriptions that a client wants, whatever connection it has. Pure.

What is wanted is said once and holds until it is taken back; every new connection gets all of it,
with the same ids, before anything else is sent. A subscription that a broker refuses is wanted no
more, so that its refusal cannot end one connection after the other. One that it refuses for a time
is *put off*: new connections do without, and each is asked for it from time to time, ever more
seldom, because a refusal costs the connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stompy.protocol.frame import AckMode
from stompy.session.browse_options import BrowseOptions
from stompy.session.commands import HeaderValue, subscribe_headers
from stompy.session.dialects import STOMPY, Dialect
from stompy.session.subscribe_options import NO_OPTIONS, SubscribeOptions

USUAL_PREFETCH = 100
"""How many messages our own broker has under way, unless it is told otherwise."""
FIRST_RETRY = 1.0
"""Seconds until a subscription that was put off is asked for again."""
LAST_RETRY = 60.0
"""The same when it was refused many times; it doubles each time."""
RESTORE_SECONDS = 10.0
"""How long a broker may take to confirm the subscriptions of a new connection."""


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """One subscription as the application asked for it; what a broker wants to read follows."""

    id: str
    destination: str
    mode: AckMode
    prefetch: int | None = None
    """Messages under way at once; 0 for no limit, None for the broker's default."""
    durable: str | None = None
    """The name of a durable topic subscription."""
    selector: str | None = None
    browse: BrowseOptions | None = None
    """What is to be shown and not taken; None for messages that are delivered."""
    options: SubscribeOptions = NO_OPTIONS
    """What it asks for beside messages."""
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    """More headers, which win over those that follow from the rest."""
    confirm: bool = True
    """Whether the broker is asked to confirm it."""

    def prefetch_on(self, dialect: Dialect) -> int | None:
        """How many messages may be unsettled, as far as that is known; 0 for no limit."""
        if self.prefetch is None and dialect is STOMPY and self.mode is AckMode.CLIENT_INDIVIDUAL:
            return USUAL_PREFETCH
        return self.prefetch

    def headers_for(self, dialect: Dialect, client_id: str | None) -> dict[str, HeaderValue]:
        """Make the headers of SUBSCRIBE for a broker.

        Raises:
            UnsupportedByBroker: it has no such subscriptions.
            ValueError: a prefetch or a name that cannot be.
        """
        made: dict[str, HeaderValue] = {
            **dialect.destination_headers(self.destination, for_subscribe=True),
            **dialect.prefetch_headers(self.prefetch),
        }
        if self.durable is not None:
            made |= dialect.durable_headers(self.durable, client_id=client_id)
        if self.browse is not None:
            made |= self.browse.headers_for(dialect)
        made |= dialect.selector_headers(self.selector)
        made |= self.options.headers_for(dialect)
        return subscribe_headers(self.destination, self.id, self.mode, {**made, **self.headers})

    def unsubscribe_frames(
        self, dialect: Dialect, client_id: str | None, *, for_good: bool
    ) -> tuple[dict[str, str], ...]:
        """Make the headers of the UNSUBSCRIBE, or of one after the other, that end it.

        Args:
            dialect: the broker's.
            client_id: the ``client-id`` header of CONNECT.
            for_good: whether a durable subscription is to gather no more messages.

        Raises:
            UnsupportedByBroker: the broker has no durable subscriptions.
        """
        if not for_good or self.durable is None:
            return ({"id": self.id},)
        return dialect.durable_ending(self.id, self.durable, client_id=client_id)


def to_browse(
    destination: str,
    selector: str | None,
    options: BrowseOptions,
    headers: Mapping[str, HeaderValue],
) -> WantedSubscription:
    """What asks for messages to be shown; it has no id yet."""
    return WantedSubscription(
        "", destination, AckMode.AUTO, selector=selector, browse=options, headers=headers
    )


@dataclass(slots=True)
class _PutOff:
    refusals: int = 0
    again_at: float = 0.0


class WantedSubscriptions:
    """All of them, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._by_id: dict[str, WantedSubscription] = {}
        self._put_off: dict[str, _PutOff] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[WantedSubscription]:
        """Go through a snapshot: it may change meanwhile."""
        return iter(list(self._by_id.values()))

    def __contains__(self, sub_id: object) -> bool:
        """Whether this one is wanted."""
        return sub_id in self._by_id

    def get(self, sub_id: str) -> WantedSubscription | None:
        """Give this one; None if it is not wanted."""
        return self._by_id.get(sub_id)

    def add(self, wanted: WantedSubscription) -> None:
        """Want this from now on, in the place of one with the same id."""
        self._by_id[wanted.id] = wanted
        self._put_off.pop(wanted.id, None)

    def remove(self, sub_id: str) -> WantedSubscription | None:
        """Want it no more; None if it was not. That it was put off stays known."""
        return self._by_id.pop(sub_id, None)

    # -- those that are refused for a time ---------------------------------------------------

    def put_off(self, sub_id: str, now: float) -> None:
        """Note that the broker does not give it yet, and when to ask again."""
        put_off = self._put_off.setdefault(sub_id, _PutOff())
        # Beyond 64 doublings the bound is reached, and floats would overflow some day.
        pause = FIRST_RETRY * 2.0 ** min(put_off.refusals, 64)
        put_off.again_at = now + min(pause, LAST_RETRY)
        put_off.refusals += 1

    def is_put_off(self, sub_id: str) -> bool:
        """Whether the broker has not given it since it was put off."""
        return sub_id in self._put_off

    def is_back(self, sub_id: str) -> bool:
        """Note that the broker has given it; false if it is not wanted any more."""
        self._put_off.pop(sub_id, None)
        return sub_id in self._by_id

    def at_once(self) -> list[WantedSubscription]:
        """Those that a new connection is to have from its beginning."""
        return [one for one in self if one.id not in self._put_off]

    def due(self, now: float) -> list[WantedSubscription]:
        """Those that were put off until now."""
        put_off = self._put_off
        return [one for one in self if one.id in put_off and put_off[one.id].again_at <= now]

    def next_due(self) -> float | None:
        """When one of those is to be asked for again; None without any."""
        return min(
            (put_off.again_at for sub_id, put_off in self._put_off.items() if sub_id in self),
            default=None,
        )
