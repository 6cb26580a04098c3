"""All queues and topic subscriptions of a broker: made when first used, found, and ended.

Those that nobody used for a while are retired. A queue ends when it says so itself, because
somebody may just have begun to use it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import BACKLOG, DestinationKind
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.events import Events
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, nobody_asks
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.group import QueueGroup, QueueGroups
from stompy_broker.routing.interface import (
    DEAD_LETTERS,
    DURABLE_BACKLOG,
    NAMED,
    SHARED_BACKLOG,
    TEMPORARY,
    TOPIC_BACKLOG,
    Close,
    Configure,
    Outcome,
    Queue,
    QueueFigures,
    RestorableQueue,
)
from stompy_broker.routing.others import OtherBrokers
from stompy_broker.routing.recovery import restore_messages, restore_subscriptions
from stompy_broker.routing.retirement import Retirement
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.routing.stats import Totals
from stompy_broker.routing.topics import Topics

log = logging.getLogger("stompy_broker.router")

_RENEWED_AT_ONCE = 200
"""Queues that are looked at before others have their turn, when policies have changed."""

NO_HEADERS: Mapping[str, str] = {}


class Registry:
    """The queues of one broker.

    Args:
        services: what queues need.
        groups: which queues belong together.
        policies: how destinations behave.
        factory: makes queues.
        events: told what happens to queues.
        idle_seconds: after which an unused empty queue is forgotten.

    Attributes:
        caps: how many queues there may be, and so on.
        queues: named queues, with the backlogs of durable subscriptions.
        replies: temporary queues, by the names under which others find them.
        durable: durable subscriptions.
        topics: topic subscriptions, and the topics that were published to lately.
        gone: counters of queues and backlogs that have ended.
        refusing: how many durable subscriptions may refuse a message, and one more while others
            may have made some that are not known here.
        others: the other brokers of the cluster; None = there are none.
    """

    def __init__(
        self,
        services: Services,
        groups: QueueGroups,
        policies: Policies,
        factory: QueueFactory,
        events: Events,
        idle_seconds: float,
    ) -> None:
        self.caps = Caps()
        self.queues: dict[str, Queue] = {}
        self.replies: dict[str, Queue] = {}
        self.durable: dict[str, DurableSubscription] = {}
        self.topics, self.gone = Topics(), Totals()
        self.refusing = 0
        self.others: OtherBrokers | None = None
        self._services = services
        self._groups = groups
        self._policies = policies
        self._factory = factory
        self._events = events
        self._idle_seconds = idle_seconds
        self._retirement = Retirement(services.clock, self.queues, idle_seconds, self._retire)

    # -- what a store has kept --------------------------------------------------------------

    def restore(self) -> int:
        """Take back what the stores have kept; gives the number of messages.

        Raises:
            StoreError: a store is damaged.
        """
        return sum(self.restore_group(group) for group in self._groups.every)

    def restore_group(self, group: QueueGroup, held: dict[int, list[Message]] | None = None) -> int:
        """Take back what the store of one group has kept, also while the broker runs.

        Queues and durable subscriptions that are known already, because others have told of them,
        get what is theirs.

        Args:
            group: which.
            held: see `restore_messages`.

        Raises:
            StoreError: the store is damaged.
        """
        made: dict[str, RestorableQueue] = {}
        for name, headers in group.store.queues().items():
            settings = QueueSettings.from_stored(headers)
            made[name] = self._add_queue(name, self._set_up(name, settings), group)
            made[name].configure(settings)
        subscriptions, all_known = restore_subscriptions(group.store)
        for subscription in subscriptions:
            backlog = made[subscription.queue] = self._bind(subscription, group)
            if subscription.left:
                away = max(0, self._services.wall() - subscription.left)
                backlog.set_idle_since(self._services.clock.now() - away / 1000)
        return restore_messages(
            group.store, partial(self._queue_of, made, group), drop_orphans=all_known, held=held
        )

    def _queue_of(
        self, made: dict[str, RestorableQueue], group: QueueGroup, destination: str
    ) -> RestorableQueue | None:
        """Where restored messages belong; None: to a durable subscription that was deleted."""
        name = destination.removeprefix(DestinationKind.QUEUE.value)
        if name not in made:
            if name.startswith(BACKLOG):
                return None
            made[name] = self._add_queue(
                name, self._policies.find(DestinationKind.QUEUE, name), group
            )
            self._tell_queue("queue.created", made[name])
        return made[name]

    # -- queues -----------------------------------------------------------------------------

    def queue(
        self, name: str, headers: Mapping[str, str] = NO_HEADERS, *, capped: bool = True
    ) -> Queue:
        """The queue of that name, made if need be.

        Args:
            name: without prefix.
            headers: of the SEND or SUBSCRIBE that wants it; a first one may set it up.
            capped: whether it is refused when there are too many.

        Raises:
            ProtocolError: a header for setting it up that cannot be, or too many queues.
        """
        queue = self.queues.get(name)
        if queue is None:
            if capped:
                self.caps.check_queues(len(self.queues))
            try:
                policy = self._policies.find(DestinationKind.QUEUE, name).with_arguments(headers)
            except ValueError as error:
                raise ProtocolError(ErrorCode.BAD_HEADER, str(error)) from None
            queue = self._add_queue(name, policy, self._groups.of(name))
            settings = QueueSettings.from_headers(headers)
            if settings.arguments:
                queue.control(Configure(settings))
            if self._elsewhere(queue.group) is None:
                self._tell_queue("queue.created", queue)
        return queue

    def has_queue(self, name: str) -> bool:
        """Whether there is a queue of that name, wherever its messages are."""
        others = self._elsewhere(self._groups.of(name))
        return name in self.queues if others is None else others.has_queue(name)

    def _elsewhere(self, group: QueueGroup) -> OtherBrokers | None:
        """Those who decide what queues a group has, and tell this broker; None = it decides."""
        others = self.others
        return None if others is None or others.is_here(group) else others

    def _add_queue(self, name: str, policy: Policy, group: QueueGroup) -> RestorableQueue:
        destination = f"{DestinationKind.QUEUE.value}{name}"
        own_target = policy.dead_letter.replace("{name}", name) == destination
        final = own_target or name.startswith(DEAD_LETTER_PREFIX)
        queue = self._factory.queue(
            destination, name, policy, DEAD_LETTERS if final else NAMED, self._services, group
        )
        self.queues[name] = queue
        self._retirement.within(policy.expires)
        return queue

    def delete_queue(
        self,
        queue: Queue,
        reason: str,
        user: str = "",
        done: Callable[[Outcome], None] = nobody_asks,
        *,
        unused: float | None = None,
    ) -> None:
        """Forget a queue, and what waits in it.

        Args:
            queue: it.
            reason: why, for the event.
            user: who wants it.
            done: takes how many messages waited in it, or why it does not end.
            unused: for how many seconds it must not have been in use; None = no matter.
        """

        def forget() -> None:
            if self.queues.get(queue.name) is queue:
                del self.queues[queue.name]
            if self._elsewhere(queue.group) is None:
                queue.group.store.keep_queue(queue.name, None)
                self._tell_queue("queue.deleted", queue, reason, user)

        self._close(queue, done, unused, forget)

    def forget_queue(self, name: str) -> None:
        """Have a queue no longer that lives elsewhere. It is made again when it is used again."""
        self.queues.pop(name, None)

    def _close(
        self,
        queue: Queue,
        done: Callable[[Outcome], None] = nobody_asks,
        unused: float | None = None,
        forget: Callable[[], None] = nobody_asks,
    ) -> None:
        """Have a queue end, and count what it has counted; forget it if it does end."""

        def ended(outcome: Outcome) -> None:
            if not isinstance(outcome, ProtocolError):
                queue.stats(self.gone.add)
                forget()
            done(outcome)

        queue.control(Close(unused), ended)

    def _tell_queue(self, what: str, queue: Queue, reason: str = "", user: str = "") -> None:
        if self.others is not None:
            self.others.queue_changed(queue.name, queue.group)
        self._events.tell(Event(type=what, destination=queue.destination, user=user, reason=reason))

    def temporary_queue(self, destination: str, name: str) -> Queue:
        """Make a queue for one connection, found by others under ``/reply-queue/NAME``."""
        policy = self._policies.find(DestinationKind.TEMPORARY, name)
        home = self._groups.home
        queue = self._factory.queue(destination, name, policy, TEMPORARY, self._services, home)
        self.replies[name] = queue
        return queue

    def close_temporary_queue(
        self,
        queue: Queue,
        done: Callable[[Outcome], None] = nobody_asks,
        *,
        unused: float | None = None,
    ) -> None:
        """Forget a temporary queue and what is in it, as `delete_queue` does."""

        def forget() -> None:
            self.replies.pop(queue.name, None)

        self._close(queue, done, unused, forget)

    # -- topics -----------------------------------------------------------------------------

    def subscribe_topic(self, pattern: str) -> Queue:
        """Make the backlog of a new topic subscription."""
        policy = self._policies.find(DestinationKind.TOPIC, pattern)
        destination, home = f"{DestinationKind.TOPIC.value}{pattern}", self._groups.home
        queue = self._factory.queue(
            destination, pattern, policy, TOPIC_BACKLOG, self._services, home
        )
        self.topics.add(pattern, queue)
        if self.others is not None:
            self.others.topic_subscribed(pattern)
        return queue

    def unsubscribe_topic(self, queue: Queue) -> None:
        """End a topic subscription's backlog."""
        self.topics.remove(queue.name, queue)
        if self.others is not None:
            self.others.topic_unsubscribed(queue.name)
        self._close(queue)

    def when_subscribed(self, queue: Queue, done: Callable[[], None]) -> None:
        """Call ``done`` once a subscription that was begun is what it will be.

        A durable one has to be on disk first. In a cluster, others have to send what is published
        there. Else nothing is waited for, so that consumers help while a disk is full.
        """
        others, known = self.others, self.durable_of(queue)
        if known is not None:
            if others is not None:
                done = partial(others.when_durable_known, known.name, queue.group, done)
            queue.group.sync(done)
        elif others is not None and queue.private:
            others.when_subscribed(queue.name, done)
        else:
            done()

    # -- durable subscriptions --------------------------------------------------------------

    def subscribe_durably(
        self, wanted: DurableSubscription, done: Callable[[Queue | ProtocolError], None]
    ) -> None:
        """Find the backlog of a durable subscription, made if need be.

        Args:
            wanted: the subscription. One of that name to other topics makes room for it.
            done: takes the backlog, or why there is none: the former one has a subscriber, or
                there are too many. Whether it has a subscriber itself, it says when somebody is
                attached.
        """
        known = self.durable.get(wanted.name)
        if known is not None and known.pattern == wanted.pattern:
            done(self.queues[known.queue])
            return
        others = self._elsewhere(self._groups.of(wanted.queue))
        if others is not None:

            def answered(error: ProtocolError | None = None, /) -> None:
                words = f"the durable subscription {wanted.name!r} was deleted at once"
                gone = ProtocolError(ErrorCode.UNKNOWN_SUBSCRIPTION, words)
                done(error or self.queues.get(wanted.queue) or gone)

            others.subscribe_durably(wanted, answered)
            return

        def make(error: ProtocolError | None = None, /) -> None:
            try:
                done(error or self._new_durable(wanted))
            except ProtocolError as refused:
                done(refused)

        if known is None:
            make()
        else:
            self.delete_durable(wanted.name, make)

    def _new_durable(self, wanted: DurableSubscription) -> Queue:
        self.caps.check_name(wanted.name, "name of a durable subscription")
        self.caps.check_durables(len(self.durable))
        self.caps.check_queues(len(self.queues))
        group = self._groups.of(wanted.queue)
        queue = self._bind(wanted, group)
        self._keep_durable(wanted)
        self._tell_durable("durable.created", wanted)
        return queue

    def know_durable(self, known: DurableSubscription) -> None:
        """Have a durable subscription whose backlog lives elsewhere, or other settings of it."""
        before = self.durable.get(known.name)
        if before is None or (before.pattern, before.shared) != (known.pattern, known.shared):
            self._bind(known, self._groups.of(known.queue))
        else:
            self.durable[known.name] = known

    def forget_durable(self, name: str) -> None:
        """Have a durable subscription no longer; harmless if there is none of that name."""
        known = self.durable.get(name)
        if known is not None:
            self._unbind(known)

    def _bind(self, subscription: DurableSubscription, group: QueueGroup) -> RestorableQueue:
        """Have a durable subscription, instead of what is known under its name."""
        known = self.durable.get(subscription.name)
        if known is not None:
            self._unbind(known)
        policy = self._policies.find(DestinationKind.TOPIC, subscription.pattern)
        name = subscription.queue
        kind = SHARED_BACKLOG if subscription.shared else DURABLE_BACKLOG
        queue = self._factory.queue(
            f"{DestinationKind.QUEUE.value}{name}", name, policy, kind, self._services, group
        )
        self.queues[name] = queue
        self.durable[subscription.name] = subscription
        self.refusing += policy.refuses
        self.topics.add(subscription.pattern, queue)
        self._retirement.within(subscription.expires or policy.expires)
        return queue

    def _unbind(self, known: DurableSubscription) -> None:
        queue = self.queues.pop(known.queue)
        self.topics.remove(known.pattern, queue)
        del self.durable[known.name]
        self.refusing -= queue.policy.refuses

    def delete_durable(self, name: str, done: Done = nobody_asks, *, unused: float = 0.0) -> None:
        """End a durable subscription and its backlog.

        Args:
            name: which.
            done: called when that is safe; or it has a subscriber.
            unused: for how many seconds it must have been without.

        Raises:
            ProtocolError: there is none of that name.
        """
        known = self.durable.get(name)
        if known is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SUBSCRIPTION, f"there is no durable subscription {name!r}"
            )
        queue = self.queues[known.queue]
        others = self._elsewhere(queue.group)
        if others is not None:
            others.delete_durable(known, done)
            return

        def ended(outcome: Outcome) -> None:
            if isinstance(outcome, ProtocolError):
                words = f"the durable subscription {name!r} has a subscriber"
                done(ProtocolError(ErrorCode.SUBSCRIPTION_IN_USE, words))
                return
            others = self._elsewhere(queue.group)
            if others is not None:
                # It went elsewhere meanwhile, and nothing of this may have gone with it.
                others.delete_durable(known, partial(_done_if_unknown, done))
                return
            if self.durable.get(name) is None:
                queue.group.sync(done)  # somebody else has deleted it meanwhile
                return
            if unused:
                log.info("%s: nobody came back to it; deleted", known)
                self._tell_durable("durable.expired", known)
            self.forget_durable(name)
            queue.group.store.drop_subscription(name)
            if self.others is not None:
                self.others.durable_changed(name, queue.group)
            self._tell_durable("durable.deleted", known)
            queue.group.sync(done)

        self._close(queue, ended, unused)

    def durable_of(self, queue: Queue) -> DurableSubscription | None:
        """The durable subscription whose backlog a queue is."""
        return self.durable.get(queue.name.removeprefix(BACKLOG)) if queue.durable else None

    def take_possession(self, known: DurableSubscription, owner: str) -> None:
        """Let a durable subscription of nobody belong to the login that subscribed to it."""
        if not owner or known.owner:
            return
        others = self._elsewhere(self.queues[known.queue].group)
        if others is not None:
            others.take_possession(known, owner)
        else:
            self._keep_durable(replace(known, owner=owner))

    def _keep_durable(self, changed: DurableSubscription) -> None:
        self.durable[changed.name] = changed
        group = self.queues[changed.queue].group
        group.store.keep_subscription(changed.to_stored())
        if self.others is not None:
            self.others.durable_changed(changed.name, group)

    def _tell_durable(self, kind: str, subscription: DurableSubscription) -> None:
        self._events.tell(
            Event(
                type=kind,
                destination=f"{DestinationKind.TOPIC.value}{subscription.pattern}",
                subscription=subscription.name,
                user=subscription.owner,
            )
        )

    def _set_up(self, name: str, settings: QueueSettings) -> Policy:
        """The policy of a queue under the arguments by which its first frame set it up."""
        policy = self._policies.find(DestinationKind.QUEUE, name)
        try:
            return policy.with_arguments(settings.arguments)
        except ValueError as error:
            log.warning("%s: is not set up as it was: %s", name, error)
            return policy

    # -- other policies ---------------------------------------------------------------------

    def renew_policies(self) -> Iterator[int]:
        """Have queues behave by the policies as they are now, and subscriptions that are durable.

        Yields:
            How many have another one, now and then, so that others have their turn.
        """
        changed: list[Queue] = []
        for number, queue in enumerate(list(self.queues.values()), 1):
            queue.stats(partial(self._renew_policy, queue, changed))
            if number % _RENEWED_AT_ONCE == 0:
                yield len(changed)
        yield len(changed)

    def _renew_policy(self, queue: Queue, changed: list[Queue], figures: QueueFigures) -> None:
        if self.queues.get(queue.name) is not queue:
            return  # it has ended meanwhile
        known = self.durable_of(queue)
        if known is None:
            policy = self._set_up(queue.name, figures.settings)
        else:
            policy = self._policies.find(DestinationKind.TOPIC, known.pattern)
        before = queue.policy
        if policy == before or not isinstance(queue, RestorableQueue):
            return
        queue.renew_policy(policy)
        changed.append(queue)
        if known is not None:
            self.refusing += policy.refuses - before.refuses
        self._retirement.within(self._idle_limit(queue))

    # -- what nobody uses -------------------------------------------------------------------

    def _retire(self, queue: Queue) -> None:
        """Forget a queue or durable subscription that nobody used for a while."""
        if self._elsewhere(queue.group) is not None:
            # Its owner sees who uses it, and ends it; what nobody uses here need not be known here.
            if not queue.durable and queue.unused_here:
                self.forget_queue(queue.name)
            return
        idle_seconds = self._idle_limit(queue)
        if idle_seconds:
            queue.stats(partial(self._judge, queue, idle_seconds))

    def _judge(self, queue: Queue, idle_seconds: float, figures: QueueFigures) -> None:
        if self.queues.get(queue.name) is not queue:
            return  # it has ended meanwhile
        if figures.settings.created and not queue.policy.expires:
            return
        now = self._services.clock.now()
        since = now if figures.in_use or figures.idle_since is None else figures.idle_since
        known = self.durable_of(queue)
        if known is not None:
            self._keep_absence(known, 0 if figures.in_use else int((now - since) * 1000))
        if since + idle_seconds > now:
            self._retirement.within(since + idle_seconds - now)
        elif known is None:
            self.delete_queue(queue, "nobody used it", unused=idle_seconds)
        else:
            self.delete_durable(known.name, unused=idle_seconds)

    def _keep_absence(self, known: DurableSubscription, away: int) -> None:
        """Have the store know since when a subscriber is away, so that restarts do not count.

        Args:
            known: the subscription.
            away: milliseconds; 0 = it is there.
        """
        if bool(known.left) != bool(away):
            left = self._services.wall() - away if away else 0
            self._keep_durable(replace(known, left=left))

    def _idle_limit(self, queue: Queue) -> float:
        """How many seconds a queue may be idle; 0 = for ever."""
        subscription = self.durable_of(queue)
        if subscription is None:
            return queue.policy.expires or self._idle_seconds
        return subscription.expires or queue.policy.expires


def _done_if_unknown(done: Done, error: ProtocolError | None = None, /) -> None:
    """Take it as done if there was nothing to delete any more."""
    done(None if error and error.error_code is ErrorCode.UNKNOWN_SUBSCRIPTION else error)
