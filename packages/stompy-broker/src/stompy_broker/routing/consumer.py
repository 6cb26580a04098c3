"""What a queue sees of whoever takes messages from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Set

from stompy.compiler import mypyc_attr
from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.settlement_record import NOBODY, Taker
from stompy_broker.routing.terms import Terms


class NotNow(Exception):  # noqa: N818 -- no fault
    """Says that a consumer that stands in line takes nothing for now; it leaves the line.

    One that takes from several queues has one credit for all of them (`JoinedQueues`).
    """


@mypyc_attr(allow_interpreted_subclasses=True)
class Consumer:
    """Takes messages. The sessions' subscriptions do.

    A class to inherit from rather than a protocol, as `stompy_broker.routing.interface.Queue` is:
    compiled, what a class has is found without looking for its name. Measured with
    ``benchmarks/run.py``, compiled, both together: a fifth less processor time for a message, of
    whatever scenario.

    Attributes:
        number: unique while the broker runs.
        auto: whether a message counts as settled once `deliver` took it.
        waiting: the queue's own mark: whether the consumer stands in line for the next message.
        prefetch: deliveries that may be unsettled at once; 0 = no limit.
        terms: what it asks of its queue, beside messages.
    """

    __slots__ = ("auto", "number", "prefetch", "terms", "waiting")

    number: int
    auto: bool
    waiting: bool
    prefetch: int
    terms: Terms

    @abstractmethod
    def deliver(self, message: Message) -> bool:
        """Take a message; say whether another one is welcome.

        Must not call back into the queue. A consumer that said no comes back by `Queue.resume`.

        Raises:
            NotNow: it did not take it.
        """

    @abstractmethod
    def fail(self, reason: ProtocolError) -> None:
        """Give up on this consumer: the queue has no more messages for it."""

    def activate(self, *, active: bool) -> None:
        """Be told whether the queue gives it messages, where one consumer gets all of them.

        Must not call back into the queue. Nobody is told where no consumer asks for that.
        """

    def give_back(self, only: Set[Message] | None = None) -> None:
        """Give back what it holds, as far as it can: another one is to get everything.

        Args:
            only: no other messages than these; None = all.
        """

    def holds(self) -> Iterable[Message]:
        """What it was given and has not settled, also after it has gone. Not for the hot path.

        A queue asks when its messages go to another broker: what it holds stays with it.
        """
        return ()

    def taker(self) -> Taker:
        """Who it is, in words that the history of a queue keeps. Not for the hot path."""
        return NOBODY

    def shows(self) -> Iterable[Message]:
        """What it has and has not settled, to be looked at. Not for the hot path."""
        return self.holds()
