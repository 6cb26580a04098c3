"""STOMP 1.0, 1.1 and 1.2 for Python: a client that keeps the API of the STOMPyMQ manual.

>>> import stompy
>>> with stompy.connect("stomp://127.0.0.1:61613") as client:  # doctest: +SKIP
...     client.message("/queue/hello", "world")
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from stompy.client import STOMPClient, STOMPTransaction, connect
from stompy.confirmations import Outcome
from stompy.confirming import Confirmation
from stompy.consuming import OnError, Subscription
from stompy.dialect import Dialect
from stompy.errors import (
    ConnectionImpossible,
    ErrorCode,
    OutcomeUnknown,
    ProtocolError,
    StaleMessageError,
    STOMPCertificateError,
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
from stompy.transport.tls import TLS

__all__ = [
    "TLS",
    "AckMode",
    "ClientHealth",
    "Confirmation",
    "ConnectionImpossible",
    "ConnectionState",
    "Dialect",
    "ErrorCode",
    "Limits",
    "Message",
    "OnError",
    "Outcome",
    "OutcomeUnknown",
    "ProtocolError",
    "Reconnect",
    "STOMPCertificateError",
    "STOMPClient",
    "STOMPConnectionError",
    "STOMPError",
    "STOMPException",
    "STOMPFrame",
    "STOMPTimeout",
    "STOMPTransaction",
    "StaleMessageError",
    "StateChange",
    "Subscription",
    "SubscriptionHealth",
    "TransactionLost",
    "UnsupportedByBroker",
    "Version",
    "aio",
    "connect",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    import stompy.aio as aio  # noqa: PLR0402 -- the walls see which module this is


def __dir__() -> list[str]:
    """The public names, and no module that stands behind one of them."""
    return sorted(
        [*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"]
    )


def __getattr__(name: str) -> ModuleType:
    """Load `stompy.aio` when it is asked for, so that nobody else loads asyncio."""
    if name == "aio":
        return import_module("stompy.aio")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
