"""Things that happened: told in a few words, kept for a while, passed on to who wants them.

Telling costs little while nobody listens. Events about single messages or transactions would be
as many as the traffic, so they are made only while somebody asks for them by name: a pattern that
begins with ``message.`` or ``transaction.``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from stompy.admin.rows import Event
from stompy_broker.routing.matcher import Matcher

KEPT = 200
"""How many events whoever comes later still gets."""

DETAILED = frozenset(("message", "transaction"))
"""Objects whose events are made only while somebody asks for them."""

EVENTS: Mapping[str, str] = {
    "admin.command": "A command was given. `detail` has its name, its arguments and what came of "
    "it. Those that only look are told, but not kept for later.",
    "auth.denied": "Somebody wanted to see a `$SYS` topic without the role for it.",
    "auth.failed": "A login was refused.",
    "broker.alarm_cleared": "What `broker.alarm_set` told is over.",
    "broker.alarm_set": "`reason` is `memory`, `disk` or `store`: full, or in trouble.",
    "connection.blocked": "A client has to wait before it may send more.",
    "connection.closed": "A client is gone; `reason` says why.",
    "connection.opened": "A client has logged in.",
    "connection.unblocked": "A client may send again.",
    "durable.created": "A durable subscription was made.",
    "durable.deleted": "A durable subscription was deleted.",
    "durable.expired": "Nobody came back to a durable subscription; it is deleted.",
    "message.dead_lettered": "A queue gave up a message, which is a dead letter now.",
    "message.dropped": "A queue gave up a message, which is gone.",
    "message.expired": "The time of a message was over.",
    "queue.circle": "Messages that queues gave up came round to a queue that they had passed, and "
    "are dropped. At most once a minute.",
    "queue.created": "A queue was made.",
    "queue.deleted": "A queue was deleted; `reason` says why.",
    "queue.paused": "An operator paused a queue.",
    "queue.purged": "An operator purged a queue.",
    "queue.resumed": "An operator let a queue go on.",
    "store.damaged": "A stored message is not what was written any more, and is given to nobody. "
    "`reason` says what is wrong with it.",
    "subscription.closed": "A subscription ended.",
    "subscription.created": "A client has subscribed.",
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
        recent: the last events, oldest first, none of `DETAILED` objects.
        detailed: the objects of `DETAILED` that somebody wants to know about.
    """

    def __init__(self, wall: Callable[[], int]) -> None:
        self.recent: deque[Event] = deque(maxlen=KEPT)
        self.detailed: frozenset[str] = frozenset()
        self._wall = wall
        self._life: Matcher[Take] = Matcher()
        self._details: Matcher[Take] = Matcher()
        self._patterns: dict[Take, str] = {}
        self._count = 0
        self._detailed_count = 0

    def tell(self, event: Event, *, keep: bool = True) -> None:
        """Something happened.

        Args:
            event: what; its number and time are added here. For an object of `DETAILED`, ask
                first whether it is in `detailed`.
            keep: whether those who come later are to get it too.
        """
        kind = event.type
        is_detail = kind.partition(".")[0] in DETAILED
        if is_detail:
            self._detailed_count += 1
        else:
            self._count += 1
        number = self._detailed_count if is_detail else self._count
        event = replace(event, id=number, at=self._wall())
        if keep and not is_detail:
            self.recent.append(event)
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
        """Undo `watch`."""
        pattern = self._patterns.pop(take)
        self._matcher(pattern).remove(pattern, take)
        self._note_detailed()

    def _matcher(self, pattern: str) -> Matcher[Take]:
        return self._details if pattern.partition(".")[0] in DETAILED else self._life

    def _note_detailed(self) -> None:
        firsts: Iterable[str] = (pattern.partition(".")[0] for pattern in self._patterns.values())
        self.detailed = DETAILED.intersection(firsts)
