"""Opening a TCP connection from a thread, within one deadline over name look-up and connecting.

Every failure is an `AttemptFailed` that says in which phase the attempt ended. Deadlines are
times of `time.monotonic`.
"""

from __future__ import annotations

import queue
import socket
from time import monotonic

from stompy.transport.address import Address
from stompy.transport.lookup import (
    TIMED_OUT,
    AttemptFailed,
    Place,
    is_numeric,
    resolve,
    resolve_aside,
)


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


def _connect(place: Place, seconds: float) -> socket.socket:
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


def _look_up(address: Address, deadline: float) -> list[Place]:
    if is_numeric(address.host):
        return resolve(address)
    answers: queue.SimpleQueue[list[Place] | AttemptFailed] = queue.SimpleQueue()
    resolve_aside(address, answers.put)
    try:
        answer = answers.get(timeout=max(0.0, deadline - monotonic()))
    except queue.Empty:
        raise AttemptFailed("DNS", TIMED_OUT) from None
    if isinstance(answer, AttemptFailed):
        raise answer
    return answer
