"""A SEND without anything unusual, read in one step. Pure (**hot path**).

A header block that never repeats, because of a trace id or a correlation id, must not cost what it
costs to take every header apart; most of them only pass through a broker. One regular expression
says of a whole block that it is well-formed, that it can be passed on as it is, and which values
the server itself goes by. The others are decoded when somebody asks for them (`Head.headers`).
Measured with ``benchmarks/codec.py``: 1.7 times as many such frames a second; with ``run.py``,
*headers never repeat*: 1.5 times as many messages, and compiled 2.2 times.

What the expression does not take, for whatever reason, is read by the parser as ever. So it may be
as narrow as it likes; but what it takes, it reads as the parser does (a property in the tests).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from stompy.compiler import mypyc_attr
from stompy.protocol.header_cache import FAST_BLOCK, Head, HeadCache
from stompy.protocol.headers import RULES, Version
from stompy.protocol.limits import Limits

_LONGEST_DESTINATION = 128
"""In bytes; so whoever remembers them has an end of it."""

# All octets but NUL, LF, CR, colon and backslash: what may stand in a value as it is. A colon may
# not, because who passes it on has to escape it. Said the other way round it takes a fifth longer.
_PLAIN = r"[\x01-\x09\x0b\x0c\x0e-9;-\[\]-\xff]"


@mypyc_attr(allow_interpreted_subclasses=True, serializable=True)
class SendHeads(HeadCache):
    """A server's memory that also reads what it does not know, if it is simple.

    Args:
        version: of the protocol; 1.1 or later, because 1.0 trims what it reads.
        limits: bounds of a frame.
        telling: names of headers that the server goes by, beside ``destination``,
            ``content-length`` and ``receipt``; their values are found as well (`Head.found`).
        unusual: names of headers that make a SEND one that is not simple.
        naming: names of headers whose value no other message has, and that the server goes by;
            where one is empty, the SEND is not simple. With them there is one more of what was
            found before the last: whether there are any of ``telling``.
    """

    __slots__ = ("_longest_body", "_match")

    def __init__(
        self,
        version: Version,
        limits: Limits,
        telling: Sequence[str],
        unusual: Collection[str],
        naming: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._longest_body = limits.body
        self._match = _expression(version, limits, telling, unusual, naming).fullmatch

    def like(self, block: bytes) -> Head | None:
        """A head that is known but for its receipt, or else is simple."""
        if self._knows_receipts:
            head = HeadCache.like(self, block)
            if head is not None:
                return head
        match = self._match(block)
        if match is None:
            return None
        found = match.groups()
        size = found[1]
        if found[0] is None or not (block.isascii() or _is_utf8(block)):
            return None
        length = -1 if size is None else int(size)
        if length > self._longest_body:
            return None
        head = Head("SEND", None, block, length, found)
        receipt = found[2]
        if receipt is None:
            sight, seen = hash(block), self._seen
            if sight not in seen and len(seen) < self._capacity:  # what `remember` would do
                seen.add(sight)
                return head
        else:
            head.receipt = receipt.decode()
        self.remember(head)
        return head


def _expression(
    version: Version,
    limits: Limits,
    telling: Sequence[str],
    unusual: Collection[str],
    naming: Sequence[str],
) -> re.Pattern[bytes]:
    """What matches a simple block, with a group for each header that the server goes by.

    A header that comes a second time is not simple: ``(?(1)(?!))`` fails where group 1 is set.
    """
    if min(limits.header_line, limits.header_block) < FAST_BLOCK:
        return re.compile(b"(?!)")  # lines would have to be measured
    own = [
        ("destination", f"{_PLAIN}{{1,{_LONGEST_DESTINATION}}}+"),
        ("content-length", "[0-9]{1,18}"),
        ("receipt", f"{_PLAIN}++"),
    ]
    lines = [_line(group, *header) for group, header in enumerate(own, 1)]
    named = [_line(group, name, f"{_PLAIN}++") for group, name in enumerate(naming, len(own) + 1)]
    after = len(own) + len(named) + 1
    told = [_line(group, name, f"{_PLAIN}*+") for group, name in enumerate(telling, after)]
    # The last groups are empty; they tell whether there are any that tell, and any of both.
    some = "|".join(told) or "(?!)"
    lines.append(f"(?:{'|'.join(named)}|(?:{some})())()" if named else f"(?:{some})()")
    known = _any_of(sorted({name for name, _ in own} | {*naming, *telling, *unusual}))
    escapes = "".join(sequence[1:] for sequence in RULES[version].decode)
    passed_on = f"(?!{known}:){_PLAIN}++:{_PLAIN}*+(?:\\\\[{re.escape(escapes)}]{_PLAIN}*+)*+"
    return re.compile(
        f"SEND(?:\\n(?:{'|'.join([*lines, passed_on])})){{1,{limits.header_count}}}+".encode()
    )


def _line(group: int, name: str, value: str) -> str:
    return f"{re.escape(name)}:(?({group})(?!))({value})"


def _any_of(names: Sequence[str]) -> str:
    """An expression for any of these names that looks at each octet once, and not at each name."""
    endings: dict[str, list[str]] = {}
    for name in names:
        endings.setdefault(name[:1], []).append(name[1:])
    ways = [re.escape(first) + _any_of(rest) if first else "" for first, rest in endings.items()]
    # The empty one, of a name that others begin with, comes last.
    return f"(?:{'|'.join(reversed(ways))})" if len(ways) > 1 else ways[0]


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
