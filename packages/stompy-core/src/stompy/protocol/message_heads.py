"""Heads of MESSAGE, of which a broker repeats all but two headers. Pure (**hot path**).

* What heads have in common is known by its raw bytes (`MessageHeads.like`).
* What a busy queue brings are runs of messages that are like the one before. They are compared with
  it where they lie, and nothing of them is parsed until somebody asks (`MessageHeads.read_run`).
"""

from __future__ import annotations

from typing import Final

from stompy.compiler import mypyc_attr
from stompy.protocol.header_cache import FAST_BLOCK, Head

# ``92 in data`` looks for one octet; ``b"\\" in data`` first fails to be a number, which takes five
# times as long.
_NUL: Final = 0
_LF: Final = 10
_CR: Final = 13
_BACKSLASH: Final = 92
_ACK: Final = len("ack:")
_MESSAGE_ID: Final = len("message-id:")
_NEXT_ID: Final = b"\nmessage-id:"


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class Pattern:
    """What the heads of some messages have in common.

    Args:
        headers: of the first of them.
        length: the ``content-length``, or -1.
        front: the bytes before what differs.
        tail: the bytes behind it, with the blank line.
        has_ack: whether ``ack`` differs, too, and not ``message-id`` alone.
    """

    __slots__ = ("front", "has_ack", "headers", "length", "tail")

    def __init__(
        self, headers: dict[str, str], length: int, front: bytes, tail: bytes, has_ack: bool
    ) -> None:
        self.headers = headers
        self.length = length
        self.front = front
        self.tail = tail
        self.has_ack = has_ack


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class RunHead(Head):
    """A head of which nothing is decoded until somebody asks.

    Args:
        like: the pattern that it follows.
        varying: the bytes that differ from it: US-ASCII, and nothing to be decoded.
        block: the raw bytes.
    """

    __slots__ = ("like", "varying")

    def __init__(self, like: Pattern, varying: bytes, block: bytes) -> None:
        super().__init__("MESSAGE", None, block, like.length)
        self.like = like
        self.varying = varying

    def _decode(self) -> dict[str, str]:
        headers = self.like.headers.copy()
        varying = self.varying.decode()
        if self.like.has_ack:
            headers["ack"], _, varying = varying.partition("\nmessage-id:")
        headers["message-id"] = varying
        return headers

    @property
    def ack(self) -> str | None:
        """What an ACK or NACK of the frame names: the ``ack`` header (1.2), or None."""
        if not self.like.has_ack:
            return self.like.headers.get("ack")
        return self.varying[: self.varying.index(_LF)].decode()

    @property
    def shared(self) -> dict[str, str]:
        """The headers of the pattern."""
        return self.like.headers


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class MessageHeads:
    """A client's memory: what the heads of MESSAGE have in common.

    One message's head differs from the next one's in ``message-id`` and perhaps ``ack``. So the
    rest of the block is the key under which the parsed headers are kept, to be copied for the next
    message (``benchmarks/codec.py``: half the cost of a message). Not for 1.0, which trims values.
    """

    __slots__ = ("_capacity", "_last", "_patterns")

    def __init__(self, capacity: int = 256) -> None:
        self._patterns: dict[bytes, Pattern] = {}
        self._last: Pattern | None = None
        self._capacity = capacity

    def read_run(
        self, data: bytes, position: int, most: int, frames: list[tuple[Head, bytes]]
    ) -> int:
        """Read messages that are like the last one; give where anything else begins.

        Measured with ``benchmarks/codec.py``: six tenths of the time that `like` takes.

        Args:
            data: what came.
            position: where a frame begins in it.
            most: how large a body may be that does not say how long it is.
            frames: gets the messages.
        """
        like = self._last
        if like is None:
            return position
        front, tail, length, has_ack = like.front, like.tail, like.length, like.has_ack
        before, behind, size = len(front), len(tail), len(data)
        find, startswith, append = data.find, data.startswith, frames.append
        while startswith(front, position):
            at = position + before
            end = find(b"\n", at, at + FAST_BLOCK)
            if has_ack and startswith(_NEXT_ID, end):
                end = find(b"\n", end + 1, at + FAST_BLOCK)
            if end < 0 or not startswith(tail, end):
                break
            varying = data[at:end]
            if not _is_plain(varying, has_ack):
                break
            start = end + behind
            if length >= 0:
                stop = start + length
                if stop >= size or data[stop] != _NUL:
                    break
            else:
                stop = find(b"\0", start)
                if stop < 0 or stop - start > most:
                    break
            append((RunHead(like, varying, data[position : start - 2]), data[start:stop]))
            position = stop + 1
            # Behind a frame of a broker there is one.
            if position < size and data[position] == _LF:
                position += 1
        return position

    def known(self, block: bytes) -> Head | None:
        """No two are the same."""
        return None

    def like(self, block: bytes) -> Head | None:
        """A head like one seen before, with its own ``message-id`` and ``ack``."""
        cut = _varying_part(block)
        if cut is None:
            return None
        at, end, has_ack = cut
        pattern = self._patterns.get(block[:at] + block[end:])
        if pattern is None or len(pattern.front) != at:
            return None
        varying = block[at:end]
        if not _is_plain(varying, has_ack):
            return None
        self._last = pattern
        return RunHead(pattern, varying, block)

    def remember(self, head: Head) -> None:
        """A head was read from its block: keep what the next one may repeat."""
        block = head.block
        cut = _varying_part(block) if head.command == "MESSAGE" else None
        if cut is None:
            return
        names = [line.partition(b":")[0] for line in block.split(b"\n")[1:]]
        at, end, has_ack = cut
        if names.count(b"message-id") > 1 or names.count(b"ack") > has_ack:
            return
        if len(self._patterns) >= self._capacity:
            self._patterns.clear()
        # The caller owns the headers and may change them.
        headers, front, rest = head.headers.copy(), block[:at], block[end:]
        self._last = Pattern(headers, head.length, front, rest + b"\n\n", has_ack)
        self._patterns[front + rest] = self._last


def _is_plain(varying: bytes, has_ack: bool) -> bool:
    """Whether values are US-ASCII and nothing in them is to be decoded; with ``ack``, both."""
    return (
        _BACKSLASH not in varying
        and _CR not in varying
        and _NUL not in varying
        and varying.isascii()
        and (_LF in varying) == has_ack
    )


def _varying_part(block: bytes) -> tuple[int, int, bool] | None:
    """Where the values of ``ack`` and ``message-id`` stand in a MESSAGE.

    Returns:
        Start of the value of the first of both, end of the second, whether ``ack`` is one of them.
    """
    line = block.find(_NEXT_ID) + 1
    if not line:
        return None
    end = block.find(b"\n", line)
    if end < 0:
        end = len(block)
    before = block.rfind(b"\n", 0, line - 1) + 1
    has_ack = block.startswith(b"ack:", before)
    return before + _ACK if has_ack else line + _MESSAGE_ID, end, has_ack
