"""The durable subscriptions of a broker: made, found, bound to their topics, and ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG, DestinationKind, topic_text
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.events import Events
from stompy_broker.routing.answers import Done, nobody_asks
from stompy_broker.routing.choices import by_client_id
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    DURABLE_BACKLOG,
    SHARED_BACKLOG,
    Close,
    Outcome,
    Queue,
    ShareMemory,
)
from stompy_broker.routing.queue_table import QueueTable
from stompy_broker.routing.services import Services
from stompy_broker.routing.topics import Topics
from stompy_broker.selectors.selector import compile_selector

log = logging.getLogger("stompy_broker.router")

_ENDS = {True: "ends with its last consumer", False: "stays when its consumers leave"}


class NamedQueues(Protocol):
    """Makes and ends queues that clients have named.

    Attributes:
        idle_seconds: after which an unused empty queue is forgotten.
    """

    idle_seconds: float

    def queue(
        self, name: str, headers: Mapping[str, str] | None = None, *, capped: bool = True
    ) -> Queue:
        """The queue of that name, made if need be; see `Registry.queue`."""
        ...

    def delete_queue(self, queue: Queue, reason: str, *, unused: float | None = None) -> None:
        """Forget a queue, and what waits in it."""
        ...

    def queue_ended(self, queue: Queue, messages: int, reason: str) -> None:
        """Forget a queue that has ended, with so many messages."""
        ...

    def retire_within(self, seconds: float) -> None:
        """Look within so many seconds whether queues are used."""
        ...


class DurableSubscriptions:
    """The durable subscriptions of one broker.

    Args:
        table: the queues, to which their backlogs belong.
        topics: gets what they are bound to.
        services: what queues need.
        policies: how destinations behave.
        factory: makes queues.
        events: told what happens to them.
        named: makes and ends the queues that clients have named for them.

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
        named: NamedQueues,
    ) -> None:
        self.by_name: dict[str, DurableSubscription] = {}
        self.refusing = 0
        self._table = table
        self._topics = topics
        self._services = services
        self._policies = policies
        self._factory = factory
        self._events = events
        self._named = named

    def subscribe(
        self,
        wanted: DurableSubscription,
        done: Callable[[Queue | ProtocolError], None],
        *,
        retained: bool = True,
    ) -> None:
        """Find the backlog of a durable subscription, made if need be.

        Args:
            wanted: the subscription. One of that name to other topics makes room for it, unless
                its queue has a name of its own: then it is bound to these topics as well.
            done: takes the backlog, or why there is none: the former one has a subscriber, or
                there are too many. Whether it has a subscriber itself, it says when somebody is
                attached.
            retained: whether what the topics keep goes into it first, if it is made, or its queue
                bound to them.
        """
        known = self.by_name.get(wanted.name)
        if known is not None and (clash := known.clash(wanted)) is not None:
            done(clash)
            return
        if known is not None and known.covers(wanted):
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
                done(error or self._new(wanted, retained=retained))
            except ProtocolError as refused:
                done(refused)

        if known is None:
            make()
        elif known.queue_name:
            done(self._bind_more(known, wanted, retained=retained))
        else:
            self.delete(wanted.name, make)

    def _new(self, wanted: DurableSubscription, *, retained: bool) -> Queue:
        caps = self._table.caps
        caps.check_name(wanted.name, "name of a durable subscription")
        caps.check_durables(len(self.by_name))
        own = self._own_queue(wanted) if wanted.queue_name else None
        if own is None:
            self._table.check_room()
        queue = self.bind(wanted, self._table.groups.of(wanted.queue), own)
        self.keep(wanted)
        self._tell("durable.created", wanted)
        if retained:
            self._show_retained(wanted, queue)
        return queue

    def _show_retained(self, wanted: DurableSubscription, queue: Queue) -> None:
        """Give a subscription, which takes part from now on, what its topics keep."""
        selector = compile_selector(wanted.selector) if wanted.selector else None
        kept = self._services.retained_messages
        kept.show(kept.for_subscriber(wanted.pattern, selector), queue)

    def _own_queue(self, wanted: DurableSubscription) -> Queue:
        """The queue that a client has named for a subscription, made if need be."""
        ends = "true" if wanted.auto_delete else "false"
        queue = self._table.queues.get(wanted.queue_name)
        if queue is None:
            queue = self._named.queue(wanted.queue_name, {"auto-delete": ends})
        if queue.policy.auto_delete is not wanted.auto_delete:
            say = "auto-delete:true" if queue.policy.auto_delete else "durable:true"
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{queue.destination} is there already, and {_ENDS[queue.policy.auto_delete]}; "
                f"say {say}",
            )
        return queue

    def _bind_more(
        self, known: DurableSubscription, wanted: DurableSubscription, *, retained: bool
    ) -> Queue:
        """Bind the queue of a subscription to further topics."""
        queue = self._table.queues[known.queue]
        if wanted.pattern not in known.patterns:
            self._listen(known, wanted.pattern, queue)
            self.keep(replace(known, more=(*known.more, wanted.pattern)))
            self._tell("durable.bound", wanted)
            if retained:
                self._show_retained(wanted, queue)
        return queue

    def know(self, known: DurableSubscription) -> None:
        """Have a durable subscription whose backlog lives elsewhere, or other settings of it."""
        before = self.by_name.get(known.name)
        if before is None or before.binding != known.binding:
            own = self._named.queue(known.queue_name, capped=False) if known.queue_name else None
            self.bind(known, self._table.groups.of(known.queue), own)
        else:
            self.by_name[known.name] = known

    def forget(self, name: str) -> None:
        """Have a durable subscription no longer; harmless if there is none of that name."""
        known = self.by_name.get(name)
        if known is not None:
            self._unbind(known)

    def bind(
        self, subscription: DurableSubscription, group: QueueGroup, own: Queue | None = None
    ) -> Queue:
        """Have a durable subscription, instead of what is known under its name.

        Args:
            subscription: it.
            group: of its backlog.
            own: the queue that its client has named; None = it gets a backlog.
        """
        known = self.by_name.get(subscription.name)
        if known is not None:
            self._unbind(known)
        queue = own or self._backlog(subscription, group)
        if own is not None:
            own.control(ShareMemory())
        self.by_name[subscription.name] = subscription
        self.refusing += queue.policy.refuses
        for pattern in subscription.patterns:
            self._listen(subscription, pattern, queue)
        self._named.retire_within(self.idle_limit(subscription, queue))
        return queue

    def _listen(self, subscription: DurableSubscription, pattern: str, queue: Queue) -> None:
        text = subscription.selector
        selector = compile_selector(text) if text else None
        client_id = subscription.not_from
        not_from = by_client_id(client_id) if client_id else ""
        self._topics.add(pattern, queue, selector, not_from)

    def _backlog(self, subscription: DurableSubscription, group: QueueGroup) -> Queue:
        name, kind = subscription.queue, SHARED_BACKLOG if subscription.shared else DURABLE_BACKLOG
        policy = self.policy_of(subscription)
        destination = f"{DestinationKind.QUEUE.value}{name}"
        queue = self._factory.queue(destination, name, policy, kind, self._services, group)
        self._table.queues[name] = queue
        return queue

    def policy_of(self, subscription: DurableSubscription) -> Policy:
        """How the backlog of a durable subscription behaves, if its queue is not a named one."""
        policy = self._policies.find(DestinationKind.TOPIC, subscription.pattern)
        if subscription.auto_delete:
            return policy.model_copy(update={"auto_delete": True, "persistent": False})
        return policy

    def idle_limit(self, subscription: DurableSubscription, queue: Queue) -> float:
        """How many seconds it may be without subscriber; 0 = for ever."""
        return (
            subscription.expires
            or queue.policy.expires
            or (self._named.idle_seconds if subscription.auto_delete else 0.0)
        )

    def _unbind(self, known: DurableSubscription) -> None:
        queue = self._table.queues[known.queue]
        for pattern in known.patterns:
            self._topics.remove(pattern, queue)
        if not known.queue_name:
            del self._table.queues[known.queue]
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
            if known.queue_name:
                self._named.queue_ended(queue, outcome, "its durable subscription has ended")
            else:
                self._table.gone.dropped += outcome if known.auto_delete else 0
                self._drop(known, queue)
            queue.group.sync(done)

        self._table.close(queue, ended, Close(unused, messages=False))

    def _drop(self, known: DurableSubscription, queue: Queue) -> None:
        """Have a durable subscription no longer, and tell everybody."""
        self.forget(known.name)
        queue.group.store.drop_subscription(known.name)
        if self._table.others is not None:
            self._table.others.durable_changed(known.name, queue.group)
        self._tell("durable.deleted", known)

    def queue_gone(self, queue: Queue) -> None:
        """Have nothing bound any longer to a queue that has ended, of a group that is here."""
        known = self.of(queue)
        if known is not None:
            self._drop(known, queue)

    def unbind(self, name: str, pattern: str, done: Done = nobody_asks) -> None:
        """Have a queue that a client has named get these topics no longer.

        With its last topics the subscription is over. The queue ends if nothing waits in it and
        nobody consumes from it; else it stays, as a queue.

        Args:
            name: of the subscription.
            pattern: the topics.
            done: called when that is safe.

        Raises:
            ProtocolError: it is not bound to them.
        """
        known = self.by_name.get(name)
        if known is None or pattern not in known.patterns:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"{name!r} is not bound to {topic_text(pattern)}"
            )
        queue = self._table.queues[known.queue]
        others = self._table.elsewhere(queue.group)
        if others is not None:
            others.unbind(replace(known, pattern=pattern, more=()), done)
            return
        left = known.without(pattern)
        if left is None:
            self._drop(known, queue)
            self._named.delete_queue(queue, "no topic is bound to it any more", unused=0.0)
        else:
            self._topics.remove(pattern, queue)
            self.keep(left)
            self._tell("durable.unbound", replace(known, pattern=pattern))
        queue.group.sync(done)

    def of(self, queue: Queue) -> DurableSubscription | None:
        """The durable subscription whose backlog a queue is, or that is bound to it."""
        name = queue.name
        if queue.durable:
            return self.by_name.get(name.removeprefix(BACKLOG))
        known = self.by_name.get(name)
        if known is None or known.queue_name != name or self._table.queues.get(name) is not queue:
            return None
        return known

    def take_possession(self, known: DurableSubscription, owner: str) -> None:
        """Let a durable subscription of nobody belong to the login that subscribed to it."""
        if not owner or known.owner or known.share:
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
