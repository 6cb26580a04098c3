"""What clients ask about messages that topics keep: that one is kept, and to be shown them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind, is_address
from stompy_broker.retain_headers import check_retain
from stompy_broker.routing.router import Router
from stompy_broker.session.header_values import boolean, given

RETAINED_WANTED: Final = ("retained", "activemq.retroactive")
"""Headers of SUBSCRIBE that say whether what topics keep is to be shown."""

_CLUSTER: Final = "in a cluster topics keep no messages"


def check_retained_send(
    headers: Mapping[str, str], destinations: Iterable[Destination], router: Router
) -> None:
    """Check that what a SEND asks to be kept can be.

    Args:
        headers: of the SEND.
        destinations: where it goes.
        router: of the broker.

    Raises:
        ProtocolError: it cannot, or headers disagree.
    """
    check_retain(headers)
    for destination in destinations:
        if destination.kind is not DestinationKind.TOPIC:
            continue
        why = ""
        if router.registry.table.others is not None:
            why = _CLUSTER
        elif is_address(destination):
            why = "a temporary topic ends with its connection"
        if why:
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED,
                f"{destination} cannot keep a message for who subscribes later (x-retain): {why}",
            )


def wants_retained(
    headers: Mapping[str, str], destinations: Iterable[Destination], router: Router
) -> bool:
    """Whether a SUBSCRIBE is to be shown what its topics keep: yes, unless it declines.

    Args:
        headers: of the SUBSCRIBE.
        destinations: that it names.
        router: of the broker.

    Raises:
        ProtocolError: it says so twice and differently, or what cannot be.
    """
    if not any(one.kind is DestinationKind.TOPIC for one in destinations):
        return False
    said = [(name, boolean(name, headers[name])) for name in RETAINED_WANTED if headers.get(name)]
    if not said:
        return True
    if len({wanted for _, wanted in said}) > 1:
        given(headers, RETAINED_WANTED)
    if said[0][1] and router.registry.table.others is not None:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED, f"{said[0][0]}:{headers[said[0][0]]}: {_CLUSTER}"
        )
    return said[0][1]
