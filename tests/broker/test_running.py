"""Embedding: a broker on a thread, and in the caller's own loop."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading

import pytest

import stompy
import stompy_broker
from stompy_broker.config import load_config


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
        await reader.readuntil(b"\n\nx\0")
        stopping = asyncio.create_task(broker.stop())
        await asyncio.sleep(0)
        writer.write(b"ACK\nid:1-1\nreceipt:r\n\n\0")
        rest = await reader.read()
        assert rest.lstrip(b"\n").startswith(b"RECEIPT\nreceipt-id:r\n")
        assert b"error-code:shutting-down" in rest
        writer.close()
        await stopping
        assert [row.acked for row in broker.queues()] == [1]

    asyncio.run(main())
