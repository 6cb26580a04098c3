"""What stands beside destinations, under a name of its own, and nobody consumes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.interface import RestorableQueue
from stompy_broker.routing.rejection import Rejection


class CompanionQueue(RestorableQueue):
    """A queue without consumers; see `stompy_broker.destinations.names.is_companion`."""

    __slots__ = ()

    def attach(self, consumer: Consumer, done: Done | None = None) -> None:
        """Refuse a consumer: nobody takes messages from here."""
        if done is not None:
            done(ProtocolError(ErrorCode.BAD_DESTINATION, f"{self.destination} has no consumers"))

    def detach(
        self,
        consumer: Consumer,
        unsettled: Iterable[Message] = (),
        *,
        lost: bool = False,
        done: Done | None = None,
    ) -> None:
        """Let somebody go who never took part."""
        if done is not None:
            done()

    def resume(self, consumer: Consumer) -> None:
        """Do nothing: nobody takes part."""

    def settle(
        self, message: Message, rejection: Rejection | None = None, done: Done | None = None
    ) -> None:
        """Do nothing: nobody has a message."""
        if done is not None:
            done()

    def settle_many(
        self,
        messages: Iterable[Message],
        rejection: Rejection | None,
        done: Done | None,
        then: Callable[[], None],
    ) -> None:
        """Do nothing: nobody has a message."""
        if done is not None:
            for _ in messages:
                done()
        then()
