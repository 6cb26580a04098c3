"""Which delivery an ACK or NACK names; each version has its own way (1.2, *ACK*)."""

from __future__ import annotations

from collections.abc import Mapping

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.session.subscription import AckSubscription, Subscription, is_number


class Deliveries:
    """The subscriptions of one connection whose deliveries are to be settled, by tag.

    Args:
        subscriptions: all subscriptions of the connection by id.
    """

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        self._subscriptions = subscriptions
        self._by_tag: dict[bytes, AckSubscription] = {}
        self._tags = 0
        self._highest = -1  # sequence delivered on a subscription that has ended

    def next_tag(self) -> int:
        """A tag that no subscription of this connection had before."""
        self._tags += 1
        return self._tags

    def add(self, subscription: AckSubscription) -> None:
        """Its deliveries can be settled from now on."""
        # Under its id there may have been another one, whose late ACKs are to be ignored.
        subscription.highest = self._highest
        self._by_tag[b"%d" % subscription.tag] = subscription

    def remove(self, subscription: AckSubscription) -> None:
        """What is settled of it later is ignored."""
        self._highest = max(self._highest, subscription.highest)
        del self._by_tag[b"%d" % subscription.tag]

    @property
    def outstanding(self) -> bool:
        """Whether anything is to be settled."""
        return any(subscription.unacked for subscription in self._by_tag.values())

    def accept(self, tag: bytes, number: bytes) -> AckSubscription | None:
        """Settle one delivery, in the common case (**hot path**: `AckSubscription.accept`).

        Args:
            tag: first part of the ``ack`` header, digits.
            number: second part, digits.

        Returns:
            Its subscription; None if this was not the common case, and nothing was done.
        """
        subscription = self._by_tag.get(tag)
        if subscription is None or not subscription.accept(int(number)):
            return None
        return subscription

    def by_ack(self, ack_id: str) -> tuple[AckSubscription, int] | None:
        """1.2 names a delivery by its ``ack`` header.

        Returns:
            Subscription and number; None if there is nothing to settle any more.

        Raises:
            ProtocolError: no such delivery was made.
        """
        tag, _, number = ack_id.rpartition("-")
        if not (is_number(tag) and is_number(number)):
            raise _unknown(f"{ack_id[:60]!r} is not the ack header of a MESSAGE")
        subscription = self._by_tag.get(tag.encode())
        if subscription is None:
            if not 0 < int(tag) <= self._tags:
                raise _unknown(f"no delivery {ack_id[:60]!r} was made")
            return None
        subscription.check_number(int(number))
        return subscription, int(number)

    def by_message(self, headers: Mapping[str, str]) -> tuple[AckSubscription, int] | None:
        """1.1 names subscription and message; 1.0 the message, and perhaps the subscription.

        Returns:
            As `by_ack`.

        Raises:
            ProtocolError: no such delivery was made.
        """
        message_id, key = headers["message-id"], headers.get("subscription")
        if key is not None:
            subscription = self._subscriptions.get(key)
        else:
            found = (sub for sub in self._by_tag.values() if message_id in sub)
            subscription = next(found, None)
        if isinstance(subscription, AckSubscription):
            number = subscription.number_of(message_id)
            return None if number is None else (subscription, number)
        known = self._tags or (self._subscriptions and key is None)
        if subscription is None and not known:
            raise _unknown("nothing was delivered that could be acknowledged")
        # Of a subscription that has ended, or settled already, or needs no acknowledgement.
        return None


def _unknown(why: str) -> ProtocolError:
    return ProtocolError(ErrorCode.UNKNOWN_ACK, why)
