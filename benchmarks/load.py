"""A load generator for STOMP brokers on the loopback interface: raw sockets, prepared bytes.

It has to cost less than the broker it measures, so frames are built before the clock starts and
consumers count NULs instead of reading frames; bodies therefore hold none.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGE_SIZE")
ACK_HEADER = re.compile(rb"\nack:([^\n]*)\n")
CHUNK = 256 * 1024
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """One measured run."""

    messages: int
    seconds: float
    cpu_seconds: float
    cpu_each: tuple[float, ...] = ()
    """If there are several processes, of each of them."""

    @property
    def rate(self) -> float:
        return self.messages / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.messages / max(self.cpu_seconds, 1e-3)


class Peer:
    """A connected STOMP 1.2 peer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.send(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        self.connected = self.expect(b"CONNECTED")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def chunk(self) -> bytes:
        data = self.socket.recv(CHUNK)
        if not data:
            raise EOFError("the broker closed the connection")
        if b"ERROR\n" in data:
            raise RuntimeError(f"the broker says {data[data.index(b'ERROR') :][:200]!r}")
        return data

    def frame(self) -> bytes:
        while b"\0" not in self._buffer:
            self._buffer += self.chunk()
        frame, _, self._buffer = self._buffer.partition(b"\0")
        return frame.lstrip(b"\n")

    def expect(self, command: bytes) -> bytes:
        frame = self.frame()
        if not frame.startswith(command):
            raise RuntimeError(f"expected {command!r}, got {frame[:200]!r}")
        return frame

    def subscribe(self, destination: str, ack: str = "auto", extra: bytes = b"") -> None:
        self.send(subscribe_frame(destination, ack, b"receipt:s\n" + extra))
        self.expect(b"RECEIPT")

    def leave(self) -> None:
        """Wait until all that was sent has been dealt with."""
        self.send(b"DISCONNECT\nreceipt:bye\n\n\0")
        self.expect(b"RECEIPT")

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def subscribe_frame(destination: str, ack: str, extra: bytes = b"") -> bytes:
    return b"SUBSCRIBE\nid:0\ndestination:%b\nack:%b\n%b\n\0" % (
        destination.encode(),
        ack.encode(),
        extra,
    )


def send_frame(destination: str, body: bytes, extra: bytes = b"") -> bytes:
    return b"SEND\ndestination:%b\ncontent-type:text/plain\n%bcontent-length:%d\n\n%b\0" % (
        destination.encode(),
        extra,
        len(body),
        body,
    )


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, by the clock that Linux has for each."""
    return time.clock_gettime(~pid << 3 | 2)


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE


def measured(pid: int | Sequence[int], messages: int, work: Callable[[], None]) -> Result:
    """Time some work, and the processor time of a broker for it, or of several processes."""
    pids = (pid,) if isinstance(pid, int) else pid
    before, clock = [cpu_seconds(one) for one in pids], time.perf_counter()
    work()
    seconds = time.perf_counter() - clock
    each = tuple(cpu_seconds(one) - then for one, then in zip(pids, before, strict=True))
    return Result(messages, seconds, sum(each), each)


def _consume(peer: Peer, count: int, *, acks: bool, receipts: bool = False) -> None:
    """Take so many messages; if asked to, answer each with an ACK, to the end."""
    tail, answer = b"", b"ACK\nid:%b\nreceipt:a\n\n\0" if receipts else b"ACK\nid:%b\n\n\0"
    if receipts:
        count *= 2
    while count > 0:
        data = peer.chunk()
        count -= data.count(b"\0")
        if acks:
            whole, _, rest = (tail + data).rpartition(b"\0")
            tail = rest
            ids = ACK_HEADER.findall(whole)
            if ids:
                peer.send(b"".join([answer % ack_id for ack_id in ids]))
    if acks:
        peer.leave()


def take_and_settle(peer: Peer, count: int) -> None:
    """Take so many messages, and answer each with an ACK."""
    _consume(peer, count, acks=True)


def flow(  # noqa: PLR0913  # each says one thing about the load
    port: int,
    pid: int | Sequence[int],
    destination: str,
    messages: int,
    *,
    body: bytes = b"x" * 100,
    consumers: int = 1,
    ack: str = "auto",
    extra: bytes = b"",
    asks: bytes = b"",
) -> Result:
    """One producer to so many consumers, as fast as it goes; counts deliveries.

    ``extra`` are header lines to add; ``%d`` in them becomes the number of the message. ``asks``
    are header lines to add to each SUBSCRIBE.
    """
    copies = consumers if destination.startswith("/topic/") else 1
    if b"%d" in extra:
        blob = b"".join([send_frame(destination, body, extra % i) for i in range(messages)])
    else:
        blob = send_frame(destination, body, extra) * messages
    takers = [Peer(port) for _ in range(consumers)]
    with Peer(port) as producer, ThreadPoolExecutor(consumers) as pool:
        for taker in takers:
            taker.subscribe(destination, ack, asks)

        def work() -> None:
            taking = [
                pool.submit(_consume, taker, messages, acks=ack != "auto") for taker in takers
            ]
            producer.send(blob)
            for taken in taking:
                taken.result()

        result = measured(pid, messages * copies, work)
    for taker in takers:
        taker.close()
    return result


def durable(
    port: int,
    pid: int | Sequence[int],
    destination: str,
    messages: int,
    *,
    window: int,
    body: bytes = b"x" * 100,
    extra: bytes = b"",
    receipts: bool = False,
) -> tuple[Result, Result]:
    """One sender of persistent messages with a receipt each, at most ``window`` of them awaited.

    Gives two results: sending until the last receipt, and then taking the messages until the last
    of their ACKs has been dealt with. ``extra`` are header lines for every SEND and the SUBSCRIBE;
    with ``%d`` in them, which becomes the number of the message, for SEND alone. ``receipts`` asks
    for one for each ACK.
    """
    lines = b"%bpersistent:true\nreceipt:%%d\n" % extra
    times = lines.count(b"%d")
    frames = [send_frame(destination, body, lines % ((i,) * times)) for i in range(messages)]
    extra = b"" if b"%d" in extra else extra

    def send(sender: Peer) -> None:
        sent = answered = 0
        while answered < messages:
            upto = min(messages, answered + window)
            if sent < upto:
                sender.send(b"".join(frames[sent:upto]))
                sent = upto
            answered += sender.chunk().count(b"\0")

    def take(taker: Peer) -> None:
        taker.send(subscribe_frame(destination, "client-individual", extra))
        _consume(taker, messages, acks=True, receipts=receipts)

    with Peer(port) as sender, Peer(port) as taker:
        sending = measured(pid, messages, lambda: send(sender))
        return sending, measured(pid, messages, lambda: take(taker))


def fill(port: int, pid: int, destination: str, messages: int, body: bytes) -> float:
    """Bytes of the broker's memory that each waiting message costs."""
    before = resident_bytes(pid)
    batch = send_frame(destination, body) * 1000
    with Peer(port) as producer:
        for _ in range(messages // 1000):
            producer.send(batch)
        producer.send(send_frame(destination, body, b"receipt:last\n"))
        producer.expect(b"RECEIPT")
        return (resident_bytes(pid) - before) / messages


def latency(port: int, destination: str, *, rate: int, seconds: float) -> list[float]:
    """One-way times in milliseconds, sorted, of messages sent at a steady pace."""
    count = int(rate * seconds)
    times: list[float] = []
    with Peer(port) as producer, Peer(port) as consumer:
        consumer.subscribe(destination)

        def take() -> None:
            while len(times) < count:
                frame = consumer.frame()
                sent = int(frame.rpartition(b"\n")[2])
                times.append((time.perf_counter_ns() - sent) / 1e6)

        taker = threading.Thread(target=take)
        taker.start()
        start = time.perf_counter()
        for i in range(count):
            pause = start + i / rate - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            producer.send(send_frame(destination, b"%d" % time.perf_counter_ns()))
        taker.join()
    return sorted(times)
