"""The PROXY protocol, versions 1 and 2: how a load balancer tells whom it speaks for. Pure.

The header comes before everything else, also before TLS. It is believed, so a port that takes it is
for the load balancer alone.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

_FIRST = b"PROXY "
_SECOND = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST_LINE = 107
_FIXED = 16
_LONGEST = 4096
_WORDS = 6
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESSES = {0x11: 4, 0x21: 16}
"""Family and transport to the length of an address: TCP over IPv4 and IPv6."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says.

    Attributes:
        host: the client's address; empty = the load balancer speaks for itself.
        port: the client's port.
        size: bytes of the header.
    """

    host: str
    port: int
    size: int


def is_proxied(first: bytes) -> bool:
    """Whether the first bytes of a connection, eight at least, begin a header."""
    return first.startswith(_FIRST) or _SECOND.startswith(first[: len(_SECOND)])


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header that a connection begins with.

    Returns:
        None while it is incomplete.

    Raises:
        ValueError: it is none.
    """
    if data.startswith(_SECOND):
        return _read_second(data)
    if data.startswith(_FIRST):
        return _read_first(data)
    if _SECOND.startswith(data) or _FIRST.startswith(data):
        return None
    raise ValueError("a PROXY header has to come first")


def _read_first(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        if len(data) >= _LONGEST_LINE:
            raise ValueError("the PROXY header has no end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    size = end + 2
    if words[1] == "UNKNOWN":
        return ProxyHeader("", 0, size)
    if len(words) != _WORDS or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("the PROXY header is not one of TCP4, TCP6 or UNKNOWN")
    address = ipaddress.ip_address(words[2])
    port = int(words[4])
    if f"TCP{address.version}" != words[1] or not 0 <= port < 1 << 16:
        raise ValueError("the PROXY header has no address of its family")
    return ProxyHeader(str(address), port, size)


def _read_second(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED:
        return None
    command, family = data[12], data[13]
    size = _FIXED + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or size > _LONGEST:
        raise ValueError("the PROXY header is of no known version, or too long")
    if len(data) < size:
        return None
    length = _ADDRESSES.get(family, 0)
    if command == _LOCAL or not length:
        return ProxyHeader("", 0, size)
    if size < _FIXED + 2 * length + 4:
        raise ValueError("the PROXY header has no addresses")
    address = ipaddress.ip_address(data[_FIXED : _FIXED + length])
    at = _FIXED + 2 * length
    return ProxyHeader(str(address), int.from_bytes(data[at : at + 2], "big"), size)
