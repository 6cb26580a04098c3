"""Where SENDs go, by the text of their ``destination``: worked out once, and remembered."""

from __future__ import annotations

from typing import Final

from stompy_broker.destinations.names import COMMANDS, Destination, DestinationKind, sendable
from stompy_broker.routing.directions import Directions

_REMEMBERED: Final = 16_384
"""Destinations; then it begins anew."""


class Route:
    """Where a SEND goes.

    Args:
        text: its ``destination``.
        destination: what it means.

    Attributes:
        text: it.
        destination: what it means.
        commands: whether commands to the broker itself go there.
        simple: whether there is nothing to do but to route what goes there.
    """

    __slots__ = ("commands", "destination", "simple", "text")

    def __init__(self, text: str, destination: Destination) -> None:
        self.text = text
        self.destination = destination
        self.commands = destination.name == COMMANDS and destination.kind is DestinationKind.QUEUE
        special = self.commands or destination.existing
        self.simple = destination.kind is not DestinationKind.TEMPORARY and not special


class SendRoutes:
    """The routes of all clients of one broker.

    Args:
        directions: what the configuration says about them.

    Attributes:
        known: those that were looked for lately, by the octets of the text.
    """

    __slots__ = ("_directions", "known")

    def __init__(self, directions: Directions) -> None:
        self.known: dict[bytes, Route] = {}
        self._directions = directions

    def find(self, octets: bytes) -> Route:
        """The route of a SEND that `SendHeads` has read, whose destinations are short.

        Raises:
            ProtocolError: no SEND may go there.
        """
        route = self.known.get(octets)
        if route is None:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            route = self.known[octets] = self.read(octets.decode())
        return route

    def read(self, text: str) -> Route:
        """The route of any SEND.

        Raises:
            ProtocolError: no SEND may go there.
        """
        return Route(text, self._directions.exchanges.resolve(sendable(text)))
