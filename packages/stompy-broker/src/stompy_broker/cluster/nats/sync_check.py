"""Do the servers sync to their disks before they say that something is stored?

By default they do so every two minutes, and say it before: if all of them lose power at once, the
log is gone. So no log is opened before each server that keeps it has said that it is run with
``sync_interval: always``. Only the system account may ask; who cannot has to vouch for the
servers.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable

from stompy_broker.cluster.nats.client import NATSClient
from stompy_broker.cluster.nats.codec import NATSError, NATSMessage

_SECONDS = 5.0
"""How long a server may take to answer."""

_LATE_SECONDS = 2.0
"""How long the others may take once most have answered."""

_AGAIN_SECONDS = 0.5
"""After how long they are asked again."""

_QUESTION = "$SYS.REQ.SERVER.PING.VARZ"


class SyncError(NATSError):
    """What is stored would not be safe, or it cannot be told whether it is."""


async def check_sync(
    system: NATSClient, servers: Iterable[str], *, seconds: float = _SECONDS
) -> frozenset[str]:
    """Ask servers whether they sync always.

    Most of them have to say so. With one machine away the others may start all the same: what is
    told to be safe is on the disks of most of them, whoever they are.

    Args:
        system: is logged in to the system account.
        servers: the names of those that must.
        seconds: how long most of them may take to answer.

    Returns:
        Those that did not answer, and have to be asked again some time.

    Raises:
        SyncError: one does not, or most of them do not answer.
    """
    names = frozenset(servers)
    unheard, lazy = set(names), set[str]()
    heard: asyncio.Queue[NATSMessage] = asyncio.Queue()
    inbox = f"_INBOX.{secrets.token_hex(8)}"
    number = system.subscribe(inbox, heard.put_nowait)
    try:
        if not system.publish(_QUESTION, b"", reply=inbox):
            raise SyncError(f"the NATS servers cannot be asked: {system.trouble}")
        async with asyncio.timeout(seconds) as deadline:
            while unheard:
                try:
                    message = await asyncio.wait_for(heard.get(), _AGAIN_SECONDS)
                except TimeoutError:
                    # Servers that have just met pass nothing on to one another yet.
                    system.publish(_QUESTION, b"", reply=inbox)
                    continue
                name, always = read_sync(message)
                if not always:
                    lazy.add(name)
                if name in unheard:
                    unheard.discard(name)
                    if len(unheard) < len(names) / 2:
                        # Most of them are heard; the others are there soon, or not at all.
                        late = asyncio.get_running_loop().time() + _LATE_SECONDS
                        deadline.reschedule(min(late, deadline.when() or late))
    except TimeoutError:
        if len(unheard) >= len(names) / 2:
            raise SyncError(
                f"it cannot be told whether the NATS servers {', '.join(sorted(unheard))} sync "
                "always: they do not answer the system account"
            ) from None
    finally:
        system.unsubscribe(number)
    if lazy:
        raise SyncError(
            f"the NATS servers {', '.join(sorted(lazy))} do not sync before they answer, so a "
            "power cut takes what was said to be safe: set jetstream { sync_interval: always }"
        )
    return frozenset(unheard)


def read_sync(message: NATSMessage) -> tuple[str, bool]:
    """The name of a server, and whether it syncs always. One that stores nothing does.

    Raises:
        SyncError: it makes no sense.
    """
    if message.status:
        raise SyncError("the NATS servers cannot be asked: this is no system account")
    try:
        told = json.loads(message.body)
        name, data = str(told["server"]["name"]), told["data"]
        config = (data.get("jetstream") or {}).get("config")
        return name, config is None or config.get("sync_always") is True
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SyncError(f"what a NATS server says makes no sense: {error!r}") from None
