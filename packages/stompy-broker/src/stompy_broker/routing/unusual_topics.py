"""The way of messages to topics that say more of themselves than what they are.

Those that end, that have a group, and that their topic is to keep. Others pass it by.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from stompy_broker.destinations.names import Destination
from stompy_broker.message import MessageHead
from stompy_broker.routing.answers import Done, Refused, when_all
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.retained_messages import RetainedMessages

Give = Callable[[], Watermark | None]
"""Gives a message to all subscribers, and what its sender has to wait for."""


class FanningOut(Protocol):
    """Gives messages to subscribers.

    Attributes:
        unroutable: messages that went to no queue at all.
    """

    unroutable: int

    def fan_out(
        self,
        name: str,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        *,
        plain: bool,
    ) -> Watermark | None:
        """Give a message to the subscribers of a topic."""
        ...

    def fan_out_if_admitted(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        refused: Refused | None,
        give: Give,
    ) -> Watermark | None:
        """Give a message to all subscribers, unless one of them refuses it."""
        ...


class UnusualTopicMessages:
    """Publishes them.

    Args:
        router: gives them to subscribers.
        retained: what topics keep.
    """

    def __init__(self, router: FanningOut, retained: RetainedMessages) -> None:
        self._router = router
        self._retained = retained

    def publish(
        self,
        destination: Destination,
        head: MessageHead,
        body: bytes,
        done: Done | None,
        refused: Refused | None,
    ) -> Watermark | None:
        """Give a message to all subscribers; gives what its sender has to wait for.

        Raises:
            ProtocolError: it is refused.
        """
        name = destination.name
        give = partial(self._router.fan_out, name, head, body, done, plain=False)
        if head.traits.retains:
            if refused is not None:
                self._retained.check(((name, len(head.block), len(body)),))
            give = partial(self._give_and_keep, name, head, body, done)
        return self._router.fan_out_if_admitted(destination, head, body, refused, give)

    def _give_and_keep(
        self, name: str, head: MessageHead, body: bytes, done: Done | None
    ) -> Watermark | None:
        heads, router = self._retained.heads_of(head, name), self._router
        lost = router.unroutable
        part_done = None if done is None else when_all(2, done)
        full = router.fan_out(name, heads.live, body, part_done, plain=False)
        if body:
            router.unroutable = lost  # it is kept, if nobody is there
        self._retained.keep(name, heads.kept, body, part_done)
        return full
