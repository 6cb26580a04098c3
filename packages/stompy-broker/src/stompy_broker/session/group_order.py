"""What a SEND may say of a group, where the queue goes by another header."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import Policies
from stompy_broker.group_headers import GROUP


def check_group(destination: Destination, policies: Policies) -> None:
    """Check that a queue goes by the groups that messages name, and not by something else.

    Args:
        destination: of a SEND that names a group.
        policies: of destinations.

    Raises:
        ProtocolError: there would be two orders in one queue.
    """
    if destination.kind is not DestinationKind.QUEUE:
        return
    header = policies.find(destination.kind, destination.name).fair_by
    if header and header not in GROUP:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"{destination} is dealt in turn by the header {header!r} (fair_by of its policy), so "
            f"its messages have no groups ({', '.join(GROUP)})",
        )
