"""TLS and WebSockets, on one port or on several, as a client's bytes see them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.secure import (
    authority,
    ca_file,
    certificate,
    client_context,
    key_and_cert_file,
)
from tests.support.wire import Peer, cheap_hash, fast_config, running_broker, until
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

import stompy
import stompy_broker
from stompy_broker import RunningBroker
from stompy_broker.config import BrokerConfig, ConfigError
from stompy_broker.wire.endpoints import endpoints_of
from stompy_broker.wire.websocket import is_allowed

CONNECT = "CONNECT\naccept-version:1.2\nhost:/\n\n\0"


class Refused(Exception):  # noqa: N818 -- an outcome
    """The WebSocket was not opened."""


class WebPeer(Peer):
    """A client that speaks over a WebSocket, and perhaps TLS below it.

    Args:
        port: where the broker listens.
        binary: how it sends.
        origin: of the page that it pretends to be.
        context: for TLS.
        versions: the sub-protocols to offer.
    """

    ends_lines = False

    def __init__(
        self,
        port: int,
        *,
        binary: bool = False,
        origin: str | None = None,
        context: ssl.SSLContext | None = None,
        versions: tuple[str, ...] = ("v10.stomp", "v12.stomp"),
    ) -> None:
        super().__init__(port)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self.protocol = ClientProtocol(
            parse_uri(f"ws://localhost:{port}/"),
            origin=None if origin is None else Origin(origin),
            subprotocols=[Subprotocol(version) for version in versions] or None,
            max_size=None,
        )
        self.binary = binary
        self.messages: list[tuple[str, bytes]] = []
        self.pongs = 0
        self.protocol.send_request(self.protocol.connect())
        self._flush()
        while self.protocol.state.name == "CONNECTING":
            self._receive()

    def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def send(self, *parts: str | bytes) -> None:
        for part in parts:
            data = part if isinstance(part, bytes) else part.encode()
            (self.protocol.send_binary if self.binary else self.protocol.send_text)(data)
            self._flush()

    def _receive(self) -> None:
        data = self._socket.recv(262_144)
        if not data:
            raise EOFError("the broker closed the connection")
        self.protocol.receive_data(data)
        failure = self.protocol.handshake_exc
        if failure is not None:
            self.close()
            raise Refused(str(failure)) from failure
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self.messages.append((event.opcode.name, bytes(event.data)))
                if event.opcode.name in ("TEXT", "BINARY", "CONT"):
                    self._buffer += event.data
                self.pongs += event.opcode.name == "PONG"
        self._flush()

    @property
    def close_code(self) -> int | None:
        """What the broker said when it closed."""
        close = self.protocol.close_rcvd
        return None if close is None else close.code


@contextmanager
def secure_broker(folder: Path, **sections: object) -> Iterator[RunningBroker]:
    tls = {"cert": key_and_cert_file(folder, certificate("localhost", "127.0.0.1"))}
    given = sections.pop("tls", {})
    assert isinstance(given, dict)
    with running_broker(tls={**tls, **given}, **sections) as broker:
        yield broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    with secure_broker(
        tmp_path_factory.mktemp("tls"),
        limits={"body": "2MiB"},
        websocket={"allowed_origins": ["https://app.example"]},
    ) as broker:
        yield broker


def url(broker: RunningBroker, scheme: str) -> str:
    (found,) = [url for url in broker.urls if url.startswith(f"{scheme}://")]
    return found


SCHEMES = ["stomp", "stomps", "ws", "wss"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_port_takes_all(broker: RunningBroker, scheme: str) -> None:
    options = client_context() if scheme in ("stomps", "wss") else None
    body = bytes(range(256)) * 6000
    with stompy.connect(url(broker, scheme), tls=options) as client:
        client.subscribe(f"/queue/{scheme}", send_acks=True)
        for sent in (b"", "grün".encode(), body):
            receipt = client.message(f"/queue/{scheme}", sent, receipt=True)
            got = client.recv(timeout=10)
            assert got is not None
            assert got.Body == sent
            assert receipt is not None
            client.wait_for_receipt(receipt, timeout=10)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_error_then_close_arrives_through_every_layer(broker: RunningBroker, scheme: str) -> None:
    options = client_context() if scheme in ("stomps", "wss") else None
    client = stompy.connect(url(broker, scheme), tls=options)
    # More is on its way when the ERROR is written; it must not destroy it.
    for _ in range(50):
        try:
            client.message("/nowhere/at/all", b"x" * 20_000)
        except stompy.STOMPConnectionError:
            break
    with pytest.raises(stompy.STOMPError, match="prefixes") as caught:
        client.recv(timeout=10)
    assert caught.value.code == "bad-destination"
    client.close()


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_a_client_comes_back_when_the_broker_does(tmp_path: Path, scheme: str) -> None:
    options = client_context() if scheme in ("stomps", "wss") else None
    tls = {"cert": key_and_cert_file(tmp_path, certificate("localhost", "127.0.0.1"))}
    with stompy_broker.running(fast_config(tls=tls)) as first:
        port = first.port
        retry = stompy.Reconnect(delay=0.01, max_delay=0.1)
        client = stompy.connect(url(first, scheme), tls=options, reconnect=retry)
        subscription = client.subscription("/queue/q")
    with stompy_broker.running(fast_config(tls=tls, listen={"port": port})), client:
        until(lambda: client.is_connected, "the return of the client")
        client.message("/queue/q", "again")
        assert subscription.get(10).text == "again"


def test_the_address_says_which_ports_there_are(tmp_path: Path) -> None:
    with secure_broker(tmp_path, tls={"port": 0}, websocket={"port": 0}) as broker:
        assert [url.split(":")[0] for url in broker.urls] == SCHEMES
        ports = {scheme: int(url(broker, scheme).rpartition(":")[2]) for scheme in SCHEMES}
        assert ports["stomp"] == broker.port
        assert len({ports["stomp"], ports["stomps"], ports["ws"]}) == 3
        assert ports["ws"] == ports["wss"]
        for scheme in SCHEMES:
            options = client_context() if scheme in ("stomps", "wss") else None
            stompy.connect(url(broker, scheme), tls=options).disconnect()
        for scheme, port in (("ws", "stomp"), ("stomp", "ws"), ("stomp", "stomps")):
            with pytest.raises(stompy.STOMPError):
                stompy.connect(f"{scheme}://127.0.0.1:{ports[port]}")
        with pytest.raises(stompy.STOMPConnectionError):
            stompy.connect(f"stomps://127.0.0.1:{ports['stomp']}", tls=client_context())


@pytest.mark.parametrize(
    ("tls", "websocket", "expected"),
    [
        ({}, {}, [{"stomp", "ws"}]),
        ({}, {"enabled": False}, [{"stomp"}]),
        ({"cert": "x"}, {}, [{"stomp", "stomps", "ws", "wss"}]),
        ({"cert": "x", "required": True}, {}, [{"stomps", "wss"}]),
        ({"cert": "x", "port": 1}, {}, [{"stomp", "ws"}, {"stomps", "wss"}]),
        ({"cert": "x", "port": 1, "required": True}, {}, [{"stomps", "wss"}]),
        ({"cert": "x", "port": 1}, {"port": 2}, [{"stomp"}, {"stomps"}, {"ws", "wss"}]),
        ({}, {"port": 2}, [{"stomp"}, {"ws"}]),
    ],
)
def test_ports_and_what_they_take(
    tls: dict[str, object], websocket: dict[str, object], expected: list[set[str]]
) -> None:
    config = BrokerConfig.model_validate({"tls": tls, "websocket": websocket})
    assert [set(map(str, endpoint.schemes)) for endpoint in endpoints_of(config)] == expected


def test_tls_may_be_required(tmp_path: Path) -> None:
    with secure_broker(tmp_path, tls={"required": True}) as broker:
        assert broker.url.startswith("stomps://")
        with Peer(broker.port) as peer:
            peer.send(CONNECT)
            assert b"only for TLS" in peer.expect_error("access-refused").body
        with pytest.raises(Refused), WebPeer(broker.port):
            pass
        stompy.connect(broker.url, tls=client_context()).disconnect()


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, object]:
    return {"client_ca": ca_file(tmp_path), "client_cert": "optional"}


def test_a_certificate_is_a_login(tmp_path: Path, identities: dict[str, object]) -> None:
    ann = key_and_cert_file(tmp_path, certificate("ann@example.org", common_name="ann"), "ann")
    options = stompy.TLS(ca_file=ca_file(tmp_path), cert_file=ann)
    for source, name in (
        ("cn", "ann"),
        ("san", "ann@example.org"),
        ("dn", "CN=ann,OU="),
    ):
        with secure_broker(
            tmp_path,
            tls={**identities, "login_from": source},
            users={"bob": cheap_hash("b")},
        ) as broker:
            with stompy.connect(url(broker, "stomps"), tls=options) as client:
                assert client.connected is not None
                assert str(client.connected["user-name"]).startswith(name)
            with stompy.connect(url(broker, "wss"), "bob", "b", tls=options) as client:
                assert client.connected is not None
                assert client.connected["user-name"] == "bob"
            # What a certificate has made is not for who has the same client-id.
            named = {"durable-subscription-name": "inbox", "ack": "auto"}
            x = {"client-id": "x"}
            with stompy.connect(url(broker, "stomps"), tls=options, headers=x) as client:
                client.send("SUBSCRIBE", id="1", destination="/topic/t", receipt="r", **named)
                client.wait_for_receipt("r", 10)
            taken = stompy.connect(url(broker, "wss"), "bob", "b", tls=options, headers=x)
            taken.send("SUBSCRIBE", id="1", destination="/topic/t", receipt="r", **named)
            with pytest.raises(stompy.STOMPError, match="another user"):
                taken.wait_for_receipt("r", 10)
            with pytest.raises(stompy.STOMPError, match="needs a login"):
                stompy.connect(url(broker, "stomps"), tls=client_context())


def test_a_certificate_may_be_required(tmp_path: Path, identities: dict[str, object]) -> None:
    tls = {**identities, "client_cert": "required"}
    with secure_broker(tmp_path, tls=tls) as broker:
        with pytest.raises(stompy.STOMPCertificateError, match="cert_file"):
            stompy.connect(url(broker, "stomps"), tls=client_context())
        stranger = client_context()
        certificate("eve@example.org", ca="other").configure_cert(stranger)
        with pytest.raises(stompy.STOMPCertificateError, match="does not accept"):
            stompy.connect(url(broker, "stomps"), tls=stranger)
        stompy.connect(url(broker, "stomp")).disconnect()


def served(broker: RunningBroker) -> bytes | None:
    with socket.create_connection(("127.0.0.1", broker.port)) as raw:
        context = client_context()
        authority("other").configure_trust(context)
        with context.wrap_socket(raw, server_hostname="localhost") as secured:
            return secured.getpeercert(binary_form=True)


def test_certificates_are_read_again(tmp_path: Path) -> None:
    with secure_broker(tmp_path) as broker:
        with stompy.connect(url(broker, "stomps"), tls=client_context()) as client:
            before = served(broker)
            key_and_cert_file(tmp_path, authority("other").issue_cert("localhost"))
            assert broker.reload() == []
            after = served(broker)
            assert after != before
            (tmp_path / "server.pem").write_text("rubbish")
            (problem,) = broker.reload()
            assert "tls.cert" in problem
            assert served(broker) == after
            client.message("/queue/q", "still there")


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({"key": "x"}, "cert is missing"),
        ({"cert": "x", "client_ca": "y"}, "need each other"),
        ({"cert": "x", "client_cert": "required"}, "need each other"),
        ({"cert": "x", "login_from": "cn"}, "login_from needs"),
    ],
)
def test_settings_that_contradict_each_other(tls: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        stompy_broker.load_config(overrides={"tls": tls})


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    good = key_and_cert_file(tmp_path, certificate("localhost"))
    (tmp_path / "bad.pem").write_text("rubbish")
    bad = str(tmp_path / "bad.pem")
    for tls, words in (
        ({"cert": "/none"}, "tls.cert '/none': No such file"),
        ({"cert": bad}, "tls.cert .*PEM|start line"),
        ({"cert": good, "client_ca": bad, "client_cert": "optional"}, "tls.client_ca"),
    ):
        with pytest.raises(ConfigError, match=words):
            with stompy_broker.running(fast_config(tls=tls)):
                pass


def test_a_tls_client_that_says_no_more_is_cut_off(tmp_path: Path) -> None:
    with secure_broker(tmp_path, times={"login": 1.0}) as broker, Peer(broker.port) as slow:
        slow.send(b"\x16\x03\x01\x02")
        with WebPeer(broker.port, context=client_context()) as silent:
            with pytest.raises((EOFError, ConnectionError)):
                slow.octets(1)
            assert silent.expect("ERROR")["error-code"] == "login-timeout"


def test_rubbish_after_the_first_byte_of_tls(broker: RunningBroker) -> None:
    with Peer(broker.port) as peer:
        peer.send(b"\x16" + b"rubbish" * 100)
        peer.rest()
    stompy.connect(broker.url).disconnect()


def test_a_broker_in_no_cluster_takes_no_links(broker: RunningBroker) -> None:
    with Peer(broker.port) as peer:
        # With the end of a frame, so that it is answered before the log-in is overdue.
        peer.send(b"\xb7STOMPY\n\0\0\0\2{}\n\n\0")
        peer.expect("ERROR")


# -- WebSocket -----------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
def test_each_frame_is_a_message_of_the_clients_kind(broker: RunningBroker, binary: bool) -> None:
    with WebPeer(broker.port, binary=binary) as peer:
        assert peer.protocol.subprotocol == "v12.stomp"
        peer.send(CONNECT)
        peer.expect("CONNECTED")
        peer.send("SUBSCRIBE\nid:0\ndestination:/topic/t\n\n\0")
        peer.sync()
        peer.messages.clear()
        for body in (b"grun", "grün".encode(), b"\xff\xfe"):
            length = f"content-length:{len(body)}"
            peer.send(f"SEND\ndestination:/topic/t\n{length}\n\n".encode() + body + b"\0")
            assert peer.expect("MESSAGE").body == body
        kinds = [kind for kind, _ in peer.messages]
        assert kinds == (["BINARY"] * 3 if binary else ["TEXT", "TEXT", "BINARY"])
        assert all(data.startswith(b"MESSAGE\n") for _, data in peer.messages)
        assert all(data.count(b"\0") == 1 for _, data in peer.messages)


def test_frames_may_be_cut_anywhere(broker: RunningBroker) -> None:
    frames = (
        CONNECT
        + "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n\0"
        + "SEND\ndestination:/topic/t\n\none\0\n\nSEND\ndestination:/topic/t\n\ntwo\0"
    ).encode()
    with WebPeer(broker.port) as peer:
        for at in range(0, len(frames), 3):
            peer.send(frames[at : at + 3])
        peer.expect("CONNECTED")
        assert peer.bodies(2) == [b"one", b"two"]


def test_fragments_and_pings_between_them(broker: RunningBroker) -> None:
    with WebPeer(broker.port) as peer:
        peer.send(CONNECT)
        peer.expect("CONNECTED")
        frame = b"SEND\ndestination:/topic/t\nreceipt:r\n\n" + b"x" * 1_000_000 + b"\0"
        peer.protocol.send_text(frame[:500_000], fin=False)
        peer.protocol.send_ping(b"there?")
        peer.protocol.send_continuation(frame[500_000:], fin=True)
        peer._flush()
        assert peer.expect("RECEIPT")["receipt-id"] == "r"
        assert peer.pongs == 1


@pytest.mark.parametrize(
    ("size", "login"), [(300_000, False), (4_000_000, True)], ids=["before-login", "after"]
)
def test_too_large_a_message(broker: RunningBroker, size: int, login: bool) -> None:
    with WebPeer(broker.port) as peer:
        if login:
            peer.send(CONNECT)
            peer.expect("CONNECTED")
        peer.send(b"x" * size)
        peer.rest()
        assert peer.close_code == 1009


def test_the_receipt_of_disconnect_comes_before_the_close(broker: RunningBroker) -> None:
    with WebPeer(broker.port) as peer:
        peer.send(CONNECT)
        peer.expect("CONNECTED")
        peer.send("DISCONNECT\nreceipt:bye\n\n\0")
        assert peer.expect("RECEIPT")["receipt-id"] == "bye"
        peer.expect_eof()
        assert peer.close_code == 1000


@pytest.mark.parametrize(
    ("frames", "code", "close_code"),
    [
        ("SEND\ndestination:/x/y\n\n\0", "bad-destination", 1002),
        ("FLY\n\n\0", "unknown-command", 1002),
    ],
)
def test_an_error_is_followed_by_a_fitting_code(
    broker: RunningBroker, frames: str, code: str, close_code: int
) -> None:
    with WebPeer(broker.port) as peer:
        peer.send(CONNECT)
        peer.expect("CONNECTED")
        peer.send(frames)
        peer.expect_error(code)
        assert peer.close_code == close_code


def test_the_end_of_the_broker_is_going_away() -> None:
    with stompy_broker.running(fast_config()) as broker:
        peer = WebPeer(broker.port)
        peer.send(CONNECT)
        peer.expect("CONNECTED")
    with peer:
        peer.expect_error("shutting-down")
        assert peer.close_code == 1001


def test_a_client_that_closes_gives_its_messages_back(broker: RunningBroker) -> None:
    with WebPeer(broker.port) as peer:
        peer.send(CONNECT)
        peer.expect("CONNECTED")
        peer.send("SUBSCRIBE\nid:0\ndestination:/queue/back\nack:client\n\n\0")
        peer.send("SEND\ndestination:/queue/back\n\nx\0")
        peer.expect("MESSAGE")
        peer.protocol.send_close(1001)
        peer._flush()
        peer.expect_eof()
        assert peer.close_code == 1001
    with stompy.connect(broker.url) as client:
        client.subscribe("/queue/back", send_acks=True)
        again = client.recv(timeout=10)
        assert again is not None
        assert again["redelivered"] == "true"


def test_a_broken_websocket_hurts_nobody_else(broker: RunningBroker) -> None:
    with WebPeer(broker.port) as peer:
        peer._socket.sendall(b"\xff\xff\xff\xff")
        peer.rest()
        assert peer.close_code == 1002
    stompy.connect(broker.url).disconnect()


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("https://app.example", True),
        ("https://evil.example", False),
        ("http://localhost:8000", False),
        ("null", False),
    ],
)
def test_pages_come_from_where_they_may(
    broker: RunningBroker, origin: str | None, welcome: bool
) -> None:
    if welcome:
        WebPeer(broker.port, origin=origin).close()
        return
    with pytest.raises(Refused) as caught:
        WebPeer(broker.port, origin=origin)
    cause = caught.value.__cause__
    assert isinstance(cause, InvalidStatus)
    assert cause.response.status_code == 403
    assert b"allowed_origins" in (cause.response.body or b"")


@pytest.mark.parametrize(
    ("origin", "rules", "allowed"),
    [
        ("http://localhost", ["http://localhost:*"], True),
        ("http://localhost:8000", ["http://localhost:*"], True),
        ("http://LOCALHOST:8000", ["http://localhost:*"], True),
        ("https://localhost", ["http://localhost:*"], False),
        ("http://localhost.evil.example", ["http://localhost:*"], False),
        ("http://evil.example:80", ["*"], True),
        ("http://a.example:80", ["http://a.example"], False),
        ("null", ["null"], True),
        ("null", [], False),
    ],
)
def test_origins(origin: str, rules: list[str], allowed: bool) -> None:
    assert is_allowed(origin, rules) is allowed


def test_other_subprotocols_and_none(broker: RunningBroker) -> None:
    for versions in ((), ("mqtt",)):
        with WebPeer(broker.port, versions=versions) as peer:
            assert peer.protocol.subprotocol is None
            peer.send(CONNECT)
            peer.expect("CONNECTED")


def test_a_full_broker_tells_in_every_language() -> None:
    with running_broker(limits={"connections": 1}) as broker:
        with Peer.open(broker.port):
            with pytest.raises(Refused) as caught:
                WebPeer(broker.port)
            assert "503" in str(caught.value)
            with Peer(broker.port) as peer:
                peer.send(CONNECT)
                peer.expect_error("limit-exceeded")
            until(lambda: broker.connections() == 1, "the others to go")


def test_a_client_that_does_not_answer_pings_is_cut_off() -> None:
    with running_broker(websocket={"ping": 0.1}) as broker:
        with stompy.connect(url(broker, "ws")) as alive, WebPeer(broker.port) as dead:
            dead.send(CONNECT)
            dead.expect("CONNECTED")
            dead.protocol.data_to_send = list  # type: ignore[method-assign]
            with pytest.raises((EOFError, ConnectionError)):
                dead.octets(1)
            assert any(kind == "PING" for kind, _ in dead.messages)
            assert alive.is_connected


def test_a_client_that_reads_nothing_does_not_stop_the_others(broker: RunningBroker) -> None:
    with WebPeer(broker.port) as lazy, Peer.open(broker.port) as producer:
        lazy.send(CONNECT)
        lazy.expect("CONNECTED")
        lazy.send("SUBSCRIBE\nid:0\ndestination:/queue/much\n\n\0")
        lazy.sync()
        body = b"x" * 100_000
        for _ in range(200):
            producer.send(b"SEND\ndestination:/queue/much\ncontent-length:100000\n\n", body, b"\0")
        producer.sync()
        assert lazy.bodies(200) == [body] * 200


@pytest.mark.parametrize(
    ("offered", "accepted", "version"),
    [
        (("v11.stomp",), "1.0,1.1,1.2", "1.1"),
        (("v10.stomp",), "1.0,1.1,1.2", "1.0"),
        (("v12.stomp", "v11.stomp"), "1.1", "1.1"),
        ((), "1.0,1.1,1.2", "1.2"),
    ],
)
def test_the_sub_protocol_bounds_the_version(
    broker: RunningBroker, offered: tuple[str, ...], accepted: str, version: str
) -> None:
    with WebPeer(broker.port, versions=offered) as peer:
        peer.send(f"CONNECT\naccept-version:{accepted}\nhost:/\n\n\0")
        assert peer.expect("CONNECTED")["version"] == version


def test_a_version_beyond_the_sub_protocol_is_refused(broker: RunningBroker) -> None:
    with WebPeer(broker.port, versions=("v11.stomp",)) as peer:
        peer.send("CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        assert peer.expect("ERROR")["version"] == "1.0,1.1"


def test_nothing_is_written_to_who_was_told_off_and_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The goodbye of a broker that stops is not for those to whom it has said all."""
    with stompy_broker.running(fast_config(times={"linger": 5.0})) as broker:
        with Peer(broker.port) as http, WebPeer(broker.port) as web, Peer(broker.port) as stomp:
            http.send("POST / HTTP/1.1\r\n\r\n")
            assert http.octets(12) == b"HTTP/1.1 400"
            stomp.send("NONSENSE\n\n\0")
            stomp.expect("ERROR")
            web.send("NONSENSE\n\n\0")
            web.expect("ERROR")
            broker.stop()
    assert not [r for r in caplog.records if r.levelname == "ERROR" or r.exc_info]
