"""Virtual topics, as ActiveMQ has them: queues that get what is sent to a topic, by their names.

With the names that are usual, what is sent to ``/topic/VirtualTopic.orders`` goes to each queue
``/queue/Consumer.WORD.VirtualTopic.orders`` as well. A queue may have a wildcard in the part of the
topic: ``Consumer.WORD.VirtualTopic.>`` gets what is sent to any of them.
"""

from __future__ import annotations

from stompy_broker.destinations.patterns import ONE_WORD, covers, overlaps

MATCH, QUEUES = "VirtualTopic.>", "Consumer.*."
"""The names that ActiveMQ has unless it is told others."""


class VirtualTopicNames:
    """Which topics are virtual, and how the queues are called that get their messages.

    Args:
        match: the pattern of those topics; empty = there are none.
        queues: what the names of the queues begin with, where ``*`` stands for one word.
    """

    def __init__(self, match: str = MATCH, queues: str = QUEUES) -> None:
        self.match, self.queues = match, queues
        self._topics = match.split(".") if match else []
        self._prefix = queues.removesuffix(".").split(".")
        self._first = "" if self._prefix[0] == ONE_WORD else self._prefix[0]

    def is_topic(self, name: str) -> bool:
        """Whether a topic is virtual."""
        if not self._topics or name.startswith("$"):
            return False
        return covers(self._topics, name.split("."))

    def topics_of(self, queue: str) -> str | None:
        """The topic or pattern of topics that a queue gets; None = none, by its name."""
        if not self._topics or not queue.startswith(self._first):
            return None
        words, length = queue.split("."), len(self._prefix)
        if len(words) <= length or not covers(self._prefix, words[:length]):
            return None
        rest = words[length:]
        return ".".join(rest) if overlaps(self._topics, rest) else None
