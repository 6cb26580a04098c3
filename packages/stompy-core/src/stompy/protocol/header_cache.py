"""Heads of frames, and what is remembered of them. Pure (**hot path**).

A producer repeats its header blocks, and a broker repeats all of a MESSAGE's headers but two. What
is remembered is always keyed by raw bytes, so that a head is known before anything of it is parsed,
and always bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from stompy.compiler import mypyc_attr
from stompy.protocol.headers import RULES, V1_2, unescape

_RECEIPT: Final = len("\nreceipt:")

FAST_BLOCK: Final = 1024
"""Blocks up to this size may be remembered.

It also bounds what one search of the parser may look through in vain, which keeps it linear when
no "LF LF" ever comes.
"""

_MOST: Final = 2 * 1024 * 1024
"""Bytes of blocks that are remembered at most; heads of usual size reach their number first."""

# ACKs as 1.2 clients of our broker write them. They come as often as messages, no two are alike,
# and a client that keeps up sends many at once. Taking such a run in one step, for `plain_acks` to
# take apart, leaves a tenth of the cost of each (``benchmarks/codec.py``). Any other ACK is read as
# usual.
ack_run = re.compile(rb"(?:ACK\nid:[0-9]{1,18}-[0-9]{1,18}\n\n\0\n*+)++").match
plain_acks = re.compile(rb"id:([0-9]+)-([0-9]+)").findall

_ACK_ID = len("ACK\nid:")


def acks_of_one(run: bytes) -> tuple[bytes, list[int]] | None:
    """Take a run apart that settles deliveries of one subscription, as nearly all do.

    In two thirds of the time of `plain_acks` (``benchmarks/codec.py``).

    Returns:
        What stands before the dash of each id, and the numbers behind it; None if it is no such
        run, or there are EOLs between its frames.
    """
    tag = run[_ACK_ID : run.index(b"-")]
    numbers = run[_ACK_ID + len(tag) + 1 :].rstrip(b"\n\0").split(b"\n\n\0ACK\nid:%b-" % tag)
    # A run has nothing but ACKs in it, so these are numbers if there are as many as ACKs.
    if len(numbers) != run.count(b"\0"):
        return None
    return tag, list(map(int, numbers))


Found = tuple[bytes | None, ...]
"""Values of ``destination``, ``content-length`` and ``receipt``, of those that name one message, of
those that tell of it, and last whether there are any of these."""


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class Head:
    """Command and headers of one frame as read from the wire; shared when the block repeats.

    Args:
        command: the command.
        headers: decoded headers; None where they need not be known yet (`SendHeads`).
        block: the raw bytes.
        length: the ``content-length``.
        found: the values that were found without decoding the others.

    Attributes:
        command: the command.
        block: the raw bytes of command and header lines, without the blank line.
        length: the ``content-length``, or -1 where none was given.
        plan: free for the owner of the connection: what it worked out from this head.
        receipt: the ``receipt`` where that is known apart from ``headers``.
        pattern: the head that headers and plan are shared with (`PatternedHead`).
        found: the values that `SendHeads` found in the block; None = it was parsed.
        repeats: whether it is remembered, so that a plan for it may be of use again.
    """

    __slots__ = (
        "_headers",
        "block",
        "command",
        "found",
        "length",
        "pattern",
        "plan",
        "receipt",
        "repeats",
    )

    def __init__(
        self,
        command: str,
        headers: dict[str, str] | None,
        block: bytes,
        length: int,
        found: Found | None = None,
    ) -> None:
        self.command = command
        self._headers = headers
        self.block = block
        self.length = length
        self.plan: object = None
        self.receipt: str | None = None
        self.pattern: Head | None = None
        self.found = found
        self.repeats = False

    @property
    def headers(self) -> dict[str, str]:
        """The decoded headers; of a repeated name the first value counts.

        (1.2, *Repeated Header Entries*.) Never changed after parsing, because heads are shared.
        """
        headers = self._headers
        if headers is None:
            headers = self._headers = self._decode()
        return headers

    @headers.setter
    def headers(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def _decode(self) -> dict[str, str]:
        """The headers of the block, which is known to be well-formed."""
        headers: dict[str, str] = {}
        for line in self.block.decode().split("\n")[1:]:
            name, _, value = line.partition(":")
            headers.setdefault(name, unescape(value, RULES[V1_2]))
        return headers

    @property
    def ack(self) -> str | None:
        """What an ACK or NACK of the frame names: the ``ack`` header (1.2), or None."""
        return self.headers.get("ack")

    @property
    def shared(self) -> dict[str, str]:
        """The same, but that ``message-id`` and ``ack`` may be those of another frame."""
        return self.headers

    def __repr__(self) -> str:
        return f"<Head {self.command} {len(self.headers)} headers>"


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class PatternedHead(Head):
    """A head that is the same as another one but for its receipt (`HeadCache.like`)."""

    __slots__ = ()

    def __init__(self, pattern: Head, receipt: str, block: bytes) -> None:
        super().__init__(pattern.command, pattern._headers, block, pattern.length, pattern.found)
        self.plan = pattern.plan
        self.pattern = pattern
        self.receipt = receipt


ACK_RUN = Head("ACK", {}, b"", -1)
"""Stands for a run of plain ACKs, whose bytes are the body; `plain_acks` takes each id apart.

Only a parser that was given a `HeadCache` hands out runs.
"""


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class HeadCache:
    """A server's memory: heads of SEND by their raw bytes, from the second time they are seen.

    Waiting for the second time keeps blocks that never repeat out; keeping them would cost more
    than parsing them (``benchmarks/codec.py``: a sixth more for each such frame). When full it
    forgets everything, so that it needs no list of recent use. There is room for the blocks of as
    many queues as one broker is likely to have in use at a time.

    A sender that asks for receipts gives each a name of its own. Such a head is known by the rest
    of its block (``benchmarks/codec.py``: a third of the cost).
    """

    __slots__ = ("_capacity", "_knows_receipts", "_room", "_seen", "heads", "known")

    def __init__(self, capacity: int = 16_384) -> None:
        self._knows_receipts = False
        self._room = _MOST
        self.heads: dict[bytes, Head] = {}
        self.known: Callable[[bytes], Head | None] = self.heads.get  # no call of ours in between
        self._seen: set[int] = set()
        self._capacity = capacity

    def like(self, block: bytes) -> Head | None:
        """A head known but for its receipt. It shares headers and plan with that one."""
        if not self._knows_receipts:
            return None
        start = block.find(b"\nreceipt:")
        if start < 0:
            return None
        end = block.find(b"\n", start + 1)
        if end < 0:
            end = len(block)
        known = self.heads.get(block[:start] + block[end:])
        if known is None:
            return None
        value = block[start + _RECEIPT : end]
        if not value.translate(None, b"-_.").isalnum():  # perhaps escaped, padded or not text
            return None
        return PatternedHead(known, value.decode(), block)

    def remember(self, head: Head) -> None:
        """A head was read from its block: keep it if that happened before."""
        if head.command != "SEND" or len(head.block) > FAST_BLOCK:
            return
        cut = head.receipt is not None or (head.found is None and "receipt" in head.headers)
        if cut:
            rest = _without_receipt(head)
            if rest is None:
                return
            head = rest
        sight = hash(head.block)
        seen = self._seen
        if sight in seen:
            self._room -= len(head.block)
            if len(self.heads) >= self._capacity or self._room < 0:
                self.heads.clear()
                self._knows_receipts = False
                self._room = _MOST - len(head.block)
            self.heads[head.block] = head
            head.repeats = True
            self._knows_receipts = self._knows_receipts or cut
        else:
            if len(seen) >= self._capacity:
                seen.clear()
            seen.add(sight)


def _without_receipt(head: Head) -> Head | None:
    """The head that is the same but for its receipt; None if that is not so simple."""
    block = head.block
    start = block.find(b"\nreceipt:")
    if start < 0 or block.count(b"\nreceipt:") > 1:
        return None
    end = block.find(b"\n", start + 1)
    block = block[:start] + (block[end:] if end > 0 else b"")
    if head.found is not None:
        return Head("SEND", None, block, head.length, (*head.found[:2], None, *head.found[3:]))
    headers = {name: value for name, value in head.headers.items() if name != "receipt"}
    return Head("SEND", headers, block, head.length)
