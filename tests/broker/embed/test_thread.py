"""Embedding: a broker on a thread, and in the caller's own loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading

import pytest

import stompy
import stompy_broker
from stompy.admin import Kind
from stompy_broker.config import load_config
from stompy_broker.store.inspection import inspected


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = {thread.name for thread in threading.enumerate()}
    with stompy_broker.running() as broker:
        assert broker.url == f"stomp://127.0.0.1:{broker.port}"
        with stompy.connect(broker.url) as client:
            client.subscribe("/queue/hello")
            client.message("/queue/hello", b"world")
            frame = client.recv(timeout=5)
            assert frame is not None
            assert frame.text == "world"
            assert broker.connections() == 1
            assert [row.name for row in broker.queues()] == ["hello"]
    assert {thread.name for thread in threading.enumerate()} == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), timeout=1)


def test_a_port_in_use_is_told_to_the_caller() -> None:
    with (
        stompy_broker.running() as broker,
        pytest.raises(OSError, match="in use"),
        stompy_broker.running(port=broker.port),
    ):
        pass


def test_an_exception_in_the_block_still_stops_the_broker() -> None:
    with pytest.raises(KeyError), stompy_broker.running() as broker:
        raise KeyError
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port), timeout=1)


def test_a_name_gives_the_broker_that_runs_already() -> None:
    with stompy_broker.running(name="lab") as broker:
        assert stompy_broker.running(name="lab") is broker
        with stompy_broker.running(name="another") as another:
            assert another.port != broker.port
        other = load_config(overrides={"listen": {"port": 0}, "store": {"data": "elsewhere"}})
        with pytest.raises(ValueError, match=r"'lab' runs already.*stop\(\)"):
            stompy_broker.running(other, name="lab")
    with stompy_broker.running(name="lab") as fresh:
        assert fresh is not broker
        with stompy_broker.running(name="lab", restart=True) as fresher:
            assert not fresh.is_running
            assert stompy_broker.running(name="lab") is fresher


def test_a_stopped_broker_says_so() -> None:
    with stompy_broker.running() as broker:
        assert broker.is_running
    assert not broker.is_running
    assert "stopped" in repr(broker)
    assert "stopped" in broker._repr_html_()
    with pytest.raises(RuntimeError, match="has stopped"):
        broker.queues()
    broker.stop()


def test_a_broker_that_is_forgotten_stops() -> None:
    others = set(threading.enumerate())
    port = stompy_broker.running().port
    gc.collect()
    for thread in set(threading.enumerate()) - others:
        thread.join(5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_broker_that_is_not_stopped_writes_everything_before_the_program_ends(tmp_path) -> None:
    program = f"""
import stompy, stompy_broker
settings = {{"listen": {{"port": 0}}, "store": {{"data": {str(tmp_path)!r}}}}}
broker = stompy_broker.running(stompy_broker.load_config(overrides=settings), name="lab")
with stompy.connect(broker.url) as client:
    for number in range(100):
        client.message("/queue/q", str(number))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with inspected(tmp_path) as inspection:
        (queue,) = inspection.stats().queues
    assert queue.messages == 100


def test_a_notebook_shows_the_broker_and_its_queues() -> None:
    with stompy_broker.running() as broker, stompy.connect(broker.url) as client:
        client.wait_for_receipt(client.message("/queue/<b>", "", receipt=True))
        assert "&lt;b&gt;" in broker._repr_html_()
        assert "&lt;b&gt;" in broker.queues()._repr_html_()
        assert "/queue/&lt;b&gt;" in broker.queues()[0]._repr_html_()


def test_a_blocking_client_works_beside_a_running_loop() -> None:
    """As in a notebook, whose cells run inside a loop."""

    async def cell() -> str:
        with stompy_broker.running() as broker, stompy.connect(broker.url) as client:
            client.subscribe("/queue/q")
            client.message("/queue/q", "beside a loop", confirm=True)
            frame = client.recv(timeout=5)
            assert frame is not None
            return frame.text

    assert asyncio.run(cell()) == "beside a loop"


def test_snapshots_are_rows() -> None:
    with stompy_broker.running() as broker, stompy.connect(broker.url) as client:
        client.message("/queue/q", "", confirm=True)
        (queue,) = broker.snapshot("queues")
        assert (queue.name, queue.ready) == ("q", 1)
        (connection,) = broker.snapshot(Kind.CONNECTIONS)
        assert connection.in_msgs == 1
        assert [row.name for row in broker.snapshot("queue", "q")] == ["q"]
        assert "127.0.0.1" in broker.snapshot("connections")._repr_html_()
        with pytest.raises(ValueError, match="events are no snapshot"):
            broker.snapshot("event")
        with pytest.raises(ValueError, match="nonsense"):
            broker.snapshot("nonsense")


def test_clients_are_told_that_the_broker_stops() -> None:
    with stompy_broker.running() as broker:
        client = stompy.connect(broker.url)
    with pytest.raises(stompy.STOMPError) as caught:
        client.recv(timeout=5)
    assert caught.value.code == "shutting-down"
    client.disconnect()


def test_in_a_loop() -> None:
    async def main() -> None:
        async with stompy_broker.Broker(
            load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}})
        ) as broker:
            reader, writer = await asyncio.open_connection(broker.host, broker.port)
            writer.write(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
            assert (await reader.readline()) == b"CONNECTED\n"
            assert broker.connections == 1
            writer.close()
            await writer.wait_closed()
        await broker.stop()

    asyncio.run(main())


def test_stopping_waits_for_acknowledgements() -> None:
    """What a client acknowledges while the broker stops still counts."""

    async def main() -> None:
        config = load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}})
        broker = stompy_broker.Broker(config)
        await broker.start()
        reader, writer = await asyncio.open_connection(broker.host, broker.port)
        writer.write(
            b"CONNECT\naccept-version:1.2\nhost:/\n\n\0"
            b"SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n\0"
            b"SEND\ndestination:/queue/q\n\nx\0"
        )
        message = await reader.readuntil(b"\n\nx\0")
        (ack,) = (line[4:] for line in message.split(b"\n") if line.startswith(b"ack:"))
        stopping = asyncio.create_task(broker.stop())
        await asyncio.sleep(0)
        writer.write(b"ACK\nid:%b\nreceipt:r\n\n\0" % ack)
        rest = await reader.read()
        assert rest.lstrip(b"\n").startswith(b"RECEIPT\nreceipt-id:r\n")
        assert b"error-code:shutting-down" in rest
        writer.close()
        await stopping
        assert [row.acked for row in broker.queues()] == [1]

    asyncio.run(main())


def test_settings_by_section_and_policies() -> None:
    quick = {"match": "/queue/>", "max_deliveries": 1, "redelivery_delay": 0}
    with stompy_broker.running({"limits": {"body": 1000}}, policy=[quick]) as broker:
        with stompy.connect(broker.url) as client:
            client.message("/queue/q", "x", confirm=True)
            client.subscription("/queue/q").get(timeout=5).nack()
            broker.wait_for(lambda: broker.queue("DLQ.q").ready == 1)
            with pytest.raises(stompy.STOMPError) as caught:
                client.message("/queue/q", "x" * 1001, confirm=True)
            assert caught.value.code == "frame-too-large"


def test_policies_beside_a_configuration() -> None:
    config = load_config(overrides={"listen": {"port": 0}, "store": {"data": ""}})
    rule = stompy_broker.Policy(match="/queue/>", max_length=1, overflow="reject-publish")
    with (
        stompy_broker.running(config, policy=[rule]) as broker,
        stompy.connect(broker.url) as client,
    ):
        client.message("/queue/q", "1", confirm=True)
        with pytest.raises(stompy.STOMPError):
            client.message("/queue/q", "2", confirm=True)


@pytest.mark.parametrize("wrong", ["broker.toml", 61613, [("listen", {})]])
def test_what_is_no_configuration(wrong: object) -> None:
    for start in (stompy_broker.running, stompy_broker.Broker):
        with pytest.raises(TypeError, match=r"load_config"):
            start(wrong)  # type: ignore[operator]


def test_mistakes_in_settings_are_ours_to_tell() -> None:
    with pytest.raises(
        stompy_broker.ConfigError, match=r"^running\(\): limits\.memmory: unknown key"
    ):
        stompy_broker.running({"limits": {"memmory": 1}})
