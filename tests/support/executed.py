"""How much work something is, in steps of the interpreter: the same at any load."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from stompy_broker.build import compiled


def executed(work: Callable[[], object]) -> int:
    """Count the instructions of the interpreter that a piece of work takes.

    What is written in C counts as one, and what is compiled does not count at all, so that the test
    is skipped in the compiled form: it is the same source.
    """
    if compiled() != "no":
        pytest.skip("compiled code cannot be counted")
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
