"""The blocking client under the name that the STOMPyMQ manual gives it."""

from stompy.sync.client import STOMPClient, connect
from stompy.sync.transaction import STOMPTransaction

__all__ = ["STOMPClient", "STOMPTransaction", "connect"]
