"""Links between brokers without sockets: what is sent waits until the test lets it arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from stompy_broker.cluster.link.link import Link, LinkListener


class LinkEnd:
    """One end of a link that a test moves by hand; it has the face of a `Link`.

    Args:
        peer: who is at the other end.
        outgoing: whether this end opened it.
        listener: who is told at this end.
        facts: what the peer said of itself.
    """

    def __init__(
        self,
        peer: str,
        outgoing: bool,
        listener: LinkListener,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.peer = peer
        self.outgoing = outgoing
        self.address = f"{peer}:61613"
        self.facts: Mapping[str, str] = facts or {}
        self.other: LinkEnd = self
        self.sent: deque[bytes] = deque()
        self.closed = ""
        self._listener = listener
        self._over = False

    @property
    def unsent(self) -> int:
        """Bytes that did not arrive yet."""
        return sum(map(len, self.sent))

    def send(self, message: bytes | Sequence[bytes]) -> None:
        """Keep a message until `deliver`."""
        if not self._over and not self.closed:
            self.sent.append(message if isinstance(message, bytes) else b"".join(message))

    def close(self, reason: str) -> None:
        """Ask for the end, which `deliver` brings."""
        self.closed = self.closed or reason

    def open(self) -> None:
        """Tell the listener that it is there."""
        self._listener.opened(self)

    def deliver(self) -> int:
        """Let what was sent arrive; how many messages that were."""
        count = 0
        while self.sent and not self._over:
            count += 1
            self.other._listener.received(self.other, self.sent.popleft())
        if self.closed and not self._over:
            self.cut(self.closed)
        return count

    def cut(self, reason: str = "cut") -> None:
        """Lose the link at both ends, with all that did not arrive."""
        for end in (self, self.other):
            if not end._over:
                end._over = True
                end.sent.clear()
                end._listener.lost(end, reason)


def linked(front: str, listener: LinkListener, peer: str, its: LinkListener) -> LinkEnd:
    """Open a link between two listeners.

    Args:
        front: the broker that opens it.
        listener: who is told there.
        peer: the broker at the other end.
        its: who is told there.

    Returns:
        The end of the front; the peer's is its `other`.
    """
    near, far = LinkEnd(peer, True, listener), LinkEnd(front, False, its)
    near.other, far.other = far, near
    near.open()
    far.open()
    return near


def settle(*ends: LinkEnd) -> None:
    """Let everything arrive in both directions, and what follows from it."""
    while sum(end.deliver() + end.other.deliver() for end in ends):
        pass


class Told:
    """A listener that remembers.

    Attributes:
        links: those that are open.
        messages: what came, with who sent it.
        reasons: why links were lost.
        events: a word for each call, in order.
    """

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.messages: list[tuple[str, bytes]] = []
        self.reasons: list[str] = []
        self.events: list[tuple[str, str, bool]] = []

    def opened(self, link: Link) -> None:
        """Remember a link."""
        self.events.append(("opened", link.peer, link.outgoing))
        self.links.append(link)

    def received(self, link: Link, message: bytes) -> None:
        """Remember a message, which can only come on a link that is open."""
        assert link in self.links
        self.messages.append((link.peer, message))

    def lost(self, link: Link, reason: str) -> None:
        """Forget a link, which can only be lost once."""
        self.events.append(("lost", link.peer, link.outgoing))
        self.links.remove(link)
        self.reasons.append(reason)

    def link(self, peer: str, *, outgoing: bool) -> Link | None:
        """The open link of a peer and a direction."""
        found = [one for one in self.links if (one.peer, one.outgoing) == (peer, outgoing)]
        assert len(found) <= 1, "two links of one peer in one direction"
        return found[0] if found else None
