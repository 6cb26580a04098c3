"""Where a broker is: ``(host, port)`` tuples and URLs, read into one type. Pure.

``stomp://login:passcode@host:61613/vhost`` names everything at once; what stands before the ``@``
and after the ``/`` is percent-decoded. An IPv6 host stands in brackets. No message and no repr
of this module ever shows a login, a passcode or the query of a URL.

==============================  ================================  ============
scheme                          what is spoken                    default port
==============================  ================================  ============
``stomp``                       STOMP over TCP                    61613
``stomps``, ``stomp+ssl``       the same over TLS                 61614
``ws``                          STOMP over a WebSocket            80
``wss``                         the same over TLS                 443
``unix``                        STOMP over a socket in the file
                                system: ``unix:///path``
==============================  ================================  ============

ActiveMQ's ``tcp``, ``nio`` and ``stomp+nio`` are ``stomp`` under other names, and ``ssl``,
``nio+ssl`` and ``stomp+nio+ssl`` are ``stomps``.

The path and the query of a WebSocket's URL belong to the HTTP request; they name no virtual host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeGuard
from urllib.parse import SplitResult, quote, unquote, urlsplit

DEFAULT_PORT = 61613


class Scheme(StrEnum):
    """What is spoken at an address."""

    STOMP = "stomp"
    STOMPS = "stomps"
    WS = "ws"
    WSS = "wss"
    UNIX = "unix"


DEFAULT_PORTS = {Scheme.STOMP: DEFAULT_PORT, Scheme.STOMPS: 61614, Scheme.WS: 80, Scheme.WSS: 443}

_SCHEMES = {
    **{scheme.value: scheme for scheme in Scheme},
    **dict.fromkeys(("tcp", "nio", "stomp+nio"), Scheme.STOMP),
    **dict.fromkeys(("ssl", "stomp+ssl", "nio+ssl", "stomp+nio+ssl"), Scheme.STOMPS),
}
_PLAIN = {Scheme.STOMP: Scheme.STOMPS, Scheme.WS: Scheme.WSS}

AddressLike = str | tuple[str, int]
"""One address as an application may write it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, and what is spoken there."""

    host: str
    """Name or IP address, an IPv6 one without its brackets."""
    port: int = DEFAULT_PORT
    vhost: str | None = None
    """The virtual host, which goes into the ``host`` header of CONNECT; None when not given."""
    login: str | None = field(default=None, repr=False)
    passcode: str | None = field(default=None, repr=False)
    scheme: Scheme = Scheme.STOMP
    path: str = ""
    """Of a WebSocket: where it is on its server. Of a UNIX socket: where it is in the file system;
    then host and port say nothing."""
    query: str = field(default="", repr=False)
    """Of a WebSocket: what follows the path."""
    learned: bool = field(default=False, repr=False, compare=False)
    """Whether a broker told of it, and not the application."""

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in (Scheme.STOMPS, Scheme.WSS)

    @property
    def is_websocket(self) -> bool:
        """Whether STOMP is carried by a WebSocket."""
        return self.scheme in (Scheme.WS, Scheme.WSS)

    @property
    def is_unix(self) -> bool:
        """Whether it is a socket in the file system."""
        return self.scheme is Scheme.UNIX

    def __str__(self) -> str:
        """The URL, without secrets."""
        if self.is_unix:
            return f"{self.scheme}://{quote(self.path)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = self.path if self.vhost is None else f"/{quote(self.vhost, safe='')}"
        return f"{self.scheme}://{host}:{self.port}{path}"


def parse_address(given: AddressLike, *, secure: bool = False) -> Address:
    """Read one address.

    Args:
        given: a URL or a tuple.
        secure: the caller has options for TLS: a tuple then means TLS, and a URL must.

    Raises:
        ValueError: it names no broker, or one without TLS although there are options for it; the
            text says why.
    """
    if isinstance(given, str):
        address = _from_url(given)
        if secure and not address.is_secure:
            instead = _PLAIN.get(address.scheme, Scheme.STOMPS)
            raise ValueError(
                f"{address} is without TLS, but options for TLS are given; write "
                f"{instead}:// or leave them out"
            )
        return address
    if not _is_pair(given):
        raise ValueError(
            f"an address is a URL or a tuple (host, port), not a {type(given).__name__}"
        )
    host, port = given
    return Address(
        _checked_host(host.strip("[]"), _redacted(host)),
        _checked_port(port),
        scheme=Scheme.STOMPS if secure else Scheme.STOMP,
    )


def parse_addresses(
    given: AddressLike | Sequence[AddressLike], *, secure: bool = False
) -> tuple[Address, ...]:
    """Read one address or a list of them; the order is the order in which they are tried.

    Args:
        given: what the application wrote.
        secure: as for `parse_address`.

    Raises:
        ValueError: the list is empty, or one of them is no address.
    """
    if isinstance(given, str) or _is_pair(given):
        return (parse_address(given, secure=secure),)
    if not isinstance(given, Sequence) or not given:
        raise ValueError("give one address or a list of them: a URL or a tuple (host, port) each")
    # What is no address in there, `parse_address` refuses.
    return tuple(parse_address(one, secure=secure) for one in given)  # type: ignore[arg-type]


def _is_pair(given: object) -> TypeGuard[tuple[str, int]]:
    return (
        isinstance(given, list | tuple)
        and len(given) == 2  # noqa: PLR2004 -- host and port
        and isinstance(given[0], str)
        and isinstance(given[1], int)
    )


def _from_url(text: str) -> Address:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        # The reason that urllib gives may quote a piece of a passcode.
        raise ValueError(f"{_redacted(text)} is not a URL: look at its port and host") from None
    scheme = _SCHEMES.get(url.scheme)
    if scheme is Scheme.UNIX:
        return _unix(url, text)
    if scheme is None or not url.netloc:
        raise ValueError(
            f"{_redacted(text)} is not a broker URL; write stomp://host:{DEFAULT_PORT}, or "
            "stomps://, ws://, wss:// or unix:///path"
        )
    websocket = scheme in (Scheme.WS, Scheme.WSS)
    if url.fragment or "@" in url.path or (url.query and not websocket):
        raise ValueError(
            f"{_redacted(text)} has a '?', '#' or '/' that must be written %3F, %23 or %2F"
        )
    return Address(
        _checked_host(unquote(_host(url)), _redacted(text)),
        DEFAULT_PORTS[scheme] if port is None else _checked_port(port),
        vhost=None if websocket else unquote(url.path[1:]) or None,
        login=None if url.username is None else unquote(url.username),
        passcode=None if url.password is None else unquote(url.password),
        scheme=scheme,
        path=url.path if websocket else "",
        query=url.query if websocket else "",
    )


def _unix(url: SplitResult, text: str) -> Address:
    if url.hostname or url.query or url.fragment or "\0" in (path := unquote(url.path)):
        raise ValueError(f"{_redacted(text)} is written unix:///path, or unix://login@/path")
    if not path.startswith("/"):
        raise ValueError(f"no path in {_redacted(text)}")
    return Address(
        "localhost",
        login=None if url.username is None else unquote(url.username),
        passcode=None if url.password is None else unquote(url.password),
        scheme=Scheme.UNIX,
        path=path,
    )


def _host(url: SplitResult) -> str:
    """The host as written; `urllib` gives it in small letters, which a zone id does not bear."""
    place = url.netloc.rpartition("@")[2]
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0]


def _checked_host(host: str, shown: str) -> str:
    if not host or any(mark.isspace() or mark in "/@\0" for mark in host):
        raise ValueError(f"no host in {shown}")
    return host


def _checked_port(port: int) -> int:
    if isinstance(port, bool) or not 0 < port < 65536:  # noqa: PLR2004 -- a port is 16 bits
        raise ValueError(f"a port is a number from 1 to 65535, not {port!r}")
    return port


def _redacted(text: str) -> str:
    """A text that should have been a URL, without what may be a login, a passcode or a token."""
    if text.startswith(("ws:", "wss:")):
        text = text.partition("?")[0]
    start, at, place = text.rpartition("@")
    if not at:
        return repr(text)
    scheme, separator, _ = start.partition("://")
    return repr(f"{scheme}{separator}***@{place}" if separator else f"***@{place}")
