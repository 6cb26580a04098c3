"""The asyncio client: the names and meanings of the blocking one, with ``await``.

>>> from stompy import aio
>>> async with aio.connect("stomp://127.0.0.1:61613") as client:  # doctest: +SKIP
...     await client.message("/queue/hello", "world")
"""

from stompy.aio.browsing import Browsing
from stompy.aio.client import STOMPClient, connect
from stompy.aio.confirmation import Confirmation
from stompy.aio.message import Message
from stompy.aio.opening import Opening
from stompy.aio.subscription import Subscription
from stompy.aio.transaction import STOMPTransaction

__all__ = [
    "Browsing",
    "Confirmation",
    "Message",
    "Opening",
    "STOMPClient",
    "STOMPTransaction",
    "Subscription",
    "connect",
]
