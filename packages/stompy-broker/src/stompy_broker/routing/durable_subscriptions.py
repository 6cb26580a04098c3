"""The durable subscriptions of a broker: made, found, bound to their topics, and ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG, DestinationKind, topic_text
from stompy_broker.destinations.policy import Policies
from stompy_broker.events import Events
from stompy_broker.routing.answers import Done, nobody_asks
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    DURABLE_BACKLOG,
    SHARED_BACKLOG,
    Outcome,
    Queue,
    RestorableQueue,
)
from stompy_broker.routing.queue_table import QueueTable
from stompy_broker.routing.services import Services
from stompy_broker.routing.topics import Topics

log = logging.getLogger("stompy_broker.router")


class DurableSubscriptions:
    """The durable subscriptions of one broker.

    Args:
        table: the queues, to which their backlogs belong.
        topics: gets what they are bound to.
        services: what queues need.
        policies: how destinations behave.
        factory: makes queues.
        events: told what happens to them.
        retire_within: has somebody look within so many seconds whether they are used.

    Attributes:
        by_name: them.
        refusing: how many of them may refuse a message, and one more while others may have made
            some that are not known here.
    """

    def __init__(
        self,
        table: QueueTable,
        topics: Topics,
        services: Services,
        policies: Policies,
        factory: QueueFactory,
        events: Events,
        retire_within: Callable[[float], None],
    ) -> None:
        self.by_name: dict[str, DurableSubscription] = {}
        self.refusing = 0
        self._table = table
        self._topics = topics
        self._services = services
        self._policies = policies
        self._factory = factory
        self._events = events
        self._retire_within = retire_within

    def subscribe(
        self, wanted: DurableSubscription, done: Callable[[Queue | ProtocolError], None]
    ) -> None:
        """Find the backlog of a durable subscription, made if need be.

        Args:
            wanted: the subscription. One of that name to other topics makes room for it.
            done: takes the backlog, or why there is none: the former one has a subscriber, or
                there are too many. Whether it has a subscriber itself, it says when somebody is
                attached.
        """
        known = self.by_name.get(wanted.name)
        if known is not None and known.pattern == wanted.pattern:
            done(self._table.queues[known.queue])
            return
        others = self._table.elsewhere(self._table.groups.of(wanted.queue))
        if others is not None:

            def answered(error: ProtocolError | None = None, /) -> None:
                words = f"the durable subscription {wanted.name!r} was deleted at once"
                gone = ProtocolError(ErrorCode.UNKNOWN_SUBSCRIPTION, words)
                done(error or self._table.queues.get(wanted.queue) or gone)

            others.subscribe_durably(wanted, answered)
            return

        def make(error: ProtocolError | None = None, /) -> None:
            try:
                done(error or self._new(wanted))
            except ProtocolError as refused:
                done(refused)

        if known is None:
            make()
        else:
            self.delete(wanted.name, make)

    def _new(self, wanted: DurableSubscription) -> Queue:
        caps = self._table.caps
        caps.check_name(wanted.name, "name of a durable subscription")
        caps.check_durables(len(self.by_name))
        caps.check_queues(len(self._table.queues))
        group = self._table.groups.of(wanted.queue)
        queue = self.bind(wanted, group)
        self.keep(wanted)
        self._tell("durable.created", wanted)
        return queue

    def know(self, known: DurableSubscription) -> None:
        """Have a durable subscription whose backlog lives elsewhere, or other settings of it."""
        before = self.by_name.get(known.name)
        if before is None or (before.pattern, before.shared) != (known.pattern, known.shared):
            self.bind(known, self._table.groups.of(known.queue))
        else:
            self.by_name[known.name] = known

    def forget(self, name: str) -> None:
        """Have a durable subscription no longer; harmless if there is none of that name."""
        known = self.by_name.get(name)
        if known is not None:
            self._unbind(known)

    def bind(self, subscription: DurableSubscription, group: QueueGroup) -> RestorableQueue:
        """Have a durable subscription, instead of what is known under its name."""
        known = self.by_name.get(subscription.name)
        if known is not None:
            self._unbind(known)
        policy = self._policies.find(DestinationKind.TOPIC, subscription.pattern)
        name = subscription.queue
        kind = SHARED_BACKLOG if subscription.shared else DURABLE_BACKLOG
        queue = self._factory.queue(
            f"{DestinationKind.QUEUE.value}{name}", name, policy, kind, self._services, group
        )
        self._table.queues[name] = queue
        self.by_name[subscription.name] = subscription
        self.refusing += policy.refuses
        self._topics.add(subscription.pattern, queue)
        self._retire_within(subscription.expires or policy.expires)
        return queue

    def _unbind(self, known: DurableSubscription) -> None:
        queue = self._table.queues.pop(known.queue)
        self._topics.remove(known.pattern, queue)
        del self.by_name[known.name]
        self.refusing -= queue.policy.refuses

    def delete(self, name: str, done: Done = nobody_asks, *, unused: float = 0.0) -> None:
        """End a durable subscription and its backlog.

        Args:
            name: which.
            done: called when that is safe; or it has a subscriber.
            unused: for how many seconds it must have been without.

        Raises:
            ProtocolError: there is none of that name.
        """
        known = self.by_name.get(name)
        if known is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"there is no durable subscription {name!r}"
            )
        queue = self._table.queues[known.queue]
        others = self._table.elsewhere(queue.group)
        if others is not None:
            others.delete_durable(known, done)
            return

        def ended(outcome: Outcome) -> None:
            if isinstance(outcome, ProtocolError):
                words = f"the durable subscription {name!r} has a subscriber"
                done(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, words))
                return
            others = self._table.elsewhere(queue.group)
            if others is not None:
                # It went elsewhere meanwhile, and nothing of this may have gone with it.
                others.delete_durable(known, partial(_done_if_unknown, done))
                return
            if self.by_name.get(name) is None:
                queue.group.sync(done)  # somebody else has deleted it meanwhile
                return
            if unused:
                log.info("%s: nobody came back to it; deleted", known)
                self._tell("durable.expired", known)
            self.forget(name)
            queue.group.store.drop_subscription(name)
            if self._table.others is not None:
                self._table.others.durable_changed(name, queue.group)
            self._tell("durable.deleted", known)
            queue.group.sync(done)

        self._table.close(queue, ended, unused)

    def of(self, queue: Queue) -> DurableSubscription | None:
        """The durable subscription whose backlog a queue is."""
        return self.by_name.get(queue.name.removeprefix(BACKLOG)) if queue.durable else None

    def take_possession(self, known: DurableSubscription, owner: str) -> None:
        """Let a durable subscription of nobody belong to the login that subscribed to it."""
        if not owner or known.owner:
            return
        others = self._table.elsewhere(self._table.queues[known.queue].group)
        if others is not None:
            others.take_possession(known, owner)
        else:
            self.keep(replace(known, owner=owner))

    def keep(self, changed: DurableSubscription) -> None:
        """Have a durable subscription with other settings, and keep them."""
        self.by_name[changed.name] = changed
        group = self._table.queues[changed.queue].group
        group.store.keep_subscription(changed.to_stored())
        if self._table.others is not None:
            self._table.others.durable_changed(changed.name, group)

    def _tell(self, kind: str, subscription: DurableSubscription) -> None:
        self._events.tell(
            Event(
                type=kind,
                destination=topic_text(subscription.pattern),
                subscription=subscription.name,
                user=subscription.owner,
            )
        )

    def keep_absence(self, known: DurableSubscription, away: int) -> None:
        """Have the store know since when a subscriber is away, so that restarts do not count.

        Args:
            known: the subscription.
            away: milliseconds; 0 = it is there.
        """
        if bool(known.left) != bool(away):
            left = self._services.wall() - away if away else 0
            self.keep(replace(known, left=left))


def _done_if_unknown(done: Done, error: ProtocolError | None = None, /) -> None:
    """Take it as done if there was nothing to delete any more."""
    done(None if error and error.error_code is ErrorCode.UNKNOWN_SUBSCRIPTION else error)
