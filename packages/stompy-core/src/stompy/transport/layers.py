"""What may lie between a socket and STOMP: TLS, a WebSocket, or the one over the other. Pure.

A layer turns bytes into other bytes and does no I/O. What came from the peer goes in by `receive`,
what is meant for the peer by `send`; what the layer has to say by itself, such as a handshake or
the answer to a ping, waits in `take`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class LayerError(ConnectionError):
    """A layer cannot go on; the text says why, in words for the user.

    Attributes:
        layer: which one, as an error message names it.
        is_final: whether it would fail everywhere, so that trying again does not help.
    """

    is_final = False

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(reason)
        self.layer = layer


class Layer(Protocol):
    """One layer of a connection.

    Attributes:
        name: what error messages call it.
    """

    name: str

    @property
    def ready(self) -> bool:
        """Whether its handshake is done, so that data may be sent."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the peer has said in this layer that nothing more comes."""
        ...

    @property
    def end_reason(self) -> str:
        """What the peer said when it ended, unless all was well."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the peer; give what they hold for the layer above.

        Raises:
            LayerError: they break the rules, or the peer refuses.
        """
        ...

    def send(self, data: bytes) -> bytes:
        """Turn bytes from the layer above into those for the peer.

        Raises:
            LayerError: the layer has been closed.
        """
        ...

    def take(self) -> bytes:
        """What the layer itself has to tell the peer; each byte is given once."""
        ...

    def close(self) -> None:
        """Say goodbye; `take` then has the words."""
        ...


class Layers:
    """Layers upon each other, as one.

    Args:
        layers: the one next to the socket first.
    """

    name = "layers"

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._closing: bytes | None = None

    @property
    def ready(self) -> bool:
        """Whether all handshakes are done."""
        return all(layer.ready for layer in self._layers)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes, in one of them."""
        return any(layer.ended for layer in self._layers)

    @property
    def end_reason(self) -> str:
        """What the peer said when it ended one of them, unless all was well."""
        return next((layer.end_reason for layer in self._layers if layer.end_reason), "")

    @property
    def next(self) -> str:
        """The name of the layer whose handshake is not done."""
        return next((layer.name for layer in self._layers if not layer.ready), "")

    def receive(self, data: bytes) -> bytes:
        """Through all of them, upwards."""
        for layer in self._layers:
            data = layer.receive(data)
            if not data:
                break
        return data

    def send(self, data: bytes) -> bytes:
        """Through all of them, downwards."""
        for layer in reversed(self._layers):
            data = layer.send(data)
        return data

    def take(self) -> bytes:
        """What they have to say; a layer is silent until those below it are ready."""
        if self._closing is not None:
            said, self._closing = self._closing, b""
            return said
        standing = 0
        while standing < len(self._layers) and self._layers[standing].ready:
            standing += 1
        said = b""
        for layer in reversed(self._layers[: standing + 1]):
            said = (layer.send(said) if said else b"") + layer.take()
        return said

    def close(self) -> None:
        """Say goodbye in all of them that have begun, the upper ones first; once."""
        if self._closing is not None:
            return
        said = b""
        for layer in reversed(self._layers):
            if layer.ready:
                said = layer.send(said) if said else b""
                layer.close()
                said += layer.take()
        self._closing = said
