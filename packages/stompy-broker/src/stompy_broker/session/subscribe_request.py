"""What a SUBSCRIBE asks for: its headers, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stompy.protocol.frame import AckMode
from stompy.protocol.header_cache import Head
from stompy_broker.destinations.names import Destination
from stompy_broker.routing.terms import PLAIN, Terms
from stompy_broker.session.context import SessionSettings
from stompy_broker.session.header_values import ack_mode, prefetch


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """What a client wants to receive, and how.

    Attributes:
        destination: where from.
        key: what the client will call it: its id, or in 1.0 perhaps the destination.
        mode: how it acknowledges.
        prefetch: how many deliveries may be unsettled at once; 0 = no limit.
        terms: what it asks of its queue, beside messages.
        head: the frame as it was read.
        parts: of a composite destination, all of them; empty = it is none.
    """

    destination: Destination
    key: str
    mode: AckMode
    prefetch: int
    terms: Terms
    head: Head
    parts: tuple[Destination, ...] = ()

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the frame."""
        return self.head.headers

    def with_terms(self, terms: Terms) -> SubscribeRequest:
        """The same with other terms."""
        return replace(self, terms=terms)

    @property
    def id(self) -> str | None:
        """The client's id for it; None if a 1.0 client gave none."""
        return self.head.headers.get("id")


def read_subscribe(
    head: Head, destination: Destination, key: str, settings: SessionSettings
) -> SubscribeRequest:
    """Read what a SUBSCRIBE to a queue or topic asks for.

    Raises:
        ProtocolError: a header does not fit.
    """
    headers = head.headers
    mode = ack_mode(headers)
    usual = settings.prefetch_client if mode is AckMode.CLIENT else settings.prefetch_individual
    return SubscribeRequest(destination, key, mode, prefetch(headers, usual), PLAIN, head)
