"""The ids by which a broker knows a message that it was sent before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from uuid import uuid4

from stompy.session.commands import HeaderValue
from stompy.session.dialects import Dialect

DECLINED = ""
"""Stands for the id of a message that is to have none where others have one."""


class DedupIds:
    """Makes the ids of one client: no other client has one of them.

    Args:
        always: whether a message has one unless it declines.

    Attributes:
        always: the same.
    """

    def __init__(self, *, always: bool = False) -> None:
        self.always = always
        self._prefix = ""
        self._numbers: Iterator[int] = count(1)

    def new_id(self) -> str:
        """Make an id; the number in it grows."""
        # Not made with the client: a child of a fork would make the same, and most want none.
        self._prefix = self._prefix or uuid4().hex
        return f"{self._prefix}-{next(self._numbers)}"

    def id_for(self, wanted: bool | str) -> str | None:
        """What stands in the header of a message that says ``dedup``; None for no header."""
        if isinstance(wanted, str):
            return wanted
        if wanted:
            return self.new_id()
        return DECLINED if self.always else None


_TAKES_NONE = ("/temp-queue/", "/temp-topic/", "/reply-queue/", "/queue/$SYS.", "/topic/$SYS.")
_ANSWERED = ("mandatory", "reply-timeout")


def takes_none(headers: Mapping[str, HeaderValue]) -> bool:
    """Whether a message goes where no ids are kept, or is one whose answer is its own.

    What ends with a connection has nothing to tell apart, and our broker says so by ERROR.
    """
    destination = headers.get("destination")
    temporary = isinstance(destination, str) and destination.startswith(_TAKES_NONE)
    return temporary or any(name in headers for name in _ANSWERED)


def id_in(headers: Mapping[str, HeaderValue], dialect: Dialect) -> HeaderValue | None:
    """The id that a message has; None if it has none."""
    for name in dialect.dedup_headers:
        found = headers.get(name)
        if found is not None:
            return found
    return None
