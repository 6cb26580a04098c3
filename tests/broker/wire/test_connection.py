"""A connection's memory, before and after the login, however it ends."""

from __future__ import annotations

import gc
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.secure import certificate, client_context, key_and_cert_file
from tests.support.wire import PATIENCE, running_broker, until

from stompy.codec import FrameParser
from stompy.protocol import ServerProtocol
from stompy.transport.tls import TLSLayer
from stompy_broker import RunningBroker
from stompy_broker.clock import Alarm
from stompy_broker.routing.queue import Queue
from stompy_broker.session.outlet import Outlet
from stompy_broker.session.session import Session
from stompy_broker.session.subscription import Subscription
from stompy_broker.session.subscriptions import Subscriptions
from stompy_broker.wire.connection import Connection
from stompy_broker.wire.listener import Opening
from stompy_broker.wire.websocket import WebSocketServer

CONNECT = b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
BUSY = (
    CONNECT + b"SUBSCRIBE\nid:1\ndestination:/queue/a\nack:client\n\n\0"
    b"SUBSCRIBE\nid:2\ndestination:/topic/a\n\n\0"
    b"SUBSCRIBE\nid:3\ndestination:/topic/$SYS.queues\n\n\0"
    b"BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/a\ntransaction:t\n\nx\0"
    b"SEND\ndestination:/topic/b\nreply-to:/temp-queue/x\nreceipt:last\n\nx\0"
)

KINDS = (
    Connection,
    Opening,
    Session,
    Outlet,
    ServerProtocol,
    FrameParser,
    Subscriptions,
    Subscription,
    Queue,
    Alarm,
    TLSLayer,
    WebSocketServer,
)
"""What a connection is made of."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    folder = tmp_path_factory.mktemp("tls")
    tls = {"cert": key_and_cert_file(folder, certificate("localhost"))}
    with running_broker(tls=tls) as broker:
        yield broker


def read_to(sock: socket.socket, end: bytes) -> None:
    data = b""
    while end not in data:
        more = sock.recv(65536)
        assert more or not end, data
        if not more:
            return
        data += more


def in_a_message(frame: bytes) -> bytes:
    """One masked message of a WebSocket; the mask changes nothing."""
    return bytes([0x81, 0x80 | len(frame)]) + bytes(4) + frame


def ask_for_health(sock: socket.socket) -> None:
    """A load balancer opens a connection, and closes it."""


def say_half(sock: socket.socket) -> None:
    sock.sendall(b"CONNECT\naccept-ver")


def be_busy(sock: socket.socket) -> None:
    sock.sendall(BUSY)
    read_to(sock, b"receipt-id:last")


def be_polite(sock: socket.socket) -> None:
    sock.sendall(CONNECT + b"DISCONNECT\nreceipt:bye\n\n\0")
    read_to(sock, b"receipt-id:bye")


def be_refused(sock: socket.socket) -> None:
    sock.sendall(CONNECT + b"NONSENSE\n\n\0")
    read_to(sock, b"ERROR")


def break_a_rule(sock: socket.socket) -> None:
    sock.sendall(CONNECT + b"SEND\ndestination:/queue/\xff\n\n\0")
    read_to(sock, b"ERROR")


def speak_http(sock: socket.socket) -> None:
    sock.sendall(b"POST / HTTP/1.1\r\n\r\n")
    read_to(sock, b"400")


def upgrade_halfway(sock: socket.socket) -> None:
    sock.sendall(UPGRADE[:60])


def speak_websocket(sock: socket.socket) -> None:
    sock.sendall(UPGRADE)
    read_to(sock, b"\r\n\r\n")
    sock.sendall(in_a_message(CONNECT))
    read_to(sock, b"CONNECTED")


def encrypted(use: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    def use_encrypted(sock: socket.socket) -> None:
        with client_context().wrap_socket(sock.dup(), server_hostname="localhost") as secure:
            use(secure)

    use_encrypted.__name__ = f"{use.__name__}_encrypted"
    return use_encrypted


def greet_in_tls_only(sock: socket.socket) -> None:
    secure = client_context().wrap_bio(ssl.MemoryBIO(), out := ssl.MemoryBIO())
    with pytest.raises(ssl.SSLWantReadError):
        secure.do_handshake()
    sock.sendall(out.read())


WAYS = [
    (ask_for_health, 1000),
    (say_half, 1000),
    (be_busy, 200),
    (be_polite, 200),
    (be_refused, 100),
    (break_a_rule, 100),
    (speak_http, 100),
    (upgrade_halfway, 100),
    (speak_websocket, 100),
    (greet_in_tls_only, 30),
    (encrypted(be_busy), 30),
    (encrypted(be_refused), 30),
    (encrypted(speak_websocket), 30),
]


def connect_once(port: int, use: Callable[[socket.socket], None]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        use(sock)


def census() -> Counter[str]:
    return Counter(
        kind.__name__ for thing in gc.get_objects() for kind in KINDS if isinstance(thing, kind)
    )


@pytest.mark.parametrize(("use", "times"), WAYS, ids=[use.__name__ for use, _ in WAYS])
def test_a_closed_connection_is_free_at_once(
    broker: RunningBroker, use: Callable[[socket.socket], None], times: int, tmp_path: Path
) -> None:
    """By reference counting: the collector would come for it after a million others."""
    connect_once(broker.port, use)  # what is made once, such as the queue
    until(lambda: broker.connections() == 0, "the first to go")
    gc.collect()
    gc.disable()
    try:
        before = census()
        for _ in range(times):
            connect_once(broker.port, use)
        until(lambda: broker.connections() == 0, "all to go")
        # The queue of a topic subscription may be held by what is under way in this very turn.
        until(lambda: sum((census() - before).values()) < times // 10, f"{census() - before}")
    finally:
        gc.enable()
