"""Links between brokers: without sockets, moved by the test, and real ones without brokers."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from stompy.errors import ProtocolError
from stompy.session.address import Scheme
from stompy_broker.cluster.link.link import Link, LinkListener
from stompy_broker.cluster.link.links import Links
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.timers import Clock
from stompy_broker.wire.acceptor import Acceptor, bind
from stompy_broker.wire.endpoints import Endpoint
from stompy_broker.wire.handshake import Handshake, HandshakeContext
from stompy_broker.wire.input_memory import InputMemory
from stompy_broker.wire.tls import Certificates

SECRET = b"a secret of the tests, which is no secret"
LONG = 60.0
"""Seconds that do not pass in a test."""


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
        self.instance = f"{peer}-1"
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


class Station:
    """What a broker has of links, and nothing else of it: a port, its handshake, its links.

    Args:
        broker: its id.
        certificates: for TLS at its port.
        tls: for its outgoing links.
        schemes: what its port takes.
        refusal: why clients get no place.
        cluster: the name of its cluster; None = it takes no links.
        settings: fields of `LinkSettings` that are not as usual.

    Attributes:
        told: what its listener was told.
        links: its links.
        stomp: the first bytes of those that came and were no link.
    """

    def __init__(
        self,
        broker: str,
        *,
        certificates: Certificates | None = None,
        tls: ssl.SSLContext | None = None,
        schemes: frozenset[Scheme] = frozenset(Scheme),
        refusal: ProtocolError | None = None,
        cluster: str | None = "tests",
        **settings: Any,
    ) -> None:
        usual: dict[str, Any] = {
            "secret": SECRET,
            "beat_seconds": 0.05,
            "silent_seconds": LONG,
            "connect_seconds": LONG,
            "login_seconds": LONG,
            "retry_seconds": (0.005, 0.02),
        }
        self.broker = broker
        self.told = Told()
        self.stomp: list[bytes] = []
        self.settings = LinkSettings(cluster or "none", broker, **usual | settings)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.clock = Clock(self._loop.time, self._wake)
        self.links = Links(self.clock, self.settings, self.told, tls)
        self._refusal = refusal
        self._endpoint = Endpoint("127.0.0.1", 0, schemes)
        self._certificates = certificates
        self._context = self._handshake_context(cluster is not None)
        self._acceptor: Acceptor | None = None
        self._port = 0

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    def _wake(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.clock.run)

    def _handshake_context(self, takes_links: bool) -> HandshakeContext:
        return HandshakeContext(
            clock=self.clock,
            input_memory=InputMemory(Watermark(0), 0, self.clock),
            login_timeout=LONG,
            linger=1.0,
            certificates=self._certificates,
            allowed_origins=(),
            login_from="",
            urls=tuple,
            admit=lambda handshake: self._refusal,
            gone=lambda handshake: None,
            begin=cast(Callable[..., Any], self._begin),
            take_link=self.links.accept if takes_links else None,
        )

    def _begin(self, *given: object) -> asyncio.Protocol:
        return _Stomp(self.stomp)

    async def listen(self) -> None:
        """Take connections, at the port that it had before, if there was one."""
        sockets = await bind("127.0.0.1", self._port)
        begin = partial(Handshake, self._context, self._endpoint)
        self._acceptor = Acceptor(sockets, 100, begin)
        self._port = self._acceptor.port

    def deafen(self) -> None:
        """Take no more connections."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.deafen()
        await self.links.close()
        if self._timer is not None:
            self._timer.cancel()
        assert self.told.links == []


class _Stomp(asyncio.Protocol):
    """Stands for a connection of STOMP, and says so."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, first: bytes) -> None:
        self._heard.append(first)
        assert self._transport is not None
        self._transport.write(b"ERROR\nmessage:Bad frame\n\n\0")
        self._transport.close()

    def refuse(self, error: ProtocolError) -> None:
        self.begin(str(error).encode())


def acquaint(*stations: Station) -> None:
    """Tell each of all."""
    members = {one.broker: one.address for one in stations}
    for one in stations:
        one.links.update(members)
