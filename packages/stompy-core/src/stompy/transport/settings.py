"""How one connection of a client is made and kept, whichever client makes it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from stompy.errors import STOMPCertificateError
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import STOMPFrame
from stompy.protocol.headers import ALL_VERSIONS, Version
from stompy.protocol.heartbeat import DEFAULT_HEART_BEAT
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.protocol.traffic import Traffic
from stompy.session.address import Address
from stompy.session.clock import Clock
from stompy.session.handshake import AttemptFailed
from stompy.session.trace import trace_for
from stompy.transport.layers import Layer, LayerError
from stompy.transport.tls import TLS, client_layer


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What `connect` was told about a connection."""

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
    clock: Clock | None = None
    """By which heart-beats go; None = the system's."""
    traffic: Traffic = field(default_factory=Traffic)
    """Counts what goes over all connections with these settings."""

    def new_protocol(self) -> ClientProtocol:
        """Make the protocol of one attempt."""
        return ClientProtocol(
            self.limits,
            versions=self.versions,
            heart_beat=self.heart_beat,
            heart_beat_grace=self.heart_beat_grace,
            content_length=self.content_length,
            trace=trace_for(self.on_send),
            traffic=self.traffic,
        )

    def layers_to(self, address: Address) -> list[Layer]:
        """Make what lies between TCP and STOMP at an address."""
        layers: list[Layer] = []
        if address.is_secure:
            layers.append(client_layer(self.tls, address.host))
        if address.is_websocket:
            from stompy.transport.websocket import WebSocketClient  # noqa: PLC0415 -- an extra

            limits = self.limits.with_room()
            layers.append(WebSocketClient(address, limits.header_block + limits.body))
        return layers


def layer_failed(address: Address, failure: LayerError) -> AttemptFailed | STOMPCertificateError:
    """Make the exception for TLS or a WebSocket that could not be begun."""
    if not failure.is_final:
        return AttemptFailed(failure.layer, str(failure))
    return STOMPCertificateError(f"cannot connect to {address} ({failure.layer}: {failure})")
