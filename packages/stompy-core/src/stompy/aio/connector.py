"""From broker addresses to an open connection: look-up, TCP, TLS, CONNECT, CONNECTED. For asyncio.

Each address gets one deadline over all its phases. Connected means that CONNECTED came. What an
answer is worth, `stompy.session.handshake` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from stompy.aio.connection import Connection, Owner
from stompy.errors import ErrorCode, ProtocolError, STOMPError, UnsupportedByBroker
from stompy.session.address import Address
from stompy.session.handshake import (
    TIMED_OUT,
    AttemptFailed,
    broker_error,
    check_refusal,
    foreign_service,
    nobody_answered,
    refusal_of,
)
from stompy.transport.layers import LayerError
from stompy.transport.settings import ConnectionSettings, layer_failed
from stompy.transport.streams import open_connection


async def dial(
    addresses: Sequence[Address],
    headers_for: Callable[[Address], Mapping[str, str]],
    settings: ConnectionSettings,
    owner: Owner,
) -> Connection:
    """Open a connection to the first broker that answers.

    Raises:
        STOMPCertificateError: a certificate was not accepted.
        STOMPConnectionError: none did; the text names each address with phase and reason.
        ConnectionImpossible: none did, and for reasons that will not go away.
        STOMPError: the broker refused, in its own words.
        ValueError: a header that CONNECT cannot carry.
    """
    failures = []
    for address in addresses:
        try:
            return await _attempt(address, headers_for(address), settings, owner)
        except AttemptFailed as failure:
            failures.append((address, failure))
        except STOMPError as error:
            failures.append((address, refusal_of(address, error)))
    raise nobody_answered(failures)


async def _attempt(
    address: Address, headers: Mapping[str, str], settings: ConnectionSettings, owner: Owner
) -> Connection:
    protocol = settings.new_protocol()
    opening = protocol.connect(headers)
    layers = settings.layers_to(address)
    deadline = asyncio.get_running_loop().time() + settings.timeout
    try:
        connection = await open_connection(
            address,
            lambda: Connection(address, protocol, owner, settings.send_timeout, settings.clock),
            deadline,
            layers,
        )
        try:
            await _handshake(connection, opening, deadline)
        except BaseException:
            connection.abort()
            await connection.wait_closed(0)
            raise
    except LayerError as failure:
        raise layer_failed(address, failure) from failure
    return connection


async def _handshake(connection: Connection, opening: bytes, deadline: float) -> None:
    """Send CONNECT, and wait for CONNECTED."""
    try:
        async with asyncio.timeout_at(deadline):
            answer = await connection.handshake(opening)
    except TimeoutError:
        raise AttemptFailed("handshake", foreign_service(connection.first) or TIMED_OUT) from None
    except UnsupportedByBroker:
        raise
    except STOMPError as error:
        if isinstance(error.__cause__, LayerError):
            raise error.__cause__ from None
        raise AttemptFailed(
            "handshake",
            foreign_service(connection.first) or str(error),
            is_final=_is_of_no_version(error),
        ) from None
    if answer.Command == "ERROR":
        check_refusal(connection.address, broker_error(answer))


def _is_of_no_version(error: STOMPError) -> bool:
    return isinstance(error, ProtocolError) and error.error_code is ErrorCode.UNSUPPORTED_VERSION
