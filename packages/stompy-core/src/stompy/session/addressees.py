"""Whom messages concern: the subscriptions that are held in hand, and those that were. Pure.

A MESSAGE finds its way by ``subscription`` alone. What still comes for a subscription that has
ended is dropped: the broker has it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from stompy.protocol.frame import STOMPFrame

_REMEMBERED = 1000
"""How many ended subscriptions are remembered."""

A = TypeVar("A")


class Addressees(Generic[A]):
    """Who gets the messages of which subscription.

    Attributes:
        held: the addressees by the ids of their subscriptions.
    """

    def __init__(self) -> None:
        self.held: dict[str, A] = {}
        self._ended: dict[str, None] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to sort for."""
        return bool(self.held or self._ended)

    def add(self, sub_id: str, addressee: A) -> None:
        """From now on the messages of this subscription go there."""
        self._ended.pop(sub_id, None)
        self.held[sub_id] = addressee

    def remove(self, sub_id: str) -> bool:
        """The subscription has ended; whether it was held."""
        self._ended[sub_id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return self.held.pop(sub_id, None) is not None

    def sort(
        self, frames: Iterable[STOMPFrame]
    ) -> tuple[dict[A, list[STOMPFrame]], list[STOMPFrame]]:
        """Sort what one read brought.

        Returns:
            The messages of each addressee, and all other frames, both in their order.
        """
        others: list[STOMPFrame] = []
        batches: dict[A, list[STOMPFrame]] = {}
        held = self.held
        for frame in frames:
            if frame.Command != "MESSAGE":
                others.append(frame)
                continue
            sub_id = frame.Headers.get("subscription", "")
            addressee = held.get(sub_id)
            if addressee is not None:
                batches.setdefault(addressee, []).append(frame)
            elif sub_id not in self._ended:
                others.append(frame)
        return batches, others
