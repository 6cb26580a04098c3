"""All links of a broker: one to each member, one from each member, and those that are not yet.

For each peer and direction one link is open at most. A front that comes again is let in, and its
older link ends then: that is how one comes back whose machine has lost its power. But when another
process says that it is a broker that was heard just now, two brokers have one id, and the later one
is refused.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from stompy.transport.tls import TLSLayer
from stompy_broker.cluster.link.connection import LinkConnection
from stompy_broker.cluster.link.dialer import Dialer
from stompy_broker.cluster.link.handshake import PREFACE, LinkHandshake, LinkPeer
from stompy_broker.cluster.link.link import Link, LinkListener
from stompy_broker.cluster.link.settings import LinkSettings
from stompy_broker.log_throttle import LogThrottle
from stompy_broker.timers import Clock

log = logging.getLogger("stompy_broker.cluster.link")

_STRANGERS = 64
"""Incoming connections at most of which it is not known yet who is there."""
_ALIVE_BEATS = 2
"""Who was heard within so many beats is alive for certain."""
_QUIET_ATTEMPTS = 3
"""So many may fail without a word: members that start do not know one another at once."""


class Arrival(Protocol):
    """A connection that has come in, and turned out to be meant as a link.

    Attributes:
        address: who is there, for the log.
        host: the same without the port.
    """

    address: str
    host: str


class Links:
    """Keeps a link to each member, and takes those that members open.

    Args:
        clock: for all that waits.
        settings: who we are, and how long is waited.
        listener: who is told.
        tls: for outgoing links; None = they are not encrypted.
    """

    def __init__(
        self,
        clock: Clock,
        settings: LinkSettings,
        listener: LinkListener,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._listener = listener
        self._tls = tls
        self._dialers: dict[str, Dialer] = {}
        self._ended: list[Dialer] = []  # not wanted any more, and perhaps still at it
        self._incoming: dict[str, LinkConnection] = {}  # those that are open, by peer
        self._strangers: dict[LinkConnection, None] = {}
        self._connections: set[LinkConnection] = set()  # all that have a socket
        self._quiet = asyncio.Event()  # there are none
        self._closed = False
        self._throttle = LogThrottle(clock.now)

    # -- members ----------------------------------------------------------------------------------

    def update(self, members: Mapping[str, str]) -> None:
        """Keep a link to each of these brokers, and to no other.

        What a broker that is no member any more has opened stays open while it is heard. Nobody
        else but members may open a link.

        Args:
            members: the live brokers and their addresses, ``host:port``; this one may be there.
        """
        if self._closed:
            return
        for peer, dialer in list(self._dialers.items()):
            if members.get(peer) != dialer.address:
                gone = peer not in members
                del self._dialers[peer]
                dialer.end("the peer is no member any more" if gone else "the peer has moved")
                self._ended = [one for one in self._ended if one.is_dialling] + [dialer]
        for peer, address in members.items():
            if peer != self._settings.broker and peer not in self._dialers:
                dialer = Dialer(
                    peer, address, self._settings, self._clock, self._connect, self._not_connected
                )
                self._dialers[peer] = dialer
                dialer.dial()

    @property
    def outgoing(self) -> Mapping[str, Link]:
        """The links to members that are open just now, by the id of the peer."""
        return {
            peer: dialer.connection
            for peer, dialer in self._dialers.items()
            if dialer.connection is not None and dialer.connection.is_open
        }

    @property
    def incoming(self) -> Mapping[str, Link]:
        """The links of other brokers that are open just now, by the id of the peer."""
        return dict(self._incoming)

    @property
    def trouble(self) -> Mapping[str, str]:
        """Members to which there is no link just now, and why."""
        return {peer: one.trouble for peer, one in self._dialers.items() if one.trouble}

    def _connect(self, peer: str, host: str, address: str) -> LinkConnection:
        """Make the connection that a dialer has got a socket for."""
        tls = None if self._tls is None else TLSLayer(self._tls, server_hostname=host)
        handshake = LinkHandshake(self._settings, peer)
        return self._made(handshake, host, address, tls)

    def _not_connected(self, dialer: Dialer, reason: str) -> None:
        """Write into the log why there is no link; each reason once a minute."""
        if dialer.attempts > _QUIET_ATTEMPTS:
            text = f"no link to {dialer.peer} at {dialer.address}: {reason}"
            self._say(logging.WARNING, f"{dialer.peer} {reason}", text)

    # -- who comes --------------------------------------------------------------------------------

    def accept(
        self, arrival: Arrival, first: bytes, tls: TLSLayer | None, refusal: str = ""
    ) -> asyncio.Protocol | None:
        """Take a connection that came in, if its first bytes are those of a link.

        Args:
            arrival: who is there.
            first: what it has said, out of TLS; 8 bytes at least.
            tls: the layer of TLS, whose handshake is done; None = there is none.
            refusal: why it may not be a link at this port; empty = it may.

        Returns:
            What takes the socket over; None = it is no link.
        """
        if not first.startswith(PREFACE):
            return None
        connection = self._made(
            LinkHandshake(self._settings, admit=lambda peer: self._admit(connection, peer)),
            arrival.host,
            arrival.address,
            tls,
        )
        connection.first = first
        connection.refusal = "this broker is about to stop" if self._closed else refusal
        self._strangers[connection] = None
        if len(self._strangers) > _STRANGERS:
            self._evict()
        return connection

    def _evict(self) -> None:
        """Cut off the stranger that came first, of the host that has most of them."""
        host, _ = Counter(one.host for one in self._strangers).most_common(1)[0]
        stranger = next(one for one in self._strangers if one.host == host)
        stranger.abort(f"{_STRANGERS} connections say that they are links and do not go on")

    def _admit(self, connection: LinkConnection, peer: LinkPeer) -> str:
        """Say why a broker that knows the secret is not wanted."""
        broker = peer.broker
        if broker not in self._dialers:
            return (
                f"broker {self._settings.broker!r} does not hear of a member {broker!r}: both "
                "have to reach the same NATS servers"
            )
        older = self._incoming.get(broker)
        if older is not None and older.instance != peer.instance:
            alive = self._clock.now() - _ALIVE_BEATS * self._settings.beat_seconds
            if older.heard_at >= alive:
                return (
                    f"two brokers of one id: {broker!r} is at {older.address}, alive, and at "
                    f"{connection.address}. Give each broker of the cluster an id of its own"
                )
        return ""

    # -- what connections tell --------------------------------------------------------------------

    def _made(
        self,
        handshake: LinkHandshake,
        host: str,
        address: str,
        tls: TLSLayer | None,
    ) -> LinkConnection:
        return LinkConnection(
            self._settings,
            self._clock,
            handshake,
            self._listener,
            self,
            host=host,
            address=address,
            tls=tls,
        )

    def begun(self, connection: LinkConnection) -> None:
        """Take notice that a connection has a socket; `gone` will follow."""
        # Not before: event loops differ in when they ask for a protocol, and some never use it.
        self._connections.add(connection)

    def greeted(self, connection: LinkConnection) -> None:
        """Take a connection that is a link now: it is open, and nobody was told so yet."""
        peer = connection.peer
        if connection.outgoing:
            self._dialers[peer].opened()
        else:
            self._strangers.pop(connection, None)
            older = self._incoming.get(peer)
            if older is not None:
                older.abort("the peer has opened a newer one")
            self._incoming[peer] = connection
        log.info("%s is up", _named(connection))

    def failed(self, connection: LinkConnection, reason: str, *, by_peer: bool) -> None:
        """Take notice that a connection has not become a link."""
        self._strangers.pop(connection, None)
        if by_peer:
            reason = f"refused by the other side: {reason}"
        if connection.outgoing:
            dialer = self._dialer_of(connection)
            if dialer is not None:
                dialer.failed(reason)
                self._not_connected(dialer, reason)
        elif not self._closed:
            peer = connection.peer
            # Those of whom it was not heard yet come again, and then they are known.
            known = peer in self._dialers or peer == self._settings.broker
            self._say(
                logging.WARNING if known else logging.INFO,
                connection.host,
                f"no link of {peer or 'somebody'} at {connection.address}: {reason}",
            )

    def ended(self, connection: LinkConnection, reason: str, *, orderly: bool) -> None:
        """Take notice that an open link is one no more, before the listener does."""
        level = logging.INFO if orderly else logging.WARNING
        log.log(level, "%s is down: %s", _named(connection), reason)
        peer = connection.peer
        if connection.outgoing:
            dialer = self._dialer_of(connection)
            if dialer is not None:
                dialer.failed(reason)
        elif self._incoming.get(peer) is connection:
            del self._incoming[peer]

    def gone(self, connection: LinkConnection) -> None:
        """Forget a connection: its socket is closed."""
        self._connections.discard(connection)
        self._strangers.pop(connection, None)
        # Not before: a newer link would end this one at the peer, with what is still on its way.
        dialer = self._dialer_of(connection)
        if dialer is not None:
            dialer.again()
        if not self._connections:
            self._quiet.set()

    def _dialer_of(self, connection: LinkConnection) -> Dialer | None:
        """Who has made a connection, if the peer is a member still."""
        found = (one for one in self._dialers.values() if one.connection is connection)
        return next(found, None)

    def _say(self, level: int, what: str, text: str) -> None:
        """Write a line into the log, once a minute for what is the same."""
        before = self._throttle.count(what)
        if before is not None:
            log.log(level, "%s%s", text, f" (and {before} more)" if before else "")

    # -- the end ----------------------------------------------------------------------------------

    async def close(self, reason: str = "this broker stops") -> None:
        """Close all links in order, and wait until nothing is left of them."""
        self._closed = True
        dialers, self._dialers = list(self._dialers.values()), {}
        for dialer in dialers:
            dialer.end(reason)
        for connection in list(self._connections):
            connection.close(reason)
        for dialer in (*dialers, *self._ended):
            await dialer.ended()
        if self._connections:
            self._quiet.clear()
            await self._quiet.wait()


def _named(connection: LinkConnection) -> str:
    """A link, as the log calls it."""
    way = "to" if connection.outgoing else "of"
    return f"link {way} {connection.peer} at {connection.address}"
