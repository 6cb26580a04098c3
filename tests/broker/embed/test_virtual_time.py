"""Thirty days in a moment: what goes by the time follows when a test moves it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import stompy
import stompy_broker
from stompy_broker import RunningBroker

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = 3_600_000


@pytest.fixture(params=["in memory", "on disk"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningBroker]:
    """A broker whose time begins with the year 2030, with each of the stores."""
    data = str(tmp_path / "data") if request.param == "on disk" else ""
    policy = {
        "match": "/queue/orders",
        "redelivery_delay": 60,
        "redelivery_delay_max": 60,
        "max_deliveries": 8,
    }
    settings = {"listen": {"port": 0}, "store": {"data": data}, "policy": [policy]}
    with stompy_broker.running(settings, time=START) as broker:
        yield broker


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[stompy.STOMPClient]:
    with stompy.connect(broker.url) as client:
        yield client


def milliseconds(when: datetime) -> int:
    return round(when.timestamp() * 1000)


class TestWhatFollows:
    def test_messages_expire_at_their_time(self, broker, client) -> None:
        due = milliseconds(START) + HOUR
        client.message("/queue/q", "x", expires=due, confirm=True)
        assert broker.time.advance("59 min 59 s") < START + timedelta(hours=1)
        assert broker.queue("q").ready == 1
        broker.time.advance(1)
        assert broker.queue("q").ready == 0

    def test_timestamps_are_those_of_the_virtual_wall(self, broker, client) -> None:
        client.subscribe("/queue/q")
        broker.time.advance("1 day")
        client.message("/queue/q", "x")
        frame = client.recv(timeout=5)
        assert int(frame["timestamp"]) == milliseconds(START) + 24 * HOUR

    def test_what_is_refused_comes_again_after_its_delay(self, broker, client) -> None:
        client.subscribe("/queue/orders", "client-individual", send_acks=False)
        client.message("/queue/orders", "x")
        client.nack(client.recv(timeout=5))  # the first time it comes again at once
        client.nack(client.recv(timeout=5))
        event = broker.time.next_event
        assert event.at == START + timedelta(minutes=1)
        assert "again" in event.what
        broker.time.advance("59 s")
        assert broker.queue("orders").delayed == 1
        broker.time.advance("1 s")
        assert client.recv(timeout=5)["delivery-count"] == "3"

    def test_deliveries_that_are_held_too_long_go_back(self, broker, client) -> None:
        client.subscribe(
            "/queue/q", "client-individual", send_acks=False, headers={"x-consumer-timeout": 60_000}
        )
        client.message("/queue/q", "x")
        assert client.recv(timeout=5)["redelivered"] == "false"
        broker.time.advance("61 s")
        assert client.recv(timeout=5)["redelivered"] == "true"

    def test_idle_queues_are_forgotten(self, broker, client) -> None:
        client.wait_for_receipt(client.unsubscribe(client.subscribe("/queue/q"), receipt=True))
        assert broker.queue("q").exists
        broker.time.advance("1 h")
        assert not broker.queue("q").exists

    def test_connected_says_so_and_there_are_no_heart_beats(self, broker) -> None:
        with socket.create_connection((broker.host, broker.port)) as peer, peer.makefile("rb") as f:
            peer.sendall(b"STOMP\naccept-version:1.2\nhost:x\nheart-beat:1000,1000\n\n\0")
            headers = []
            while line := f.readline().decode().strip():
                headers.append(line)
        assert "X-stompy-clock:virtual" in headers
        assert "heart-beat:0,0" in headers


def test_heart_beats_go_by_it_where_the_settings_say_so() -> None:
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "times": {"heart_beat": [100, 100]}}
    with stompy_broker.running(settings, time=START) as broker:
        with socket.create_connection((broker.host, broker.port)) as peer:
            peer.settimeout(10)
            peer.sendall(b"STOMP\naccept-version:1.2\nhost:x\nheart-beat:0,1000\n\n\0")
            got = b""
            while not got.endswith(b"\0\n"):
                got += peer.recv(4096)
            broker.time.advance("10 s")
            assert peer.recv(4096).strip(b"\n") == b""
            # Who promised beats and sends none is dead after two of them.
        with socket.create_connection((broker.host, broker.port)) as peer:
            peer.settimeout(10)
            peer.sendall(b"STOMP\naccept-version:1.2\nhost:x\nheart-beat:1000,0\n\n\0")
            broker.time.advance("10 s")
            got = b""
            while piece := peer.recv(4096):
                got += piece
            assert b"ERROR" in got


def refuse_all(broker: RunningBroker, tries: list[tuple[str, datetime]]) -> None:
    """Refuse a message of ``/queue/orders`` until it is dead, and note when it came."""
    with stompy.connect(broker.url) as client:
        client.subscribe("/queue/orders", "client-individual", send_acks=False)
        while len(tries) < 8:
            frame = client.recv(timeout=20)
            tries.append((frame["delivery-count"], broker.time.now))
            client.nack(frame)


def test_thirty_days_of_retries_pass_in_one_advance(broker, client) -> None:
    tries: list[tuple[str, datetime]] = []
    consumer = threading.Thread(target=refuse_all, args=(broker, tries))
    consumer.start()
    broker.wait_for(lambda: broker.queue("orders").consumers)
    client.message("/queue/orders", "x", confirm=True)
    broker.time.advance("30 days", settled=True)
    consumer.join()
    (dead,) = broker.queue("DLQ.orders").messages
    assert dead["x-first-death-queue"] == "orders"
    assert [count for count, _ in tries] == [str(count) for count in range(1, 9)]
    minutes = [(when - START) / timedelta(minutes=1) for _, when in tries]
    assert minutes == [0, 0, 1, 2, 3, 4, 5, 6]
    assert broker.time.now == START + timedelta(days=30)
