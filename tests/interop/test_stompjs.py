"""@stomp/stompjs, the client of most web front ends, in Node.js and over TCP.

It escapes and unescapes headers in 1.2 only.
"""

from __future__ import annotations

import pytest
from tests.interop.node_client import INSTALL_TIMEOUT, NodeClients, body_of
from tests.interop.samples import (
    BEAT,
    BINARY,
    HEADERS,
    IDLE,
    LARGE,
    LARGE_DIGEST,
    TEXT,
    VERSIONS,
)

from stompy_broker import RunningBroker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(INSTALL_TIMEOUT + 20)]

all_versions = pytest.mark.parametrize("version", VERSIONS)
since_1_1 = pytest.mark.parametrize("version", VERSIONS[1:])


@all_versions
def test_connect_and_disconnect(
    broker: RunningBroker, node_clients: NodeClients, version: str
) -> None:
    report = node_clients.run("stompjs", "connect", broker, version=version)
    assert report["headers"]["version"] == version
    assert report["headers"]["session"]
    assert report["receipt"] is True


@pytest.mark.parametrize(
    "headers",
    [
        {},  # without host
        {"content-length": "0"},
        {"login": "", "passcode": ""},
        {"host": "broker.example", "client-id": "a:b\\c"},
    ],
    ids=lambda headers: next(iter(headers), "none"),
)
def test_peculiar_connect(
    broker: RunningBroker, node_clients: NodeClients, headers: dict[str, str]
) -> None:
    # Without a version of ours it offers all three.
    report = node_clients.run("stompjs", "connect", broker, headers=headers)
    assert report["headers"]["version"] == "1.2"


@all_versions
def test_queue_round_trip(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    message = node_clients.run("stompjs", "queue", broker, version=version, body=TEXT.encode())
    assert body_of(message).decode() == TEXT
    assert message["headers"]["destination"] == "/queue/letters"
    assert message["headers"]["content-type"] == "text/plain"
    assert message["headers"]["a"] == "b"
    assert message["headers"]["message-id"]


@all_versions
def test_topic_fan_out(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    report = node_clients.run("stompjs", "topic", broker, version=version)
    assert report == {"got": ["1931"] * 3, "left": [0, 0, 0, 0]}


@since_1_1
def test_ack_and_nack(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    report = node_clients.run("stompjs", "nack", broker, version=version)
    first, again = report["first"]["headers"], report["again"]
    assert body_of(again) == b"two"
    assert again["headers"]["redelivered"] == "true"
    assert again["headers"]["delivery-count"] == "2"
    assert again["headers"]["message-id"] == first["message-id"]
    (queue,) = broker.queues()
    assert (queue.ready, queue.unacked, queue.acked, queue.nacked) == (0, 0, 2, 1)


@since_1_1
def test_nack_without_requeue_is_a_dead_letter(
    broker: RunningBroker, node_clients: NodeClients, version: str
) -> None:
    reason = "bad: colour" if version == "1.2" else "bad colour"
    letter = node_clients.run("stompjs", "deadLetter", broker, version=version, reason=reason)
    assert body_of(letter) == b"poison"
    assert letter["headers"]["original-destination"] == "/queue/work"
    assert letter["headers"]["x-death-info"] == reason


@all_versions
def test_ack_of_mode_client_is_cumulative(
    broker: RunningBroker, node_clients: NodeClients, version: str
) -> None:
    left = node_clients.run("stompjs", "cumulativeAck", broker, version=version)
    assert (body_of(left), left["headers"]["redelivered"]) == (b"3", "true")


@all_versions
def test_transaction_commit(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    report = node_clients.run("stompjs", "commit", broker, version=version)
    assert report == {"before": "outside", "after": ["debit", "credit"]}


@all_versions
def test_transaction_abort(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    assert node_clients.run("stompjs", "abort", broker, version=version) == {"got": "after"}
    (queue,) = broker.queues()
    assert (queue.published, queue.acked, queue.unacked) == (2, 2, 0)


@all_versions
def test_receipts_come_in_order(
    broker: RunningBroker, node_clients: NodeClients, version: str
) -> None:
    report = node_clients.run("stompjs", "receipts", broker, version=version)
    assert report["order"] == ["a", "b", "c", "d"]


@since_1_1
def test_heart_beats_keep_an_idle_connection(
    beating_broker: RunningBroker, node_clients: NodeClients, version: str
) -> None:
    report = node_clients.run(
        "stompjs", "beats", beating_broker, version=version, beat=BEAT * 1000, idle=IDLE * 1000
    )
    assert report["received"] >= 3
    assert report["sent"] >= 3
    assert report["got"] == "alive"


@all_versions
def test_bodies(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    report = node_clients.run(
        "stompjs", "bodies", broker, version=version, body=BINARY, text=TEXT.encode()
    )
    assert [body_of(message) for message in report["got"]] == [BINARY, b"", TEXT.encode()]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "in-chunks"])
def test_large_body(broker: RunningBroker, node_clients: NodeClients, split: bool) -> None:
    report = node_clients.run(
        "stompjs", "large", broker, version="1.2", size=len(LARGE), split=split
    )
    assert report["digest"] == LARGE_DIGEST


@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_headers_round_trip(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    # It undoes one escape after the other, and trims: some values cannot come through.
    headers = {
        name: value
        for name, value in HEADERS[version].items()
        if name not in ("looks-escaped", "padded")
    }
    message = node_clients.run("stompjs", "headers", broker, version=version, headers=headers)
    got = message["headers"]
    assert {name: got.get(name) for name in headers} == headers
    assert got["destination"] == "/queue/a:b"
    assert got["subscription"] == "sub:1"


@all_versions
def test_error_then_close(broker: RunningBroker, node_clients: NodeClients, version: str) -> None:
    report = node_clients.run("stompjs", "error", broker, version=version)
    assert report["headers"]["receipt-id"] == "r-1"
    assert report["headers"]["message"]
    assert "/nowhere/at/all" in report["body"]


@all_versions
def test_a_reply_queue_needs_no_subscription(
    broker: RunningBroker, node_clients: NodeClients, version: str
) -> None:
    answer = node_clients.run("stompjs", "reply", broker, version=version)
    assert body_of(answer) == b"42"
    assert answer["headers"]["subscription"] == "/temp-queue/answers"
