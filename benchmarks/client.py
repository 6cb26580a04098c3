"""Both clients beside stomp.py and stompman: same broker, same machine, same run.

Each round sends, receives and handles the same messages with all clients, in turn, on fresh queues
of one broker; medians are printed, and their ratios to the fastest peer.

=======  ==========================================================================================
send     one message after another, and the receipt of the last one awaited
receive  mode ``auto``
handle   mode ``client-individual``: each message to a handler, and an ACK when it returned
=======  ==========================================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine
from statistics import median

import stomp
import stompman
from load import Peer, send_frame
from serving import broker, serving

import stompy
from stompy import aio

BODY = b"x" * 100
TEXT = BODY.decode()


def stompy_send(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        start = time.perf_counter()
        for _ in range(count - 1):
            client.message(destination, BODY)
        receipt = client.message(destination, BODY, receipt=True)
        assert receipt is not None
        client.wait_for_receipt(receipt, timeout=60)
        return count / (time.perf_counter() - start)


def stompy_receive(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        client.subscribe(destination)
        left = count
        start = time.perf_counter()
        for frame in client:
            assert frame.Body == BODY
            left -= 1
            if not left:
                break
        return count / (time.perf_counter() - start)


def stompy_handle(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        left = count
        start = time.perf_counter()
        with client.subscription(destination) as subscription:

            def handler(message: stompy.Message) -> None:
                nonlocal left
                assert message.Body == BODY
                left -= 1
                if not left:
                    message.ack()
                    subscription.unsubscribe()

            subscription.handle(handler)
        return count / (time.perf_counter() - start)


async def aio_send(port: int, destination: str, count: int) -> float:
    async with aio.connect(("127.0.0.1", port)) as client:
        start = time.perf_counter()
        for _ in range(count - 1):
            await client.message(destination, BODY)
        await client.message(destination, BODY, confirm=True, timeout=60)
        return count / (time.perf_counter() - start)


async def aio_receive(port: int, destination: str, count: int) -> float:
    async with aio.connect(("127.0.0.1", port)) as client:
        await client.subscribe(destination)
        left = count
        start = time.perf_counter()
        async for frame in client:
            assert frame.Body == BODY
            left -= 1
            if not left:
                break
        return count / (time.perf_counter() - start)


async def aio_handle(port: int, destination: str, count: int) -> float:
    async with aio.connect(("127.0.0.1", port)) as client:
        left = count
        start = time.perf_counter()
        async with client.subscription(destination) as subscription:

            async def handler(message: aio.Message) -> None:
                nonlocal left
                assert message.Body == BODY
                left -= 1
                if not left:
                    await message.ack()
                    await subscription.unsubscribe()

            await subscription.handle(handler)
        return count / (time.perf_counter() - start)


def _stompman(port: int) -> stompman.Client:
    server = stompman.ConnectionParameters(host="127.0.0.1", port=port, login="", passcode="")
    return stompman.Client([server])


async def stompman_send(port: int, destination: str, count: int) -> float:
    async with _stompman(port) as client:
        start = time.perf_counter()
        for _ in range(count - 1):
            await client.send(BODY, destination)
        await client.send(BODY, destination, receipt_timeout=60)
        return count / (time.perf_counter() - start)


async def _stompman_consume(port: int, destination: str, count: int, ack: str) -> float:
    async with _stompman(port) as client:
        left = count
        done = asyncio.Event()

        async def handler(frame: stompman.MessageFrame) -> None:
            nonlocal left
            assert frame.body == BODY
            left -= 1
            if not left:
                done.set()

        start = time.perf_counter()
        subscription = await client.subscribe(
            destination, handler, ack=ack, on_suppressed_exception=lambda error, _: print(error)
        )
        await asyncio.wait_for(done.wait(), 120)
        rate = count / (time.perf_counter() - start)
        await subscription.unsubscribe()
        return rate


async def stompman_receive(port: int, destination: str, count: int) -> float:
    return await _stompman_consume(port, destination, count, "auto")


async def stompman_handle(port: int, destination: str, count: int) -> float:
    return await _stompman_consume(port, destination, count, "client-individual")


class _Listener(stomp.ConnectionListener):
    def __init__(self, left: int) -> None:
        self.left = left
        self.done = threading.Event()
        self.acks: stomp.Connection12 | None = None

    def on_message(self, frame: stomp.utils.Frame) -> None:
        assert frame.body == TEXT
        if self.acks is not None:
            self.acks.ack(frame.headers["ack"])
        self.left -= 1
        if not self.left:
            self.done.set()

    def on_receipt(self, frame: stomp.utils.Frame) -> None:
        self.done.set()


def _stomp_py(port: int, listener: _Listener) -> stomp.Connection12:
    connection = stomp.Connection12([("127.0.0.1", port)])
    connection.set_listener("", listener)
    connection.connect(wait=True)
    return connection


def stomp_py_send(port: int, destination: str, count: int) -> float:
    listener = _Listener(0)
    connection = _stomp_py(port, listener)
    start = time.perf_counter()
    for _ in range(count - 1):
        connection.send(destination, TEXT)
    connection.send(destination, TEXT, receipt="last")
    assert listener.done.wait(60)
    rate = count / (time.perf_counter() - start)
    connection.disconnect()
    return rate


def _stomp_py_consume(port: int, destination: str, count: int, ack: str) -> float:
    listener = _Listener(count)
    connection = _stomp_py(port, listener)
    if ack != "auto":
        listener.acks = connection
    start = time.perf_counter()
    connection.subscribe(destination, "0", ack=ack)
    assert listener.done.wait(120)
    rate = count / (time.perf_counter() - start)
    connection.disconnect()
    return rate


def stomp_py_receive(port: int, destination: str, count: int) -> float:
    return _stomp_py_consume(port, destination, count, "auto")


def stomp_py_handle(port: int, destination: str, count: int) -> float:
    return _stomp_py_consume(port, destination, count, "client-individual")


def fill(port: int, destination: str, count: int) -> None:
    with Peer(port) as producer:
        producer.send(send_frame(destination, BODY) * (count - 1))
        producer.send(send_frame(destination, BODY, b"receipt:last\n"))
        producer.expect(b"RECEIPT")


Run = Callable[[int, str, int], float | Coroutine[None, None, float]]

CLIENTS: dict[str, dict[str, Run]] = {
    "stompy": {"send": stompy_send, "receive": stompy_receive, "handle": stompy_handle},
    "stompy.aio": {"send": aio_send, "receive": aio_receive, "handle": aio_handle},
    "stomp.py": {"send": stomp_py_send, "receive": stomp_py_receive, "handle": stomp_py_handle},
    "stompman": {"send": stompman_send, "receive": stompman_receive, "handle": stompman_handle},
}
OURS = ("stompy", "stompy.aio")


def measured(run: Run, port: int, destination: str, count: int) -> float:
    outcome = run(port, destination, count)
    return outcome if isinstance(outcome, float) else asyncio.run(outcome)


def rounds(port: int, options: argparse.Namespace) -> dict[str, dict[str, int]]:
    kinds = ("send", "receive", "handle")
    rates: dict[str, dict[str, list[float]]] = {k: {c: [] for c in CLIENTS} for k in kinds}
    for number in range(options.rounds):
        for kind in kinds:
            for name, runs in CLIENTS.items():
                destination = f"/queue/{kind}.{name}.{number}"
                if kind != "send":
                    fill(port, destination, options.n)
                rates[kind][name].append(measured(runs[kind], port, destination, options.n))
    return {
        kind: {name: round(median(row)) for name, row in of.items()} for kind, of in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with serving(*broker()) as (port, _):
        table = rounds(port, options)
    if options.json:
        print(json.dumps(table))
        return
    print(
        f"{options.n} messages of {len(BODY)} bytes, medians of {options.rounds} runs, a second\n"
    )
    for kind, row in table.items():
        peer = max(rate for name, rate in row.items() if name not in OURS)
        cells = "".join(f"{name:>12} {row[name]:8,} {row[name] / peer:5.1f}" for name in row)
        print(f"{kind:8}{cells}")


if __name__ == "__main__":
    main()
