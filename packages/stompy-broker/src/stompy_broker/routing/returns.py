"""What comes back to a queue from consumers who have gone: in steps, if it is very much."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.batching import BatchedWork
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.redelivery import Requeue

_COMES_BACK = "very many messages come back"


class Returns:
    """Gives a queue back what consumers had, and holds it back meanwhile.

    Args:
        batches: of the queue.
        line: who waits for messages of the queue.
        accounts: of the queue.
        requeue: takes each message back.
        hand_out: called when messages may be delivered again.

    Attributes:
        left: how many messages are still to come back.
    """

    __slots__ = (
        "_accounts",
        "_batches",
        "_hand_out",
        "_holding",
        "_line",
        "_requeue",
        "left",
    )

    def __init__(
        self,
        batches: BatchedWork,
        line: ConsumerLine,
        accounts: Accounts,
        requeue: Requeue,
        hand_out: Callable[[], None],
    ) -> None:
        self.left = 0
        self._batches = batches
        self._line = line
        self._accounts = accounts
        self._requeue = requeue
        self._hand_out = hand_out
        self._holding = 0

    def give_back(self, messages: list[Message], *, lost: bool) -> None:
        """Put messages back to their places.

        Args:
            messages: them, oldest first.
            lost: whether the delivery of the first one counts as failed.
        """
        budget = self._batches.budget
        at_once = messages[: max(1, budget.left)]
        for message in at_once:
            self._requeue.give_back(message, failed=lost)
            lost = False
        if len(at_once) > 1:
            budget.spend(len(at_once))
        if len(messages) > len(at_once):
            self.hold_back()
            self.left += len(messages) - len(at_once)
            self._batches.do(messages[len(at_once) :], self._return, self.let_go_on)
        self._accounts.memory.check()
        self._hand_out()

    def _return(self, message: Message) -> None:
        self.left -= 1
        self._requeue.give_back(message)

    def hold_back(self) -> None:
        """Let nothing of this queue overtake what comes back, while others have their turn."""
        self._holding += 1
        self._line.pause(_COMES_BACK)

    def let_go_on(self) -> None:
        """Undo `hold_back`, and go on if nothing else holds."""
        self._accounts.memory.check()
        self._holding -= 1
        if not self._holding and self._line.proceed(_COMES_BACK):
            self._hand_out()
