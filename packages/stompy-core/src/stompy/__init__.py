"""STOMP 1.0, 1.1 and 1.2 for Python: a client that keeps the API of the STOMPyMQ manual.

>>> import stompy
>>> with stompy.connect("stomp://127.0.0.1:61613") as client:  # doctest: +SKIP
...     client.message("/queue/hello", "world")
"""

from stompy.client import STOMPClient, STOMPTransaction, connect
from stompy.confirmations import Outcome
from stompy.dialect import Dialect
from stompy.errors import (
    ErrorCode,
    OutcomeUnknown,
    ProtocolError,
    StaleMessageError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
    TransactionLost,
    UnsupportedByBroker,
)
from stompy.frame import AckMode, STOMPFrame
from stompy.headers import Version
from stompy.health import ClientHealth, SubscriptionHealth
from stompy.lifecycle import ConnectionState, StateChange
from stompy.limits import Limits
from stompy.message import Message
from stompy.retry import Reconnect

__all__ = [
    "AckMode",
    "ClientHealth",
    "ConnectionState",
    "Dialect",
    "ErrorCode",
    "Limits",
    "Message",
    "Outcome",
    "OutcomeUnknown",
    "ProtocolError",
    "Reconnect",
    "STOMPClient",
    "STOMPConnectionError",
    "STOMPError",
    "STOMPException",
    "STOMPFrame",
    "STOMPTimeout",
    "STOMPTransaction",
    "StaleMessageError",
    "StateChange",
    "SubscriptionHealth",
    "TransactionLost",
    "UnsupportedByBroker",
    "Version",
    "connect",
]

__version__ = "0.1.0"
