"""Frames, and what goes wrong with them, under the name that the STOMPyMQ manual gives them."""

from stompy.errors import STOMPError, STOMPTimeout
from stompy.protocol.frame import AckMode, AckWord, HeadersCopy, STOMPFrame

__all__ = ["AckMode", "AckWord", "HeadersCopy", "STOMPError", "STOMPFrame", "STOMPTimeout"]
