"""Opening a connection from an event loop, within one deadline over look-up, TCP and TLS.

The same steps as in `stompy.transport.blocking`, none of which holds up the loop. Every failure
is an `AttemptFailed` that says in which phase the attempt ended; an attempt that is cancelled
leaves no socket behind. Deadlines are times of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from stompy.transport.address import Address
from stompy.transport.lookup import (
    TIMED_OUT,
    AttemptFailed,
    Place,
    is_numeric,
    resolve,
    resolve_aside,
)

P = TypeVar("P", bound=asyncio.Protocol)


async def open_connection(
    address: Address,
    factory: Callable[[], P],
    deadline: float,
    context: ssl.SSLContext | None = None,
) -> P:
    """Connect to an address, and give the connection to a protocol.

    Args:
        address: where to.
        factory: makes the protocol that serves the connection.
        deadline: when to give up, in the time of the running event loop.
        context: how TLS is spoken; None for plain TCP.

    Returns:
        The protocol, after its `asyncio.Protocol.connection_made`.

    Raises:
        AttemptFailed: no connection; every IP address of the name was tried.
    """
    connection = await _open_socket(address, deadline)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(deadline):
            _, protocol = await loop.create_connection(
                factory,
                sock=connection,
                ssl=context,
                server_hostname=None if context is None else address.host,
            )
    except TimeoutError:
        raise AttemptFailed("TLS", TIMED_OUT) from None
    except OSError as error:
        connection.close()
        raise AttemptFailed("TLS", error.strerror or str(error)) from error
    except BaseException:
        connection.close()
        raise
    return protocol


async def _open_socket(address: Address, deadline: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    places = await _look_up(address, deadline)
    reason = "the name has no IP address"
    for index, place in enumerate(places):
        # A place that swallows packets leaves the others their share of the time.
        share = (deadline - loop.time()) / (len(places) - index)
        try:
            async with asyncio.timeout(share):
                return await _connect(place)
        except TimeoutError:
            reason = TIMED_OUT
        except OSError as error:
            # asyncio puts words of its own in place of the system's.
            reason = os.strerror(error.errno) if error.errno else str(error)
    raise AttemptFailed("TCP", reason)


async def _connect(place: Place) -> socket.socket:
    connection = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, place.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        connection.close()
        raise
    return connection


async def _look_up(address: Address, deadline: float) -> list[Place]:
    """All places of a name.

    The look-up does not go to the executor of the loop, at whose end `asyncio.run` would wait for
    a name server that does not answer.
    """
    if is_numeric(address.host):
        return resolve(address)
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[list[Place] | AttemptFailed] = loop.create_future()

    def settle(answer: list[Place] | AttemptFailed) -> None:
        if not answered.done():
            answered.set_result(answer)

    def tell(answer: list[Place] | AttemptFailed) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, answer)

    resolve_aside(address, tell)
    try:
        async with asyncio.timeout_at(deadline):
            answer = await answered
    except TimeoutError:
        raise AttemptFailed("DNS", TIMED_OUT) from None
    if isinstance(answer, AttemptFailed):
        raise answer
    return answer
