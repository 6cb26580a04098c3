"""The headers of a scheduled message: as it waits, and as it goes when it is due.

It waits with the headers of its SEND. When it fires, those that said when are taken off, so that a
consumer who forwards headers does not repeat the effect, and it says what it was.
"""

from __future__ import annotations

from typing import Final

from stompy.protocol.headers import Version, escape
from stompy_broker.message import Message, MessageHead, MessageTraits
from stompy_broker.schedules.headers import SCHEDULE_HEADERS

JOB, AT, NUMBER = "scheduledJobId", "scheduled-at", "scheduled-number"
"""What a message that has fired says: of which schedule, for when, and the how manieth it is."""
MISSED = "scheduled-missed"
"""How many times it stands for that had passed while nobody was there."""

_TAKEN_OFF: Final = SCHEDULE_HEADERS | {JOB, AT, NUMBER, MISSED}
_TAKEN_OFF_NAMES: Final = frozenset(name.encode() for name in _TAKEN_OFF)
_BACKSLASH: Final = b"\\"
_MOST_TRAITS: Final = 256


def without_schedule(head: MessageHead) -> MessageHead:
    """A head without what says when it is to come."""
    headers = {
        name: value for name, value in head.headers().items() if name not in SCHEDULE_HEADERS
    }
    return MessageHead.from_headers(headers)


class FiredHeads:
    """Makes the heads of what fires; what many have in common is made once."""

    __slots__ = ("_block", "_head", "_known")

    def __init__(self) -> None:
        self._head: MessageHead | None = None  # whose block is at hand
        self._block = b""
        self._known: dict[tuple[bool, bool, bool, int, int, int], MessageTraits] = {}

    def shared(self, head: MessageHead) -> MessageHead:
        """The head of a message that begins to wait: what it tells is one object for many."""
        traits = head.traits
        key = (
            traits.sized,
            traits.stamped,
            traits.persistent,
            traits.priority,
            traits.ttl,
            traits.expires,
        )
        if traits.message_id is None and traits.group is None:
            if len(self._known) >= _MOST_TRAITS:
                self._known.clear()
            head.traits = self._known.setdefault(key, traits)
        return head

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
        lines = f"{AT}:{due}\n{JOB}:{escape(job, Version.V1_2)}\n"
        told = head.traits
        stamped = told.stamped
        if missed:
            lines += f"{MISSED}:{missed}\n"
        if number > 0:
            lines += f"{NUMBER}:{number}\n"
        elif not number and not stamped:
            lines += f"timestamp:{message.received_at}\n"
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
        )
        return MessageHead(self._block + lines.encode() + b"\n", traits)


def _kept(head: MessageHead) -> bytes:
    """The lines of a head that stay when it fires, each with its end."""
    block = head.block
    if _BACKSLASH in block:  # a name may be written with escapes
        headers = {name: value for name, value in head.headers().items() if name not in _TAKEN_OFF}
        return MessageHead.from_headers(headers).block[:-1]
    lines = block.split(b"\n")
    kept = [line for line in lines if line and line.partition(b":")[0] not in _TAKEN_OFF_NAMES]
    return b"\n".join(kept) + b"\n"
