"""Where clients connect: the ports, and what is spoken at each of them."""

from __future__ import annotations

from dataclasses import dataclass

from stompy.session.address import Scheme
from stompy_broker.config import BrokerConfig

_PLAIN = frozenset((Scheme.STOMP, Scheme.WS))
_SECURE = frozenset((Scheme.STOMPS, Scheme.WSS))
_WEB = frozenset((Scheme.WS, Scheme.WSS))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A port and what may be spoken there.

    Attributes:
        host: to bind to.
        port: to bind to; 0 = a free one.
        schemes: what may be spoken.
        proxied: whether a PROXY header comes first.
    """

    host: str
    port: int
    schemes: frozenset[Scheme]
    proxied: bool = False

    @property
    def takes_tls(self) -> bool:
        """Whether TLS is spoken, with STOMP or a WebSocket in it."""
        return not self.schemes.isdisjoint((Scheme.STOMPS, Scheme.WSS))

    def urls(self, port: int) -> list[str]:
        """What clients connect to.

        Args:
            port: the one that it was bound to.
        """
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return [f"{scheme}://{place}" for scheme in Scheme if scheme in self.schemes]


def endpoints_of(config: BrokerConfig) -> list[Endpoint]:
    """The ports of a broker and what is spoken there, the one of ``[listen]`` first."""
    tls, web = config.tls, config.websocket
    offered = set() if tls.required else set(_PLAIN)
    if tls.cert:
        offered |= _SECURE
    if not web.enabled:
        offered -= _WEB
    shared = set(offered)
    found = []
    if web.port >= 0:
        shared -= _WEB
        found.append((web.port, offered & _WEB, web.proxy_protocol))
    if tls.port >= 0:
        found.append((tls.port, shared & _SECURE, tls.proxy_protocol))
        shared -= _SECURE
    listen = config.listen
    ports = [(listen.port, shared, listen.proxy_protocol), *reversed(found)]
    return [
        Endpoint(listen.host, port, frozenset(schemes), proxied)
        for port, schemes, proxied in ports
        if schemes
    ]
