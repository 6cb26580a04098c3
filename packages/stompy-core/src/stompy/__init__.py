"""STOMP 1.0, 1.1 and 1.2 for Python: a client that keeps the API of the STOMPyMQ manual.

>>> import stompy
>>> with stompy.connect("stomp://127.0.0.1:61613") as client:  # doctest: +SKIP
...     client.message("/queue/hello", "world")
"""

import logging

from stompy.client import STOMPClient, STOMPTransaction, connect
from stompy.errors import (
    ErrorCode,
    ProtocolError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.frame import AckMode, STOMPFrame
from stompy.headers import Version
from stompy.limits import Limits

__all__ = [
    "AckMode",
    "ErrorCode",
    "Limits",
    "ProtocolError",
    "STOMPClient",
    "STOMPConnectionError",
    "STOMPError",
    "STOMPException",
    "STOMPFrame",
    "STOMPTimeout",
    "STOMPTransaction",
    "Version",
    "connect",
]

__version__ = "0.1.0"

# A library says nothing unless its user asks; exceptions tell the same.
logging.getLogger("stompy").addHandler(logging.NullHandler())
