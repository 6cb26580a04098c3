"""What a SEND may say of a group, where the queue goes by another header."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.group_headers import GROUP
from stompy_broker.routing.router import Router


def check_group(destination: Destination, router: Router) -> None:
    """Check that a queue goes by the groups that messages name, and not by something else.

    Args:
        destination: of a SEND that names a group.
        router: knows policies and queues.

    Raises:
        ProtocolError: there would be two orders in one queue, or it is a stream.
    """
    if destination.kind is not DestinationKind.QUEUE:
        return
    if router.registry.means_stream(destination, {}):
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"{destination} is a stream: each of its readers gets all messages in their order, so "
            f"they have no groups ({', '.join(GROUP)})",
        )
    header = router.policies.find(destination.kind, destination.name).fair_by
    if header and header not in GROUP:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"{destination} is dealt in turn by the header {header!r} (fair_by of its policy), so "
            f"its messages have no groups ({', '.join(GROUP)})",
        )
