"""What one subscription gets, owes and may still get. **Hot path** (`deliver`).

Deliveries of a subscription with acknowledgement are numbered. ``unacked`` holds them by number,
oldest first. An ACK inside a transaction moves them to ``claimed`` until COMMIT settles them or
ABORT brings them back; both use up credit. What came back is behind the others until somebody asks
for the order. A cumulative ACK goes by the lowest number, not by looking from the beginning: what
was taken out of the front of a dictionary is passed over again and again.

In STOMP 1.2 a delivery's ``ack`` header is ``TAG-NUMBER``. The tag is new for every SUBSCRIBE in
the broker's life, restarts included, so a late ACK settles nothing else: not of a later
subscription of the same id (1.2, *UNSUBSCRIBE*), nor of another connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from itertools import repeat
from sys import maxsize
from typing import Final, cast

from stompy.errors import ProtocolError
from stompy.protocol.frame import AckMode
from stompy.protocol.headers import Version, escape
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.batching import AT_ONCE
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.delivery_times import DeliveryTimes
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.joined_queues import JoinedQueues
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.routing.settlement_record import NOBODY, Taker
from stompy_broker.routing.terms import PLAIN, Terms
from stompy_broker.session.holdings import HeldSubscription
from stompy_broker.session.output import LARGE, OutputBuffer

_UNLIMITED: Final = 1 << 60

_LONGEST_NUMBER: Final = 20

_LOOK_AGAIN: Final = 64 * 1024
"""What a client has is accounted for when it is so many bytes more or less.

To do it for each message would cost a tenth of the rate (``benchmarks/run.py``,
*client-individual*).
"""

_TAKEN_OVER: Final = Rejection(delay=0.0, reason="another consumer took over", failed=False)
"""Why deliveries go back when another consumer is to get all messages."""

_FIRST: Final = b"redelivered:false\ndelivery-count:1\n"
_MESSAGE_ID: Final = b"message-id:"


def is_number(text: str) -> bool:
    """Whether a text may be the number of a delivery or of a message."""
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


def _delivery(message: Message) -> bytes:
    """The header lines about this delivery."""
    if message.redelivery is None:
        return _FIRST
    return b"redelivered:true\ndelivery-count:%d\n" % (message.deliveries + 1)


def _forget(message_id: str) -> None:
    """Remember nothing of what is settled, where nobody wants that."""


def _nothing() -> None:
    """Do nothing more."""


class Subscription(Consumer):
    """A subscription without acknowledgement: what is written is settled.

    Args:
        subscription_id: the client's id; None for a 1.0 client that gave none.
        queue: where its messages come from.
        output: where they go.
        version: how they are written.
        fail: what to do when the queue gives up on this subscription.
        terms: what it asks of its queue, beside messages.

    Attributes:
        number: unique within the broker; 0 = nobody gave it one.
        created_at: when, on the clock.
        mode: how its client acknowledges.
        stands_by: whether another consumer is given all messages of its queue.
        on_active: told when it is the one who is given all, if it asked for that.
        client: says whose it is; None = nobody's.
    """

    __slots__ = (
        "_delivered",
        "_fail",
        "_first_prefix",
        "_head",
        "_output",
        "_version",
        "active",
        "attached",
        "client",
        "created_at",
        "ended",
        "id",
        "mode",
        "on_active",
        "queue",
        "stands_by",
    )

    def __init__(
        self,
        subscription_id: str | None,
        queue: Queue,
        output: OutputBuffer,
        version: Version,
        fail: Callable[[ProtocolError], None],
        terms: Terms = PLAIN,
    ) -> None:
        self.id = subscription_id
        self.queue = queue
        self.auto = True
        self.mode = AckMode.AUTO
        self.prefetch = 0
        self.terms = terms
        self._delivered = 0
        self.number = 0
        self.created_at = 0.0
        self.waiting = False
        self.attached = self.active = self.ended = self.stands_by = False
        self.on_active: Callable[[Subscription], None] | None = None
        self.client: Callable[[], Taker] | None = None
        self._output = output
        self._version = version
        self._fail = fail
        self._head = b"MESSAGE\n"
        if subscription_id is not None:
            self._head += f"subscription:{escape(subscription_id, version)}\n".encode(
                "utf-8", "surrogateescape"
            )
        self._first_prefix = self._head + _FIRST + _MESSAGE_ID

    def taker(self) -> Taker:
        """Whose it is, and what he calls it."""
        who = NOBODY if self.client is None else self.client()
        return who._replace(subscription=self.id or "")

    def deliver(self, message: Message) -> bool:
        """Write a message; see `stompy_broker.routing.consumer.Consumer`."""
        self._delivered += 1
        prefix = self._first_prefix
        if message.redelivery is not None:
            prefix = self._head + _delivery(message) + _MESSAGE_ID
        if message.size >= LARGE and message.shared_tail is None:
            return self._put_large(prefix, message.front(self._version), message)
        return self._output.put_message(prefix, message.tail(self._version))

    def _put_large(self, prefix: bytes, front: bytes, message: Message) -> bool:
        """Write a message without copying its body."""
        body = message.body
        assert body is not None
        return self._output.put_large_message(prefix, front, body)

    @property
    def delivered(self) -> int:
        """How many messages were delivered so far."""
        return self._delivered

    def fail(self, reason: ProtocolError) -> None:
        """End the client, because the queue gives up on this subscription."""
        self._fail(reason)

    def activate(self, *, active: bool) -> None:
        """Note whether the queue gives it messages; tell who watches if it is the only one."""
        self.stands_by = not active
        if active and self.on_active is not None and self.terms.single_active:
            self.on_active(self)

    def begin(self) -> None:
        """Begin to take messages, unless the end came first."""
        if not self.ended:
            self.active = True
            self.resume()

    def resume(self) -> None:
        """Take messages again: the output buffer has room."""
        if self.active and not self.waiting:
            self.queue.resume(self)

    def stop(self) -> None:
        """Take no more, although the client may still settle what it has."""
        self.ended = True
        self.active = False

    def end(self, *, lost: bool = False, done: Done | None = None) -> None:
        """Take no more; what is not settled returns to its place.

        Args:
            lost: whether the connection was lost, so that a delivery may have been the reason.
            done: called when the queue has let it go.
        """
        self.stop()
        self.queue.detach(self, self.unsettled(), lost=lost, done=done)

    def unsettled(self) -> Iterable[Message]:
        """What the client still has to settle."""
        return ()

    @property
    def held(self) -> HeldSubscription:
        """What the client holds of it."""
        return HeldSubscription(self.id or "", self.queue.destination, 0)

    def __repr__(self) -> str:
        """Id and source, for people."""
        return f"<{type(self).__name__} {self.id!r} of {self.queue.destination}>"


class TopicSubscription(Subscription):
    """A subscription without acknowledgement to topics, with a backlog of its own.

    Most of what it gets was made once for all subscribers, and its backlog counts for it. Measured
    with ``benchmarks/run.py``, *fanout*: a delivery takes a tenth less than by a `Subscription`.
    """

    __slots__ = ()

    def deliver(self, message: Message) -> bool:
        """Write a message; see `stompy_broker.routing.consumer.Consumer`."""
        prefix = self._first_prefix
        if message.redelivery is not None:
            prefix = self._head + _delivery(message) + _MESSAGE_ID
        tail = message.shared_tail
        if tail is None:
            if message.size >= LARGE:
                return self._put_large(prefix, message.front(self._version), message)
            tail = message.tail(self._version)
        return self._output.put_message(prefix, tail)

    @property
    def delivered(self) -> int:
        """How many messages were delivered so far."""
        return self.queue.delivered


class AckSubscription(Subscription):
    """A subscription whose client settles each delivery.

    Args:
        router: knows the time, and what clients hold.
        tag: number of this SUBSCRIBE; never used again.
        mode: `AckMode.CLIENT` (cumulative) or `AckMode.CLIENT_INDIVIDUAL`.
        prefetch: how many deliveries may be unsettled at once; 0 = no limit.

    Attributes:
        times: when its deliveries were made.
        settled: told the ``message-id`` of what is settled, before 1.2.
        lent: size of the deliveries that are not settled, in bytes.
    """

    __slots__ = (
        "_account",
        "_accounted",
        "_ack_line",
        "_by_message_id",
        "_cumulative",
        "_current_time",
        "_first_ack",
        "_high",
        "_loans",
        "_low",
        "_lowest",
        "_mixed",
        "claimed",
        "credit",
        "lent",
        "nacked",
        "settled",
        "tag",
        "times",
        "unacked",
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
        terms: Terms = PLAIN,
    ) -> None:
        super().__init__(subscription_id, queue, output, version, fail, terms)
        self.auto = False
        self.tag = tag
        self.mode = mode
        self.prefetch = prefetch
        self.credit = prefetch or _UNLIMITED
        self.lent = 0
        self.times = DeliveryTimes()
        self._current_time = router.current_time
        self._loans = router.loans
        self._loans.holders += 1
        # What waits for this client alone is a loan before it is delivered.
        self._account = router.loans if queue.volatile else router.memory
        self._accounted = 0
        self._low = 0
        self._high = _LOOK_AGAIN
        self.nacked = 0
        self.settled: Callable[[str], None] = _forget
        self.unacked: dict[int, Message] = {}
        self.claimed: dict[int, Message] = {}
        self._cumulative = mode is AckMode.CLIENT
        self._lowest = 1  # for a cumulative ACK: no number below is in `unacked`
        self._mixed = False  # whether `unacked` is out of order
        # `ack` and `message-id` stand together, after what messages have in common; that helps
        # clients that remember it (`stompy.protocol.message_heads.MessageHeads`).
        self._ack_line = b"ack:%d-" % tag
        self._first_ack = self._head + _FIRST + self._ack_line
        # Before 1.2 a client names a delivery by its message-id.
        self._by_message_id: dict[str, int] | None = None if version is Version.V1_2 else {}

    def deliver(self, message: Message) -> bool:
        """Write a message and note that it is to be settled."""
        large = message.size >= LARGE and message.shared_tail is None
        # Before anything is noted: it may fail.
        tail = message.front(self._version) if large else message.tail(self._version)
        number = self._delivered = self._delivered + 1
        now = self._current_time.now
        if now != self.times.last and self.times.add(number, now):
            self.times.trim(self.oldest or number)
        self.unacked[number] = message
        self.credit -= 1
        lent = self.lent = self.lent + message.size
        if self._by_message_id is None:
            ack = self._first_ack
            if message.redelivery is not None:
                ack = self._head + _delivery(message) + self._ack_line
            prefix = b"%b%d\nmessage-id:" % (ack, number)
        else:
            self._by_message_id[message.message_id] = number
            prefix = self._head + _delivery(message) + _MESSAGE_ID
        if large:
            room = self._put_large(prefix, tail, message)
        else:
            room = self._output.put_message(prefix, tail)
        if lent > self._high:
            room = self._may_borrow() and room
        return room and self.credit > 0

    def resume(self) -> None:
        """Take messages again, if there is credit and room."""
        if self.credit > 0 and (self.lent >= self._low or self._may_borrow()):
            super().resume()

    def _move(self, more: int) -> None:
        """Account so much more to what clients hold, and less to what makes producers wait."""
        account, loans = self._account, self._loans
        self._accounted += more
        if account is loans:
            return
        loans.add(more)
        account.add(-more)
        loans.check()
        account.check()

    def _may_borrow(self) -> bool:
        """Account for what the client has; say whether it may have more before it settles some.

        The queue has accounted for it already, as for what nobody has.
        """
        if self.ended:
            return False
        loans, lent = self._loans, self.lent
        self._move(lent - self._accounted)
        self._low, self._high = lent - _LOOK_AGAIN, lent + _LOOK_AGAIN
        if not loans.full or lent <= loans.share:
            return True
        loans.wait(self.resume)
        self._low = maxsize  # so that it looks again
        return False

    def end(self, *, lost: bool = False, done: Done | None = None) -> None:
        """Take no more; what is neither settled nor claimed returns to its place."""
        self._move(-self._accounted)
        super().end(lost=lost, done=done)
        self._loans.holders -= 1
        self._loans.forget(self.resume)
        self.unacked.clear()

    @property
    def oldest(self) -> int | None:
        """The number of the oldest delivery that is not settled; None = all are."""
        self._put_in_order()
        firsts = [next(iter(held)) for held in (self.unacked, self.claimed) if held]
        return min(firsts, default=None)

    def unsettled(self) -> Iterable[Message]:
        """What was delivered and neither settled nor claimed by a transaction."""
        self._put_in_order()
        return self.unacked.values()

    def _put_in_order(self) -> None:
        if self._mixed:
            self._mixed = False
            self.unacked = dict(sorted(self.unacked.items()))

    def holds(self) -> list[Message]:
        """What the client or one of its transactions has."""
        return [*self.unacked.values(), *self.claimed.values()]

    def give_back(self, only: Set[Message] | None = None) -> None:
        """Give back what is neither settled nor claimed; a late ACK of it settles nothing."""
        self._put_in_order()
        held = self.unacked
        back = [number for number, one in held.items() if only is None or one in only]
        for number in back:
            self.claimed[number] = held.pop(number)
        self.settle_in_steps(back, _TAKEN_OVER, None)

    @property
    def held(self) -> HeldSubscription:
        """What the client holds of it."""
        unsettled = len(self.unacked) + len(self.claimed)
        return HeldSubscription(self.id or "", self.queue.destination, unsettled)

    def number_of(self, message_id: str) -> int | None:
        """The delivery of a message, named as 1.0 and 1.1 do; None if it is not to be settled."""
        if self._by_message_id is not None:
            found = self._by_message_id.get(message_id)
            if found is not None or not isinstance(self.queue, JoinedQueues):
                return found
            # Several queues may have copies of one message.
        owed = self.unacked.items()
        return next((number for number, m in owed if m.message_id == message_id), None)

    def covered(self, number: int) -> list[Message]:
        """What an ACK or NACK of this delivery would settle. Not for the hot path."""
        if not self._cumulative:
            return [self.unacked[number]] if number in self.unacked else []
        return [message for held, message in self.unacked.items() if held <= number]

    def claim(self, number: int) -> list[int]:
        """Take out of ``unacked`` what an ACK or NACK of this delivery covers.

        Returns:
            The numbers now in ``claimed``; none if the delivery was settled before.
        """
        unacked = self.unacked
        if self._cumulative:
            numbers = [n for n in range(self._lowest, number + 1) if n in unacked]
            self._lowest = max(self._lowest, number + 1)
        else:
            numbers = [number] if number in unacked else []
        for claimed in numbers:
            self.claimed[claimed] = unacked.pop(claimed)
        return numbers

    def settle(self, numbers: list[int], rejection: Rejection | None, done: Done | None) -> None:
        """Settle what was claimed; credit for it comes back."""
        if rejection is not None:
            self.nacked += len(numbers)
        for number in numbers:
            message = self._forget(number)
            self.queue.settle(message, rejection, done)
        self.resume()

    def settle_in_steps(
        self, numbers: list[int], rejection: Rejection | None, done: Done | None
    ) -> None:
        """As `settle`, for what a single frame covers; it may be a whole queue."""
        if len(numbers) <= AT_ONCE:
            self.settle(numbers, rejection, done)
            return
        if rejection is not None:
            self.nacked += len(numbers)
        self.queue.settle_many(map(self._forget, numbers), rejection, done, self.resume)

    def accept(self, number: int) -> bool:
        """Settle one delivery, in the common case; see `accept_run`."""
        return self.accept_run([number]) == 1

    def accept_run(self, numbers: list[int]) -> int:
        """Settle deliveries, in the common case: the short way of claim and settle.

        The caller calls `resume` later, once for all the deliveries it has settled.

        Args:
            numbers: of the deliveries, each settled by an ACK of its own.

        Returns:
            How many were settled. The next one is not the common case; nothing was done for it.
        """
        if self._cumulative:
            numbers = self._in_turn(numbers)
        unacked = self.unacked
        # In half the time of a loop in plain Python.
        found = list(map(unacked.pop, numbers, repeat(None)))
        if not all(found):
            # One was settled before, or twice in this read; what is behind it has to wait.
            end = found.index(None)
            for number, message in zip(numbers[end:], found[end:], strict=True):
                if message is not None:
                    unacked[number] = message
            del found[end:]
            self._mixed = True
        if found:
            settled = cast(list[Message], found)
            self.credit += len(settled)
            self.lent -= sum([message.size for message in settled])
            self.queue.settle_many(settled, None, None, _nothing)
        return len(found)

    def _in_turn(self, numbers: list[int]) -> list[int]:
        """So many as each settle themselves alone, although ACKs are cumulative."""
        lowest = self._lowest
        for number in numbers:
            if number != lowest or number not in self.unacked:
                break
            lowest += 1
        count, self._lowest = lowest - self._lowest, lowest
        return numbers[:count]

    def unclaim(self, numbers: list[int]) -> None:
        """Undo the claims of a transaction that was aborted: they may be settled again.

        If the subscription has ended, they return to the queue instead.
        """
        if self.ended:
            self.queue.detach(self, [self._forget(number) for number in numbers])
            return
        for number in numbers:
            self.unacked[number] = self.claimed.pop(number)
        self._mixed = True
        self._lowest = min(self._lowest, *numbers)

    def _forget(self, number: int) -> Message:
        message = self.claimed.pop(number)
        if self._by_message_id is not None:
            message_id = message.message_id
            self._by_message_id.pop(message_id, None)
            self.settled(message_id)
        self.credit += 1
        self.lent -= message.size
        return message
