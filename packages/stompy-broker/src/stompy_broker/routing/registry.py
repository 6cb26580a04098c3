"""All queues and topic subscriptions of a broker: made when first used, found, and ended.

Those that nobody used for a while are retired. A queue ends when it says so itself, because
somebody may just have begun to use it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import QUEUE_NAME
from stompy_broker.destinations.names import (
    BACKLOG,
    SCHEDULED,
    Destination,
    DestinationKind,
    is_companion,
    parse_destination,
    parts_of,
    scheduled_for,
    schedules_of,
    topic_text,
)
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.destinations.stream_settings import QUEUE_TYPE
from stompy_broker.events import Events
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done, nobody_asks
from stompy_broker.routing.dead_letters import DEAD_LETTER_PREFIX
from stompy_broker.routing.durable_subscriptions import DurableSubscriptions
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.group import QueueGroup, QueueGroups
from stompy_broker.routing.interface import (
    AWARE,
    DEAD_LETTERS,
    NAMED,
    TEMPORARY,
    TOPIC_BACKLOG,
    Close,
    Configure,
    Outcome,
    Queue,
    QueueFigures,
    RestorableQueue,
)
from stompy_broker.routing.queue_arguments import QueueArguments, check_keeps_streams
from stompy_broker.routing.queue_table import QueueTable
from stompy_broker.routing.recovery import restore_messages, restore_subscriptions
from stompy_broker.routing.retirement import Retirement
from stompy_broker.routing.services import Services
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.routing.topics import Topics
from stompy_broker.routing.virtual_queues import VirtualQueues
from stompy_broker.selectors.selector import Selector

log = logging.getLogger("stompy_broker.router")

_RENEWED_AT_ONCE = 200
"""Queues that are looked at before others have their turn, when policies have changed."""


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
        queues: named queues, with the backlogs of durable subscriptions.
        replies: temporary queues, by the names under which others find them.
        durable: durable subscriptions.
        topics: topic subscriptions, and the topics that were published to lately.
        gone: counters of queues and backlogs that have ended.
        table: the queues, and who decides about each.
        arguments: how queues are set up by headers.
        closing: whether the broker stops: that its clients leave means nothing then.
        virtual_queues: those that get what is sent to virtual topics.
        idle_seconds: after which an unused empty queue is forgotten.
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
        self.table = table = QueueTable(groups)
        self.queues, self.gone = table.queues, table.gone
        self.replies: dict[str, Queue] = {}
        self.topics = Topics()
        self.virtual_queues = VirtualQueues(self.has_queue)
        self._services = services
        self._groups = groups
        self._policies = policies
        self._factory = factory
        self._events = events
        self.idle_seconds = idle_seconds
        self.arguments = QueueArguments(policies, services.clock, events)
        self.closing = False
        self._orphans: list[Queue] = []
        self._orphans_end = services.clock.timer(self._end_orphans)
        self._retirement = Retirement(
            services.clock.upkeep, self.queues, idle_seconds, self._retire
        )
        self.durable = DurableSubscriptions(
            table,
            self.topics,
            services,
            policies,
            factory,
            events,
            self,
        )

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
        self._services.duplicates.restore(group.store, self._policies.of_text)
        for name, headers in group.store.queues().items():
            settings = QueueSettings.from_stored(headers)
            made[name] = self._add_queue(name, self._set_up(name, settings), group)
            made[name].configure(settings)
        subscriptions, all_known = restore_subscriptions(group.store)
        for subscription in subscriptions:
            name = subscription.queue
            if subscription.queue_name and name not in made:
                made[name] = self._add_queue(name, self._set_up(name, NO_SETTINGS), group)
            backlog = self.durable.bind(subscription, group, made.get(name))
            assert isinstance(backlog, RestorableQueue)
            made[name] = backlog
            if subscription.left:
                away = max(0, self._services.wall() - subscription.left)
                backlog.set_idle_since(self._services.clock.now() - away / 1000)
        restored = restore_messages(
            group.store,
            partial(self._queue_of, made, group),
            book=self._services.duplicates,
            drop_orphans=all_known,
            held=held,
        )
        for name in made:
            self._make_meant(name)
        for topic in self._services.retained.messages:
            self.topics.find(topic)
        if self.table.others is None:
            for queue in made.values():
                queue.stats(partial(self._end_if_exclusive, queue))
        return restored

    def _end_if_exclusive(self, queue: Queue, figures: QueueFigures) -> None:
        """End what was for one connection alone, which the last process had."""
        if figures.settings.exclusive:
            self.end_exclusive(queue)

    def _queue_of(
        self, made: dict[str, RestorableQueue], group: QueueGroup, destination: str
    ) -> RestorableQueue | None:
        """Where restored messages belong; None: to a durable subscription that was deleted."""
        name = destination.removeprefix(DestinationKind.QUEUE.value)
        if name not in made:
            if name.startswith(BACKLOG):
                return None
            made[name] = self._add_queue(name, self._set_up(name, NO_SETTINGS), group)
            self._tell_queue("queue.created", made[name])
        return made[name]

    # -- queues -----------------------------------------------------------------------------

    def queue(
        self, name: str, headers: Mapping[str, str] | None = None, *, capped: bool = True
    ) -> Queue:
        """The queue of that name, made if need be.

        Args:
            name: without prefix.
            headers: of the frame that wants it; a first one may set it up. None = of a message
                that has nothing to say of it.
            capped: whether it is refused when there are too many.

        Raises:
            ProtocolError: a header for setting it up that cannot be, or too many queues.
        """
        queue = self.queues.get(name)
        if queue is None:
            if capped:
                self.table.check_room()
            policy, settings, orphaned = self.arguments.for_new(name, headers)
            group = self._groups.of(name)
            if policy.is_stream:
                check_keeps_streams(group, name)
            queue = self._add_queue(name, policy, group, headers)
            if self.table.storage is not None:
                self.table.storage.made(name)
            is_here = self.table.elsewhere(queue.group) is None
            if is_here and self.virtual_queues.covers(name):
                settings = replace(settings, created=True)  # nobody may find it gone
            if settings != NO_SETTINGS:
                queue.control(Configure(settings, first=True))
            if is_here:
                self._tell_queue("queue.created", queue)
                self._make_meant(name)
            if orphaned:
                self._orphans.append(queue)
                self._orphans_end.set(self._services.clock.now())
        elif headers is not None and self.table.elsewhere(queue.group) is None:
            self.arguments.check(queue, headers)
        return queue

    def stream(self, destination: Destination) -> bool:
        """Make a stream that a SEND names, unless it is there; always true.

        Raises:
            ProtocolError: the queue is something else, or there are too many.
        """
        queue = self.queues.get(destination.name)
        if queue is None or not queue.policy.is_stream:
            self.queue(destination.name, destination.arguments)
        return True

    def means_stream(self, destination: Destination, headers: Mapping[str, str]) -> bool:
        """Whether a frame to a destination is about a stream, or about topics bound to one."""
        name = destination.name
        if destination.kind is DestinationKind.TOPIC:
            name = headers.get(QUEUE_NAME, "")
            destination = Destination(DestinationKind.QUEUE, name, is_pattern=False)
        elif destination.kind is not DestinationKind.QUEUE or destination.is_pattern:
            return False
        return bool(name) and self.arguments.means_stream(
            destination, headers, self.queues.get(name)
        )

    def _make_meant(self, name: str) -> None:
        """Have what the messages in a queue of this name are for, if they are to come later."""
        for text in parts_of(scheduled_for(name)) if name.startswith(SCHEDULED) else ():
            meant = parse_destination(text)
            if meant.kind is DestinationKind.QUEUE:
                self.queue(meant.name, capped=False)
            elif meant.kind is DestinationKind.TOPIC:
                self.topics.find(meant.name)

    def add_companion(self, name: str) -> Queue:
        """Make a queue of what the broker keeps beside others, in the home of single connections.

        It counts for nobody, and nobody is told of it.
        """
        policy = self._policies.find(DestinationKind.QUEUE, name)
        return self._add_queue(name, policy, self._groups.home)

    def schedules(self, destination: str) -> Queue | None:
        """The queue of what is to come later to a destination; None = there never was anything."""
        return self.queues.get(schedules_of(destination))

    def check_there(self, name: str) -> None:
        """Check that there is a queue of that name, wherever its messages are.

        Raises:
            ProtocolError: there is none.
        """
        if not self.has_queue(name):
            raise ProtocolError(ErrorCode.BAD_DESTINATION, f"there is no queue {name[:200]!r}")

    def has_queue(self, name: str) -> bool:
        """Whether there is a queue of that name, wherever its messages are."""
        others = self.table.elsewhere(self._groups.of(name))
        return name in self.queues if others is None else others.has_queue(name)

    def know_queue(self, name: str) -> None:
        """Take note of a queue that lives elsewhere: somebody here may want it by a pattern."""
        patterns = self.table.patterns
        if patterns is not None and name not in self.queues and patterns.wants(name):
            self.queue(name, capped=False)

    def _add_queue(
        self,
        name: str,
        policy: Policy,
        group: QueueGroup,
        headers: Mapping[str, str] | None = None,
    ) -> RestorableQueue:
        destination = f"{DestinationKind.QUEUE.value}{name}"
        own_target = policy.dead_letter.replace("{name}", name) == destination
        kind = NAMED
        if own_target or name.startswith(DEAD_LETTER_PREFIX):
            kind = DEAD_LETTERS
        elif self.virtual_queues.selector_aware and self.virtual_queues.covers(name):
            kind = AWARE
        queue = self._factory.queue(destination, name, policy, kind, self._services, group)
        self.table.add(queue, headers)
        self.virtual_queues.appeared(name)
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

        def forget(messages: int) -> None:
            self.queue_ended(queue, messages, reason, user)

        self.table.close(queue, done, Close(unused), forget)

    def queue_ended(self, queue: Queue, messages: int, reason: str, user: str = "") -> None:
        """Forget a queue that has ended, with so many messages, and what was bound to it."""
        is_here = self.table.elsewhere(queue.group) is None
        if is_here:
            self.durable.queue_gone(queue)
        if self.queues.get(queue.name) is queue:
            del self.queues[queue.name]
            self.arguments.forget(queue.name)
            self.table.left(queue)
        if is_here:
            queue.group.store.keep_queue(queue.name, None)
            if not user:
                self.gone.dropped += messages
            self._tell_queue("queue.deleted", queue, reason, user, {"messages": messages})
            later = self.schedules(queue.destination)
            if later is not None:
                self.delete_queue(later, reason, user)

    def queue_left(self, name: str, done: Done) -> None:
        """End a queue that its last consumer has left, and remember what it was.

        Args:
            name: of the queue.
            done: called when that is safe.
        """
        queue = self.queues.get(name)
        if queue is None or self.closing:
            done()
            return
        known = self.durable.of(queue)
        if known is not None and not known.queue_name:
            self.durable.delete(known.name, done)
            return
        self.arguments.remember(queue)
        self.delete_queue(queue, "its last consumer has left")
        queue.group.sync(done)

    def _end_orphans(self) -> None:
        """End what was sent to a queue whose connection is gone, unless somebody came."""
        orphans, self._orphans = self._orphans, []
        for queue in orphans:
            if self.queues.get(queue.name) is queue:
                self.arguments.remember(queue, orphaned=True)
                self.delete_queue(queue, "its connection has ended", unused=0.0)

    def end_exclusive(self, queue: Queue) -> None:
        """End a queue that a connection had for itself, and which has ended."""
        if self.queues.get(queue.name) is queue:
            if self.table.elsewhere(queue.group) is None:
                self.arguments.remember(queue)
            self.delete_queue(queue, "its connection has ended")

    def forget_queue(self, name: str) -> None:
        """Have a queue no longer that lives elsewhere. It is made again when it is used again.

        Not one that topics are bound to: what is published there is for it.
        """
        queue = self.queues.get(name)
        if queue is not None and self.durable.of(queue) is None:
            del self.queues[name]

    def retire_within(self, seconds: float) -> None:
        """Look within so many seconds whether queues are used; 0 = no matter."""
        self._retirement.within(seconds)

    def _tell_queue(
        self,
        what: str,
        queue: Queue,
        reason: str = "",
        user: str = "",
        detail: Mapping[str, object] | None = None,
    ) -> None:
        if self.table.others is not None:
            self.table.others.queue_changed(queue.name, queue.group)
        if is_companion(queue.name):
            return  # nobody knows it by that name
        self._events.tell(
            Event(
                type=what,
                destination=queue.destination,
                user=user,
                reason=reason,
                detail=detail,
            )
        )

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

        def forget(_messages: int) -> None:
            self.replies.pop(queue.name, None)

        self.table.close(queue, done, Close(unused), forget)

    # -- topics -----------------------------------------------------------------------------

    def subscribe_topic(
        self,
        pattern: str,
        selector: Selector | None = None,
        *,
        not_from: str = "",
        pending: int = -1,
        first: Sequence[Message] = (),
    ) -> Queue:
        """Make the backlog of a new topic subscription.

        Args:
            pattern: which topics.
            selector: what it takes; None = everything.
            not_from: a sender whose messages it does not take; see `Topics.sender`.
            pending: how many messages may wait, if not so many as its policy says; -1 = those.
            first: what it is given at once, which may wait beside that.
        """
        policy = self._policies.find(DestinationKind.TOPIC, pattern)
        if -1 < pending < policy.backlog_messages:
            policy = policy.model_copy(update={"backlog_messages": pending})
        if first:
            room = {
                "backlog_messages": policy.backlog_messages + len(first),
                "backlog_bytes": policy.backlog_bytes + sum([one.size for one in first]),
            }
            policy = policy.model_copy(update=room)
        destination, home = topic_text(pattern), self._groups.home
        queue = self._factory.queue(
            destination, pattern, policy, TOPIC_BACKLOG, self._services, home
        )
        self.topics.add(pattern, queue, selector, not_from)
        if self.table.others is not None:
            self.table.others.topic_subscribed(pattern)
        return queue

    def unsubscribe_topic(self, queue: Queue) -> None:
        """End a topic subscription's backlog."""
        self.topics.remove(queue.name, queue)
        if self.table.others is not None:
            self.table.others.topic_unsubscribed(queue.name)
        self.table.close(queue)

    def when_subscribed(self, queue: Queue, done: Callable[[], None]) -> None:
        """Call ``done`` once a subscription that was begun is what it will be.

        A durable one has to be on disk first. In a cluster, others have to send what is published
        there. Else nothing is waited for, so that consumers help while a disk is full.
        """
        others, known = self.table.others, self.durable.of(queue)
        if known is not None:
            if others is not None:
                done = partial(others.when_durable_known, known.name, queue.group, done)
            queue.group.sync(done)
        elif others is not None and queue.private:
            others.when_subscribed(queue.name, done)
        elif self.virtual_queues.covers(queue.name):
            if others is not None:
                done = partial(others.when_queue_known, queue.name, queue.group, done)
            queue.group.sync(done)
        else:
            done()

    # -- other policies ---------------------------------------------------------------------

    def _set_up(self, name: str, settings: QueueSettings) -> Policy:
        """The policy of a queue under the arguments by which its first frame set it up."""
        try:
            return self.arguments.kept(name, settings)
        except ValueError as error:
            log.warning("%s: is not set up as it was: %s", name, error)
            usual = self._policies.find(DestinationKind.QUEUE, name)
            if QUEUE_TYPE in settings.arguments:
                return Policy(match=usual.match, type="stream")
            return usual.model_copy(update={"type": "queue"}) if usual.is_stream else usual

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
        known = self.durable.of(queue)
        if known is None or known.queue_name:
            policy = self._set_up(queue.name, figures.settings)
        else:
            policy = self.durable.policy_of(known)
        before = queue.policy
        if policy.non_destructive is not before.non_destructive:  # that holds until it is made anew
            policy = policy.model_copy(update={"non_destructive": before.non_destructive})
        if policy == before or not isinstance(queue, RestorableQueue):
            return
        queue.renew_policy(policy)
        changed.append(queue)
        if known is not None:
            self.durable.refusing += policy.refuses - before.refuses
        self._retirement.within(self._idle_limit(queue))

    # -- what nobody uses -------------------------------------------------------------------

    def _retire(self, queue: Queue) -> None:
        """Forget a queue or durable subscription that nobody used for a while."""
        if self.table.elsewhere(queue.group) is not None:
            # Its owner sees who uses it, and ends it; what nobody uses here need not be known here.
            if not queue.durable and queue.unused_here:
                self.forget_queue(queue.name)
            return
        idle_seconds = self._idle_limit(queue)
        if idle_seconds:
            judge = partial(queue.stats, partial(self._judge, queue, idle_seconds))
            later = self.schedules(queue.destination)
            if later is None:
                judge()
            else:
                later.stats(partial(self._judge_unless_in_use, judge, idle_seconds))

    def _judge_unless_in_use(
        self, judge: Callable[[], None], idle_seconds: float, figures: QueueFigures
    ) -> None:
        """Let a queue be judged to which nothing is to come any more."""
        if figures.in_use:
            self._retirement.within(idle_seconds)
        else:
            judge()

    def _judge(self, queue: Queue, idle_seconds: float, figures: QueueFigures) -> None:
        if self.queues.get(queue.name) is not queue:
            return  # it has ended meanwhile
        if figures.settings.created and not queue.policy.expires:
            return
        now = self._services.clock.now()
        known = self.durable.of(queue)
        in_use = figures.in_use if known is None else figures.consumers > 0
        since = now if in_use or figures.idle_since is None else figures.idle_since
        if known is not None:
            self.durable.keep_absence(known, 0 if in_use else int((now - since) * 1000))
        if since + idle_seconds > now:
            self._retirement.within(since + idle_seconds - now)
        elif known is None:
            self.arguments.remember(queue)
            self.delete_queue(queue, "nobody used it", unused=idle_seconds)
        else:
            self.durable.delete(known.name, unused=idle_seconds)

    def _idle_limit(self, queue: Queue) -> float:
        """How many seconds a queue may be idle; 0 = for ever."""
        subscription = self.durable.of(queue)
        if subscription is None:
            return queue.policy.expires or self.idle_seconds
        return self.durable.idle_limit(subscription, queue)
