"""What a queue's messages cost: memory, disk, and the queue's own mark (**hot path**).

A subscription with acknowledgement moves what it has from the queue's account to the loans, now
and then, and back again. What is in a queue that only one client can empty is a loan from the
beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from stompy.admin.settlements import SettlementKind
from stompy_broker.message import Message
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.last_values import LastValues
from stompy_broker.routing.paging import BodyReader
from stompy_broker.store.interface import MessageStore


class Accounts:
    """Adds up what is in one queue, and tells its store.

    Args:
        destination: of the queue.
        memory: where what is in it is added up.
        disk: where what is stored of it is.
        store: where persistent messages of it survive; None = they do not.
        own: makes senders of this queue wait; None = nothing of its own does.
        reader: reads its bodies from disk.
        shares: whether a message in it may share its memory with others.

    Attributes:
        bytes: size of everything in the queue, also of what is with consumers.
    """

    __slots__ = (
        "_destination",
        "_reader",
        "_shares",
        "_values",
        "bytes",
        "disk",
        "memory",
        "own",
        "store",
    )

    def __init__(
        self,
        destination: str,
        memory: Watermark,
        disk: Watermark,
        store: MessageStore | None,
        own: Watermark | None,
        reader: BodyReader,
        *,
        shares: bool,
    ) -> None:
        self.bytes = 0
        self.memory = memory
        self.disk = disk
        self.store = store
        self.own = own
        self._destination = destination
        self._reader = reader
        self._shares = shares
        self._values: LastValues | None = None

    def tell_values(self, values: LastValues | None) -> None:
        """Have it known there from now on what leaves the queue; None = nowhere."""
        self._values, self._shares = values, True

    def share(self) -> None:
        """Let messages in it share their memory from now on; it makes no difference to others."""
        self._shares = True

    def keep(self, message: Message) -> None:
        """Account for a message, and store it where it is to survive."""
        size = message.size
        self.bytes += size
        memory = self.memory
        if self._shares:
            message.charge(memory)
        else:
            memory.used += size
        if memory.used >= memory.high:
            memory.went_over()
        own = self.own
        if own is not None:
            own.used += size
            if own.used >= own.high:
                own.went_over()
        if self.store is not None and message.head.traits.persistent:
            self.store.append(self._destination, message)
            self.disk.add(size)

    def let_go(self, message: Message) -> None:
        """Count a message no more, and take it off the disk if it is there."""
        size = message.size
        self.bytes -= size
        memory = self.memory
        if self._shares:
            message.discharge(memory)
            if self._values is not None:
                self._values.gone(message)
        else:
            memory.used -= size if message.body is not None else message.ram_on_disk
        if memory.used <= memory.floor:
            memory.went_under()
        own = self.own
        if own is not None:
            own.used -= size
            if own.used <= own.floor:
                own.went_under()
        if self.store is not None and message.head.traits.persistent:
            self.store.remove(message)
            disk = self.disk
            disk.used -= size
            if disk.used <= disk.floor:
                disk.went_under()
            if self._reader.wanted is not None:
                self._reader.forget(message)

    def let_go_all(self, messages: list[Message]) -> None:
        """Count messages no more; those of one read, added up before anything is looked at."""
        store = self.store
        if self._shares or (
            store is not None and any(message.head.traits.persistent for message in messages)
        ):
            for message in messages:
                self.let_go(message)
            return
        size = ram = 0
        for message in messages:
            size += message.size
            ram += message.size if message.body is not None else message.ram_on_disk
        self.bytes -= size
        self.memory.used -= ram
        self.memory.check()
        if self.own is not None:
            self.own.used -= size
            self.own.check()

    # -- why, for the history of a queue: without one that is the same to everybody ----------

    def give_up(
        self,
        message: Message,
        kind: SettlementKind,
        cause: str = "",
        reason: str = "",
        sent_to: str = "",
    ) -> None:
        """Count a message no more that no consumer has accepted.

        Args:
            message: it.
            kind: what becomes of it.
            cause: why, in a word.
            reason: why, as somebody has put it.
            sent_to: where it goes, as far as that is known.
        """
        self.let_go(message)

    def close(self, message: Message) -> None:
        """Count a message no more whose queue ends."""
        self.give_up(message, SettlementKind.CLOSED)

    def ending(self) -> Callable[[Message], None]:
        """Take note that the queue ends; gives what is to be told of each message in it."""
        return self.close

    def hand_over(self, message: Message, holder: int, *, kept: bool) -> None:
        """Take note of a message that went to a consumer without acknowledgement.

        Args:
            message: it.
            holder: `Consumer.number`.
            kept: whether it has counted until now.
        """
        if kept:
            self.let_go(message)

    def come_back(self, message: Message, due: int, kind: SettlementKind, reason: str) -> None:
        """Take note of a message that a consumer had and has no more.

        Args:
            message: it.
            due: when it may be delivered again, in milliseconds since the epoch; 0 = at once.
            kind: how the delivery ended.
            reason: why, in the words of the consumer.
        """
        self.mark_returned(message, due)

    # -- who sends ---------------------------------------------------------------------------

    def begin_for(self, message: Message) -> None:
        """Have what is published now be of who sent a message; `end_for` has to follow."""

    def end_for(self, message: Message) -> None:
        """Have it be of nobody again: undo `begin_for`."""

    def restore(self, message: Message, store: MessageStore) -> None:
        """Account for a message that the store has kept."""
        # The policy of its queue was another one. Until the queue is empty at a start it goes on as
        # before.
        self.store = self.store or store
        size = message.size
        self.bytes += size
        message.charge(self.memory)
        self.disk.used += size
        if self.own is not None:
            self.own.used += size

    def mark_delivered(self, message: Message, holder: int) -> None:
        """Tell the store of a delivery: one that a crash cuts short has to be seen afterwards."""
        if self.store is not None and message.head.traits.persistent:
            known = 0 if message.redelivery is None else message.redelivery.deliveries
            self.store.mark_delivered(message, known + 1, 0, holder)

    def take_held(self, message: Message, holder: int) -> None:
        """Account for a message that comes in and is with a consumer already."""
        self.keep(message)
        self.mark_delivered(message, holder)

    def mark_returned(self, message: Message, due: int) -> None:
        """Tell the store that nobody has a message now, and when it may be delivered again."""
        if self.store is not None and message.head.traits.persistent:
            self.store.mark_delivered(message, message.deliveries, due)

    def leave_body(self, message: Message) -> None:
        """Leave the body of what comes back on disk, once bodies stay there."""
        memory, store = self.memory, self.store
        if store is None or memory.used * 2 <= memory.high or message.body is None:
            return
        if message.head.persistent and store.is_written(message):
            message.leave_body(memory)

    def renew_mark(self, mark: int) -> Watermark | None:
        """Have another mark of the queue's own, 0 = none; gives what makes its senders wait."""
        if self.own is None and mark:
            self.own = Watermark(mark)
            self.own.used = self.bytes
        if self.own is not None:
            self.own.move(mark)
        return self.own

    def hold_intake(self, held: bool) -> Watermark:
        """Make whoever sends to the queue wait, or no more; gives what does."""
        if self.own is None:
            self.own = Watermark(0)
            self.own.used = self.bytes
        if held:
            self.own.hold()
        else:
            self.own.open()
        return self.own

    def abandon(self, waiting: Sequence[Message], held: Iterable[Message]) -> int:
        """Have nothing more to do with the disk; gives how many messages no store has.

        Args:
            waiting: what nobody has.
            held: what consumers have.
        """
        stored = []
        if self.store is not None:
            stored = [message for message in waiting if message.head.persistent]
            with_consumers = [message for message in held if message.head.persistent]
            self.disk.used -= sum([message.size for message in (*stored, *with_consumers)])
            self.disk.check()
        self.store = None
        for message in waiting:
            self._reader.forget(message)
        if self.own is not None and self.own.full:
            self.own.held = False
            self.own.went_under()
        return len(waiting) - len(stored)
