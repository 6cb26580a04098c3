"""The other brokers of a cluster, as the router and the registry see them.

A broker that is in no cluster has none: its registry's ``others`` is None, and nothing of this is
asked. Nothing here is called for a message of a queue, or of a topic that only this broker's own
clients want.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Queue


class SpreadChange(Protocol):
    """Makes what groups of several owners are told one change."""

    def hindrance(self, groups: list[QueueGroup]) -> str:
        """Why these groups can have no change together; empty = they can.

        Raises:
            ProtocolError: they can, but not just now.
        """
        ...

    def commit(self, queues: Iterable[Queue], tell: Callable[[], None], done: Done) -> None:
        """Have all that ``tell`` tells queues be one change, and call ``done`` when it is safe.

        Raises:
            ProtocolError: something in it is refused at once, and nothing of it happens.
        """
        ...


class OtherBrokers(Protocol):
    """What the other brokers of a cluster are told and asked.

    Attributes:
        stale: full while there may be durable subscriptions that this broker does not know of.
    """

    stale: Watermark

    def is_here(self, group: QueueGroup) -> bool:
        """Whether this broker owns a group, and so decides what becomes of its queues."""
        ...

    def has_queue(self, name: str) -> bool:
        """Whether the owner of the group has a queue of that name, as far as it was told."""
        ...

    def queue_names(self) -> Iterable[str]:
        """The names of queues that live elsewhere, as far as this broker was told."""
        ...

    def queue_changed(self, name: str, group: QueueGroup) -> None:
        """Tell that a queue of a group that is here was made, or has ended."""
        ...

    def durable_changed(self, name: str, group: QueueGroup) -> None:
        """Tell that a durable subscription of a group that is here was kept, or deleted.

        Others are told when that is safe.
        """
        ...

    def topic_subscribed(self, pattern: str) -> None:
        """Have others send what is published to these topics, for one more subscription."""
        ...

    def topic_unsubscribed(self, pattern: str) -> None:
        """Tell of one subscription less to these topics."""
        ...

    def when_subscribed(self, pattern: str, done: Callable[[], None]) -> None:
        """Call ``done`` once others send what is published to these topics."""
        ...

    def when_durable_known(self, name: str, group: QueueGroup, done: Callable[[], None]) -> None:
        """Call ``done`` once nobody publishes any more who does not know this subscription."""
        ...

    def when_queue_known(self, name: str, group: QueueGroup, done: Callable[[], None]) -> None:
        """Call ``done`` once nobody publishes who does not know a queue of a virtual topic."""
        ...

    def when_fresh(self, done: Callable[[], None]) -> None:
        """Call ``done`` once every durable subscription is known here that is known anywhere."""
        ...

    def subscribe_durably(self, wanted: DurableSubscription, done: Done) -> None:
        """Have the owner of its group make a durable subscription, which then is known here."""
        ...

    def delete_durable(self, known: DurableSubscription, done: Done) -> None:
        """Have the owner of its group delete a durable subscription."""
        ...

    def unbind(self, known: DurableSubscription, done: Done) -> None:
        """Have the owner of its group bind the queue of a subscription no longer to a topic."""
        ...

    def take_possession(self, known: DurableSubscription, owner: str) -> None:
        """Have the owner of its group give a durable subscription of nobody to a login."""
        ...

    def reply(
        self, name: str, head: MessageHead, body: bytes, done: Done | None, refused: Refused | None
    ) -> Watermark | None:
        """Send a reply to the broker that the name of a temporary queue belongs to.

        It is dropped if that broker is gone, as one is to a connection that is gone.

        Returns:
            What the sender has to wait for before it sends more; None when there is room.
        """
        ...
