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

from stompy_broker.broker import Broker
from stompy_broker.child import BrokerProcess, spawn
from stompy_broker.config import BrokerConfig, ConfigError, load_config
from stompy_broker.live import LiveView, live
from stompy_broker.policy import Policy
from stompy_broker.running import RunningBroker, running
from stompy_broker.version import __version__
from stompy_broker.watched import BrokerTimeoutError, QueueView

__all__ = [
    "Broker",
    "BrokerConfig",
    "BrokerProcess",
    "BrokerTimeoutError",
    "ConfigError",
    "LiveView",
    "Policy",
    "QueueView",
    "RunningBroker",
    "__version__",
    "live",
    "load_config",
    "running",
    "spawn",
]

# A library says nothing unless its user asks; the command line does.
logging.getLogger("stompy_broker").addHandler(logging.NullHandler())
