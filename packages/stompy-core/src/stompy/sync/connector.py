"""From broker addresses to an open connection, CONNECT and CONNECTED included. Blocking.

Each address gets one deadline over all its phases. Connected means that CONNECTED came. What an
answer is worth, `stompy.session.handshake` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic

from stompy.errors import ErrorCode, STOMPError
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.session.address import Address
from stompy.session.clock import seconds_of
from stompy.session.handshake import (
    TIMED_OUT,
    AttemptFailed,
    broker_error,
    check_refusal,
    foreign_service,
    nobody_answered,
    refusal_of,
)
from stompy.transport.blocking import Stream, open_stream, remaining
from stompy.transport.layers import LayerError
from stompy.transport.settings import ConnectionSettings, layer_failed


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """What dialling gives: an open connection after CONNECTED."""

    address: Address
    stream: Stream
    protocol: ClientProtocol
    connected: STOMPFrame
    frames: list[STOMPFrame]
    """What already came behind CONNECTED."""


def dial(
    addresses: Iterable[Address],
    headers_for: Callable[[Address], Mapping[str, str]],
    settings: ConnectionSettings,
) -> OpenConnection:
    """Open a connection to the first broker that answers.

    Raises:
        STOMPCertificateError: a certificate was not accepted.
        STOMPConnectionError: none did; the text names each address with phase and reason.
        ConnectionImpossible: none did, and for reasons that will not go away.
        STOMPError: the broker refused, in its own words.
        ValueError: a header that CONNECT cannot carry.
    """
    failures = []
    for address in addresses:
        try:
            return _attempt(address, headers_for(address), settings)
        except AttemptFailed as failure:
            failures.append((address, failure))
        except STOMPError as error:
            failures.append((address, refusal_of(address, error)))
    raise nobody_answered(failures)


def _attempt(
    address: Address, headers: Mapping[str, str], settings: ConnectionSettings
) -> OpenConnection:
    protocol = settings.new_protocol()
    opening = protocol.connect(headers)
    deadline = monotonic() + settings.timeout
    try:
        connection = open_stream(address, deadline, settings.layers_to)
        try:
            now = seconds_of(settings.clock, monotonic)
            frames = _handshake(connection, protocol, opening, deadline, now)
            if frames[0].Command == "ERROR":
                check_refusal(address, broker_error(frames[0]))
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
    except LayerError as failure:
        raise layer_failed(address, failure) from failure
    return OpenConnection(address, connection, protocol, frames[0], frames[1:])


def _handshake(
    connection: Stream,
    protocol: ClientProtocol,
    opening: bytes,
    deadline: float,
    now: Callable[[], float],
) -> list[STOMPFrame]:
    """Send CONNECT; give the frames that came, the first being the answer."""
    first = b""
    frames: list[STOMPFrame] = []
    try:
        _send_all(connection, opening, deadline)
        while not frames:
            connection.settimeout(remaining(deadline))
            try:
                data = connection.recv(65536)
            except BlockingIOError:
                continue  # It was for TLS or the WebSocket.
            first = first or data[:16]
            if not data:
                raise AttemptFailed("handshake", "the connection was closed without an answer")
            frames = protocol.receive_data(data, now())
            if protocol.failure is not None and protocol.connected is None:
                hopeless = protocol.failure.error_code is ErrorCode.UNSUPPORTED_VERSION
                raise AttemptFailed("handshake", str(protocol.failure), is_final=hopeless)
    except LayerError:
        raise
    except TimeoutError:
        raise AttemptFailed("handshake", foreign_service(first) or TIMED_OUT) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise AttemptFailed("handshake", foreign_service(first) or reason) from error
    except AttemptFailed as failure:
        reason = foreign_service(first) or failure.reason
        raise AttemptFailed("handshake", reason, is_final=failure.is_final) from None
    return frames


def _send_all(connection: Stream, data: bytes, deadline: float) -> None:
    while data or connection.unsent:
        connection.settimeout(remaining(deadline))
        data = data[connection.send(data) :]
