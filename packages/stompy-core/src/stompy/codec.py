"""Bytes to frames and back, for programs that speak STOMP by themselves."""

from stompy.protocol.codec import (
    FrameParser,
    Head,
    HeadCache,
    HeadMemory,
    MessageHeads,
    encode_frame,
)

__all__ = ["FrameParser", "Head", "HeadCache", "HeadMemory", "MessageHeads", "encode_frame"]
