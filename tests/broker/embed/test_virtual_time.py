"""Thirty days in a moment: what goes by the time follows when a test moves it."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import stompy
import stompy_broker
from stompy import aio
from stompy_broker import BrokerTimeoutError, RunningBroker, virtual_clock
from stompy_broker.security.auth import hash_password

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


BEATING = {"listen": {"port": 0}, "store": {"data": ""}, "times": {"heart_beat": [100, 100]}}
HOURLY = stompy.Reconnect(delay=3600, max_delay=3600)


@pytest.fixture
def half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that would pause between no time and an hour pause half of it."""
    monkeypatch.setattr("random.random", lambda: 0.5)


class TestClients:
    """Clients in this process that are given the clock."""

    def test_heart_beats_of_both_ends(self) -> None:
        with (
            stompy_broker.running(BEATING, time=START) as broker,
            stompy.connect(broker.url, clock=broker.time, heart_beat=(60_000, 60_000)) as client,
        ):
            before = client.health().traffic
            broker.time.advance("1 h")
            assert client.health().traffic.bytes_sent == before.bytes_sent + 80
            client.message("/queue/q", "x", confirm=True)
            assert client.health().traffic.bytes_received >= before.bytes_received + 80
            assert client.health().epoch == 1

    def test_pauses_before_it_connects_again(self, broker, half_an_hour) -> None:
        with stompy.connect(broker.url, clock=broker.time, reconnect=HOURLY) as client:
            broker.cut()
            broker.wait_for(lambda: client.state.value == "reconnecting")
            broker.time.advance("29 min")
            assert client.health().epoch == 1
            broker.time.advance("1 min")
            client.wait_connected()
            assert client.health().epoch == 2

    def test_the_same_of_a_coroutine(self, half_an_hour) -> None:
        async def test(broker: RunningBroker) -> None:
            async with aio.connect(
                broker.url, clock=broker.time, heart_beat=(60_000, 60_000), reconnect=HOURLY
            ) as client:
                before = client.health().traffic
                await broker.time.aio.advance("1 h")
                assert client.health().traffic.bytes_sent == before.bytes_sent + 80
                assert broker.connections() == 1
                broker.cut()
                await broker.aio.wait_for(lambda: client.state.value == "reconnecting")
                await broker.time.aio.advance("29 min")
                assert client.health().epoch == 1
                await broker.time.aio.advance("1 min")
                await client.wait_connected()
                assert client.health().epoch == 2

        with stompy_broker.running(BEATING, time=START) as broker:
            asyncio.run(test(broker))

    def test_one_that_cannot_do_what_is_due_is_told_of(self, monkeypatch) -> None:
        monkeypatch.setattr(virtual_clock, "CLIENTS_PATIENCE", 0.05)

        async def test(broker: RunningBroker) -> None:
            async with aio.connect(broker.url, clock=broker.time, heart_beat=(60_000, 0)):
                broker.time.advance("1 h")  # which blocks the loop of the client

        with (
            stompy_broker.running(BEATING, time=START) as broker,
            pytest.raises(BrokerTimeoutError, match="its event loop"),
        ):
            asyncio.run(test(broker))


class TestItsLife:
    def test_nothing_is_left_behind(self) -> None:
        gc.collect()
        before = {thread.name for thread in threading.enumerate()}
        with (
            stompy_broker.running(BEATING, time="virtual") as broker,
            stompy.connect(broker.url, clock=broker.time, reconnect=True) as client,
        ):
            client.message("/queue/q", "x", confirm=True)
            broker.time.thaw()
            broker.time.advance("1 day")
        assert {thread.name for thread in threading.enumerate()} == before

    def test_who_moves_the_time_of_a_broker_that_stops_is_told(self) -> None:
        with stompy_broker.running(time=START) as broker:
            errors: list[BaseException] = []

            def move() -> None:
                try:
                    while True:
                        broker.time.advance("300 days")
                except RuntimeError as error:
                    errors.append(error)

            mover = threading.Thread(target=move)
            mover.start()
            broker.wait_for(lambda: broker.time.now > START)
        mover.join()
        assert "stopped" in str(errors[0])

    def test_a_coroutine_that_moves_it_is_told_too(self) -> None:
        async def test() -> None:
            with stompy_broker.running(time=START) as broker:
                moving = asyncio.ensure_future(broker.time.aio.advance("30000 days"))
                await broker.aio.wait_for(lambda: broker.time.now > START)
                await asyncio.to_thread(broker.stop)
                with pytest.raises(RuntimeError, match="stopped"):
                    await moving
                with pytest.raises(RuntimeError, match="stopped"):
                    await broker.time.aio.advance(1)

        asyncio.run(test())

    def test_a_broker_in_real_time_has_none(self) -> None:
        with (
            stompy_broker.running() as broker,
            pytest.raises(RuntimeError, match="passes by itself"),
        ):
            broker.time.advance(1)

    def test_a_broker_of_a_cluster_has_none(self) -> None:
        settings = {"cluster": {"name": "x", "broker": "a"}}
        with pytest.raises((ValueError, stompy_broker.ConfigError)):
            stompy_broker.running(settings, time="virtual")

    def test_in_a_loop_of_ones_own(self) -> None:
        async def test() -> None:
            async with stompy_broker.Broker(time=START) as broker:
                async with aio.connect(broker.url) as client:
                    await client.message(
                        "/queue/q", "x", headers={"x-message-ttl": 60_000}, confirm=True
                    )
                    event = broker.time.next_event
                    assert event is not None
                    assert "expire" in event.what
                    assert await broker.time.run_until_idle() == timedelta(minutes=1)
                    assert broker.queues()[0].ready == 0

        asyncio.run(test())

    def test_a_name_gives_the_broker_whose_time_is_the_same(self) -> None:
        with stompy_broker.running(name="slow", time=START) as broker:
            assert stompy_broker.running(name="slow") is broker
            assert stompy_broker.running(name="slow", time=START) is broker
            with pytest.raises(ValueError, match="other settings"):
                stompy_broker.running(name="slow", time="virtual")

    def test_a_consumer_that_does_not_settle_is_told_of(self, broker, client, monkeypatch) -> None:
        monkeypatch.setattr(virtual_clock, "CLIENTS_PATIENCE", 0.05)
        client.subscribe("/queue/q", "client-individual", send_acks=False)
        client.message("/queue/q", "x")
        client.recv(timeout=5)
        with pytest.raises(BrokerTimeoutError, match="1 deliveries are with clients"):
            broker.time.advance("1 s", settled=True)


class TestLogins:
    def test_who_failed_often_waits_in_this_time(self) -> None:
        settings = {
            "listen": {"port": 0},
            "store": {"data": ""},
            "security": {"allow_anonymous": False},
            "users": {"ann": hash_password("right")},
        }
        with stompy_broker.running(settings, time=START) as broker:

            def log_in(passcode: str) -> None:
                with pytest.raises(stompy.STOMPError):
                    stompy.connect(broker.url, "ann", passcode, timeout=20)

            def log_in_again() -> threading.Thread:
                thread = threading.Thread(target=log_in, args=("wrong",))
                thread.start()
                broker.wait_for(lambda: broker.time.next_event or not thread.is_alive())
                return thread

            while not (last := log_in_again()).is_alive():
                pass
            assert broker.time.now == START
            assert "log" in broker.time.next_event.what
            broker.time.advance("1 h")
            last.join()
            stompy.connect(broker.url, "ann", "right").close()


def work(client: stompy.STOMPClient, tries: list[tuple[str, str, datetime]], clock) -> None:
    """Refuse orders, and take all else, until nothing more comes."""
    while (frame := client.recv(timeout=60)) is not None:
        tries.append((frame.text, frame["message-id"], clock.now))
        (client.nack if frame.text == "order" else client.ack)(frame)


def month() -> list[tuple[str, str, datetime]]:
    """A month of a job each morning in Berlin, and of an order that fails again and again."""
    policy = {
        "match": "/queue/orders",
        "redelivery_delay": 60,
        "redelivery_delay_max": 60,
        "max_deliveries": 9,
    }
    settings = {"listen": {"port": 0}, "store": {"data": ""}, "policy": [policy]}
    tries: list[tuple[str, str, datetime]] = []
    begin = datetime(2030, 3, 1, tzinfo=UTC)
    with stompy_broker.running(settings, time=begin) as broker:
        with stompy.connect(broker.url) as worker, stompy.connect(broker.url) as client:
            worker.subscribe("/queue/orders", "client-individual", send_acks=False)
            worker.subscribe("/queue/jobs", "client-individual", send_acks=False)
            thread = threading.Thread(target=work, args=(worker, tries, broker.time))
            thread.start()
            client.message(
                "/queue/jobs", "job", cron="0 6 * * *", zone="Europe/Berlin", confirm=True
            )
            client.message("/queue/orders", "order", confirm=True)
            assert broker.time.next_event is not None
            broker.time.advance("30 days 12 hours", settled=True)
            assert "scheduled" in broker.time.next_event.what
        thread.join()
    return tries


def test_a_month_of_cron_and_retries_is_the_same_each_time() -> None:
    first = month()
    orders = [when for text, _, when in first if text == "order"]
    jobs = [when for text, _, when in first if text == "job"]
    begin = datetime(2030, 3, 1, tzinfo=UTC)
    assert orders == [begin + timedelta(minutes=n) for n in (0, 0, 1, 2, 3, 4, 5, 6, 7)]
    # On the last day of March the clocks of Berlin go forward.
    winter = [begin + timedelta(days=n, hours=5) for n in range(30)]
    assert jobs == [*winter, begin + timedelta(days=30, hours=4)]
    for _ in range(4):
        assert month() == first


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
