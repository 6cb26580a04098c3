"""STOMP 1.0, 1.1 and 1.2 for Python: a client that keeps the API of the STOMPyMQ manual.

>>> import stompy
>>> with stompy.connect("stomp://127.0.0.1:61613") as client:  # doctest: +SKIP
...     client.message("/queue/hello", "world")
"""

from importlib import import_module
from typing import TYPE_CHECKING

from stompy.errors import (
    ConnectionImpossible,
    ErrorCode,
    NoResponders,
    OutcomeUnknown,
    ProtocolError,
    ReplyStatus,
    RequestRejected,
    StaleMessageError,
    STOMPCertificateError,
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
    TransactionLost,
    UnsupportedByBroker,
)
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.protocol.headers import Version
from stompy.protocol.limits import Limits

__all__ = [
    "TLS",
    "AckMode",
    "Browsing",
    "ClientHealth",
    "Confirmation",
    "ConnectionImpossible",
    "ConnectionState",
    "DataTable",
    "Dialect",
    "ErrorCode",
    "FailedRound",
    "Ledger",
    "Limits",
    "Message",
    "NoResponders",
    "OnError",
    "Outcome",
    "OutcomeUnknown",
    "ProtocolError",
    "Reconnect",
    "ReplyStatus",
    "RequestRejected",
    "STOMPCertificateError",
    "STOMPClient",
    "STOMPConnectionError",
    "STOMPError",
    "STOMPException",
    "STOMPFrame",
    "STOMPTimeout",
    "STOMPTransaction",
    "SqlError",
    "StaleMessageError",
    "StateChange",
    "Subscription",
    "SubscriptionHealth",
    "TransactionLost",
    "UnsupportedByBroker",
    "Version",
    "aio",
    "connect",
    "history",
    "once",
    "sql",
]

__version__ = "0.1.0"

if TYPE_CHECKING:
    import stompy.aio as aio  # noqa: PLR0402 -- the walls see which module this is
    from stompy.broker_tables import sql
    from stompy.data_table import DataTable
    from stompy.history_table import history
    from stompy.ledger import Ledger, once
    from stompy.session.confirmations import Outcome
    from stompy.session.delivery import OnError
    from stompy.session.dialects import Dialect
    from stompy.session.health import ClientHealth, SubscriptionHealth
    from stompy.session.reconnect import FailedRound, Reconnect
    from stompy.session.state import ConnectionState, StateChange
    from stompy.sql_query import SqlError
    from stompy.sync.browsing import Browsing
    from stompy.sync.client import STOMPClient, STOMPTransaction, connect
    from stompy.sync.confirmation import Confirmation
    from stompy.sync.message import Message
    from stompy.sync.subscription import Subscription
    from stompy.transport.tls import TLS

_PLACES = {
    "SqlError": "sql_query",
    "Browsing": "sync.browsing",
    "ClientHealth": "session.health",
    "Confirmation": "sync.confirmation",
    "ConnectionState": "session.state",
    "DataTable": "data_table",
    "Dialect": "session.dialects",
    "FailedRound": "session.reconnect",
    "Ledger": "ledger",
    "Message": "sync.message",
    "OnError": "session.delivery",
    "Outcome": "session.confirmations",
    "Reconnect": "session.reconnect",
    "STOMPClient": "sync.client",
    "STOMPTransaction": "sync.client",
    "StateChange": "session.state",
    "Subscription": "sync.subscription",
    "SubscriptionHealth": "session.health",
    "TLS": "transport.tls",
    "connect": "sync.client",
    "once": "ledger",
    "history": "history_table",
    "sql": "broker_tables",
}
"""The module of each name of the client. It is loaded when the name is asked for: a broker needs
frames and errors only, and would start the later for a client."""


def __dir__() -> list[str]:
    """The public names, and no module that stands behind one of them."""
    return sorted(
        [*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"]
    )


# Modules that stand behind `stompy` as documented names. Nobody who does not ask for `stompy.aio`
# loads asyncio.
_DOORS = frozenset(
    (
        "aio",
        "client",
        "codec",
        "dialect",
        "frame",
        "health",
        "heartbeat",
        "message",
        "subscriptions",
    )
)


def __getattr__(name: str) -> object:
    """Load what is asked for by ``stompy.name``: a module, or a name of the client."""
    if name in _DOORS:
        return import_module(f"stompy.{name}")
    if name in _PLACES:
        found: object = getattr(import_module(f"stompy.{_PLACES[name]}"), name)
        globals()[name] = found  # so that it is looked for once
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
