"""A broker at work, and the monitor that shows it. ``make demo`` runs it.

A shop sends orders. Two workers handle them, Bob more slowly than Ann; each takes an order and
sends a bill in one transaction. One order in a while cannot be read: it is refused with NACK
until it is a dead letter; some are too late. Labels are printed more slowly than they are ordered,
and nobody reads the newsletter. At night the books are closed in one long transaction.
Thermometers report to a topic: two subscribers with wildcards listen, and an archive that comes
now and then has a durable subscription.

The monitor logs in as ``ops``, who may do everything. Without a terminal it prints the queues.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import stompy
from stompy_broker import BrokerConfig, Policy, load_config, running
from stompy_broker.security.auth import hash_password

ORDERS, BILLS, WEATHER = "/queue/orders", "/queue/bills", "/topic/weather"
CITIES = ("geneva", "lagos", "lima", "oslo")
GOODS = ("fork", "knife", "spoon")

LABELS, NEWS, LEDGER = "/queue/labels", "/queue/newsletter", "/queue/ledger"

PASSCODE = "demo"
PEOPLE = ("shop", "ann", "bob", "accounts", "weather", "listener", "printer", "night", "archive")
ONE_IN_POISON = 40
ONE_IN_LATE = 90


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
            lambda: self.worker("ann", pause=0.01),
            lambda: self.worker("bob", pause=0.08),
            self.accounts,
            self.printer,
            self.night,
            self.archive,
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

    def connect(self, who: str) -> stompy.STOMPClient:
        return stompy.connect(self.url, who, PASSCODE, headers={"client-id": who})

    # -- the parts -------------------------------------------------------------------------

    def shop(self) -> None:
        """Sends orders, now and then one that nobody can read, or that comes too late."""
        with self.connect("shop") as client:
            number = 0
            while not self.stopping.wait(self._random.expovariate(80)):
                number += 1
                body = json.dumps({"order": number, "goods": self._random.choice(GOODS)})
                if number % ONE_IN_POISON == 0:
                    body = body[:-5]
                headers = {"content-type": "application/json", "order": str(number)}
                if number % ONE_IN_LATE == 0:
                    headers["ttl"] = "1"
                client.message(ORDERS, body, headers=headers)
                if number % 20 == 0:
                    client.message(LABELS, f"label for order {number}")
                if number % 200 == 0:
                    client.message(NEWS, "Forks: two for the price of three!")

    def worker(self, who: str, pause: float) -> None:
        """Turns an order into a bill: both happen, or neither."""
        with self.connect(who) as client:
            client.subscribe(
                ORDERS, "client-individual", send_acks=False, headers={"prefetch-count": 5}
            )
            while not self.stopping.is_set():
                with suppress(stompy.STOMPTimeout):
                    self._handle(client, client.recv(timeout=0.2), pause)

    def _handle(
        self, client: stompy.STOMPClient, frame: stompy.STOMPFrame | None, pause: float
    ) -> None:
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
        with self.connect("accounts") as client:
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
        with self.connect("weather") as client:
            while not self.stopping.wait(0.02):
                degrees = self._random.gauss(8, 8)
                word = "frost" if degrees < 0 else "mild"
                city = self._random.choice(CITIES)
                client.message(f"{WEATHER}.{city}.{word}", f"{degrees:.1f}")

    def listener(self, pattern: str) -> None:
        """Counts what a pattern brings."""
        with self.connect("listener") as client:
            client.subscribe(pattern)
            while not self.stopping.is_set():
                with suppress(stompy.STOMPTimeout):
                    if client.recv(timeout=0.2) is None:
                        return
                    self.heard[pattern] += 1

    def printer(self) -> None:
        """Prints a label in a second: a slow consumer, with ten labels in its hands."""
        with self.connect("printer") as client:
            client.subscribe(
                LABELS, "client-individual", send_acks=False, headers={"prefetch-count": 10}
            )
            while not self.stopping.wait(1):
                with suppress(stompy.STOMPTimeout):
                    frame = client.recv(timeout=0.1)
                    if frame is None:
                        return
                    client.ack(frame)

    def night(self) -> None:
        """Closes the books: one transaction that stays open for a minute."""
        with self.connect("night") as client:
            while not self.stopping.is_set():
                with client.transaction("close-the-books") as txn:
                    for line in range(120):
                        txn.message(LEDGER, f"line {line}")
                        if self.stopping.wait(0.5):
                            break

    def archive(self) -> None:
        """Comes for two seconds in ten; what it misses waits for it."""
        while not self.stopping.is_set():
            with self.connect("archive") as client:
                client.subscribe(
                    "/topic/weather.>", headers={"activemq.subscriptionName": "weather"}
                )
                self.stopping.wait(2)
            self.stopping.wait(8)


def monitor(url: str, seconds: float | None) -> int:
    """The dashboard in this terminal; without one, a table of the queues each second."""
    command = [sys.executable, "-m", "stompy_monitor", url, "--login", "ops"]
    screen = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if not screen:
        sets = max(1, round(seconds or 0)) if seconds else 0
        command += ["--watch", str(sets), "--kind", "queues"]
    process = subprocess.Popen(command, env={**os.environ, "STOMPY_PASSCODE": PASSCODE})
    try:
        return process.wait(seconds if screen else None)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        return 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def config(port: int) -> BrokerConfig:
    """Everybody has a name and the same passcode; orders die after four attempts."""
    known = hash_password(PASSCODE)
    settings = {
        "listen": {"port": port},
        "store": {"data": ""},  # in memory
        "users": dict.fromkeys((*PEOPLE, "ops"), known),
        "roles": {"admin": ["ops"]},
    }
    impatient = Policy(match=ORDERS, max_deliveries=4, redelivery_delay=0.5)
    return load_config(overrides=settings).model_copy(update={"policy": (impatient,)})


def main() -> int:
    parser = argparse.ArgumentParser(description="A broker with sample traffic, and its monitor.")
    parser.add_argument("--seconds", type=float, help="end after so long; default: q ends")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    options = parser.parse_args()
    with running(config(options.port)) as broker:
        demo = Demo(broker.url)
        demo.start()
        try:
            code = monitor(broker.url, options.seconds)
        finally:
            demo.stop()
    print(f"stopped; {demo.bills} bills were written")
    return code


if __name__ == "__main__":
    sys.exit(main())
