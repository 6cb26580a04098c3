"""What the rest of the broker sees of a link to another broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Link(Protocol):
    """A connection to another broker, authenticated on both sides.

    Two brokers have two: on each the one that opened it is the front.
    """

    @property
    def peer(self) -> str:
        """The id of the broker at the other end."""
        ...

    @property
    def instance(self) -> str:
        """What changes each time that the peer starts: of one id there are several, in turn."""
        ...

    @property
    def outgoing(self) -> bool:
        """Whether we opened it, and so are the front on it."""
        ...

    @property
    def address(self) -> str:
        """Where the peer is, for the log."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What the peer said of itself when it began: its version, hashes of what must agree."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that were given to `send` and not to the system yet."""
        ...

    def send(self, message: bytes | Sequence[bytes]) -> None:
        """Send one message; a sequence is joined, without a copy where that can be.

        It is written at the end of this turn of the event loop, with all others of the turn. What
        is sent on a link that has ended is dropped: the listener was told that it is lost.

        Args:
            message: its first byte is its kind; it may not be empty.
        """

    def close(self, reason: str) -> None:
        """End it in order: what was sent still arrives. The listener hears `lost` once, soon.

        Args:
            reason: for the log of both sides.
        """


class LinkListener(Protocol):
    """Who is told what happens on links; there is one for the whole broker.

    For each link: `opened` once, then `received` for each message in the order in which the peer
    sent them, then `lost` once. It is never called from within `Link.send` or `Link.close`.
    """

    def opened(self, link: Link) -> None:
        """Take a new link.

        If there was one to the same peer in the same direction, that one was lost before.
        """

    def received(self, link: Link, message: bytes) -> None:
        """Take a whole message; its first byte is its kind."""

    def lost(self, link: Link, reason: str) -> None:
        """Forget a link: nothing comes from it any more, and what did not arrive never will."""
