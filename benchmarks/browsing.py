"""What browsers cost the traffic of a long queue, and how fast they are shown it.

The queue stays as long as it is: what is consumed from its front is sent to its end. With and
without browsers in turn, in one run, so that a noisy machine disturbs both.
"""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import ExitStack
from statistics import median

import load
from serving import broker, form, serving

QUEUE = "/queue/long"
_END = b"\nbrowser:end\n"


class Browsing(threading.Thread):
    """A client that browses again and again until it is told to stop."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._peer = load.Peer(port)
        self.over = False
        self.octets = 0
        self.rounds = 0

    def run(self) -> None:
        """Browse."""
        while not self.over:
            number = b"%d" % self.rounds
            self._peer.send(
                b"SUBSCRIBE\nid:%b\ndestination:%b\nbrowser:true\n\n\0" % (number, QUEUE.encode())
            )
            last = b""
            while not self.over:
                data = self._peer.socket.recv(1 << 20)
                self.octets += len(data)
                if _END in last + data:
                    self.rounds += 1
                    break
                last = data[-len(_END) :]
            self._peer.send(b"UNSUBSCRIBE\nid:%b\n\n\0" % number)


def fill(port: int, waiting: int, body: bytes) -> None:
    """Make the queue as long as it shall be."""
    with load.Peer(port) as producer:
        batch = load.send_frame(QUEUE, body) * 1000
        for _ in range(waiting // 1000):
            producer.send(batch)
        producer.send(load.send_frame("/queue/else", b"x", b"receipt:all\n"))
        producer.expect(b"RECEIPT")


def traffic(port: int, seconds: float) -> float:
    """Messages a second from a producer through the queue to a consumer that settles each."""
    with load.Peer(port) as producer, load.Peer(port) as consumer:
        batch = load.send_frame(QUEUE, b"x" * 100) * 100
        consumer.send(load.subscribe_frame(QUEUE, "client-individual", b""))
        taken, tail, end = 0, b"", time.perf_counter() + seconds
        while time.perf_counter() < end:
            whole, _, tail = (tail + consumer.chunk()).rpartition(b"\0")
            ids = load.ACK_HEADER.findall(whole)
            consumer.send(b"".join([b"ACK\nid:%b\n\n\0" % one for one in ids]))
            for _ in range(taken // 100, (taken + len(ids)) // 100):
                producer.send(batch)
            taken += len(ids)
    return taken / seconds


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=1_000_000, help="messages in the queue")
    parser.add_argument("--browsers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="of traffic, a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"form: {form()}")
    with ExitStack() as stack:
        port, _ = stack.enter_context(serving(*broker()))
        fill(port, options.waiting, b"x" * 100)
        rates: dict[str, list[float]] = {"alone": [], "with browsers": []}
        shown = 0.0
        for _ in range(options.rounds):
            rates["alone"].append(traffic(port, options.seconds))
            browsing = [Browsing(port) for _ in range(options.browsers)]
            for one in browsing:
                one.start()
            time.sleep(1)
            before, begun = sum(one.octets for one in browsing), time.perf_counter()
            rates["with browsers"].append(traffic(port, options.seconds))
            shown += (sum(one.octets for one in browsing) - before) / (time.perf_counter() - begun)
            for one in browsing:
                one.over = True
            for one in browsing:
                one.join(10)
        for name, found in rates.items():
            print(f"{name}: {median(found):,.0f} messages/s")
        print(f"ratio: {median(rates['with browsers']) / median(rates['alone']):.2f}")
        print(f"shown meanwhile: {shown / options.rounds / 1e6:.1f} MB/s")
        single = Browsing(port)
        begun = time.perf_counter()
        single.start()
        while not single.rounds:
            time.sleep(0.01)
        took = time.perf_counter() - begun
        single.over = True
        print(f"one browser, nothing else: {options.waiting / took:,.0f} messages/s")


if __name__ == "__main__":
    main()
