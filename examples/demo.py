"""A broker at work: sample traffic, and a live table of its queues. ``make demo`` runs it.

A shop sends orders. Two workers handle them, Bob more slowly than Ann; each takes an order and
sends a bill in one transaction. One order in a while cannot be read: it is refused with NACK
until it is a dead letter. Thermometers report to a topic, and two subscribers with wildcards
listen.
"""

import argparse
import json
import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import stompy
from stompy_broker import BrokerConfig, Policy, RunningBroker, running

ORDERS, BILLS, WEATHER = "/queue/orders", "/queue/bills", "/topic/weather"
CITIES = ("geneva", "lagos", "lima", "oslo")
GOODS = ("fork", "knife", "spoon")

ONE_IN_POISON = 40
COLUMNS = {
    "published": "sent",
    "ready": "ready",
    "delayed": "delayed",
    "unacked": "unacked",
    "acked": "acked",
    "nacked": "nacked",
    "redelivered": "again",
    "dead_lettered": "dead",
}
"""Counters of a queue, and their headings."""


class Demo:
    """Everybody who takes part, each on a thread with a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stopping = threading.Event()
        self.heard = {"/topic/weather.>": 0, "/topic/weather.*.frost": 0}
        self.bills = 0
        self._random = random.Random(4711)
        parts: list[Callable[[], None]] = [
            self.shop,
            self.thermometers,
            lambda: self.worker(pause=0.01),
            lambda: self.worker(pause=0.08),
            self.accounts,
            *(lambda pattern=pattern: self.listener(pattern) for pattern in self.heard),
        ]
        self._threads = [threading.Thread(target=self._play, args=(part,)) for part in parts]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()

    def _play(self, part: Callable[[], None]) -> None:
        # When the broker goes first there is nothing left to play.
        with suppress(stompy.STOMPError):
            part()

    # -- the parts -------------------------------------------------------------------------

    def shop(self) -> None:
        """Sends orders, now and then one that nobody can read."""
        with stompy.connect(self.url) as client:
            number = 0
            while not self.stopping.wait(self._random.expovariate(80)):
                number += 1
                body = json.dumps({"order": number, "goods": self._random.choice(GOODS)})
                if number % ONE_IN_POISON == 0:
                    body = body[:-5]
                client.message(ORDERS, body, headers={"content-type": "application/json"})

    def worker(self, pause: float) -> None:
        """Turns an order into a bill: both happen, or neither."""
        with stompy.connect(self.url) as client:
            client.subscribe(
                ORDERS, "client-individual", send_acks=False, headers={"prefetch-count": 5}
            )
            while not self.stopping.is_set():
                with suppress(stompy.STOMPTimeout):
                    self._handle(client, client.recv(timeout=0.2), pause)

    def _handle(self, client: stompy.STOMPClient, frame: stompy.STOMPFrame | None, pause: float):
        if frame is None:
            raise client.close_reason or stompy.STOMPConnectionError("the broker has gone")
        try:
            order = frame.json
        except ValueError as error:
            client.send("NACK", id=frame["ack"], reason=str(error))
            return
        self.stopping.wait(pause)
        with client.transaction() as txn:
            txn.message(BILLS, json.dumps({"bill for": order}))
            txn.ack(frame)

    def accounts(self) -> None:
        """Takes the bills, twenty with one ACK."""
        with stompy.connect(self.url) as client:
            client.subscribe(BILLS, "client", send_acks=False)
            while not self.stopping.is_set():
                with suppress(stompy.STOMPTimeout):
                    frame = client.recv(timeout=0.2)
                    if frame is None:
                        return
                    self.bills += 1
                    if self.bills % 20 == 0:
                        client.ack(frame)

    def thermometers(self) -> None:
        """Report to a topic for each city, with a word for how cold it is."""
        with stompy.connect(self.url) as client:
            while not self.stopping.wait(0.02):
                degrees = self._random.gauss(8, 8)
                word = "frost" if degrees < 0 else "mild"
                city = self._random.choice(CITIES)
                client.message(f"{WEATHER}.{city}.{word}", f"{degrees:.1f}")

    def listener(self, pattern: str) -> None:
        """Counts what a pattern brings."""
        with stompy.connect(self.url) as client:
            client.subscribe(pattern)
            while not self.stopping.is_set():
                with suppress(stompy.STOMPTimeout):
                    if client.recv(timeout=0.2) is None:
                        return
                    self.heard[pattern] += 1


def table(broker: RunningBroker, demo: Demo, seconds: float) -> list[str]:
    """The picture of this moment."""
    head = "".join(f"{heading:>8}" for heading in COLUMNS.values())
    lines = [
        f"{broker.url}   {broker.connections()} connections   {seconds:.0f} s   Ctrl-C ends",
        "",
        f"{'queue':<12}{head}",
    ]
    lines += [
        f"{row.name:<12}" + "".join(f"{getattr(row, counter):>8}" for counter in COLUMNS)
        for row in broker.queues()
    ]
    lines.append("")
    lines += [f"{pattern:<24}{count:>6} received" for pattern, count in demo.heard.items()]
    return lines


def watch(broker: RunningBroker, demo: Demo, seconds: float | None) -> None:
    """Draw the picture, in place where that can be done, until the time is over."""
    began = monotonic()
    drawn = 0
    while seconds is None or monotonic() - began < seconds:
        lines = table(broker, demo, monotonic() - began)
        if sys.stdout.isatty():
            up = f"\x1b[{drawn}A" if drawn else ""
            print(up + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J", flush=True)
            drawn = len(lines)
        else:
            print("\n".join((*lines, "")), flush=True)
        demo.stopping.wait(0.5 if sys.stdout.isatty() else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="A broker with sample traffic.")
    parser.add_argument("--seconds", type=float, help="end after so long; default: Ctrl-C ends")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    options = parser.parse_args()
    impatient = Policy(match=ORDERS, max_deliveries=4, redelivery_delay=0.5)
    settings = {"listen": {"port": options.port}, "store": {"data": ""}}  # in memory
    config = BrokerConfig.model_validate(settings)
    with running(config.model_copy(update={"policy": (impatient,)})) as broker:
        demo = Demo(broker.url)
        demo.start()
        try:
            watch(broker, demo, options.seconds)
        except KeyboardInterrupt:
            print()
        finally:
            demo.stop()
    print(f"stopped; {demo.bills} bills were written")


if __name__ == "__main__":
    main()
