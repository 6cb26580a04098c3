"""Subscriptions of a user who gets only so many messages in a time.

Each waits for its turn in the line of its user, and is out of the lines of its queue meanwhile, so
that messages go to others who take them. Compiled as their bases are, and made for such users only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from stompy.errors import ProtocolError
from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.consumer import NotNow
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.router import Router
from stompy_broker.routing.terms import PLAIN, Terms
from stompy_broker.session.limited_subscription import LimitedSubscription, Settling
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription, Subscription


class Pace(Protocol):
    """Says whose turn it is to get a message; see `TurnLine`."""

    def may_go(self) -> bool:
        """Whether who comes now may take one at once."""
        ...

    def take(self, size: int) -> None:
        """Take one of so many bytes."""
        ...

    def wait(self, who: object, go_on: Callable[[], None]) -> None:
        """Call a function when it is somebody's turn."""
        ...

    def forget(self, who: object) -> None:
        """Wait no more for somebody."""
        ...


class PacedSubscription(Subscription):
    """A subscription without acknowledgement that gets so many messages in a time.

    Args:
        pace: of its user.
    """

    __slots__ = ("_pace",)

    def __init__(
        self,
        subscription_id: str | None,
        queue: Queue,
        output: OutputBuffer,
        version: Version,
        fail: Callable[[ProtocolError], None],
        terms: Terms = PLAIN,
        *,
        pace: Pace,
    ) -> None:
        super().__init__(subscription_id, queue, output, version, fail, terms)
        self._pace = pace

    def deliver(self, message: Message) -> bool:
        """Write a message, if it is its turn."""
        _take_turn(self._pace, self, message)
        room = super().deliver(message)
        return _has_next_turn(self._pace, self) and room

    def resume(self) -> None:
        """Take messages again, when it is its turn."""
        if self._pace.may_go():
            super().resume()
        elif self.active:
            self._pace.wait(self, self.resume)

    def stop(self) -> None:
        """Take no more, although the client may still settle what it has."""
        self._pace.forget(self)
        super().stop()


class PacedAckSubscription(LimitedSubscription):
    """A subscription whose client settles each delivery, and that gets so many in a time.

    Args:
        pace: of its user.
    """

    __slots__ = ("_pace",)

    def __init__(  # noqa: PLR0913 -- what its base takes, and what it has beside
        self,
        subscription_id: str | None,
        queue: Queue,
        output: OutputBuffer,
        version: Version,
        fail: Callable[[ProtocolError], None],
        *,
        router: Router,
        tag: int,
        mode: AckMode,
        prefetch: int,
        terms: Terms,
        settling: Settling,
        tell: Callable[[AckSubscription, int], None],
        pace: Pace,
    ) -> None:
        super().__init__(
            subscription_id,
            queue,
            output,
            version,
            fail,
            router=router,
            tag=tag,
            mode=mode,
            prefetch=prefetch,
            terms=terms,
            settling=settling,
            tell=tell,
        )
        self._pace = pace

    def deliver(self, message: Message) -> bool:
        """Write a message and note that it is to be settled, if it is its turn."""
        _take_turn(self._pace, self, message)
        room = super().deliver(message)
        return _has_next_turn(self._pace, self) and room

    def resume(self) -> None:
        """Take messages again, if the limits allow it and it is its turn."""
        if self._pace.may_go():
            super().resume()
        elif self.active and self.credit > 0:
            self._pace.wait(self, self.resume)

    def end(self, *, lost: bool = False, done: Done | None = None) -> None:
        """Take no more; what is neither settled nor claimed returns to its place."""
        self._pace.forget(self)
        super().end(lost=lost, done=done)


def _take_turn(pace: Pace, subscription: Subscription, message: Message) -> None:
    """Take a message, if it is the turn of a subscription; else have it wait for that.

    Raises:
        NotNow: it is not.
    """
    if not pace.may_go():
        pace.wait(subscription, subscription.resume)
        raise NotNow
    pace.take(message.size)


def _has_next_turn(pace: Pace, subscription: Subscription) -> bool:
    """Whether a subscription may take another message at once; else it waits for its turn."""
    if pace.may_go():
        return True
    pace.wait(subscription, subscription.resume)
    return False
