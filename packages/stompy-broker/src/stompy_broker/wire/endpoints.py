"""Where clients connect: the ports, and what is spoken at each of them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from stompy.session.address import Scheme
from stompy_broker.config import BrokerConfig
from stompy_broker.http_config import is_loopback

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
        pages: by what the pages of HTTP may be asked for: plainly, by TLS; empty = not at all.
        trusted: whether those pages are for everybody who can connect.
        path: of a socket in the file system, which has neither host nor port; empty = it is none.
        mode: who may connect to that, as permissions of files.
        login_from_uid: whether users of this system are logged in there without a passcode.
    """

    host: str
    port: int
    schemes: frozenset[Scheme]
    proxied: bool = False
    pages: frozenset[str] = frozenset()
    trusted: bool = False
    path: str = ""
    mode: int = 0
    login_from_uid: bool = False

    @property
    def takes_tls(self) -> bool:
        """Whether TLS is spoken, with STOMP, a WebSocket or HTTP in it."""
        return "https" in self.pages or not self.schemes.isdisjoint(_SECURE)

    def urls(self, port: int) -> list[str]:
        """What clients connect to.

        Args:
            port: the one that it was bound to.
        """
        if self.path:
            return [f"{Scheme.UNIX}://{quote(self.path)}"]
        place = self._place(port)
        return [f"{scheme}://{place}" for scheme in Scheme if scheme in self.schemes]

    def page_urls(self, port: int) -> list[str]:
        """Where the pages of HTTP are.

        Args:
            port: the one that it was bound to.
        """
        return [f"{scheme}://{self._place(port)}" for scheme in sorted(self.pages)]

    def _place(self, port: int) -> str:
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    endpoints = [
        Endpoint(
            listen.host,
            port,
            frozenset(schemes),
            proxied,
            _pages_by(schemes) if config.http.shared else frozenset(),
            _is_trusted(config, listen.host, proxied),
        )
        for port, schemes, proxied in ports
        if schemes
    ]
    if listen.unix:
        endpoints.append(
            Endpoint(
                "",
                0,
                frozenset((Scheme.STOMP,)),
                path=listen.unix,
                mode=int(listen.unix_mode, 8),
                login_from_uid=listen.login_from_uid,
            )
        )
    return endpoints


def page_endpoint(config: BrokerConfig) -> Endpoint | None:
    """The port for the pages of HTTP alone; None = there is none."""
    place = config.http.place
    if place is None:
        return None
    host, port = place
    pages = {"http", "https"} if config.tls.cert else {"http"}
    trusted = _is_trusted(config, host, proxied=False)
    return Endpoint(host, port, frozenset(), pages=frozenset(pages), trusted=trusted)


def _pages_by(schemes: set[Scheme]) -> frozenset[str]:
    plain, secure = not _PLAIN.isdisjoint(schemes), not _SECURE.isdisjoint(schemes)
    return frozenset(["http"] * plain + ["https"] * secure)


def _is_trusted(config: BrokerConfig, host: str, proxied: bool) -> bool:
    """Whether everybody who can connect there may see all pages."""
    if config.http.auth != "auto":
        return config.http.auth == "none"
    # With a PROXY header they come from elsewhere, wherever that is.
    return is_loopback(host) and not proxied
