"""The STOMP conversation without I/O: bytes in, frames out; verbs in, bytes out.

`ClientProtocol` and `ServerProtocol` know no clock, socket, thread or event loop. Their owner
hands in what arrived together with the time, acts on the frames that come back, and writes the
bytes that the verbs return. The blocking client, the asyncio client and the broker are such
owners; your own may be another.
"""

from stompy.protocol.client import ClientProtocol
from stompy.protocol.server import ServerProtocol
from stompy.protocol.states import State

__all__ = ["ClientProtocol", "ServerProtocol", "State"]
