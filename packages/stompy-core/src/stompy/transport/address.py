"""Where a broker is: ``(host, port)`` tuples and URLs, read into one type. Pure.

``stomp://login:passcode@host:61613/vhost`` names everything at once; what stands before the ``@``
and after the ``/`` is percent-decoded. An IPv6 host stands in brackets. No message and no repr
of this module ever shows a login or a passcode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard
from urllib.parse import SplitResult, quote, unquote, urlsplit

DEFAULT_PORT = 61613

_LATER = frozenset(("stomps", "stomp+ssl", "ws", "wss"))

AddressLike = str | tuple[str, int]
"""One address as an application may write it."""


@dataclass(frozen=True, slots=True)
class Address:
    """One broker address."""

    host: str
    """Name or IP address, an IPv6 one without its brackets."""
    port: int = DEFAULT_PORT
    vhost: str | None = None
    """The virtual host, which goes into the ``host`` header of CONNECT; None when not given."""
    login: str | None = field(default=None, repr=False)
    passcode: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The URL, without secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = "" if self.vhost is None else f"/{quote(self.vhost, safe='')}"
        return f"stomp://{host}:{self.port}{path}"


def parse_address(given: AddressLike) -> Address:
    """Read one address.

    Raises:
        ValueError: it names no broker that this release can reach; the text says why.
    """
    if isinstance(given, str):
        return _from_url(given)
    if not _is_pair(given):
        raise ValueError(
            f"an address is a URL or a tuple (host, port), not a {type(given).__name__}"
        )
    host, port = given
    return Address(_checked_host(host.strip("[]"), _redacted(host)), _checked_port(port))


def parse_addresses(given: AddressLike | Sequence[AddressLike]) -> tuple[Address, ...]:
    """Read one address or a list of them; the order is the order in which they are tried.

    Raises:
        ValueError: the list is empty, or one of them is no address.
    """
    if isinstance(given, str):
        return (_from_url(given),)
    if _is_pair(given):
        return (parse_address(given),)
    if not isinstance(given, Sequence) or not given:
        raise ValueError("give one address or a list of them: a URL or a tuple (host, port) each")
    # What is no address in there, `parse_address` refuses.
    return tuple(parse_address(one) for one in given)  # type: ignore[arg-type]


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
    if url.scheme in _LATER and url.netloc:
        raise ValueError(
            f"{url.scheme}:// comes in a later release; this one speaks plain TCP: stomp://"
        )
    if url.scheme != "stomp" or not url.netloc:
        raise ValueError(
            f"{_redacted(text)} is not a broker URL; write stomp://host:{DEFAULT_PORT}"
        )
    if url.query or url.fragment or "@" in url.path:
        raise ValueError(
            f"{_redacted(text)} has a '?', '#' or '/' that must be written %3F, %23 or %2F"
        )
    return Address(
        _checked_host(unquote(_host(url)), _redacted(text)),
        DEFAULT_PORT if port is None else _checked_port(port),
        vhost=unquote(url.path[1:]) or None,
        login=None if url.username is None else unquote(url.username),
        passcode=None if url.password is None else unquote(url.password),
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
    """A text that should have been a URL, without what may be a login and a passcode."""
    start, at, place = text.rpartition("@")
    if not at:
        return repr(text)
    scheme, separator, _ = start.partition("://")
    return repr(f"{scheme}{separator}***@{place}" if separator else f"***@{place}")
