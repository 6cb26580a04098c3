"""How a selector that cannot be read is refused: with the column, and what to write instead."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError

_SHOWN = 60


def bad_selector(text: str, position: int, why: str) -> ProtocolError:
    """Make the error for a selector.

    Args:
        text: the whole selector.
        position: where in it the fault is, from 0.
        why: what is wrong, and what to write instead.

    Returns:
        what to raise; its ERROR has the header ``error-column``, which counts from 1.
    """
    column = position + 1
    begin = max(0, position - _SHOWN // 2)
    shown = text[begin : begin + _SHOWN]
    return ProtocolError(
        ErrorCode.BAD_SELECTOR,
        f"selector, column {column}: {why} (near {shown!r})",
        details={"error-column": str(column)},
    )
