"""A message on its way through the broker (**hot path**).

A `Message` belongs to one queue, which counts its deliveries in it and may leave its body on disk.
A `SharedMessage` belongs to all subscribers of a topic and never changes; whoever gives it back
gets a `Message` of its own. What messages of one header block have in common is a `MessageHead`,
made once and shared as long as producers repeat the block.

On the wire a MESSAGE is ``prefix + tail``. The prefix names the subscription and the delivery and
ends with ``message-id:``. The tail is the rest, NUL included, and is the same for every
subscriber of one protocol version.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from stompy.compiler import mypyc_attr
from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.header_cache import Head
from stompy.protocol.headers import Version, header_lines
from stompy_broker.broker_headers import BROKER_HEADERS, DEATH_HEADERS
from stompy_broker.dedup_headers import FOUND_AT, NAMING
from stompy_broker.group_headers import (
    GROUP_HEADERS,
    JMS_GROUP,
    Grouping,
    group_told,
    may_tell_group,
)
from stompy_broker.header_text import as_text, is_utf8, read_block
from stompy_broker.retain_headers import RETAIN_HEADERS, asks_to_retain, may_ask_to_retain

DEFAULT_PRIORITY: Final = 4
HIGHEST_PRIORITY: Final = 9

OVERHEAD: Final = 200
"""Bytes that a waiting message costs beside its headers and body; for accounting."""

REFERENCE: Final = 8
"""Bytes that one more place in a queue costs for a message that is there anyway."""

TELLING = ("timestamp", "persistent", "priority", "expires", "expiration", "ttl", *JMS_GROUP)
"""Headers that tell the broker something about a message, and stay with it."""

_NOTABLE: Final = (
    BROKER_HEADERS | DEATH_HEADERS | RETAIN_HEADERS | frozenset((*TELLING, *GROUP_HEADERS))
)
"""Headers that a SEND must be free of to be passed on just as it came."""

_BROKER_NAMES = frozenset(name.encode() for name in BROKER_HEADERS | DEATH_HEADERS)

_TOLD: Final = FOUND_AT + len(NAMING)
"""Where the values of `TELLING` begin among those that `SendHeads` finds."""

_SEND: Final = len("SEND\n")
_RECEIPT: Final = b"\nreceipt:"

_CR: Final = 13
_BACKSLASH: Final = 92
_LONGEST_NUMBER: Final = 15


@mypyc_attr(acyclic=True)
class MessageTraits:
    """What its headers tell the broker about a message; shared by all messages of the same.

    Attributes:
        sized: whether there is a ``content-length``.
        stamped: whether there is a ``timestamp``, so that ours is not added.
        persistent: whether the message is to be kept on disk.
        priority: 0 to 9; higher goes first.
        ttl: milliseconds that the message lives, or 0.
        expires: milliseconds since the epoch at which it ends, or 0.
        can_expire: whether it has either.
        message_id: the ``message-id`` to show; None = the message's sequence.
        plain: whether the broker writes what it usually writes: an id and a time of its own.
        group: what it has in common with others that come in order; None = nothing.
        closes_group: whether that ends with it.
        retains: whether a topic is to keep it for who subscribes later.
        only_once: whether nothing is unusual but that it is to be taken once.
        unusual: whether a queue or topic has to be told of something before it is published, or it
            is to be taken once.
    """

    __slots__ = (
        "can_expire",
        "closes_group",
        "expires",
        "group",
        "message_id",
        "only_once",
        "persistent",
        "plain",
        "priority",
        "retains",
        "sized",
        "stamped",
        "ttl",
        "unusual",
    )

    def __init__(  # noqa: PLR0913 -- what headers may tell
        self,
        *,
        sized: bool,
        stamped: bool = False,
        persistent: bool = True,
        priority: int = DEFAULT_PRIORITY,
        ttl: int = 0,
        expires: int = 0,
        message_id: bytes | None = None,
        grouping: Grouping | None = None,
        retains: bool = False,
    ) -> None:
        self.sized = sized
        self.stamped = stamped
        self.persistent = persistent
        self.priority = priority
        self.ttl = ttl
        self.expires = expires
        self.can_expire = bool(ttl or expires)
        self.message_id = message_id
        self.plain = sized and not stamped and message_id is None
        self.group = None if grouping is None else grouping[0]
        self.closes_group = grouping is not None and grouping[1]
        self.retains = retains
        self.only_once = False
        self.unusual = self.can_expire or grouping is not None or retains

    @property
    def grouping(self) -> Grouping | None:
        """The group, and whether it ends; None = none."""
        return None if self.group is None else (self.group, self.closes_group)


_SIZED: Final = MessageTraits(sized=True)
_UNSIZED: Final = MessageTraits(sized=False)
_SIZED_ONCE: Final = MessageTraits(sized=True)
_UNSIZED_ONCE: Final = MessageTraits(sized=False)
_SIZED_ONCE.unusual = _UNSIZED_ONCE.unusual = True
_SIZED_ONCE.only_once = _UNSIZED_ONCE.only_once = True


@mypyc_attr(acyclic=True)
class MessageHead:
    """The headers of a message, or of many.

    What they tell stands apart, so that one whose headers no other message has is cheap to make
    and to keep.

    Args:
        block: the header lines.
        traits: what they tell.

    Attributes:
        block: the header lines in STOMP 1.2's form with the blank line, as passed on. Octets that
            are no UTF-8, as 1.0 may send them, stand in it as they came.
        traits: what they tell the broker.
        version_neutral: whether the block reads the same in every version of STOMP.
        answers: what selectors have said of them, by the numbers of the selectors, if many
            messages have this head; else None, and nothing is remembered.
    """

    __slots__ = ("answers", "block", "traits", "version_neutral")

    def __init__(self, block: bytes, traits: MessageTraits) -> None:
        self.answers: dict[int, bool] | None = None
        self.block = block
        self.traits = traits
        self.version_neutral = (
            _BACKSLASH not in block and _CR not in block and (block.isascii() or is_utf8(block))
        )

    @property
    def persistent(self) -> bool:
        """Whether the message is to be kept on disk."""
        return self.traits.persistent

    @property
    def priority(self) -> int:
        """0 to 9; higher goes first."""
        return self.traits.priority

    @property
    def sized(self) -> bool:
        """Whether there is a ``content-length``."""
        return self.traits.sized

    @property
    def stamped(self) -> bool:
        """Whether there is a ``timestamp``."""
        return self.traits.stamped

    @property
    def message_id(self) -> bytes | None:
        """The ``message-id`` to show; None = the message's sequence."""
        return self.traits.message_id

    @staticmethod
    def from_simple(head: Head) -> MessageHead:
        """Make a head from a SEND that `SendHeads` has read.

        Raises:
            ProtocolError: a number that is none.
        """
        found, block = head.found, head.block
        assert found is not None
        receipt = found[2]
        if receipt is not None:
            start = block.find(_RECEIPT)
            block = block[:start] + block[start + len(_RECEIPT) + len(receipt) :]
        traits = _UNSIZED if found[1] is None else _SIZED
        if found[-1] is not None:
            # A time that messages tell is theirs, but that they tell one they have in common; and
            # so it is with what a sender calls one, to have it taken once.
            if found[-2] is None:
                traits = _UNSIZED_ONCE if found[1] is None else _SIZED_ONCE
            else:
                once = found[FOUND_AT] is not None or found[FOUND_AT + 1] is not None
                told = found[_TOLD + 1 : -2]
                traits = _traits_found(found[1] is not None, found[_TOLD] is not None, once, *told)
        return MessageHead(block[_SEND:] + b"\n\n", traits)

    @classmethod
    def from_send(cls, head: Head, version: Version) -> MessageHead:
        """Make a head from a SEND as it was read.

        The raw block is passed on as it is where that says the same in 1.2, so that a block
        that never repeats is not taken apart and put together again.
        """
        block, headers = head.block, head.headers
        # A colon in a value may come as it is; it is passed on as it has to be.
        if version is Version.V1_0 or _CR in block or block.count(b":") > len(headers):
            return cls.from_client(headers)
        sized = head.length >= 0
        if _NOTABLE.isdisjoint(headers):
            return MessageHead(block[_SEND:] + b"\n\n", _SIZED if sized else _UNSIZED)
        if _BACKSLASH in block:
            return cls.from_client(headers)
        lines = block.split(b"\n")
        kept = [line for line in lines[1:] if line[: line.index(b":")] not in _BROKER_NAMES]
        return MessageHead(b"\n".join(kept) + b"\n\n", _traits_told(sized, headers))

    @classmethod
    def from_client(cls, headers: Mapping[str, str]) -> MessageHead:
        """Make a head from decoded headers of a SEND: it cannot say that it is a dead letter.

        Raises:
            ProtocolError: a number that is none.
        """
        if DEATH_HEADERS.isdisjoint(headers):
            return cls.from_headers(headers)
        kept = {name: value for name, value in headers.items() if name not in DEATH_HEADERS}
        return cls.from_headers(kept)

    @classmethod
    def from_headers(
        cls, headers: Mapping[str, str], *, message_id: bytes | None = None
    ) -> MessageHead:
        """Make a head from decoded headers; those that belong to the broker are left out.

        Raises:
            ProtocolError: a number that is none.
        """
        kept = {name: value for name, value in headers.items() if name not in BROKER_HEADERS}
        lines = header_lines(kept, Version.V1_2)
        block = lines.encode("utf-8", "surrogateescape") + b"\n"
        return MessageHead(block, _traits_told("content-length" in kept, kept, message_id))

    def taken_once(self) -> bool:
        """Whether nothing is unusual but that it is to be taken once, which it forgets."""
        traits = self.traits
        if traits is _SIZED_ONCE:
            self.traits = _SIZED
        elif traits is _UNSIZED_ONCE:
            self.traits = _UNSIZED
        return traits.only_once

    def headers(self) -> dict[str, str]:
        """The headers, decoded; octets that are no UTF-8 as surrogates. Not for the hot path.

        Never fails: what cannot be decoded stands for itself.
        """
        return read_block(self.block)

    def text_headers(self) -> dict[str, str]:
        """The headers as text, for all that must be UTF-8."""
        headers = self.headers()
        if is_utf8(self.block):
            return headers
        return {as_text(name): as_text(value) for name, value in headers.items()}

    def ends_at(self, now: int) -> int:
        """When a message that comes now ends: at the earlier of the two ways to say so."""
        traits = self.traits
        ends = [traits.expires] if traits.expires else []
        if traits.ttl:
            ends.append(now + traits.ttl)
        return min(ends)

    def block_for(self, version: Version) -> bytes:
        """The block as a version writes it, as far as it can."""
        block = self.block
        if self.version_neutral:
            return block
        if version is Version.V1_0:
            headers = self.headers()
        elif (version is Version.V1_2 or b"\\r" not in block) and is_utf8(block):
            return block  # 1.1 has all escapes but that one
        else:
            headers = self.text_headers()
        return header_lines(headers, version).encode("utf-8", "surrogateescape") + b"\n"


class Account(Protocol):
    """Where memory in use is added up."""

    used: int

    def check(self) -> None:
        """Have those go on that wait for memory: less is in use."""
        ...


class Redelivery(NamedTuple):
    """What is known of earlier deliveries of a message.

    Attributes:
        deliveries: how often it was delivered and came back; 0 = it was in its queue when the
            broker crashed, and may have been delivered in the last moments without a trace on disk.
            So it is marked as redelivered, which makes ``redelivered:false`` a promise.
        failures: how many of those deliveries count as failed: a NACK, or a client that was lost
            over it. The limit and the delays of redelivery go by these.
    """

    deliveries: int
    failures: int


@lru_cache(maxsize=1024)
def _redelivery(deliveries: int, failures: int) -> Redelivery:
    # All the messages that a lost client had, a million perhaps, share a few of them.
    return Redelivery(deliveries, failures)


def earlier_deliveries(
    deliveries: int, failures: int, *, perhaps_more: bool = False
) -> Redelivery | None:
    """What `Message.redelivery` holds.

    Args:
        deliveries: how many are known.
        failures: how many of those failed.
        perhaps_more: whether there may have been one that nobody knows of.
    """
    if deliveries or failures or perhaps_more:
        return _redelivery(deliveries, failures)
    return None


@mypyc_attr(acyclic=True)
class Message:
    """One message in one place of one destination.

    Attributes:
        sequence: its place: a queue is ordered by it. Grows over restarts of the broker, and is
            the message's ``message-id`` unless the head says otherwise.
        head: the headers.
        body: the body; None while it is on disk only.
        stamp: the end of the ``message-id`` line and the ``timestamp`` line. One object for all
            messages of one read from a socket, because formatting the time for each would cost
            more than the rest of the message.
        redelivery: earlier deliveries of it; None = this would be the first, for certain.
        expires: milliseconds since the epoch at which it ends, or 0.
        size: what it counts for in quotas, in bytes.
        shared_tail: what `tail` gives, for any version, if that is at hand (`SharedMessage`).
    """

    # There may be millions. One attribute more makes each 16 bytes larger. Compiled, the garbage
    # collector passes over them, because none can be part of a circle.
    __slots__ = (
        "body",
        "expires",
        "head",
        "redelivery",
        "sequence",
        "shared_tail",
        "size",
        "stamp",
    )

    def __init__(
        self,
        sequence: int,
        head: MessageHead,
        body: bytes | None,
        stamp: bytes,
        redelivery: Redelivery | None = None,
        *,
        length: int = 0,
    ) -> None:
        self.sequence = sequence
        self.head = head
        self.body = body
        self.stamp = stamp
        self.redelivery = redelivery
        self.shared_tail: bytes | None = None
        self.expires = 0
        self.size = (length if body is None else len(body)) + len(head.block) + OVERHEAD

    @property
    def deliveries(self) -> int:
        """How often it was delivered and came back. Not for the hot path, as `failures`."""
        return 0 if self.redelivery is None else self.redelivery.deliveries

    @property
    def failures(self) -> int:
        """How many of those deliveries count as failed."""
        return 0 if self.redelivery is None else self.redelivery.failures

    @property
    def ram(self) -> int:
        """How much of `size` is in memory."""
        return self.size if self.body is not None else self.ram_on_disk

    @property
    def ram_on_disk(self) -> int:
        """How much of `size` stays in memory while the body is on disk only."""
        return len(self.head.block) + OVERHEAD

    def charge(self, account: Account) -> None:
        """Count it as being in memory; a queue that has only such messages adds up `size`."""
        account.used += self.ram

    def discharge(self, account: Account) -> None:
        """Count it no longer as being in memory, undoing `charge`."""
        account.used -= self.ram

    def leave_body(self, account: Account) -> None:
        """Let the body go, which is on disk."""
        account.used -= self.size - self.ram_on_disk
        self.body = None

    @property
    def message_id(self) -> str:
        """The ``message-id`` that consumers see; the same at every delivery."""
        return (self.head.message_id or b"%d" % self.sequence).decode()

    @property
    def received_at(self) -> int:
        """When the broker got it, in milliseconds since the epoch."""
        return int(self.stamp.partition(b":")[2])

    def returned(self, *, failed: bool) -> Message:
        """The message to put back after one more delivery."""
        self.redelivery = _redelivery(self.deliveries + 1, self.failures + failed)
        return self

    def count_failure(self) -> None:
        """Have one more of its known deliveries count as failed."""
        self.redelivery = _redelivery(self.deliveries, self.failures + 1)

    def restored(self, deliveries: int, failures: int) -> Message:
        """A message like this one, after so many deliveries, of which so many failed."""
        redelivery = earlier_deliveries(deliveries, failures)
        message = Message(self.sequence, self.head, self.body, self.stamp, redelivery)
        message.expires, message.size = self.expires, self.size
        return message

    def tail(self, version: Version) -> bytes:
        """The wire form from the value of ``message-id`` on, to the LF behind the NUL."""
        head, body = self.head, self.body
        assert body is not None
        block = head.block if head.version_neutral else head.block_for(version)
        traits = head.traits
        if traits.plain:
            return b"%d%b%b%b\0\n" % (self.sequence, self.stamp, block, body)
        return b"%b%b%b%b%b\0\n" % (
            traits.message_id or b"%d" % self.sequence,
            b"\n" if traits.stamped else self.stamp,
            b"" if traits.sized else b"content-length:%d\n" % len(body),
            block,
            body,
        )

    def front(self, version: Version) -> bytes:
        """What `tail` has before the body, for a body that is not to be copied."""
        head, body = self.head, self.body
        assert body is not None
        traits = head.traits
        return b"%b%b%b%b" % (
            traits.message_id or b"%d" % self.sequence,
            b"\n" if traits.stamped else self.stamp,
            b"" if traits.sized else b"content-length:%d\n" % len(body),
            head.block if head.version_neutral else head.block_for(version),
        )

    def frame(self, destination: str) -> STOMPFrame:
        """As a consumer would get it, except for ``subscription`` and ``ack``.

        Args:
            destination: of the queue; the message's own, if it tells one, goes before it.
        """
        assert self.body is not None
        headers = {
            "destination": destination,
            "message-id": self.message_id,
            "redelivered": "false" if self.redelivery is None else "true",
            "delivery-count": str(self.deliveries + 1),
            "timestamp": str(self.received_at),
            "content-length": str(len(self.body)),
            **self.head.text_headers(),
        }
        return STOMPFrame("MESSAGE", self.body, headers)

    def __repr__(self) -> str:
        """Identity and size, never the content."""
        return f"<Message {self.message_id} {self.size}B deliveries:{self.deliveries}>"


class Common:
    """What several copies of one message have in common: memory that counts once.

    Args:
        size: in bytes.
    """

    __slots__ = ("_account", "_copies", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._copies = 0
        self._account: Account | None = None  # of the first copy

    def charge(self, account: Account) -> None:
        """Count one more copy; the first one pays for all."""
        if not self._copies:
            self._account = account
            account.used += self.size
        self._copies += 1

    def discharge(self) -> None:
        """Count one copy less; the last one gives the memory back."""
        self._copies -= 1
        if not self._copies:
            account, self._account = self._account, None
            assert account is not None
            account.used -= self.size
            account.check()


class CopiedMessage(Message):
    """One of several copies of a message, each in a queue of its own.

    Args:
        sequence: as for every message.
        head: that all of them have.
        body: that all of them have.
        stamp: as for every message.
        common: what they have in common; None = it has no copies any more.
        own: what this one costs beside that, in bytes.

    Attributes:
        common: as above.
        own: as above.
    """

    __slots__ = ("common", "own")

    def __init__(
        self,
        sequence: int,
        head: MessageHead,
        body: bytes | None,
        stamp: bytes,
        common: Common | None,
        own: int = OVERHEAD,
    ) -> None:
        super().__init__(sequence, head, body, stamp)
        self.common = common
        self.own = own

    def charge(self, account: Account) -> None:
        """Count it as being in memory, and the common part if it is the first copy."""
        if self.common is None:
            super().charge(account)
        else:
            account.used += self.own
            self.common.charge(account)

    def discharge(self, account: Account) -> None:
        """Count it no longer as being in memory, undoing `charge`."""
        if self.common is None:
            super().discharge(account)
        else:
            account.used -= self.own
            self.common.discharge()

    def leave_body(self, account: Account) -> None:
        """Let the body go, which is on disk. What is read again is its own."""
        if self.common is None:
            super().leave_body(account)
            return
        self.discharge(account)
        self.common = self.body = None
        self.charge(account)


class SharedMessage(Message):
    """A message that several subscribers will get: its tail is made once.

    Only for heads that are `MessageHead.version_neutral`, whose tail is the same in every version.
    """

    __slots__ = ("_common",)

    def __init__(self, sequence: int, head: MessageHead, body: bytes, stamp: bytes) -> None:
        super().__init__(sequence, head, body, stamp)
        self.shared_tail = super().tail(Version.V1_2)
        self._common: Common | None = None  # until it has to wait somewhere

    def charge(self, account: Account) -> None:
        """Count one more queue that has it."""
        common = self._common = self._common or self._new_common()
        account.used += REFERENCE
        common.charge(account)

    def discharge(self, account: Account) -> None:
        """Count one queue less that has it, undoing `charge`."""
        assert self._common is not None
        account.used -= REFERENCE
        self._common.discharge()

    def _new_common(self) -> Common:
        return Common(self.size + len(self.tail(Version.V1_2)))

    def returned(self, *, failed: bool) -> Message:
        """A message of its own for the subscriber that gave it back."""
        common = self._common = self._common or self._new_common()
        copy = CopiedMessage(self.sequence, self.head, self.body, self.stamp, common, REFERENCE)
        copy.redelivery = _redelivery(1, int(failed))
        copy.expires = self.expires
        return copy

    def tail(self, version: Version) -> bytes:
        """The wire form from the value of ``message-id`` on."""
        assert self.shared_tail is not None
        return self.shared_tail


def group_in(block: bytes) -> Grouping | None:
    """What the headers of a message that was taken before say of a group."""
    return group_told(read_block(block)) if may_tell_group(block) else None


def retains_in(block: bytes) -> bool:
    """Whether the headers of a message that was taken before ask that a topic keeps it."""
    return may_ask_to_retain(block) and asks_to_retain(read_block(block))


def stamp(now_ms: int) -> bytes:
    """What `Message.stamp` holds, for a time in milliseconds since the epoch."""
    return b"\ntimestamp:%d\n" % now_ms


def _traits_told(
    sized: bool, headers: Mapping[str, str], message_id: bytes | None = None
) -> MessageTraits:
    """What headers tell the broker about the message that they stay with.

    Raises:
        ProtocolError: a number that is none.
    """
    return MessageTraits(
        sized=sized,
        stamped="timestamp" in headers,
        persistent="persistent" not in headers or _is_true(headers["persistent"]),
        priority=min(_number(headers, "priority", DEFAULT_PRIORITY), HIGHEST_PRIORITY),
        ttl=_number(headers, "expiration", 0) or _number(headers, "ttl", 0),
        expires=_number(headers, "expires", 0),
        message_id=message_id,
        grouping=group_told(headers),
        retains=asks_to_retain(headers),
    )


@lru_cache(maxsize=16_384)
def _traits_found(sized: bool, stamped: bool, once: bool, *found: bytes | None) -> MessageTraits:
    """The same for the other values of `TELLING` that `SendHeads` found."""
    headers = {
        name: value.decode()
        for name, value in zip(TELLING[1:], found, strict=True)
        if value is not None
    }
    if stamped:
        headers["timestamp"] = ""
    traits = _traits_told(sized, headers)
    traits.only_once = once and not traits.unusual
    traits.unusual = traits.unusual or once
    return traits


def _number(headers: Mapping[str, str], name: str, default: int) -> int:
    value = headers.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > _LONGEST_NUMBER:
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{name} must be a whole number, not {value[:40]!r}"
        )
    return int(value)


def _is_true(value: str) -> bool:
    return value.lower() not in ("false", "0", "no")
