"""The active subscriber of each durable subscription, and when another one may take over.

A client whose network has changed comes again while the broker still holds its former connection,
which nothing has ended. A subscriber of the same ``client-id`` and login that is silent gives way.
One that spoke lately is asked for a sign of life, for who tries again.
"""

from __future__ import annotations

from typing import Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.security.auth import Principal

IDLE_SECONDS = 60.0
"""For how long who agreed on no heart-beats may be silent."""
LATE = 1.5
"""After how many intervals a client's heart-beat is late."""


class ActiveSubscriber(Protocol):
    """A client that subscribes to durable subscriptions.

    Attributes:
        principal: who logged in.
    """

    principal: Principal | None

    @property
    def is_silent(self) -> bool:
        """Whether it should have been heard by now."""
        ...

    @property
    def silence(self) -> float:
        """Seconds since it was heard."""
        ...

    def probe(self) -> None:
        """Have the network find out whether the client is there."""

    def refuse(self, error: ProtocolError) -> None:
        """End it with an ERROR frame."""


class ActiveSubscribers:
    """The subscribers of durable subscriptions that have one at a time, by the backlog's name."""

    def __init__(self) -> None:
        self._by_queue: dict[str, ActiveSubscriber] = {}

    def activate(self, queue: str, subscriber: ActiveSubscriber) -> None:
        """Note that a client has subscribed to the backlog of that name."""
        self._by_queue[queue] = subscriber

    def deactivate(self, queue: str, subscriber: ActiveSubscriber) -> None:
        """Note that its subscription has ended; harmless if it was not there."""
        if self._by_queue.get(queue) is subscriber:
            del self._by_queue[queue]

    def take_over(self, queue: str, newcomer: ActiveSubscriber) -> None:
        """End the former connection of a client that has come again over another one.

        Raises:
            ProtocolError: that one is alive.
        """
        subscriber = self._by_queue.get(queue)
        if subscriber is None or subscriber is newcomer or not _same_login(subscriber, newcomer):
            return  # free, or the router says that it is in use
        silence = subscriber.silence
        if not subscriber.is_silent:
            subscriber.probe()
            raise ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                "the durable subscription has a subscriber with this client-id, heard "
                f"{silence:.1f} s ago on another connection",
            )
        subscriber.refuse(
            ProtocolError(
                ErrorCode.SUBSCRIPTION_IN_USE,
                f"this client has come again, and here it was silent for {silence:.0f} s",
            )
        )


def _same_login(one: ActiveSubscriber, other: ActiveSubscriber) -> bool:
    names = [subscriber.principal and subscriber.principal.name for subscriber in (one, other)]
    return names[0] == names[1]
