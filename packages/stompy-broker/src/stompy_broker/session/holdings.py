"""What one client has of the broker at one moment, for people who look for what was left open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeldSubscription:
    """A subscription.

    Attributes:
        id: the client's id for it; empty for a 1.0 client that gave none.
        destination: what was subscribed to.
        unsettled: how many deliveries are neither settled nor given back; those that an open
            transaction will settle are among them.
    """

    id: str
    destination: str
    unsettled: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a connection holds.

    Attributes:
        address: where the client is.
        user: who it is; empty until it has logged in.
        subscriptions: its subscriptions.
        transactions: ids of its open transactions.
    """

    address: str
    user: str
    subscriptions: tuple[HeldSubscription, ...] = ()
    transactions: tuple[str, ...] = ()

    @property
    def unsettled(self) -> int:
        """How many deliveries it has to settle."""
        return sum(subscription.unsettled for subscription in self.subscriptions)
