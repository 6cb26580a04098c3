"""What a client makes of the answers, and of the silence, that its attempts to connect meet. Pure.

* An address that fails is followed by the next one; the error at the end names them all.
* An ERROR in answer to CONNECT is final, except from a broker that is full or stopping: a wrong
  passcode is wrong everywhere. So is a certificate that is not accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stompy.errors import ConnectionImpossible, ErrorCode, STOMPConnectionError, STOMPError
from stompy.protocol.frame import STOMPFrame
from stompy.session.address import Address

logger = logging.getLogger("stompy")

TIMED_OUT = "no answer within the time-out"

_TRY_ELSEWHERE = frozenset(
    (
        ErrorCode.SHUTTING_DOWN.value,
        ErrorCode.LIMIT_EXCEEDED.value,
        ErrorCode.RATE_LIMITED.value,
    )
)

_FOREIGN = {
    b"HTTP/": "an HTTP server",
    b"AMQP": "an AMQP broker",
    b"\x15\x03": "a TLS port, which wants an encrypted connection",
    b"SSH-": "an SSH server",
    b"INFO {": "a NATS server",
}
"""What other services were seen to answer, by their first bytes."""


class AttemptFailed(Exception):  # noqa: N818 -- an outcome to collect, not an error to show
    """One address could not be connected to.

    Attributes:
        phase: ``DNS``, ``TCP``, ``TLS``, ``WebSocket`` or ``handshake``.
        reason: why, in words.
        is_final: whether trying again seems hopeless.
        refusal: what the broker said, if it was one that may know of others.
    """

    def __init__(
        self,
        phase: str,
        reason: str,
        *,
        is_final: bool = False,
        refusal: STOMPError | None = None,
    ) -> None:
        super().__init__(f"{phase}: {reason}")
        self.phase = phase
        self.reason = reason
        self.is_final = is_final
        self.refusal = refusal


def nobody_answered(
    failures: Sequence[tuple[Address, AttemptFailed]],
) -> STOMPConnectionError:
    """Make the exception for a round in which no address could be connected to."""
    for address, failure in failures:
        logger.info("no connection to %s: %s", address, failure)
    words = ", ".join(f"{address} ({failure})" for address, failure in failures)
    hopeless = all(failure.is_final for _, failure in failures)
    kind = ConnectionImpossible if hopeless else STOMPConnectionError
    error = kind(f"cannot connect to {words}")
    error._refusals = [(address, failure.refusal) for address, failure in failures]
    return error


def broker_error(frame: STOMPFrame) -> STOMPError:
    """Make the exception for an ERROR frame."""
    return STOMPError(frame.get("message") or "the broker sent ERROR", frame)


def check_refusal(address: Address, error: STOMPError) -> None:
    """Tell a refusal of CONNECT that is worth trying another broker from one that is final.

    Raises:
        AttemptFailed: it is worth it.
        STOMPError: it is not.
    """
    if error.code in _TRY_ELSEWHERE:
        raise AttemptFailed("handshake", str(error), refusal=error)
    error.add_note(f"{address} answered CONNECT with this ERROR")
    raise error


def refusal_of(address: Address, error: STOMPError) -> AttemptFailed:
    """Tell a refusal by a broker that was only learned of, which says nothing of the others.

    What was told may be old, or wrong; the addresses of the application decide.

    Raises:
        STOMPError: the refusal, if it is the application's address.
    """
    if not address.learned:
        raise error
    return AttemptFailed("handshake", str(error))


def foreign_service(first: bytes) -> str | None:
    """Name who else may have answered, by the first bytes of what is no STOMP broker."""
    name = next((name for mark, name in _FOREIGN.items() if first.startswith(mark)), None)
    if name is None and b"ActiveMQ" in first:
        name = "an OpenWire port of ActiveMQ"
    return None if name is None else f"this is no STOMP broker but {name}"


def foreign_connection(address: Address, owner: int) -> STOMPConnectionError:
    """Make the exception for who uses a connection in a fork of the process that made it."""
    return STOMPConnectionError(
        f"the connection to {address} belongs to the process that made it ({owner}), "
        "not to its fork; connect again in here"
    )


def other_loop(address: str | None) -> RuntimeError:
    """Make the exception for who uses a connection on another event loop than its own."""
    return RuntimeError(
        f"the client of {address} belongs to the event loop on which it was connected, and this "
        "is another one: use asyncio.run_coroutine_threadsafe(…, loop), or connect in here"
    )
