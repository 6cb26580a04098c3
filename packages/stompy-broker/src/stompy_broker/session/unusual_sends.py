"""What SENDs say of their messages that their destinations have to be able to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stompy_broker.destinations.names import Destination
from stompy_broker.message import MessageTraits
from stompy_broker.routing.router import Router
from stompy_broker.session.group_order import check_group
from stompy_broker.session.retained_requests import check_retained_send


def check_unusual(
    traits: MessageTraits,
    headers: Mapping[str, str],
    destinations: Sequence[Destination],
    router: Router,
) -> None:
    """Check that destinations can do what is asked of them; for `MessageTraits.unusual` ones.

    Args:
        traits: what the headers of a SEND tell.
        headers: they.
        destinations: where it goes.
        router: of the broker.

    Raises:
        ProtocolError: they cannot, or headers disagree.
    """
    if traits.group is not None:
        for destination in destinations:
            check_group(destination, router)
    if traits.retains:
        check_retained_send(headers, destinations, router)
