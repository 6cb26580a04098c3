"""@stomp/stompjs over what it was made for: WebSocket, with TLS and without, text and binary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interop.node_client import INSTALL_TIMEOUT, NodeClients, body_of
from tests.interop.samples import BEAT, BINARY, IDLE, LARGE, LARGE_DIGEST, TEXT
from tests.support.secure import authority, certificate, key_and_cert_file

import stompy_broker
from stompy_broker import RunningBroker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(INSTALL_TIMEOUT + 20)]

both_kinds = pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])


@pytest.fixture
def ws(broker: RunningBroker) -> str:
    return next(url for url in broker.urls if url.startswith("ws:"))


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_connect_and_disconnect(
    broker: RunningBroker, node_clients: NodeClients, ws: str, version: str
) -> None:
    report = node_clients.run("stompjs", "connect", broker, url=ws, version=version)
    assert report["headers"]["version"] == version
    assert report["receipt"] is True


@both_kinds
def test_bodies(broker: RunningBroker, node_clients: NodeClients, ws: str, binary: bool) -> None:
    report = node_clients.run(
        "stompjs", "bodies", broker, url=ws, binary=binary, body=BINARY, text=TEXT.encode()
    )
    assert [body_of(message) for message in report["got"]] == [BINARY, b"", TEXT.encode()]


@both_kinds
@pytest.mark.parametrize("split", [False, True], ids=["whole", "in-chunks"])
def test_large_body(
    broker: RunningBroker, node_clients: NodeClients, ws: str, split: bool, binary: bool
) -> None:
    report = node_clients.run(
        "stompjs", "large", broker, url=ws, binary=binary, size=len(LARGE), split=split
    )
    assert report["digest"] == LARGE_DIGEST


def test_ack_and_nack(broker: RunningBroker, node_clients: NodeClients, ws: str) -> None:
    report = node_clients.run("stompjs", "nack", broker, url=ws)
    assert body_of(report["again"]) == b"two"
    assert report["again"]["headers"]["redelivered"] == "true"


def test_transaction_commit(broker: RunningBroker, node_clients: NodeClients, ws: str) -> None:
    report = node_clients.run("stompjs", "commit", broker, url=ws)
    assert report == {"before": "outside", "after": ["debit", "credit"]}


def test_error_then_close(broker: RunningBroker, node_clients: NodeClients, ws: str) -> None:
    report = node_clients.run("stompjs", "error", broker, url=ws)
    assert report["headers"]["receipt-id"] == "r-1"
    assert "/nowhere/at/all" in report["body"]


def test_heart_beats_keep_an_idle_connection(
    beating_broker: RunningBroker, node_clients: NodeClients
) -> None:
    ws = next(url for url in beating_broker.urls if url.startswith("ws:"))
    report = node_clients.run(
        "stompjs", "beats", beating_broker, url=ws, beat=BEAT * 1000, idle=IDLE * 1000
    )
    assert report["received"] >= 3
    assert report["sent"] >= 3
    assert report["got"] == "alive"


@pytest.fixture(scope="module")
def secure_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    folder = tmp_path_factory.mktemp("tls")
    tls = {"cert": key_and_cert_file(folder, certificate("127.0.0.1"))}
    config = stompy_broker.load_config(
        overrides={"listen": {"port": 0}, "store": {"data": ""}, "tls": tls}
    )
    with stompy_broker.running(config) as broker:
        yield broker


def test_over_tls(secure_broker: RunningBroker, node_clients: NodeClients) -> None:
    wss = next(url for url in secure_broker.urls if url.startswith("wss:"))
    ca = authority().cert_pem.bytes().decode()
    message = node_clients.run(
        "stompjs", "queue", secure_broker, url=wss, ca=ca, body=TEXT.encode()
    )
    assert body_of(message).decode() == TEXT
