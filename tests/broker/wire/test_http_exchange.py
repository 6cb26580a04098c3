"""Pages by HTTP, as a client's bytes see them: at which ports, for whom, and bad peers."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.secure import (
    ca_file,
    certificate,
    client_context,
    key_and_cert_file,
)
from tests.support.wire import PATIENCE, Peer, cheap_hash, fast_config, running_broker, until

import stompy
import stompy_broker
from stompy_broker import RunningBroker
from stompy_broker.wire import http_exchange


@dataclass(frozen=True)
class Answer:
    """An answer taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes


def taken_apart(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.startswith("HTTP/1.1 "), data[:200]
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): v for name, v in headers.items()}, body)


def everything(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def send(port: int, data: bytes, context: ssl.SSLContext | None = None) -> Answer:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
    with sock:
        sock.sendall(data)
        return taken_apart(everything(sock))


def request(
    path: str, *, method: str = "GET", user: str = "", host: str = "localhost", more: str = ""
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *filter(None, [more])]
    if user:
        lines.append(f"Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def get(port: int, path: str, **options: str) -> Answer:
    return send(port, request(path, **options))


def own_port(broker: RunningBroker) -> int:
    """The port for the pages alone."""
    port = urlsplit(broker.http_urls[0]).port
    assert port is not None
    return port


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(http={"listen": "127.0.0.1:0"}) as broker:
        with stompy.connect(broker.url) as client:
            client.message("/queue/full", "x", receipt=True)
        yield broker


PAGES = {
    "/healthz": "text/plain; charset=utf-8",
    "/readyz": "text/plain; charset=utf-8",
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/api/snapshot/queues": "application/json",
    "/api/snapshot/queue.full": "application/json",
    "/api/snapshot/broker": "application/json",
}


@pytest.mark.parametrize("path", PAGES)
def test_each_page_is_there_at_both_ports(broker: RunningBroker, path: str) -> None:
    for port in (broker.port, own_port(broker)):
        answer = get(port, path)
        assert (answer.status, answer.headers["content-type"]) == (200, PAGES[path])
        assert answer.headers["connection"] == "close"
        assert len(answer.body) == int(answer.headers["content-length"]) > 0
        head = get(port, path, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert "content-length" in head.headers


def test_what_they_say(broker: RunningBroker) -> None:
    assert get(broker.port, "/readyz").body == b"ready\n"
    assert b'\nstompy_queue_ready{queue="full"} 1\n' in get(broker.port, "/metrics").body
    rows = json.loads(get(broker.port, "/api/snapshot/queues").body)["data"]
    assert [row["ready"] for row in rows] == [1]
    assert json.loads(get(broker.port, "/api/snapshot/queue.full").body)["data"]["name"] == "full"
    opened = get(broker.port, "/metrics", more="Accept: application/openmetrics-text")
    assert opened.body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("/"), 404),
        (request("/metrics", method="POST"), 405),
        (request("/metrics", method="OPTIONS"), 405),
        (request("/metrics", host="evil.example"), 403),
        (request("/healthz", host="evil.example"), 403),
        (request("/metrics", host="[::1]:1"), 200),
        (request("/metrics", host="127.0.0.1:1"), 200),
        (request("/metrics", host="a.localhost"), 200),
        (request("/api/snapshot/nothing"), 404),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\nHost: a\n\n", 400),
        (request("/healthz", more="Content-Length: 3") + b"abc", 413),
        (request("/healthz", more="a: " + "x" * 20_000), 431),
    ],
)
def test_other_requests_are_refused(broker: RunningBroker, data: bytes, status: int) -> None:
    assert send(own_port(broker), data).status == status


def test_where_a_websocket_might_be_opened_that_is_said(broker: RunningBroker) -> None:
    answer = get(broker.port, "/")
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    assert b"/metrics" in answer.body


def test_stomp_is_not_spoken_at_the_port_for_pages(broker: RunningBroker) -> None:
    with Peer(own_port(broker)) as peer:
        peer.send("CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        assert peer.rest() == b""


def test_a_request_octet_by_octet_and_what_comes_behind_it(broker: RunningBroker) -> None:
    with Peer(broker.port) as peer:
        peer.dribble(request("/healthz"))
        peer.send(b"\0garbage\r\n" + request("/metrics"))
        assert taken_apart(peer.rest()).body == b"alive\n"


def test_who_has_said_all_may_wait_for_the_answer(broker: RunningBroker) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as sock:
        sock.sendall(request("/metrics"))
        sock.shutdown(socket.SHUT_WR)
        assert taken_apart(everything(sock)).status == 200


# -- who may see what ---------------------------------------------------------------------------

USERS = {name: cheap_hash(f"{name}-secret") for name in ("monitor", "nobody")}
ROLES = {"monitor": ["monitor"]}


@contextmanager
def guarded(**sections: object) -> Iterator[RunningBroker]:
    settings: dict[str, object] = {"users": USERS, "roles": ROLES, "http": {"auth": "basic"}}
    with running_broker(**{**settings, **sections}) as broker:
        yield broker


@pytest.fixture(scope="module")
def closed() -> Iterator[RunningBroker]:
    with guarded() as broker:
        yield broker


@pytest.mark.parametrize("path", ["/metrics", "/api/snapshot/connections"])
@pytest.mark.parametrize(
    ("user", "status"),
    [
        ("monitor:monitor-secret", 200),
        ("nobody:nobody-secret", 403),
        ("monitor:wrong", 401),
        ("absent:x", 401),
        ("no colon", 401),
        ("", 401),
    ],
)
def test_metrics_need_the_role_monitor(
    closed: RunningBroker, path: str, user: str, status: int
) -> None:
    answer = get(closed.port, path, user=user, host="broker.example")
    assert answer.status == status
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert (len(answer.body) > 150) == (status == 200)


@pytest.mark.parametrize("header", ["Bearer abc", "Basic ###", "Basic /w==", "Basic"])
def test_other_schemes_and_garbage_are_no_login(closed: RunningBroker, header: str) -> None:
    answer = get(closed.port, "/metrics", more=f"Authorization: {header}")
    assert answer.status == 401


def test_health_and_readiness_are_for_everybody(closed: RunningBroker) -> None:
    for path in ("/healthz", "/readyz"):
        assert get(closed.port, path, host="broker.example").status == 200


def test_on_loopback_there_is_no_login_unless_it_is_asked_for() -> None:
    with guarded(http={}) as broker:
        assert get(broker.port, "/metrics").status == 200


def test_behind_a_proxy_nobody_is_on_loopback() -> None:
    with guarded(http={}, listen={"port": 0, "proxy_protocol": True}) as broker:
        line = b"PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n"
        assert send(broker.port, line + request("/metrics")).status == 401
        assert send(broker.port, line + request("/healthz")).status == 200


def test_without_users_the_role_of_anonymous_counts() -> None:
    for role, status in (({}, 403), ({"monitor": ["anonymous"]}, 200)):
        with running_broker(
            listen={"host": "0.0.0.0", "port": 0}, security={"allow_anonymous": True}, roles=role
        ) as broker:
            assert get(broker.port, "/metrics", host="broker.example").status == status


def test_with_tls_and_a_certificate_instead_of_a_login(tmp_path: Path) -> None:
    tls = {
        "cert": key_and_cert_file(tmp_path, certificate("localhost", "127.0.0.1")),
        "client_ca": ca_file(tmp_path),
        "client_cert": "optional",
        "login_from": "cn",
        "required": True,
    }
    with guarded(tls=tls, http={"auth": "basic", "listen": "127.0.0.1:0"}) as broker:
        # Where TLS is required, there is no page without it, but at the port for pages alone.
        assert get(broker.port, "/healthz").status == 400
        assert get(own_port(broker), "/healthz").status == 200
        stranger, known = client_context(), client_context()
        certificate("monitor@example.com", common_name="monitor").configure_cert(known)
        for port in (broker.port, own_port(broker)):
            assert send(port, request("/healthz"), stranger).body == b"alive\n"
            assert send(port, request("/metrics"), stranger).status == 401
            login = request("/metrics", user="monitor:monitor-secret")
            assert send(port, login, stranger).body.startswith(b"# HELP")
            assert send(port, request("/metrics"), known).body.startswith(b"# HELP")


# -- readiness ----------------------------------------------------------------------------------


def test_a_broker_that_drains_is_not_ready() -> None:
    with running_broker(http={"listen": "127.0.0.1:0"}) as broker:
        reasons: list[str] = []
        broker._ask(lambda one: one.health.reasons.append(lambda: "; ".join(reasons)))
        assert get(broker.port, "/readyz").status == 200
        reasons.append("group 3 has no owner")
        answer = get(broker.port, "/readyz")
        assert (answer.status, answer.body) == (503, b"not ready: group 3 has no owner\n")
        assert get(broker.port, "/healthz").status == 200


def test_a_broker_that_stops_says_so_at_the_port_for_pages() -> None:
    times = {"shutdown": 30.0, "linger": 0.5}
    config = fast_config(http={"listen": "127.0.0.1:0"}, times=times)
    with stompy_broker.running(config) as broker:
        port = own_port(broker)
        with Peer.open(broker.port) as client:
            client.send("SUBSCRIBE\nid:1\ndestination:/queue/q\nack:client\n\n\0")
            client.send("SEND\ndestination:/queue/q\n\nx\0")
            message = client.expect("MESSAGE")
            broker._host.ask_to_stop()
            until(lambda: get(port, "/readyz").status == 503, "it to begin to stop")
            assert get(port, "/readyz").body == b"not ready: the broker is stopping\n"
            assert get(port, "/healthz").status == 200
            assert get(port, "/metrics").status == 503
            client.send(f"ACK\nid:{message['ack']}\n\n\0")
            client.expect_error("shutting-down")


def test_with_all_places_taken_health_is_told_all_the_same() -> None:
    with running_broker(limits={"connections": 1}) as broker:
        with Peer.open(broker.port):
            assert get(broker.port, "/healthz").status == 200
            assert get(broker.port, "/readyz").status == 200
            answer = get(broker.port, "/metrics")
            assert (answer.status, b"connections" in answer.body) == (503, True)


# -- bad peers ----------------------------------------------------------------------------------


def test_a_request_that_does_not_come_to_its_end_is_cut_off() -> None:
    with running_broker(times={"login": 0.2, "shutdown": 0.0}) as broker:
        with Peer(broker.port) as peer:
            peer.send(b"GET /healthz HTTP/1.1\r\nHost: local")
            assert peer.rest() == b""


def test_who_does_not_take_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_exchange, "_SECONDS", 0.3)
    with running_broker() as broker:
        with stompy.connect(broker.url) as client:
            for number in range(3000):
                client.message(f"/queue/{number:0150}", "")
            client.message("/queue/last", "", receipt=True)
        with Peer(broker.port, receive_buffer=4096) as slow:
            slow.send(request("/metrics"))
            until(lambda: broker.connections() == 1, "it to be there")
            until(lambda: broker.connections() == 0, "it to be cut off")
        # And everybody else gets it whole.
        monkeypatch.setattr(http_exchange, "_SECONDS", 30.0)
        answer = get(broker.port, "/metrics")
        assert len(answer.body) == int(answer.headers["content-length"]) > 4_000_000


def test_who_leaves_before_the_answer_leaves_nothing_behind() -> None:
    with guarded() as broker:
        for data in (request("/metrics", user="monitor:wrong"), request("/metrics")):
            with socket.create_connection(("127.0.0.1", broker.port), timeout=PATIENCE) as sock:
                sock.sendall(data)
        until(lambda: broker.connections() == 0, "them to have gone")
        assert get(broker.port, "/healthz").status == 200


def test_an_exchange_makes_way_for_who_wants_to_log_in() -> None:
    with running_broker(limits={"connections": 1}, times={"linger": 30.0}) as broker:
        with Peer(broker.port) as idle:
            idle.send(request("/healthz"))
            assert taken_apart(idle.rest()).status == 200
            # It does not close its side, and would have half a minute to.
            with Peer.open(broker.port) as client:
                client.sync()
