"""The queues that there are of virtual topics, found by the topic.

What a topic matches is remembered, and looked at again when there are other queues. That a queue
has ended shows when it is to get a message: who makes one tells, and nobody else has to.
"""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.virtual_topics import VirtualTopicNames


class VirtualQueues:
    """The queues of virtual topics, wherever their messages are.

    Args:
        has_queue: tells whether there is a queue of that name.

    Attributes:
        names: which topics and queues it is about.
        selector_aware: whether they keep only what one of their consumers takes.
    """

    def __init__(self, has_queue: Callable[[str], bool]) -> None:
        self.names = VirtualTopicNames()
        self.selector_aware = False
        self._has_queue = has_queue
        self._topics: dict[str, str] = {}  # by the names of the queues
        self._matcher: Matcher[str] = Matcher()

    def covers(self, name: str) -> bool:
        """Whether a queue of that name is one of these."""
        return self.names.topics_of(name) is not None

    def appeared(self, name: str) -> bool:
        """Note that there is a queue; say whether it is one of these."""
        topics = self.names.topics_of(name)
        if topics is None:
            return False
        if name not in self._topics:
            self._topics[name] = topics
            self._matcher.add(topics, name)
        return True

    def of(self, topic: str) -> list[str]:
        """The names of the queues that get what is sent to a topic."""
        found = []
        for name in self._matcher.match(topic):
            if self._has_queue(name):
                found.append(name)
            else:
                self._matcher.remove(self._topics.pop(name), name)
        return found
