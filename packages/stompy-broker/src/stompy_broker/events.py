"""Things that happened: told in a few words, kept for a while, passed on to who wants them.

Telling costs little while nobody listens. Events about single messages or transactions would be
as many as the traffic, so they are made only while somebody asks for them by name: a pattern that
begins with ``group.``, ``message.``, ``request.`` or ``transaction.``. So are those of schedules
that fire, by ``scheduler.``, and of messages that topics keep, by ``retained.``; what else becomes
of those is told as of other objects.

The last events of each object are kept by themselves, and commands of those who have no role apart
from the others. So nobody can push out what was done by making much of something else happen, and
refusals, which anybody can bring about, are told so many times a second only.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter

from stompy.admin.rows import Event
from stompy_broker.destinations.matcher import Matcher

KEPT = 200
"""How many events of one object whoever comes later still gets."""

MOST_REFUSALS, MOST_REFUSALS_OF_ALL = 20, 100
"""Refusals of a user, and of all together, that are told a second."""

_REFUSALS = "auth"

DETAILED = frozenset(("group", "message", "request", "transaction"))
"""Objects whose events are made only while somebody asks for them."""

_BY_NAME = DETAILED | {"retained", "scheduler"}
"""Objects of which some events are made only while somebody asks for them."""

EVENTS: Mapping[str, str] = {
    "admin.command": "A command was given that changes something, or one failed. `detail` has its "
    "name, its arguments and what came of it.",
    "auth.denied": "Somebody wanted what rules or roles do not allow: a destination, somebody "
    "else's durable subscription, a `$SYS` topic. At most 20 of a user, and 100 in all, "
    "are told a second; `untold` in `detail` counts those that were not, before this one.",
    "auth.failed": "A login was refused. As with `auth.denied`, not all may be told.",
    "broker.alarm_cleared": "What `broker.alarm_set` told is over.",
    "broker.alarm_set": "`reason` is `memory`, `disk` or `store`: full, or in trouble. In a "
    "cluster also `cluster.no_quorum`, `cluster.fenced`, `cluster.peer_lost` or "
    "`cluster.settings`; `detail` says why.",
    "cluster.topics_dropped": "Messages of topics went that another broker did not take in time; "
    "`detail` has which and how many. At most once a minute for each broker.",
    "config.reloaded": "The broker goes by another configuration; `detail` has the keys of what "
    "changed, and of what needs a restart.",
    "connection.blocked": "A client has to wait before it may send more. `reason` is `quota` if "
    "its user has used up one; else there is no room.",
    "connection.closed": "A client is gone; `reason` says why.",
    "connection.opened": "A client has logged in.",
    "connection.unblocked": "A client may send again.",
    "durable.bound": "The queue of a durable subscription was bound to further topics.",
    "durable.created": "A durable subscription was made.",
    "durable.deleted": "A durable subscription was deleted.",
    "durable.expired": "Nobody came back to a durable subscription; it is deleted.",
    "durable.unbound": "The queue of a durable subscription is bound to some topics no longer.",
    "group.assigned": "A message group has got another consumer; `detail` has the group and the "
    "number of the subscription.",
    "group.held": "A consumer refused a message with `scope:group`, so that its group waits; "
    "`detail` has the group and for how long.",
    "header.ignored": "A client asked for what this broker does not do, by the header that "
    "`reason` names, and `[compat]` has it ignored. Once for each header.",
    "message.dead_lettered": "A queue gave up a message, which is a dead letter now.",
    "message.dropped": "A queue gave up a message, which is gone.",
    "message.duplicate": "A message was dropped because its duplicate id (`dedup-id`) was known "
    "where it was sent to; `detail` has what it is a duplicate of.",
    "message.expired": "The time of a message was over.",
    "message.replaced": "A newer message took the place of one with the same key, in a last-value "
    "queue.",
    "queue.argument_ignored": "A frame would set up a queue otherwise than it is set up; `detail` "
    "has what it says.",
    "queue.circle": "Messages that queues gave up came round to a queue that they had passed, and "
    "are dropped. At most once a minute.",
    "queue.created": "A queue was made.",
    "queue.deleted": "A queue was deleted; `reason` says why, `detail.messages` how many waited.",
    "queue.groups_bucketed": "Messages of a queue have more groups than it remembers (65,536): "
    "groups that come now share 1,024 between them.",
    "queue.paused": "An operator paused a queue.",
    "queue.purged": "An operator purged a queue.",
    "queue.replayed": "Copies of what had left a queue were sent again, out of its history; "
    "`detail` has where to and how many.",
    "queue.resumed": "An operator let a queue go on.",
    "queue.unmatched": "For a minute messages have been waiting in a queue that none of its "
    "consumers takes: their selectors do not match. `detail` has how many, the selectors, and in "
    "`failed` those of them that raised an error, by a fault of the broker.",
    "quota.near": "A user has used four fifths of something; `reason` is the key of its "
    "`[[quota]]`, `detail` has the limit, and how much is used where that is counted. Of one user "
    "and key once a minute at most, and of what is counted only when it has become more.",
    "quota.reached": "A user has used up something, and has to wait or is refused more; as "
    "`quota.near`.",
    "request.failed": "The broker answered a request itself; `destination` is where replies go, "
    "`reason` the `reply-status`, `detail` has the `correlation_id`.",
    "retained.forgotten": "Topics keep a message for new subscribers no longer; `reason` says why, "
    "`detail` how many topics, and the names of 20 of them at most.",
    "retained.kept": "A topic that kept no message for new subscribers keeps one; `detail` has its "
    "size. Made only while somebody asks for `retained.…` by name.",
    "scheduler.cancelled": "A schedule was ended before its time, by its sender or an operator; "
    "`detail` has its `job_id`.",
    "scheduler.fired": "A message that was sent to come later was sent; `detail` has its `job_id`, "
    "for when it was, and the how manieth it is. Made only while somebody asks for `scheduler.…` "
    "by name.",
    "scheduler.missed": "Times of a schedule had passed while no broker was there; `detail` has "
    "its `job_id`, how many (`missed`), and what is done about it (`catch_up`).",
    "selector.failed": "A selector failed, which is a fault of the broker; messages with which it "
    "does match nothing. `reason` says how, `detail` has the selector. Once for each; the log has "
    "more.",
    "store.damaged": "A stored message is not what was written any more, and is given to nobody. "
    "`reason` says what is wrong with it.",
    "stream.forgotten": "An operator had the place of a reader of a stream kept no more; `detail` "
    "has its name, and the offset at which it was.",
    "stream.sought": "An operator had a reader of a stream read on elsewhere; `detail` has its "
    "name, and the offsets before and after.",
    "stream.truncated": "An operator destroyed the oldest messages of a stream; `detail` has how "
    "many, and the first offset that stayed.",
    "subscription.activated": "A subscription that asked to be the only one of its queue that is "
    "given messages is that from now on.",
    "subscription.closed": "A subscription ended.",
    "subscription.created": "A client has subscribed.",
    "subscription.timed_out": "Deliveries went back to their queue because the consumer did not "
    "settle them in time (`consumer_timeout`); `detail` has how many.",
    "transaction.aborted": "A client aborted a transaction.",
    "transaction.begun": "A client began a transaction.",
    "transaction.committed": "A client committed a transaction.",
}
"""What can happen; the manual's table."""

Take = Callable[[Event], None]


class Events:
    """What happened lately, and who wants to know.

    Args:
        wall: gives the time in milliseconds since the epoch.

    Attributes:
        detailed: the objects of `DETAILED`, schedules and retained messages, that somebody wants
            to know about by name.
    """

    def __init__(self, wall: Callable[[], int]) -> None:
        self.detailed: frozenset[str] = frozenset()
        self._wall = wall
        self._rings: dict[str, deque[Event]] = {}
        self._refusals: Counter[str] = Counter()  # those that were told, in the second since then
        self._refusing_since, self._untold = 0, 0
        self._life: Matcher[Take] = Matcher()
        self._details: Matcher[Take] = Matcher()
        self._patterns: dict[Take, str] = {}
        self._count = 0
        self._detailed_count = 0

    @property
    def recent(self) -> list[Event]:
        """The last events, oldest first, none of `DETAILED` objects."""
        return list(heapq.merge(*self._rings.values(), key=attrgetter("id")))

    def refuse(self, event: Event) -> None:
        """Tell that somebody was refused something, unless it is told too often."""
        now = self._wall()
        if not 0 <= now - self._refusing_since < 1000:  # noqa: PLR2004 -- ms
            self._refusing_since = now
            self._refusals.clear()
        told = self._refusals
        if told[event.user] >= MOST_REFUSALS or told.total() >= MOST_REFUSALS_OF_ALL:
            self._untold += 1
            return
        told[event.user] += 1
        if self._untold:
            event = replace(event, detail={**(event.detail or {}), "untold": self._untold})
            self._untold = 0
        self.tell(event, ring=_REFUSALS)

    def tell(self, event: Event, *, keep: bool = True, ring: str = "") -> None:
        """Tell an event to those who watch for it, and keep it for who comes later.

        Args:
            event: what; its number and time are added here. For an object of `DETAILED`, ask
                first whether it is in `detailed`.
            keep: whether those who come later are to get it too.
            ring: what it is kept with; empty = others of the same object.
        """
        kind = event.type
        about = kind.partition(".")[0]
        is_detail = about in DETAILED
        if is_detail:
            self._detailed_count += 1
        else:
            self._count += 1
        number = self._detailed_count if is_detail else self._count
        event = replace(event, id=number, at=self._wall())
        if keep and not is_detail:
            kept = self._rings.setdefault(ring or about, deque(maxlen=KEPT))
            kept.append(event)
        if self._patterns:
            for take in (self._details if is_detail else self._life).match(kind):
                take(event)

    def watch(self, pattern: str, take: Take) -> list[Event]:
        """Pass on what matches a pattern from now on; gives what matched lately."""
        self._patterns[take] = pattern
        self._matcher(pattern).add(pattern, take)
        self._note_detailed()
        found: Matcher[str] = Matcher()
        found.add(pattern, "")
        return [event for event in self.recent if found.match(event.type)]

    def unwatch(self, take: Take) -> None:
        """Pass on nothing more to somebody who watches."""
        pattern = self._patterns.pop(take)
        self._matcher(pattern).remove(pattern, take)
        self._note_detailed()

    def _matcher(self, pattern: str) -> Matcher[Take]:
        return self._details if pattern.partition(".")[0] in DETAILED else self._life

    def _note_detailed(self) -> None:
        firsts: Iterable[str] = (pattern.partition(".")[0] for pattern in self._patterns.values())
        self.detailed = _BY_NAME.intersection(firsts)
