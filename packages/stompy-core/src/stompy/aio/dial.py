"""From broker addresses to an open link: look-up, TCP, TLS, CONNECT, CONNECTED. For asyncio.

The rules are those of `stompy.dial`: one deadline for each address over all phases, the next
address after a failure, and a refusal in answer to CONNECT is final.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from stompy.aio.link import Link, Owner
from stompy.dial import ConnectionSettings, _foreign, _refused, broker_error
from stompy.errors import STOMPConnectionError, STOMPError
from stompy.protocol.client import ClientProtocol
from stompy.transport.address import Address
from stompy.transport.lookup import TIMED_OUT, AttemptFailed
from stompy.transport.streams import open_connection

logger = logging.getLogger("stompy")


async def dial(
    addresses: Sequence[Address],
    headers_for: Callable[[Address], Mapping[str, str]],
    settings: ConnectionSettings,
    owner: Owner,
) -> Link:
    """Open a link to the first broker that answers.

    Raises:
        STOMPConnectionError: none did; the text names each address with phase and reason.
        STOMPError: the broker refused, in its own words.
        ValueError: a header that CONNECT cannot carry.
    """
    failures = []
    for address in addresses:
        try:
            return await _attempt(address, headers_for(address), settings, owner)
        except AttemptFailed as failure:
            logger.info("no connection to %s: %s", address, failure)
            failures.append(f"{address} ({failure})")
    raise STOMPConnectionError(f"cannot connect to {', '.join(failures)}")


async def _attempt(
    address: Address, headers: Mapping[str, str], settings: ConnectionSettings, owner: Owner
) -> Link:
    protocol = ClientProtocol(
        settings.limits,
        versions=settings.versions,
        heart_beat=settings.heart_beat,
        heart_beat_grace=settings.heart_beat_grace,
    )
    opening = protocol.connect(headers)
    deadline = asyncio.get_running_loop().time() + settings.timeout
    link = await open_connection(
        address, lambda: Link(address, protocol, owner, settings.send_timeout), deadline
    )
    try:
        await _shake_hands(link, opening, deadline)
    except BaseException:
        link.abort()
        await link.wait_closed(0)
        raise
    return link


async def _shake_hands(link: Link, opening: bytes, deadline: float) -> None:
    """Send CONNECT, and wait for CONNECTED."""
    try:
        async with asyncio.timeout_at(deadline):
            answer = await link.shake_hands(opening)
    except TimeoutError:
        raise AttemptFailed("handshake", _foreign(link.first) or TIMED_OUT) from None
    except STOMPError as error:
        raise AttemptFailed("handshake", _foreign(link.first) or str(error)) from None
    if answer.Command == "ERROR":
        _refused(link.address, broker_error(answer))
