"""Whether anybody wants a copy that comes to a queue of a virtual topic.

With ``virtual_topics.selector_aware``, such a queue keeps only what the selector of one of its
consumers takes. While it has no consumer nobody can say what he wants, so everything is kept; and
so is what was sent to the queue itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.selectors.selector import compile_selector

_COPY: Final = b"\noriginal-destination:/topic/"


def is_wanted(message: Message, consumers: Iterable[Consumer]) -> bool:
    """Whether one of the consumers of a queue would take a message, or none can be asked.

    Args:
        message: it, as it comes to the queue.
        consumers: of the queue.
    """
    texts = {consumer.terms.selector for consumer in consumers}
    if not texts or "" in texts or _COPY not in b"\n" + message.head.block:
        return True
    return any(compile_selector(text).matches(message) for text in texts)
