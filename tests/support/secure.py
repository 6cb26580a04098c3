"""Certificates that nobody trusts but the test, and a server's ends of TLS and of a WebSocket."""

from __future__ import annotations

import socket
import ssl
from functools import cache
from pathlib import Path
from typing import cast

import trustme
from websockets.frames import Frame
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol


def authority(name: str = "test") -> trustme.CA:
    """A certificate authority, made once; each name is another one."""
    return _authority(name)


@cache
def _authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


@cache
def certificate(*names: str, ca: str = "test", common_name: str | None = None) -> trustme.LeafCert:
    """A certificate for hosts, or for a person, by an authority."""
    return authority(ca).issue_cert(*names, common_name=common_name)


def ca_file(folder: Path, ca: str = "test") -> str:
    """The authority's certificate as a file."""
    path = folder / f"ca-{ca}.pem"
    authority(ca).cert_pem.write_to_path(str(path))
    return str(path)


def key_and_cert_file(folder: Path, cert: trustme.LeafCert, name: str = "server") -> str:
    """Key and certificate in one file."""
    path = folder / f"{name}.pem"
    cert.private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


def server_context(*names: str, ca: str = "test", client_ca: str | None = None) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate(*names or ("127.0.0.1", "localhost"), ca=ca).configure_cert(context)
    if client_ca is not None:
        authority(client_ca).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str = "test") -> ssl.SSLContext:
    """A client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority(ca).configure_trust(context)
    return context


class WebSocketEnd:
    """A server's end of a WebSocket with a socket's face.

    Args:
        connection: the socket, with TLS upon it or not.
        binary: how it sends.

    Attributes:
        messages: what the client sent, as opcode name and data, in fragments.
        path: what the client asked for.
    """

    def __init__(self, connection: socket.socket, *, binary: bool = False) -> None:
        self.connection = connection
        self.messages: list[tuple[str, bytes]] = []
        self.path = ""
        self.subprotocol: str | None = None
        self._binary = binary
        self.protocol = ServerProtocol(subprotocols=[Subprotocol("v12.stomp")])
        self._unread = b""
        while not self.path:
            self._receive()

    def _receive(self) -> bool:
        data = self.connection.recv(65536)
        if not data:
            return False
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if not isinstance(event, Frame):
                assert not hasattr(event, "status_code")
                self.path = event.path
                self.protocol.send_response(self.protocol.accept(event))
                self.subprotocol = self.protocol.subprotocol
            else:
                self.messages.append((event.opcode.name, bytes(event.data)))
                if event.opcode.name in ("TEXT", "BINARY", "CONT"):
                    self._unread += event.data
        self.flush()
        return True

    def flush(self) -> None:
        """Send what the protocol has to say."""
        for data in self.protocol.data_to_send():
            if data:
                self.connection.sendall(data)

    def recv(self, size: int) -> bytes:
        """As a socket: what is in the messages."""
        while not self._unread:
            if not self._receive() or self.protocol.close_rcvd:
                break
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def sendall(self, data: bytes) -> None:
        """As a socket: one message."""
        (self.protocol.send_binary if self._binary else self.protocol.send_text)(data)
        self.flush()

    def settimeout(self, seconds: float | None) -> None:
        """As a socket."""
        self.connection.settimeout(seconds)

    def close(self) -> None:
        """As a socket."""
        self.connection.close()

    @classmethod
    def dress(cls, connection: socket.socket) -> socket.socket:
        """For a `ScriptedServer`."""
        return cast(socket.socket, cls(connection))
