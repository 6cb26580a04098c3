"""A subscription with acknowledgement that has limits of its own: bytes, time, redeliveries.

What it holds longer than its time goes back to the queue. A late ACK or NACK of that settles
nothing; but only then the credit for it comes back, so that a consumer that hangs gets less and
less. Subscriptions without such limits are an `AckSubscription` and pay nothing for this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from stompy.errors import ProtocolError
from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version
from stompy_broker.message import OVERHEAD, Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.interface import Queue, Withdraw
from stompy_broker.routing.rejection import Rejection, Retries
from stompy_broker.routing.router import Router
from stompy_broker.routing.terms import Terms
from stompy_broker.session.bounded_dict import BoundedDict
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.subscription import AckSubscription

_REASON: Final = "its consumer did not settle it in time"


class Settling(NamedTuple):
    """How the deliveries of one subscription are settled, beside mode and prefetch.

    Attributes:
        window: bytes that may be unsettled at once; -1 = no limit, 0 = one delivery at a time.
        timeout: seconds that a delivery may be unsettled; 0 = for ever, None = as the policy of
            the queue says.
        retries: what holds for all that it refuses; None = the policy of the queue.
    """

    window: int = -1
    timeout: float | None = None
    retries: Retries | None = None


ORDINARY: Final = Settling()
"""What most subscriptions want: one object for all of them."""


class LimitedSubscription(AckSubscription):
    """A subscription whose client settles each delivery, within limits of its own.

    Args:
        settling: its limits. The time is known, and not left to the policy.
        tell: told of this subscription, and how many of its deliveries went back.

    Attributes:
        settling: its limits.
        timed_out: how many of its deliveries went back, because time was over.
    """

    __slots__ = (
        "_clock",
        "_late",
        "_late_ids",
        "_since",
        "_tell",
        "_timer",
        "settling",
        "timed_out",
    )

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
        )
        self.settling = settling
        self.timed_out = 0
        self._tell = tell
        self._clock = router.clock
        self._timer = router.clock.timer(self._look)
        # When deliveries were made: the first of each moment. `times` may be earlier than it was.
        self._since: deque[tuple[int, float]] = deque()
        self._late: dict[int, None] = {}  # numbers that went back, oldest first
        self._late_ids: BoundedDict[str, int] = BoundedDict()  # the same, before 1.2

    @property
    def _has_window(self) -> bool:
        """Whether a further delivery is within the bytes that may be unsettled."""
        window = self.settling.window
        if window < 0:
            return True
        held = len(self.unacked) + len(self.claimed)
        return not held or self.lent - OVERHEAD * held < window

    def deliver(self, message: Message) -> bool:
        """Write a message and note that it is to be settled, perhaps until when."""
        room = super().deliver(message)
        timeout = self.settling.timeout
        if timeout:
            now, since = self._current_time.now, self._since
            if not since or since[-1][1] != now:
                since.append((self._delivered, now))
            if len(self.unacked) == 1:
                self._timer.set(now + timeout)
        return room and self._has_window

    def resume(self) -> None:
        """Take messages again, if the limits allow it."""
        if self._has_window:
            super().resume()

    def end(self, *, lost: bool = False, done: Done | None = None) -> None:
        """Take no more; what is neither settled nor claimed returns to its place."""
        self._timer.end()
        super().end(lost=lost, done=done)

    def settle(self, numbers: list[int], rejection: Rejection | None, done: Done | None) -> None:
        """Settle what was claimed; what is refused comes again as this subscription wants it."""
        super().settle(numbers, self._with_retries(rejection), done)

    def settle_in_steps(
        self, numbers: list[int], rejection: Rejection | None, done: Done | None
    ) -> None:
        """As `settle`, for what a single frame covers; it may be a whole queue."""
        super().settle_in_steps(numbers, self._with_retries(rejection), done)

    def _with_retries(self, rejection: Rejection | None) -> Rejection | None:
        retries = self.settling.retries
        if rejection is None or retries is None or rejection.retries is not None:
            return rejection
        return replace(rejection, retries=retries)

    # -- time -----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Give back what was held too long, and look again when the next would be."""
        timeout, now = self.settling.timeout, self._clock.now()
        if not timeout or self.ended:
            return
        self._put_in_order()
        over: list[int] = []
        since = self._since
        for number in self.unacked:
            while len(since) > 1 and since[1][0] <= number:
                since.popleft()
            due = since[0][1] + timeout
            if due > now:
                self._timer.set(due)
                break
            over.append(number)
        if over:
            self._give_back(over)

    def unclaim(self, numbers: list[int]) -> None:
        """Undo the claims of a transaction that was aborted; their time goes on."""
        super().unclaim(numbers)
        self._look()

    def _give_back(self, numbers: list[int]) -> None:
        before = self._by_message_id is not None
        # Others get it first; and this one has no credit for it until it says something.
        self.queue.control(Withdraw((self,)))
        self.credit -= len(numbers)
        for number in numbers:
            message = self.claimed[number] = self.unacked.pop(number)
            self._late[number] = None
            if before:
                self._late_ids.put(message.message_id, number)
        super().settle(numbers, Rejection(delay=0.0, reason=_REASON), None)
        self.timed_out += len(numbers)
        self._tell(self, len(numbers))

    def number_of(self, message_id: str) -> int | None:
        """The delivery of a message, named as 1.0 and 1.1 do, also one that went back."""
        number = super().number_of(message_id)
        return self._late_ids.get(message_id) if number is None else number

    def claim(self, number: int) -> list[int]:
        """Take what an ACK or NACK covers; give credit back for what went back before it."""
        late = self._late
        if late:
            if self._cumulative:
                settled = [one for one in late if one <= number]
            else:
                settled = [number] if number in late else []
            for one in settled:
                del late[one]
            self.credit += len(settled)
            if settled:
                self.resume()
        return super().claim(number)
