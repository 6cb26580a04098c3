"""The subscriptions that a client wants, whatever connection it has. Pure.

What is wanted is said once and holds until it is taken back; every new connection gets all of it,
with the same ids, before anything else is sent. A subscription that a broker refuses is wanted no
more, so that its refusal cannot end one connection after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stompy.dialect import STOMPY, Dialect
from stompy.frame import AckMode
from stompy.verbs import HeaderValue, subscribe_headers

USUAL_PREFETCH = 100
"""How many messages our own broker has under way, unless it is told otherwise."""
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
        """The headers of SUBSCRIBE for a broker.

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
        if self.selector is not None:
            made["selector"] = self.selector
        return subscribe_headers(self.destination, self.id, self.mode, {**made, **self.headers})

    def farewells_for(
        self, dialect: Dialect, client_id: str | None, *, for_good: bool
    ) -> tuple[dict[str, str], ...]:
        """The headers of the UNSUBSCRIBE, or of one after the other, that end it.

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


class WantedSubscriptions:
    """All of them, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._by_id: dict[str, WantedSubscription] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[WantedSubscription]:
        """A snapshot: it may change meanwhile."""
        return iter(list(self._by_id.values()))

    def __contains__(self, sub_id: object) -> bool:
        """Whether this one is wanted."""
        return sub_id in self._by_id

    def add(self, wanted: WantedSubscription) -> None:
        """From now on this is wanted, in the place of one with the same id."""
        self._by_id[wanted.id] = wanted

    def remove(self, sub_id: str) -> WantedSubscription | None:
        """It is wanted no more; None if it was not."""
        return self._by_id.pop(sub_id, None)
