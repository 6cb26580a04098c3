"""What an ERROR says of the frame that it is about (promise 3)."""

from __future__ import annotations

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.header_cache import Head


def error_answer(error: ProtocolError, head: Head | None, command: str) -> dict[str, str]:
    """Give the headers of an ERROR.

    Args:
        error: what is wrong.
        head: of the frame that it is about; None = of none.
        command: of that frame, if there is no more to say about it.
    """
    asked = error.frame_headers if head is None else head.headers
    answer = {
        "message": error.code.replace("-", " ").capitalize(),
        "error-code": error.code,
        **error.details,
    }
    receipt = asked.get("receipt") or (head and head.receipt)
    if receipt and error.error_code is not ErrorCode.SHUTTING_DOWN:
        answer["receipt-id"] = receipt
    if head is not None or command:
        answer["failed-command"] = command if head is None else head.command
    return answer
