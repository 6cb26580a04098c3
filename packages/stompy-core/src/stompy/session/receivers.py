"""Who gets the messages of a subscription: those that are held in hand, and those that were. Pure.

A MESSAGE finds its way by ``subscription`` alone. What still comes for a subscription that has
ended is dropped: the broker has it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from stompy.errors import STOMPException
from stompy.protocol.frame import STOMPFrame
from stompy.session.health import SubscriptionHealth

_REMEMBERED = 1000
"""How many ended subscriptions are remembered."""


class Receiver(Protocol):
    """What a session asks of who gets the messages of one subscription. None of it waits."""

    @property
    def _full(self) -> bool:
        """Whether it wants no more for the time being."""

    @property
    def _overfull(self) -> bool:
        """Whether it wants no more even if somebody waits for an answer."""

    @property
    def _waiting(self) -> int:
        """How many messages it has that nobody has fetched."""

    def _deliver(self, frames: list[STOMPFrame], epoch: int) -> None:
        """Take messages that came over a connection."""

    def _lost(self, reason: STOMPException | None) -> None:
        """Drop what would be settled in vain: the connection was lost, and another one follows."""

    def _put_off(self, reason: STOMPException) -> None:
        """Note that the broker does not give the subscription back yet."""

    def _stop_giving(self) -> None:
        """Give no more messages: the client is about to disconnect."""

    def _end(self, reason: STOMPException | None) -> object:
        """End, for this reason or by our own wish; harmless when repeated."""

    def _after_fork(self, reason: STOMPException) -> None:
        """End in a child process: the subscription belongs to the parent."""

    def health(self) -> SubscriptionHealth | None:
        """Tell how the subscription is, if it is one that the application made."""


R = TypeVar("R")


class Receivers(Generic[R]):
    """The receivers of one client.

    Attributes:
        held: who gets the messages, by the ids of their subscriptions.
    """

    def __init__(self) -> None:
        self.held: dict[str, R] = {}
        self._ended: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to sort for."""
        return bool(self.held or self._ended)

    def add(self, sub_id: str, receiver: R) -> None:
        """Give the messages of this subscription to a receiver from now on."""
        self._ended.pop(sub_id, None)
        self.held[sub_id] = receiver

    def remove(self, sub_id: str) -> bool:
        """Drop what still comes for this subscription; give whether it was held."""
        self._ended[sub_id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return self.held.pop(sub_id, None) is not None

    def sort(
        self, frames: Iterable[STOMPFrame]
    ) -> tuple[dict[R, list[STOMPFrame]], list[STOMPFrame]]:
        """Sort what one read brought.

        Returns:
            The messages of each receiver, and all other frames, both in their order.
        """
        others: list[STOMPFrame] = []
        batches: dict[R, list[STOMPFrame]] = {}
        held = self.held
        last: object = None
        into: list[STOMPFrame] | None = None
        for frame in frames:
            if frame.Command != "MESSAGE":
                others.append(frame)
                continue
            shared = frame._shared()
            if shared is not last:  # else it is like the one before
                last = shared
                sub_id = shared.get("subscription", "")
                receiver = held.get(sub_id)
                if receiver is not None:
                    into = batches.setdefault(receiver, [])
                else:
                    into = None if sub_id in self._ended else others
            if into is not None:
                into.append(frame)
        return batches, others
