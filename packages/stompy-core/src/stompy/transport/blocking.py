"""Opening a TCP connection from a thread, within one deadline over name look-up and connecting.

Every failure is an `AttemptFailed` that says in which phase the attempt ended. Deadlines are
times of `time.monotonic`.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from time import monotonic
from typing import NamedTuple

from stompy.transport.address import Address

TIMED_OUT = "no answer within the time-out"


class AttemptFailed(Exception):  # noqa: N818 -- an outcome to collect, not an error to show
    """One address could not be connected to.

    Attributes:
        phase: ``DNS``, ``TCP`` or ``handshake``.
        reason: why, in words.
        is_final: whether trying again seems hopeless.
    """

    def __init__(self, phase: str, reason: str, *, is_final: bool = False) -> None:
        super().__init__(f"{phase}: {reason}")
        self.phase = phase
        self.reason = reason
        self.is_final = is_final


class _Place(NamedTuple):
    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def open_socket(address: Address, deadline: float) -> socket.socket:
    """Connect to an address; the socket still blocks, and Nagle's delay is off.

    Raises:
        AttemptFailed: no connection; every IP address of the name was tried.
    """
    places = _look_up(address, deadline)
    reason = "the name has no IP address"
    for index, place in enumerate(places):
        # A place that swallows packets leaves the others their share of the time.
        share = (deadline - monotonic()) / (len(places) - index)
        try:
            return _connect(place, share)
        except TimeoutError:
            reason = TIMED_OUT
        except OSError as error:
            reason = error.strerror or str(error)
    raise AttemptFailed("TCP", reason)


def _connect(place: _Place, seconds: float) -> socket.socket:
    if seconds <= 0:
        raise TimeoutError
    connection = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(place.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _look_up(address: Address, deadline: float) -> list[_Place]:
    """All places of a name. The look-up itself knows no time-out, so it gets a thread."""
    if _is_numeric(address.host):
        return _resolve(address)
    answers: queue.SimpleQueue[list[_Place] | AttemptFailed] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_resolve(address))
        except AttemptFailed as failure:
            answers.put(failure)

    threading.Thread(target=ask, name=f"stompy look-up {address.host}", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, deadline - monotonic()))
    except queue.Empty:
        raise AttemptFailed("DNS", TIMED_OUT) from None
    if isinstance(answer, AttemptFailed):
        raise answer
    return answer


def _resolve(address: Address) -> list[_Place]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AttemptFailed("DNS", getattr(error, "strerror", None) or str(error)) from error
    return [_Place(family, place) for family, _, _, _, place in found]


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
