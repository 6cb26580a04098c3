"""The blocking client beside stomp.py: same broker, same machine, same run.

Each round sends and receives the same messages with both clients, in turn, on a fresh queue of one
broker; medians and their ratios are printed. *work* acknowledges each message, *confirm* has each
one confirmed.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from itertools import repeat
from statistics import median

import stomp
from load import Peer, send_frame
from serving import broker, serving

import stompy

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


def stompy_work(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        start = time.perf_counter()
        left = count
        for message in client.subscription(destination, prefetch=1000):
            with message:
                assert message.Body == BODY
            left -= 1
            if not left:
                break
        return count / (time.perf_counter() - start)


def stompy_confirm(port: int, destination: str, count: int) -> float:
    with stompy.connect(("127.0.0.1", port)) as client:
        start = time.perf_counter()
        assert client.send_many(destination, repeat(BODY, count), timeout=60) == count
        return count / (time.perf_counter() - start)


class _Listener(stomp.ConnectionListener):
    def __init__(self, left: int) -> None:
        self.left = left
        self.done = threading.Event()

    def on_message(self, frame: stomp.utils.Frame) -> None:
        assert frame.body == TEXT
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


class _Worker(_Listener):
    connection: stomp.Connection12

    def on_message(self, frame: stomp.utils.Frame) -> None:
        super().on_message(frame)
        self.connection.ack(frame.headers["ack"])


class _Counter(_Listener):
    def on_receipt(self, frame: stomp.utils.Frame) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


def stomp_py_work(port: int, destination: str, count: int) -> float:
    listener = _Worker(count)
    listener.connection = connection = _stomp_py(port, listener)
    start = time.perf_counter()
    connection.subscribe(destination, "0", "client-individual", headers={"prefetch-count": 1000})
    assert listener.done.wait(120)
    rate = count / (time.perf_counter() - start)
    connection.disconnect()
    return rate


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


def stomp_py_receive(port: int, destination: str, count: int) -> float:
    listener = _Listener(count)
    connection = _stomp_py(port, listener)
    start = time.perf_counter()
    connection.subscribe(destination, "0")
    assert listener.done.wait(120)
    rate = count / (time.perf_counter() - start)
    connection.disconnect()
    return rate


def fill(port: int, destination: str, count: int) -> None:
    with Peer(port) as producer:
        producer.send(send_frame(destination, BODY) * (count - 1))
        producer.send(send_frame(destination, BODY, b"receipt:last\n"))
        producer.expect(b"RECEIPT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20_000, help="messages a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    kinds: dict[str, tuple[Callable[[int, str, int], float], ...]] = {
        "receive": (stompy_receive, stomp_py_receive),
        "send": (stompy_send, stomp_py_send),
        "work": (stompy_work, stomp_py_work),
        "confirm": (stompy_confirm, stomp_py_confirm),
    }
    rates: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in kinds}
    with serving(*broker()) as (port, _):
        for number in range(options.rounds):
            for kind, clients in kinds.items():
                for rows, client in zip(rates[kind], clients, strict=True):
                    destination = f"/queue/{kind}.{client.__name__}.{number}"
                    if kind in ("receive", "work"):
                        fill(port, destination, options.n)
                    rows.append(client(port, destination, options.n))
    table = {
        kind: {"stompy": round(median(ours)), "stomp.py": round(median(theirs))}
        for kind, (ours, theirs) in rates.items()
    }
    if options.json:
        print(json.dumps(table))
        return
    print(f"{options.n} messages of {len(BODY)} bytes, medians of {options.rounds} runs\n")
    for kind, row in table.items():
        ratio = row["stompy"] / row["stomp.py"]
        print(
            f"{kind:8} stompy {row['stompy']:9,}/s  stomp.py {row['stomp.py']:9,}/s  {ratio:5.1f}"
        )


if __name__ == "__main__":
    main()
