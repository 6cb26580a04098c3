"""Bytes to frames and back, for programs that speak STOMP by themselves."""

from stompy.as_written import as_written
from stompy.protocol.codec import (
    FrameParser,
    Head,
    HeadCache,
    HeadMemory,
    MessageHeads,
    encode_frame,
)

__all__ = ["FrameParser", "Head", "HeadCache", "HeadMemory", "MessageHeads", "encode_frame"]

for _name in __all__:
    globals()[_name] = as_written(globals()[_name])
