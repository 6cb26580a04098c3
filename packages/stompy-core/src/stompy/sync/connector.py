"""From broker addresses to an open conversation, CONNECT and CONNECTED included. Blocking.

* Each address gets one deadline over all its phases. Connected means that CONNECTED came.
* An address that fails is followed by the next one; the error at the end names them all.
* An ERROR in answer to CONNECT is final, except from a broker that is full or stopping: a wrong
  passcode is wrong everywhere. So is a certificate that is not accepted.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from stompy.errors import (
    ConnectionImpossible,
    ErrorCode,
    STOMPCertificateError,
    STOMPConnectionError,
    STOMPError,
)
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.session.address import Address
from stompy.session.health import Traffic
from stompy.session.trace import trace_for
from stompy.transport.blocking import Stream, open_stream, remaining
from stompy.transport.layers import Layer, LayerError
from stompy.transport.lookup import TIMED_OUT, AttemptFailed
from stompy.transport.tls import TLS, client_layer

logger = logging.getLogger("stompy")

_TRY_ELSEWHERE = frozenset((ErrorCode.SHUTTING_DOWN.value, ErrorCode.LIMIT_EXCEEDED.value))

_FOREIGN = {
    b"HTTP/": "an HTTP server",
    b"AMQP": "an AMQP broker",
    b"\x15\x03": "a TLS port, which wants an encrypted connection",
    b"SSH-": "an SSH server",
    b"INFO {": "a NATS server",
}
"""What other services were seen to answer, by their first bytes."""


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How one connection is made and kept."""

    timeout: float = 10.0
    """Seconds for each address, over all phases."""
    send_timeout: float = 60.0
    """Seconds that a send may wait for room."""
    versions: tuple[Version, ...] = ALL_VERSIONS
    heart_beat: tuple[int, int] = DEFAULT_HEART_BEAT
    heart_beat_grace: float = 2.0
    limits: Limits = DEFAULT_LIMITS
    tls: ssl.SSLContext | TLS | None = None
    """How to speak TLS where the address says so; None = with the defaults."""
    content_length: bool = True
    """Whether SEND says how long its body is."""
    on_send: Callable[[STOMPFrame], object] | None = None
    """Gets each SEND before it is written."""
    traffic: Traffic = field(default_factory=Traffic)
    """Counts what goes over all connections with these settings."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What dialling gives: an open connection after CONNECTED."""

    address: Address
    connection: Stream
    protocol: ClientProtocol
    connected: STOMPFrame
    frames: list[STOMPFrame]
    """What already came behind CONNECTED."""


def dial(
    addresses: Iterable[Address],
    headers_for: Callable[[Address], Mapping[str, str]],
    settings: ConnectionSettings,
) -> Conversation:
    """Open a conversation with the first broker that answers.

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
    raise nobody_answered(failures)


def nobody_answered(
    failures: Sequence[tuple[Address, AttemptFailed]],
) -> STOMPConnectionError:
    """The exception for a round in which no address could be connected to."""
    for address, failure in failures:
        logger.info("no connection to %s: %s", address, failure)
    words = ", ".join(f"{address} ({failure})" for address, failure in failures)
    hopeless = all(failure.is_final for _, failure in failures)
    kind = ConnectionImpossible if hopeless else STOMPConnectionError
    return kind(f"cannot connect to {words}")


def broker_error(frame: STOMPFrame) -> STOMPError:
    """The exception for an ERROR frame."""
    return STOMPError(frame.get("message") or "the broker sent ERROR", frame)


def foreign_connection(address: Address, owner: int) -> STOMPConnectionError:
    """The exception for who uses a connection in a fork of the process that made it."""
    return STOMPConnectionError(
        f"the connection to {address} belongs to the process that made it ({owner}), "
        "not to its fork; connect again in here"
    )


def _attempt(
    address: Address, headers: Mapping[str, str], settings: ConnectionSettings
) -> Conversation:
    protocol = new_protocol(settings)
    opening = protocol.connect(headers)
    deadline = monotonic() + settings.timeout
    try:
        connection = open_stream(address, deadline, lambda place: layers_of(place, settings))
        try:
            frames = _shake_hands(connection, protocol, opening, deadline)
            if frames[0].Command == "ERROR":
                check_refusal(address, broker_error(frames[0]))
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
    except LayerError as failure:
        raise layer_failed(address, failure) from failure
    return Conversation(address, connection, protocol, frames[0], frames[1:])


def new_protocol(settings: ConnectionSettings) -> ClientProtocol:
    """A protocol for one attempt."""
    return ClientProtocol(
        settings.limits,
        versions=settings.versions,
        heart_beat=settings.heart_beat,
        heart_beat_grace=settings.heart_beat_grace,
        content_length=settings.content_length,
        trace=trace_for(settings.on_send),
        traffic=settings.traffic,
    )


def layer_failed(address: Address, failure: LayerError) -> AttemptFailed | STOMPCertificateError:
    """What to raise when TLS or a WebSocket could not be begun."""
    if not failure.is_final:
        return AttemptFailed(failure.layer, str(failure))
    return STOMPCertificateError(f"cannot connect to {address} ({failure.layer}: {failure})")


def layers_of(address: Address, settings: ConnectionSettings) -> list[Layer]:
    """What lies between TCP and STOMP at an address."""
    layers: list[Layer] = []
    if address.is_secure:
        layers.append(client_layer(settings.tls, address.host))
    if address.is_websocket:
        from stompy.transport.websocket import WebSocketClient  # noqa: PLC0415 -- an extra

        limits = settings.limits.with_room()
        layers.append(WebSocketClient(address, limits.header_block + limits.body))
    return layers


def _shake_hands(
    connection: Stream, protocol: ClientProtocol, opening: bytes, deadline: float
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
            frames = protocol.receive_data(data, monotonic())
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


def check_refusal(address: Address, error: STOMPError) -> None:
    """A broker answered CONNECT with ERROR, which may be worth trying another one.

    Raises:
        AttemptFailed: it is.
        STOMPError: it is not.
    """
    if error.code in _TRY_ELSEWHERE:
        raise AttemptFailed("handshake", str(error))
    error.add_note(f"{address} answered CONNECT with this ERROR")
    raise error


def foreign_service(first: bytes) -> str | None:
    """Who else may have answered, if it was no STOMP broker."""
    name = next((name for mark, name in _FOREIGN.items() if first.startswith(mark)), None)
    if name is None and b"ActiveMQ" in first:
        name = "an OpenWire port of ActiveMQ"
    return None if name is None else f"this is no STOMP broker but {name}"
