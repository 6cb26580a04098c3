"""What a COMMIT tells the queues of one group, gathered instead of carried out.

A transaction over groups of several owners is told to each of them by whoever coordinates it, when
all of them can take their part. Until then nothing has happened in any queue.
"""

from __future__ import annotations

from stompy_broker.cluster.remote.verbs import ExpireVerb, PublishVerb, SettleVerb
from stompy_broker.message import Message
from stompy_broker.routing.answers import Done
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import RestorableQueue
from stompy_broker.routing.rejection import Rejection

PartVerb = PublishVerb | ExpireVerb | SettleVerb


class Part:
    """The part of one group in a transaction.

    Args:
        memory: memory in use.

    Attributes:
        verbs: what it tells, in order.
        held: messages that our own queues gave out and that it settles, by sequence.
        custody: where those are kept until it is decided; None = there are none.
        waiting: who is told what becomes of it.
        size: bytes of its messages.
    """

    def __init__(self, memory: Watermark) -> None:
        self.verbs: list[PartVerb] = []
        self.held: dict[int, tuple[RestorableQueue, Message]] = {}
        self.custody: dict[int, tuple[RestorableQueue, Message]] | None = None
        self.waiting: list[Done] = []
        self.size = 0
        self._memory = memory

    def publish(self, name: str, message: Message, done: Done | None) -> None:
        """Add a message for a queue."""
        assert message.body is not None
        last, past = self.verbs[-1] if self.verbs else None, message.redelivery
        if (
            isinstance(last, PublishVerb)
            and (last.queue, last.past) == (name, past)
            and last.head is message.head
        ):
            last.bodies.append(message.body)
        else:
            self.verbs.append(PublishVerb(name, message.head, False, past, [message.body]))
        self._add(message.size, done)

    def expire(self, name: str, message: Message) -> None:
        """Add a message whose time was over when it came."""
        assert message.body is not None
        self.verbs.append(ExpireVerb(name, message.head, message.body))
        self._add(message.size, None)

    def settle(
        self,
        name: str,
        local: RestorableQueue | None,
        message: Message,
        rejection: Rejection | None,
        done: Done | None,
    ) -> None:
        """Add the end of a delivery; ``local`` is the queue that it came from, if that is here."""
        sequence = message.sequence
        if local is None:
            self._memory.used -= message.size
            self._memory.check()
        else:
            self.held[sequence] = local, message
        last = self.verbs[-1] if self.verbs else None
        if (
            isinstance(last, SettleVerb)
            and last.queue == name
            and last.rejection is rejection is None
        ):
            last.sequences.append(sequence)
        else:
            self.verbs.append(SettleVerb(name, rejection, [sequence]))
        self._add(0, done)

    def _add(self, size: int, done: Done | None) -> None:
        self.size += size
        if done is not None:
            self.waiting.append(done)

    def join(self, other: Part) -> None:
        """Add all of another one, behind what is here."""
        self.verbs += other.verbs
        self.held |= other.held
        self.waiting += other.waiting
        if self.custody is None:
            self.custody = other.custody
        elif other.custody is not None:
            self.custody.update(other.custody)
            other.custody.clear()
        self.size += other.size
