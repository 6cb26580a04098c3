"""A STOMP message broker in one process: on a command line, in an event loop, or in a test.

>>> import stompy, stompy_broker
>>> with stompy_broker.running() as broker, stompy.connect(broker.url) as client:
...     client.subscribe("/queue/hello")  # doctest: +ELLIPSIS
...     client.message("/queue/hello", b"world")
...     client.recv(timeout=5).text
'...'
'world'
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from stompy_broker.version import __version__

if TYPE_CHECKING:
    from stompy_broker.broker import Broker
    from stompy_broker.config import BrokerConfig, ConfigError, load_config
    from stompy_broker.destinations.policy import Policy
    from stompy_broker.embed.cluster import ClusterProcesses, spawn_cluster
    from stompy_broker.embed.inspect import BrokerTimeoutError, QueueView
    from stompy_broker.embed.notebook import LiveView, live
    from stompy_broker.embed.process import BrokerProcess, spawn
    from stompy_broker.embed.thread import RunningBroker, running
    from stompy_broker.embed.virtual_time import VirtualTime
    from stompy_broker.virtual_clock import NextEvent, VirtualClock

__all__ = [
    "Broker",
    "BrokerConfig",
    "BrokerProcess",
    "BrokerTimeoutError",
    "ClusterProcesses",
    "ConfigError",
    "LiveView",
    "NextEvent",
    "Policy",
    "QueueView",
    "RunningBroker",
    "VirtualClock",
    "VirtualTime",
    "__version__",
    "live",
    "load_config",
    "running",
    "spawn",
    "spawn_cluster",
]

_PLACES = {
    "Broker": "broker",
    "BrokerConfig": "config",
    "BrokerProcess": "embed.process",
    "BrokerTimeoutError": "embed.inspect",
    "ClusterProcesses": "embed.cluster",
    "ConfigError": "config",
    "LiveView": "embed.notebook",
    "NextEvent": "virtual_clock",
    "Policy": "destinations.policy",
    "QueueView": "embed.inspect",
    "RunningBroker": "embed.thread",
    "VirtualClock": "virtual_clock",
    "VirtualTime": "embed.virtual_time",
    "live": "embed.notebook",
    "load_config": "config",
    "running": "embed.thread",
    "spawn": "embed.process",
    "spawn_cluster": "embed.cluster",
}
"""The module of each name. It is loaded when the name is asked for: the pytest plugin is in every
test run of its environment, and a run that uses no broker shall not pay half a second for one."""


def __getattr__(name: str) -> object:
    """Load what is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


# A library says nothing unless its user asks; the command line does.
logging.getLogger("stompy_broker").addHandler(logging.NullHandler())
