"""A connection's memory, before and after the login, however it ends."""

from __future__ import annotations

import gc
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.support.secure import certificate, client_context, key_and_cert_file
from tests.support.wire import PATIENCE, Pair, Peer, cheap_hash, running_broker, until

from stompy.protocol import ServerProtocol
from stompy.protocol.codec import FrameParser
from stompy.transport.tls import TLSLayer
from stompy_broker import RunningBroker
from stompy_broker.broker import Broker
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.session import output as output_module
from stompy_broker.session.output import OutputBuffer
from stompy_broker.session.session import Session
from stompy_broker.session.subscribe import Subscriptions
from stompy_broker.session.subscription import Subscription
from stompy_broker.timers import Timer
from stompy_broker.wire import connection
from stompy_broker.wire.connection import Connection
from stompy_broker.wire.fair_scheduler import LEAST
from stompy_broker.wire.handshake import Handshake
from stompy_broker.wire.websocket import WebSocketServer

MIB = 1024 * 1024
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
    Handshake,
    Session,
    OutputBuffer,
    ServerProtocol,
    FrameParser,
    Subscriptions,
    Subscription,
    LocalQueue,
    Timer,
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


def break_the_websocket(sock: socket.socket) -> None:
    sock.sendall(UPGRADE)
    read_to(sock, b"\r\n\r\n")
    sock.sendall(b"\x81\x01x")  # without a mask
    read_to(sock, b"\x88")


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
    (break_the_websocket, 100),
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


# -- what is held for a client ----------------------------------------------------------------


def in_use(broker: RunningBroker) -> int:
    """Bytes of unfinished input that the broker knows of."""
    return broker._ask(lambda inner: inner._input_memory.held)


def fill(sock: socket.socket, data: bytes, most: int) -> int:
    """Write until nothing more is taken for a while, or so many bytes are; give how many were."""
    sock.settimeout(0.3)
    sent = 0
    try:
        while sent < most:
            sent += sock.send(data)
    except (TimeoutError, OSError):
        pass
    finally:
        sock.settimeout(PATIENCE)
    return sent


HEADERS = b"".join(b"h%d:%s\n" % (number, b"v" * 16_000) for number in range(60))
UNFINISHED = {
    "body": CONNECT + b"SEND\ndestination:/queue/x\ncontent-length:9000000\n\n" + b"z" * 6_000_000,
    "body without length": CONNECT + b"SEND\ndestination:/queue/x\n\n" + b"z" * 6_000_000,
    "headers": CONNECT + b"SEND\n" + HEADERS,
    "headers of CONNECT": b"CONNECT\n" + HEADERS[:60_000],
    "body of CONNECT": b"CONNECT\ncontent-length:60000\n\n" + b"b" * 50_000,
    "HTTP head": UPGRADE[:-2] + b"X: %s\r\n" % (b"v" * 16_000),
    "fragment": UPGRADE + bytes([0x02, 0xFF]) + (150_000).to_bytes(8, "big") + bytes(4 + 140_000),
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_what_is_unfinished_counts_and_is_bounded(what: str) -> None:
    """A quarter of the memory, one frame more, and what one read of each may bring."""
    with running_broker(limits={"memory": "64MiB"}) as broker, ExitStack() as stack:
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", broker.port)))
            for _ in range(12)
        ]
        for sock in socks:
            sock.settimeout(0.2)
            with suppress(OSError):
                sock.sendall(UNFINISHED[what])
        until(lambda: in_use(broker) > 0, "something to be counted")
        assert in_use(broker) < 16 * MIB + 6 * MIB + len(socks) * 256 * 1024
        # Whoever sends whole frames is not concerned.
        with Pair(broker.port) as pair:
            pair.exchange()
        for sock in socks:
            sock.close()
        until(lambda: in_use(broker) == 0, "nothing to be held any more")


@pytest.mark.parametrize("login", [False, True], ids=["before login", "after it"])
def test_pongs_for_a_client_that_does_not_read_are_bounded(login: bool) -> None:
    ping = (bytes([0x89, 0xFD]) + bytes(4) + b"p" * 125) * 500
    with running_broker(limits={"output": "64KiB"}) as broker:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", broker.port))
            speak_websocket(sock) if login else sock.sendall(UPGRADE)
            if not login:
                read_to(sock, b"\r\n\r\n")
            assert fill(sock, ping, 64 * MIB) < 32 * MIB, "it is not read any more"

            def waiting(inner: Broker) -> int:
                return max(one.unwritten for one in inner._connections if hasattr(one, "unwritten"))

            assert broker._ask(waiting) < MIB


def test_a_websocket_may_send_much_as_soon_as_it_is_logged_in() -> None:
    """Also when the passcode is checked meanwhile."""
    login = CONNECT.replace(b"host:/", b"host:/\nlogin:ann\npasscode:secret")
    send = b"SEND\ndestination:/queue/big\ncontent-length:300000\nreceipt:big\n\n" + bytes(300_001)
    with running_broker(users={"ann": cheap_hash("secret")}) as broker:
        with socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as sock:
            sock.sendall(UPGRADE)
            read_to(sock, b"\r\n\r\n")
            sock.sendall(in_a_message(login))
            read_to(sock, b"CONNECTED")
            sock.sendall(bytes([0x82, 0xFF]) + len(send).to_bytes(8, "big") + bytes(4) + send)
            read_to(sock, b"receipt-id:big")


def test_an_http_head_is_bounded(broker: RunningBroker) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as sock:
        with suppress(OSError):
            sock.sendall(
                UPGRADE[:-2] + b"".join(b"X%d: %s\r\n" % (i, b"v" * 8000) for i in range(9))
            )
        read_to(sock, b"431 Request Header Fields Too Large")


def test_a_long_line_of_an_http_head_is_taken(broker: RunningBroker) -> None:
    """Cookies and tokens that a gateway adds."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as sock:
        sock.sendall(UPGRADE[:-2] + b"Cookie: %s\r\n\r\n" % (b"v" * 16_000))
        read_to(sock, b"101 Switching Protocols")


FLOODS = {
    "SENDs": b"SEND\ndestination:/topic/nobody\n\nx\0" * 6000,
    "subscriptions": b"".join(
        b"SUBSCRIBE\nid:%d\ndestination:/topic/a\n\n\0UNSUBSCRIBE\nid:%d\n\n\0" % (n, n)
        for n in range(3000)
    ),
    "ends of lines": b"\n" * 250_000,
    "both ends of lines": b"\r\n" * 125_000,
}


@pytest.mark.parametrize("what", FLOODS)
def test_what_comes_in_slices_is_handled_whole_and_in_order(
    broker: RunningBroker, what: str
) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as sock:
        sock.sendall(CONNECT + b"SUBSCRIBE\nid:all\ndestination:/topic/order\n\n\0")
        for number in range(3):
            mark = b"SEND\ndestination:/topic/order\n\nmark-%d\0" % number
            sock.sendall(FLOODS[what] + mark)
        sock.sendall(b"DISCONNECT\nreceipt:bye\n\n\0")
        data = b""
        while more := sock.recv(65536):
            data += more
        at = [data.index(b"mark-%d" % number) for number in range(3)]
        assert at == sorted(at)
        assert data.endswith(b"RECEIPT\nreceipt-id:bye\n\n\0\n")
        assert b"ERROR" not in data


@pytest.mark.parametrize("size", [MIB, 16 * MIB])
def test_the_middle_of_a_large_body_is_not_cut_into_slices(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Slices are for what is work, however large the body is and however slow the machine."""
    slices: list[int] = []
    run_slice = Connection.run_slice

    def count(self: Connection) -> None:
        slices.append(1)
        run_slice(self)

    monkeypatch.setattr(Connection, "run_slice", count)
    monkeypatch.setattr(connection, "next_slice", lambda *_: LEAST)
    with running_broker() as broker, Peer.open(broker.port) as peer:
        peer.send(f"SEND\ndestination:/queue/a\ncontent-length:{size}\n\n{'x' * size}\0")
        peer.sync()
    assert len(slices) <= 8


def test_half_open_connections_keep_nobody_out() -> None:
    with running_broker(limits={"connections": 20}) as broker, ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", broker.port)))
            for _ in range(20)
        ]
        until(lambda: broker.connections() == 20, "all to be there")
        with Pair(broker.port) as pair:
            pair.exchange()
            silent[0].settimeout(PATIENCE)
            read_to(silent[0], b"error-code:limit-exceeded")
        for sock in silent:
            sock.close()


def test_a_fast_reader_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it gets is written in bursts, with turns between them, in order and complete."""
    monkeypatch.setattr(connection, "BURST", 64 * 1024)
    monkeypatch.setattr(output_module, "BURST", 64 * 1024)
    turns: list[int] = []
    deliver_more = Connection.deliver_more

    def count(self: Connection) -> None:
        turns.append(1)
        deliver_more(self)

    monkeypatch.setattr(Connection, "deliver_more", count)
    with running_broker() as broker, Peer.open(broker.port) as peer:
        for number in range(5000):
            peer.send(f"SEND\ndestination:/queue/a\n\n{number:0200}\0")
        peer.sync()
        peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0")
        assert peer.bodies(5000) == [b"%0200d" % number for number in range(5000)]
        peer.sync()
    assert len(turns) >= 3
