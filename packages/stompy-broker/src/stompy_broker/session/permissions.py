"""What one client may do; asked once for each destination."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import (
    RESERVED,
    Destination,
    DestinationKind,
    parse_destination,
    parts_of,
    sendable,
)
from stompy_broker.destinations.policy import arguments_in, dead_letter_queue_in
from stompy_broker.security.access import Access, Action
from stompy_broker.security.auth import Principal

_REMEMBERED = 10_000
"""Destinations; then it begins anew."""


class Permissions:
    """What a client may do.

    Args:
        access: the rules.
        principal: the client.
        has_queue: tells whether there is a queue of that name.

    Attributes:
        may_send_to: destinations that it may send to, as it wrote them.
    """

    def __init__(
        self, access: Access, principal: Principal, has_queue: Callable[[str], bool]
    ) -> None:
        self._access = access
        self._principal = principal
        self._has_queue = has_queue
        self.may_send_to: dict[str, None] = {}  # smaller than a set while it is empty

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return self._access.is_open

    def check_send(self, text: str) -> None:
        """Check that it may SEND to a destination, and remember that it may.

        Raises:
            ProtocolError: no, or it is no destination.
        """
        remember = True
        for part in parts_of(text):
            destination = sendable(part)
            self._access.check(self._principal, Action.SEND, destination)
            remember = self.may_create(destination) and remember
        if remember:
            if len(self.may_send_to) >= _REMEMBERED:
                self.may_send_to.clear()
            self.may_send_to[text] = None

    def check_receive(self, destination: Destination, headers: Mapping[str, str]) -> None:
        """Check that it may SUBSCRIBE to a destination, with these headers.

        Raises:
            ProtocolError: no.
        """
        self._access.check(self._principal, Action.RECEIVE, destination)
        if not destination.existing and arguments_in(headers):
            self.check_set_up(destination, headers)
        else:
            self.may_create(destination)

    def check_browse(self, destination: Destination) -> None:
        """Check that it may look at what waits in a queue.

        Raises:
            ProtocolError: no.
        """
        self._access.check(self._principal, Action.BROWSE, destination)

    def may_browse(self, destination: Destination) -> bool:
        """Tell whether it may look at what waits in a queue."""
        return self._access.decide(self._principal, Action.BROWSE, destination).allowed

    def check_set_up(self, destination: Destination, headers: Mapping[str, str]) -> None:
        """Check that it may set up a queue by these headers.

        Who names a queue for dead letters takes messages out of the one and puts them into the
        other, so that takes the rights for both.

        Raises:
            ProtocolError: no.
        """
        self.may_create(destination, must=True)
        target = dead_letter_queue_in(headers)
        if target is not None and destination.kind is DestinationKind.QUEUE:
            self._access.check(self._principal, Action.RECEIVE, destination)
            self._access.check(self._principal, Action.SEND, target)
            self.may_create(target)

    def check_reply_to(self, text: str) -> None:
        """Check that it may have others send to a destination, who may do more than it.

        What it may receive from is its own matter; what cannot be read is nothing to this broker.

        Raises:
            ProtocolError: no.
        """
        try:
            destination = parse_destination(text)
        except ProtocolError:
            return
        if destination.name.startswith(RESERVED) and not destination.of_exchange:
            raise ProtocolError(
                ErrorCode.ACCESS_REFUSED,
                f"reply-to cannot be {text[:200]!r}, which belongs to the broker",
            )
        try:
            self._access.check(self._principal, Action.RECEIVE, destination)
        except ProtocolError:
            self._access.check(self._principal, Action.SEND, destination)

    def may_create(self, destination: Destination, *, must: bool = False) -> bool:
        """Tell whether it may set up a queue; asked for when there is none yet.

        Args:
            destination: any; only a queue is set up.
            must: it brings arguments for the queue, so that it has to be allowed.

        Returns:
            False when it may not, and need not, because the queue is there.

        Raises:
            ProtocolError: it may not, and has to.
        """
        if destination.kind is not DestinationKind.QUEUE or destination.existing:
            return True
        try:
            self._access.check(self._principal, Action.CREATE, destination)
        except ProtocolError:
            if must or not self._has_queue(destination.name):
                raise
            return False
        return True
