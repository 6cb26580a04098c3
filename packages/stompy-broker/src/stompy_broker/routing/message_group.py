"""A group of messages that come in order, and a message that belongs to one (**hot path** there).

Each message of a group knows its group and where it is: whether it waits, waits out a delay, or is
with a consumer. So the group knows at each moment how many consumers have of it, whatever becomes
of them: settled, given back, given up, expired, removed. What counts a message out of its queue
(`Message.discharge`) tells the group; a message without group pays nothing for that.
"""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections import deque
from typing import Final

from stompy.protocol.headers import Version
from stompy_broker.group_headers import FIRST_FOR_CONSUMER
from stompy_broker.message import OVERHEAD, Account, Common, CopiedMessage, Message
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.token_bucket import TokenBucket

WAITING: Final = 0
"""In its queue, where it may be delivered or stands behind others of its group."""
OUT: Final = 1
"""With a consumer; or on its way to where it is a dead letter."""
DELAYED: Final = 2
"""In its queue, for a time."""
NOWHERE: Final = 3
"""On its way in, or gone."""

_FIRST_LINE: Final = f"{FIRST_FOR_CONSUMER}:true\n".encode()


class GroupKeeper:
    """Keeps the groups of one queue."""

    __slots__ = ()

    @abstractmethod
    def put(self, message: GroupedMessage) -> None:
        """Put a message to its place in its group: it came, or it came back."""

    @abstractmethod
    def put_off(self, message: GroupedMessage) -> None:
        """Take note that a message waits for a time."""

    @abstractmethod
    def take_over(self, message: GroupedMessage) -> None:
        """Take note that somebody has a message who was not given it here."""

    @abstractmethod
    def take(self, message: GroupedMessage) -> int:
        """Take a message out that waits; gives how many lines had it, -1 if it does not wait."""

    @abstractmethod
    def take_all(self, gone: set[int]) -> None:
        """Take many messages out, by what `id` gives."""

    @abstractmethod
    def hold_back(self, message: GroupedMessage, seconds: float) -> bool:
        """Give nobody anything of a message's group for so long; false: it has none."""

    @abstractmethod
    def ended(self, group: MessageGroup) -> None:
        """One message less of a group is with consumers, or waits for a time."""

    @abstractmethod
    def clear(self) -> None:
        """Forget everything that waits."""


_Entry = tuple[int, int, "GroupedMessage"]
"""Priority, negative, sequence, and the message."""


class OwnLine:
    """What one consumer gets and nobody else: the first message of each group that it owns.

    Args:
        owner: the consumer.

    Attributes:
        owner: the consumer.
        groups: those that it owns.
    """

    # What was taken out of a group stays in the heap until it comes to its front.
    __slots__ = ("_heap", "groups", "owner")

    def __init__(self, owner: Consumer) -> None:
        self.owner = owner
        self.groups: dict[MessageGroup, None] = {}
        self._heap: list[_Entry] = []

    def add(self, message: GroupedMessage) -> None:
        """Have the first message of a group stand here."""
        heapq.heappush(self._heap, (-message.head.traits.priority, message.sequence, message))

    @property
    def first(self) -> GroupedMessage | None:
        """The message that is next; None if none is."""
        heap = self._heap
        while heap:
            message = heap[0][2]
            group = message.group
            if group.shown is message and group.line is self:
                return message
            heapq.heappop(heap)
        return None

    def some(self, most: int) -> list[GroupedMessage]:
        """Some of those that are next, for who reads bodies ahead."""
        found: list[GroupedMessage] = []
        for _, _, message in heapq.nsmallest(most, self._heap):
            group = message.group
            if group.shown is message and group.line is self:
                found += [group.waiting[at] for at in range(min(most, len(group.waiting)))]
                if len(found) >= most:
                    break
        return found[:most]


class MessageGroup:
    """Messages that have one value in common, and who gets them.

    Attributes:
        key: the value.
        keeper: keeps it.
        waiting: its messages that wait, in order, but for those that wait for a time.
        shown: the first of them, if it stands where it may be dealt.
        number: of the bucket, if it is one that several values share; else -1.
        line: the line of the owner, if it stands there; None = it stands in those of everybody.
        owner: who gets its messages; None = whoever takes the next one.
        worker: who has those that are not settled, of the last that was given any.
        unsettled: how many of its messages consumers have.
        delayed: how many wait for a time; it is held back meanwhile.
        late: whether it came when others had begun to wait for their next round.
        held_until: when it may go on, on the clock, if somebody holds it; 0 = nobody does.
        fresh: whether its owner has got nothing yet.
        since: since when it has its owner, in milliseconds since the epoch.
        touched: when something happened to it, in rounds of its keeper.
        round: of a queue that is dealt in turn, in which it had something last; 0 = it had nothing.
        balance: what it might still have had then.
        queued: whether it waits for its next round.
        rate: how fast it may go on; None = that was never looked at.
    """

    __slots__ = (
        "balance",
        "delayed",
        "fresh",
        "held_until",
        "keeper",
        "key",
        "late",
        "line",
        "number",
        "owner",
        "queued",
        "rate",
        "round",
        "shown",
        "since",
        "touched",
        "unsettled",
        "waiting",
        "worker",
    )

    def __init__(self, key: str, keeper: GroupKeeper | None, number: int = -1) -> None:
        self.key = key
        self.number = number
        self.keeper = keeper
        self.waiting: deque[GroupedMessage] = deque()
        self.shown: GroupedMessage | None = None
        self.line: OwnLine | None = None
        self.owner: Consumer | None = None
        self.worker: Consumer | None = None
        self.unsettled = self.delayed = self.since = self.touched = 0
        self.held_until = 0.0
        self.fresh = self.queued = self.late = False
        self.round = self.balance = 0
        self.rate: TokenBucket | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing of it is in the queue."""
        return not (self.waiting or self.unsettled or self.delayed or self.held_until)

    def begin_anew(self) -> None:
        """Forget how fast it went on, and what it has had of its turns."""
        self.round = self.balance = 0
        self.queued = False
        self.rate = None

    def end(self, state: int) -> None:
        """Count a message no more that was in a state."""
        if state == OUT:
            self.unsettled -= 1
        elif state == DELAYED:
            self.delayed -= 1
        else:
            return
        if self.keeper is not None:
            self.keeper.ended(self)


NO_GROUP: Final = MessageGroup("", None)
"""Of a message that is in no queue of this broker."""


class GroupedMessage(CopiedMessage):
    """A message that belongs to a group.

    Attributes:
        group: which; `NO_GROUP` while no queue here has it.
        state: where it is.
        first: whether it is the first that its owner gets of the group.
    """

    __slots__ = ("first", "group", "state")

    def __init__(self, message: Message, group: MessageGroup = NO_GROUP) -> None:
        common: Common | None = None
        own = OVERHEAD
        if isinstance(message, CopiedMessage):
            common, own = message.common, message.own
        super().__init__(message.sequence, message.head, message.body, message.stamp, common, own)
        self.redelivery = message.redelivery
        self.expires = message.expires
        self.size = message.size
        self.group = group
        self.state = NOWHERE
        self.first = False

    def discharge(self, account: Account) -> None:
        """Count it no longer: it has gone from its queue."""
        super().discharge(account)
        self.end()

    def end(self) -> None:
        """Have its group know that it has gone."""
        state, self.state = self.state, NOWHERE
        self.group.end(state)

    def leave_body(self, account: Account) -> None:
        """Let the body go, which is on disk; the message stays where it is."""
        state, self.state = self.state, NOWHERE
        super().leave_body(account)
        self.state = state

    def tail(self, version: Version) -> bytes:
        """The wire form from the value of ``message-id`` on, to the LF behind the NUL."""
        tail = super().tail(version)
        return _told(tail) if self.first else tail

    def front(self, version: Version) -> bytes:
        """What `tail` has before the body, for a body that is not to be copied."""
        front = super().front(version)
        return _told(front) if self.first else front


def _told(text: bytes) -> bytes:
    """Say in the headers of a message that its consumer got none of its group before."""
    end = text.index(b"\n") + 1
    return b"%b%b%b" % (text[:end], _FIRST_LINE, text[end:])


def grouped(message: Message, *, first: bool = False) -> GroupedMessage:
    """The message as one of a group that no queue here knows yet.

    Args:
        message: it.
        first: whether its consumer got none of its group before.
    """
    found = message if isinstance(message, GroupedMessage) else GroupedMessage(message)
    found.first = first
    return found


def take_place_of(own: Message, other: Message) -> None:
    """Have another object stand for a message of a queue here: what its consumer has of it."""
    if isinstance(own, GroupedMessage) and isinstance(other, GroupedMessage):
        other.group, other.state = own.group, own.state
        own.state = NOWHERE
