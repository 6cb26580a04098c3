"""Both clients beside stomp.py and stompman: same broker, same machine, same run.

Each round sends and receives the same messages with all clients, in turn, on fresh queues of one
broker; medians are printed, and their ratios to the fastest peer: messages a second, and with
``--cpu`` messages a second of processor time of the client's process, which is steadier.

=======  ==========================================================================================
send     one message after another, and the receipt of the last one awaited
receive  mode ``auto``
work     mode ``client-individual``, 1000 messages under way, an ACK for each
confirm  a receipt for each message, 256 of them awaited at a time by those who can
=======  ==========================================================================================
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine
from itertools import repeat
from statistics import median

import stomp
import stompman
from load import Peer, send_frame
from serving import broker, form, serving

import stompy
from stompy import aio

BODY = b"x" * 100
TEXT = BODY.decode()
PREFETCH = 1000
WINDOW = 256


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


def stompy_work(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        left = count
        start = time.perf_counter()
        for message in client.subscription(destination, prefetch=PREFETCH):
            with message:
                assert message.Body == BODY
            left -= 1
            if not left:
                break
        return count / (time.perf_counter() - start)


def stompy_confirm(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        start = time.perf_counter()
        assert client.send_many(destination, repeat(BODY, count), WINDOW, timeout=60) == count
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


async def aio_work(port: int, destination: str, count: int) -> float:
    async with aio.connect(("127.0.0.1", port)) as client:
        left = count
        start = time.perf_counter()
        async for message in await client.subscription(destination, prefetch=PREFETCH):
            async with message:
                assert message.Body == BODY
            left -= 1
            if not left:
                break
        return count / (time.perf_counter() - start)


async def aio_confirm(port: int, destination: str, count: int) -> float:
    async with aio.connect(("127.0.0.1", port)) as client:
        start = time.perf_counter()
        bodies = repeat(BODY, count)
        assert await client.send_many(destination, bodies, WINDOW, timeout=60) == count
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
            destination,
            handler,
            ack=ack,
            headers={"prefetch-count": str(PREFETCH)},
            on_suppressed_exception=lambda error, _: print(error),
        )
        await asyncio.wait_for(done.wait(), 120)
        rate = count / (time.perf_counter() - start)
        await subscription.unsubscribe()
        return rate


async def stompman_receive(port: int, destination: str, count: int) -> float:
    return await _stompman_consume(port, destination, count, "auto")


async def stompman_work(port: int, destination: str, count: int) -> float:
    return await _stompman_consume(port, destination, count, "client-individual")


async def stompman_confirm(port: int, destination: str, count: int) -> float:
    async with _stompman(port) as client:
        start = time.perf_counter()
        for first in range(0, count, WINDOW):
            window = range(first, min(first + WINDOW, count))
            await asyncio.gather(
                *(client.send(BODY, destination, receipt_timeout=60) for _ in window)
            )
        return count / (time.perf_counter() - start)


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


class _Counter(_Listener):
    def on_receipt(self, frame: stomp.utils.Frame) -> None:
        self.left -= 1
        if not self.left:
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
    connection.subscribe(destination, "0", ack=ack, headers={"prefetch-count": PREFETCH})
    assert listener.done.wait(120)
    rate = count / (time.perf_counter() - start)
    connection.disconnect()
    return rate


def stomp_py_receive(port: int, destination: str, count: int) -> float:
    return _stomp_py_consume(port, destination, count, "auto")


def stomp_py_work(port: int, destination: str, count: int) -> float:
    return _stomp_py_consume(port, destination, count, "client-individual")


def stomp_py_confirm(port: int, destination: str, count: int) -> float:
    listener = _Counter(count)
    connection = _stomp_py(port, listener)
    start = time.perf_counter()
    for number in range(count):
        connection.send(destination, TEXT, receipt=str(number))
    assert listener.done.wait(120)
    rate = count / (time.perf_counter() - start)
    connection.disconnect()
    return rate


def fill(port: int, destination: str, count: int) -> None:
    with Peer(port) as producer:
        producer.send(send_frame(destination, BODY) * (count - 1))
        producer.send(send_frame(destination, BODY, b"receipt:last\n"))
        producer.expect(b"RECEIPT")


Run = Callable[[int, str, int], float | Coroutine[None, None, float]]

KINDS = ("send", "receive", "work", "confirm")
CLIENTS: dict[str, tuple[Run, ...]] = {
    "stompy": (stompy_send, stompy_receive, stompy_work, stompy_confirm),
    "stompy.aio": (aio_send, aio_receive, aio_work, aio_confirm),
    "stomp.py": (stomp_py_send, stomp_py_receive, stomp_py_work, stomp_py_confirm),
    "stompman": (stompman_send, stompman_receive, stompman_work, stompman_confirm),
}
OURS = ("stompy", "stompy.aio")


def measured(run: Run, port: int, destination: str, count: int, *, cpu: bool) -> float:
    start = time.process_time()
    outcome = run(port, destination, count)
    rate = outcome if isinstance(outcome, float) else asyncio.run(outcome)
    return count / (time.process_time() - start) if cpu else rate


def rounds(port: int, options: argparse.Namespace) -> dict[str, dict[str, int]]:
    rates: dict[str, dict[str, list[float]]] = {k: {c: [] for c in CLIENTS} for k in KINDS}
    for number in range(options.rounds):
        for place, kind in enumerate(KINDS):
            for name, runs in CLIENTS.items():
                destination = f"/queue/{kind}.{name}.{number}"
                if kind in ("receive", "work"):
                    fill(port, destination, options.n)
                rate = measured(runs[place], port, destination, options.n, cpu=options.cpu)
                rates[kind][name].append(rate)
    return {
        kind: {name: round(median(row)) for name, row in of.items()} for kind, of in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-n", type=int, default=20_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--cpu", action="store_true", help="by processor time of the client")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with serving(*broker()) as (port, _):
        table = rounds(port, options)
    if options.json:
        print(json.dumps(table))
        return
    print(
        f"{form()}; "
        f"{options.n} messages of {len(BODY)} bytes, medians of {options.rounds} runs, "
        f"a second{' of processor time of the client' if options.cpu else ''}\n"
    )
    for kind, row in table.items():
        peer = max(rate for name, rate in row.items() if name not in OURS)
        cells = "".join(f"{name:>12} {row[name]:8,} {row[name] / peer:5.1f}" for name in row)
        print(f"{kind:8}{cells}")


if __name__ == "__main__":
    main()
