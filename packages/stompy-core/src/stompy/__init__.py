"""STOMP 1.0, 1.1 and 1.2 for Python: a client that keeps the API of the STOMPyMQ manual.

>>> import stompy
>>> with stompy.connect("stomp://127.0.0.1:61613") as client:  # doctest: +SKIP
...     client.message("/queue/hello", "world")
"""

import logging

from stompy.client import STOMPClient, STOMPTransaction, connect
from stompy.dialect import Dialect
from stompy.errors import (
    ErrorCode,
    ProtocolError,
    STOMPCertificateError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
    UnsupportedByBroker,
)
from stompy.frame import AckMode, STOMPFrame
from stompy.headers import Version
from stompy.limits import Limits
from stompy.transport.tls import TLS

__all__ = [
    "TLS",
    "AckMode",
    "Dialect",
    "ErrorCode",
    "Limits",
    "ProtocolError",
    "STOMPCertificateError",
    "STOMPClient",
    "STOMPConnectionError",
    "STOMPError",
    "STOMPException",
    "STOMPFrame",
    "STOMPTimeout",
    "STOMPTransaction",
    "UnsupportedByBroker",
    "Version",
    "connect",
]

__version__ = "0.1.0"

# A library says nothing unless its user asks; exceptions tell the same.
logging.getLogger("stompy").addHandler(logging.NullHandler())
