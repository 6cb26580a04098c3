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
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def resolve(address: Address) -> list[Place]:
    """All places of a host; takes as long as the operating system likes.

    Raises:
        AttemptFailed: there is no such name.
    """
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


def is_numeric(host: str) -> bool:
    """Whether a host is an IP address, which needs no look-up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
