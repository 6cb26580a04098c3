"""From a host name to the places where it may listen.

The resolver of the operating system knows no time-out and cannot be interrupted, so whoever has
a deadline asks it on a daemon thread. Both clients do.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from stompy.session.address import Address
from stompy.session.handshake import AttemptFailed


class Place(NamedTuple):
    """Where a socket can be connected to."""

    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes] | str

    def prepare(self, connection: socket.socket) -> None:
        """Set a socket that is connected there: Nagle's delay off, dead peers noticed."""
        if not isinstance(self.address, str):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def resolve(address: Address) -> list[Place]:
    """All places of a host; takes as long as the operating system likes.

    Raises:
        AttemptFailed: there is no such name.
    """
    if address.is_unix:
        family = getattr(socket, "AF_UNIX", None)
        if family is None:
            raise AttemptFailed("socket", "there are no UNIX sockets on this system")
        return [Place(family, address.path)]
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AttemptFailed("DNS", getattr(error, "strerror", None) or str(error)) from error
    return [Place(family, place) for family, _, _, _, place in found]


def resolve_aside(address: Address, tell: Callable[[list[Place] | AttemptFailed], None]) -> None:
    """Look a host up on a thread of its own, which nobody waits for, and tell the outcome there."""

    def ask() -> None:
        try:
            tell(resolve(address))
        except AttemptFailed as failure:
            tell(failure)

    threading.Thread(target=ask, name=f"stompy look-up {address.host}", daemon=True).start()


def needs_no_lookup(address: Address) -> bool:
    """Whether the host is an IP address, or there is none."""
    if address.is_unix:
        return True
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return True
