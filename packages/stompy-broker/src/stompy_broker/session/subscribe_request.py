"""What a SUBSCRIBE asks for: its headers, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stompy.protocol.frame import AckMode
from stompy.protocol.header_cache import Head
from stompy_broker.destinations.lasting import has_itself
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.foreign_headers import (
    NO_LOCAL,
    PENDING_LIMIT,
    PRIORITY,
    RETRIES,
    SINGLE_ACTIVE,
)
from stompy_broker.routing.rejection import Retries
from stompy_broker.routing.terms import PLAIN, Terms
from stompy_broker.selectors.selector import Selector, compile_selector
from stompy_broker.session.context import SessionSettings
from stompy_broker.session.header_values import (
    ack_mode,
    boolean,
    given,
    limit,
    prefetch,
    priority,
    whole_number,
)
from stompy_broker.session.limited_subscription import ORDINARY, Settling
from stompy_broker.session.stream_request import read_reading

_FOR_EVER = 1e9
"""Seconds that no delay reaches."""


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
        selector: which messages of a topic it takes; None = all of them.
        no_local: whether what the same client sends is not for it.
        pending: how many messages of a topic may wait for it; -1 = as the policy says.
        settling: how its deliveries are settled, beside mode and prefetch.
        retained: whether it is to be shown what its topics keep.
    """

    destination: Destination
    key: str
    mode: AckMode
    prefetch: int
    terms: Terms
    head: Head
    parts: tuple[Destination, ...] = ()
    selector: Selector | None = None
    no_local: bool = False
    pending: int = -1
    settling: Settling = ORDINARY
    retained: bool = True

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
    head: Head,
    destination: Destination,
    key: str,
    settings: SessionSettings,
    text: str | None,
    *,
    is_stream: bool = False,
) -> SubscribeRequest:
    """Read what a SUBSCRIBE to a queue or topic asks for.

    Args:
        head: the frame.
        destination: where from.
        key: what the client will call it.
        settings: of the broker.
        text: the selector that it means; None = it takes all messages.
        is_stream: whether it reads a stream.

    Raises:
        ProtocolError: a header does not fit.
    """
    headers = head.headers
    mode = ack_mode(headers)
    usual = settings.prefetch_client if mode is AckMode.CLIENT else settings.prefetch_individual
    selector, terms = None, PLAIN
    if text is not None:
        selector = compile_selector(text)
        if destination.kind is not DestinationKind.TOPIC or headers.get("share"):
            terms = Terms(text)  # a queue is told the text: it may be elsewhere
    if destination.kind is not DestinationKind.TOPIC or not has_itself(headers):
        terms = _among_others(headers, terms)
    reading = read_reading(headers) if is_stream else None
    if reading is not None:
        alone = terms.single_active or bool(reading.name and not reading.shared)
        terms = terms._replace(reading=reading, single_active=alone)
    name, word = given(headers, NO_LOCAL)
    return SubscribeRequest(
        destination,
        key,
        mode,
        prefetch(headers, usual),
        terms,
        head,
        selector=selector,
        no_local=bool(word) and boolean(name, word),
        pending=limit(*given(headers, PENDING_LIMIT)),
        settling=_settling(headers),
    )


def _among_others(headers: Mapping[str, str], terms: Terms) -> Terms:
    """The terms with what a SUBSCRIBE wants among the other consumers of its queue.

    Raises:
        ProtocolError: a header does not fit.
    """
    rank, (name, word) = priority(*given(headers, PRIORITY)), given(headers, SINGLE_ACTIVE)
    alone = bool(word) and boolean(name, word)
    return terms._replace(priority=rank, single_active=alone) if rank or alone else terms


def _settling(headers: Mapping[str, str]) -> Settling:
    """How a SUBSCRIBE wants its deliveries settled.

    Raises:
        ProtocolError: a header does not fit.
    """
    window = limit("consumer-window-size", headers.get("consumer-window-size", ""))
    timeout = headers.get("x-consumer-timeout")
    retries = None
    if any(name in headers for name in RETRIES):
        growing = headers.get("activemq.useExponentialBackOff")
        retries = Retries(
            _whole(headers, "activemq.maximumRedeliveries"),
            _seconds(headers, "activemq.initialRedeliveryDelay"),
            _seconds(headers, "activemq.redeliveryDelay"),
            None if growing is None else boolean("activemq.useExponentialBackOff", growing),
            _factor(headers, "activemq.backOffMultiplier"),
            _seconds(headers, "activemq.maximumRedeliveryDelay", unlimited=True),
        )
    if window < 0 and timeout is None and retries is None:
        return ORDINARY
    seconds = None if timeout is None else whole_number("x-consumer-timeout", timeout) / 1000
    return Settling(window, seconds, retries)


def _whole(headers: Mapping[str, str], name: str) -> int | None:
    """A number that -1 says is without end; None = it is not said."""
    value = headers.get(name)
    return None if value is None else limit(name, value)


def _seconds(headers: Mapping[str, str], name: str, *, unlimited: bool = False) -> float | None:
    """A time in seconds that is told in milliseconds; None = it is not said."""
    value = headers.get(name)
    if value is None:
        return None
    if unlimited and value == "-1":
        return _FOR_EVER
    return whole_number(name, value) / 1000


def _factor(headers: Mapping[str, str], name: str) -> float | None:
    """A number that may have a fraction; None = it is not said."""
    value = headers.get(name)
    if value is None:
        return None
    whole, _, fraction = value.partition(".")
    number = whole_number(name, whole + fraction)
    return number / float(10 ** len(fraction))
