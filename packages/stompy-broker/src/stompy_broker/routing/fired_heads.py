"""The headers of a scheduled message: as it waits, and as it goes when it is due.

It waits with the headers of its SEND. When it fires, those that said when are taken off, so that a
consumer who forwards headers does not repeat the effect, and it says what it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from stompy.protocol.headers import Version, escape
from stompy_broker.dedup_headers import DUPLICATE_MODE
from stompy_broker.message import Message, MessageHead, MessageTraits
from stompy_broker.schedules import headers as schedule_headers
from stompy_broker.schedules.headers import SCHEDULE_HEADERS
from stompy_broker.schedules.schedule_spec import ScheduleSpec

JOB, AT, NUMBER = "scheduledJobId", "scheduled-at", "scheduled-number"
"""What a message that has fired says: of which schedule, for when, and the how manieth it is."""
MISSED = "scheduled-missed"
"""How many times it stands for that had passed while nobody was there."""

_TAKEN_OFF: Final = SCHEDULE_HEADERS | {JOB, AT, NUMBER, MISSED, DUPLICATE_MODE}
_BACKSLASH: Final = b"\\"
_MOST_SHARED: Final = 256
_LARGE: Final = 4096


def _lines(names: Collection[str]) -> re.Pattern[bytes]:
    """What finds the lines of headers in a block, each with its end."""
    return re.compile(rb"^(?:%b):[^\n]*\n" % "|".join(map(re.escape, names)).encode(), re.M)


_ALL_LINES: Final = _lines(_TAKEN_OFF)
_TIME_LINES: Final = _lines(schedule_headers.AT)
_MORE_LINES: Final = _lines(
    SCHEDULE_HEADERS - frozenset((*schedule_headers.AT, *schedule_headers.DELAY))
)


def fires_once(head: MessageHead) -> bool:
    """Whether a head says no more of a schedule than when, or how much later."""
    return _MORE_LINES.search(head.block) is None


def without_schedule(head: MessageHead) -> MessageHead:
    """A head without what says when it is to come."""
    headers = {
        name: value for name, value in head.headers().items() if name not in SCHEDULE_HEADERS
    }
    return MessageHead.from_headers(headers)


class FiredHeads:
    """Makes the heads of what fires; what many have in common is made once."""

    __slots__ = ("_block", "_head", "_heads", "_sizes", "_traits")

    def __init__(self) -> None:
        self._head: MessageHead | None = None  # whose block is at hand
        self._block = b""
        self._heads: dict[bytes, MessageHead] = {}
        self._traits: dict[tuple[bool, bool, bool, int, int, int], MessageTraits] = {}
        self._sizes: dict[int, int] = {}

    def share(self, message: Message, spec: ScheduleSpec | None = None) -> None:
        """Have a message that begins to wait share with others what is the same.

        There may be millions. Where all that it says of its schedule is a time, that is not kept in
        its headers: its queue knows it.

        Args:
            message: it.
            spec: what it says; None = it was kept, and shares only what it can.
        """
        head, size = message.head, message.size
        block = head.block
        if spec is not None and spec.at and fires_once(head):
            block = _TIME_LINES.sub(b"", block)
        if head.traits.message_id is None and len(block) <= _LARGE and head.answers is None:
            known = self._heads.get(block)
            if known is None:
                if len(self._heads) >= _MOST_SHARED:
                    self._heads.clear()
                if len(block) < len(head.block):
                    head = MessageHead(block, head.traits)
                head.traits = self._shared_traits(head.traits)
                known = self._heads[block] = head
            size -= len(message.head.block) - len(block)
            message.head = known
        if len(self._sizes) >= _MOST_SHARED:
            self._sizes.clear()
        message.size = self._sizes.setdefault(size, size)

    def _shared_traits(self, traits: MessageTraits) -> MessageTraits:
        if traits.grouping is not None or traits.retains:
            return traits
        key = (
            traits.sized,
            traits.stamped,
            traits.persistent,
            traits.priority,
            traits.ttl,
            traits.expires,
        )
        if len(self._traits) >= _MOST_SHARED:
            self._traits.clear()
        return self._traits.setdefault(key, traits)

    def once(self, message: Message, due: int) -> MessageHead:
        """The head of a message that fires at its time and never again, quickly.

        Args:
            message: as it waits.
            due: when it was due, in milliseconds since the epoch.
        """
        head = message.head
        if head is not self._head:
            self._head, self._block = head, _kept(head)
        told = head.traits
        message_id = told.message_id or b"%d" % message.sequence
        block = b"%bscheduled-at:%d\nscheduledJobId:%b\n%b\n" % (
            self._block,
            due,
            message_id,
            b"" if told.stamped else message.stamp[1:],
        )
        traits = MessageTraits(
            sized=told.sized,
            stamped=True,
            persistent=told.persistent,
            priority=told.priority,
            ttl=told.ttl,
            expires=told.expires,
            message_id=message_id,
            grouping=told.grouping,
            retains=told.retains,
        )
        return MessageHead(block, traits)

    def of(self, message: Message, job: str, due: int, number: int, missed: int = 0) -> MessageHead:
        """The head of a message that fires.

        Args:
            message: as it waits.
            job: which schedule it is.
            due: when it was due, in milliseconds since the epoch.
            number: the how manieth message of its schedule it is; 0 = it is the only one, and goes
                by the ``message-id`` and the time of its SEND; -1 = one more, beside those that
                have numbers.
            missed: how many times it stands for that nobody was there for.
        """
        head = message.head
        if head is not self._head:
            self._head, self._block = head, _kept(head)
        lines = f"{AT}:{due}\n{JOB}:{escape(job, Version.V1_2)}\n".encode()
        told = head.traits
        stamped = told.stamped
        if missed:
            lines += b"%b:%d\n" % (MISSED.encode(), missed)
        if number > 0:
            lines += b"%b:%d\n" % (NUMBER.encode(), number)
        elif not number and not stamped:
            lines += message.stamp[1:]  # the line that it would get
            stamped = True
        traits = MessageTraits(
            sized=told.sized,
            stamped=stamped,
            persistent=told.persistent,
            priority=told.priority,
            ttl=told.ttl,
            expires=told.expires,
            message_id=None if number else message.message_id.encode(),
            grouping=told.grouping,
            retains=told.retains,
        )
        return MessageHead(b"%b%b\n" % (self._block, lines), traits)


def _kept(head: MessageHead) -> bytes:
    """The lines of a head that stay when it fires, each with its end."""
    block = head.block
    if _BACKSLASH in block:  # a name may be written with escapes
        headers = {name: value for name, value in head.headers().items() if name not in _TAKEN_OFF}
        return MessageHead.from_headers(headers).block[:-1]
    return _ALL_LINES.sub(b"", block)[:-1]
