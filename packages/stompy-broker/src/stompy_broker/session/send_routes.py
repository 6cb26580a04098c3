"""Where SENDs go, by the text of their ``destination``: worked out once, and remembered."""

from __future__ import annotations

from typing import Final

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import (
    COMMANDS,
    Destination,
    DestinationKind,
    parts_of,
    sendable,
)
from stompy_broker.routing.directions import Directions
from stompy_broker.routing.distribution import (
    CompositeDistribution,
    Distribution,
    PlainDistribution,
)

_REMEMBERED: Final = 16_384
"""Destinations; then it begins anew."""

_SHARED: Final = (DestinationKind.QUEUE, DestinationKind.TOPIC, DestinationKind.REPLY)
"""What everybody knows by that name, and can be one of several destinations."""


class Route:
    """Where a SEND goes.

    Args:
        text: its ``destination``.
        destination: what it means.
        distribution: where it goes, if that is not there alone.
        parts: the routes of its parts, if it names several.

    Attributes:
        text: it.
        destination: what it means; if it names several, the first of them.
        distribution: where it goes, if that is not there alone; None = it is.
        parts: the routes of its parts, if it names several.
        commands: whether commands to the broker itself go there.
        simple: whether there is nothing to do but to route what goes there.
        streams: the same, but for a look whether the queue is the stream that it is to be.
        awaited: whether requests may wait for replies that go there.
        grouped: whether a message of a group was taken before: its policy goes by groups.
        unique: whether one with a duplicate id was taken before: it may have one.
    """

    __slots__ = (
        "awaited",
        "commands",
        "destination",
        "distribution",
        "grouped",
        "parts",
        "simple",
        "streams",
        "text",
        "unique",
    )

    def __init__(
        self,
        text: str,
        destination: Destination,
        distribution: Distribution | None = None,
        parts: tuple[Route, ...] = (),
    ) -> None:
        self.text = text
        self.destination = destination
        self.distribution = distribution
        self.parts = parts
        self.commands = destination.name == COMMANDS and destination.kind is DestinationKind.QUEUE
        special = self.commands or destination.existing or distribution is not None
        self.streams = destination.stream and not special
        self.simple = destination.kind in _SHARED and not special and not destination.stream
        self.awaited = False
        self.grouped = self.unique = False


class SendRoutes:
    """The routes of all clients of one broker.

    Args:
        directions: what the configuration says about them.

    Attributes:
        known: those that were looked for lately, by the octets of the text.
        awaited: queues with a name that requests have given as their ``reply-to``.
    """

    __slots__ = ("_directions", "awaited", "known")

    def __init__(self, directions: Directions) -> None:
        self.known: dict[bytes, Route] = {}
        self.awaited: set[Destination] = set()
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
        parts = parts_of(text)
        if len(parts) > 1:
            return self._composite(text, tuple([self.read(part) for part in parts]))
        destination = self._directions.resolve(sendable(text))
        route = Route(text, destination, self._directions.distribution(destination))
        if self.awaited and destination.plain in self.awaited:
            route.awaited, route.simple, route.streams = True, False, False
        return route

    @staticmethod
    def _composite(text: str, parts: tuple[Route, ...]) -> Route:
        for part in parts:
            if part.commands or part.destination.kind not in _SHARED:
                raise ProtocolError(
                    ErrorCode.BAD_DESTINATION,
                    f"destination {text[:200]!r} names {part.text[:200]!r}, which can only be "
                    "sent to by itself",
                )
        distribution = CompositeDistribution(
            [
                (part.text, part.distribution or PlainDistribution(part.destination))
                for part in parts
            ]
        )
        return Route(text, parts[0].destination, distribution, parts)

    def forget(self) -> None:
        """Work everything out anew: the configuration says something else."""
        self.known.clear()
