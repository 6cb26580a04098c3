"""A shop on STOMP: orders become bills, once each; what cannot become one is not lost.

Three programs, each started with ``python shop.py NAME --url URL``:

``stock``   answers requests on ``/queue/stock``: how many of something are left
``worker``  takes ``/queue/orders``, asks the stock, and writes to ``/queue/bills``
``order``   sends an order
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

import stompy
from stompy import aio
from stompy.message import Message

ORDERS, BILLS, STOCK = "/queue/orders", "/queue/bills", "/queue/stock"

PATIENCE = 5.0
"""Seconds to wait for the stock's answer."""
PAUSE = 1.0
"""Seconds until an order is looked at again."""


@dataclass(frozen=True)
class Order:
    """What somebody wants."""

    customer: str
    item: str
    count: int = 1

    @classmethod
    def read(cls, message: stompy.STOMPFrame) -> Order:
        """An order from a message; ValueError if there is none in it."""
        content = message.json
        if not isinstance(content, dict):
            raise ValueError("an order is a JSON object")
        try:
            order = cls(**content)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if not isinstance(order.count, int) or order.count < 1:
            raise ValueError(f"nobody can order {order.count!r} of something")
        return order

    @property
    def body(self) -> str:
        return json.dumps(asdict(self))


class Service:
    """Handles the messages of one queue on threads of its own, until it is stopped."""

    queue: str
    concurrency = 1

    def __init__(self, url: str) -> None:
        self.client = stompy.connect(url, reconnect=True)
        # So many as are worked on, and as many again so that nobody has to wait for the next.
        self._subscription = self.client.subscription(self.queue, prefetch=2 * self.concurrency)
        self._thread = threading.Thread(target=self.run)

    def handle(self, message: Message) -> None:
        raise NotImplementedError

    def run(self) -> None:
        """Handle messages until `stop`. One whose handler raises is refused, and comes again."""
        self._subscription.handle(self.handle, concurrency=self.concurrency)

    def stop(self) -> None:
        # Who is at work finishes first: what was done and not acknowledged would be done again.
        self._subscription.unsubscribe(timeout=PATIENCE)
        if self._thread.is_alive():
            self._thread.join()
        self.client.disconnect()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Stock(Service):
    """Knows what is left."""

    queue = STOCK

    def __init__(self, url: str, items: Mapping[str, int]) -> None:
        self.items = dict(items)
        super().__init__(url)

    def handle(self, message: Message) -> None:
        message.reply(str(self.items.get(message.text, 0)))


class Worker(Service):
    """Turns orders into bills."""

    queue = ORDERS
    concurrency = 4

    def __init__(self, url: str, patience: float = PATIENCE, pause: float = PAUSE) -> None:
        self._patience = patience
        self._pause = pause
        super().__init__(url)

    def handle(self, message: Message) -> None:
        try:
            order = Order.read(message)
        except ValueError as error:
            # It will not get better: to the dead letters, with the reason.
            message.nack(requeue=False, reason=str(error))
            return
        # When nobody answers this raises, the order goes back, and is tried again later.
        left = int(self.client.request(STOCK, order.item, timeout=self._patience).text)
        if left < order.count:
            message.nack(delay=self._pause, reason=f"{left} of {order.item} left")
            return
        # Both happen, or neither: never a bill twice, never an order without bill.
        with self.client.transaction() as transaction:
            transaction.message(BILLS, order.body, customer=order.customer)
            message.ack(transaction=transaction.id)


async def place(url: str, *orders: Order) -> None:
    """Send orders from a coroutine, as a web application would; they are on disk afterwards."""
    async with aio.connect(url) as client:
        await client.send_many(ORDERS, [order.body for order in orders])


# -- the command line ----------------------------------------------------------------------------


def serve(service: Service) -> None:
    print(f"{type(service).__name__} at work; Ctrl-C ends")
    try:
        service.run()
    except KeyboardInterrupt:
        service.stop()


def order(url: str, given: argparse.Namespace) -> None:
    with stompy.connect(url) as client:
        wanted = Order(given.customer, given.item, given.count)
        client.message(ORDERS, wanted.body, confirm=True)


PROGRAMS: Mapping[str, Callable[[str, argparse.Namespace], None]] = {
    "stock": lambda url, _: serve(Stock(url, {"spoon": 100, "fork": 2})),
    "worker": lambda url, _: serve(Worker(url)),
    "order": order,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--url", default="stomp://127.0.0.1:61613")
    parser.add_argument("--customer", default="4711")
    parser.add_argument("--item", default="spoon")
    parser.add_argument("--count", type=int, default=1)
    given = parser.parse_args()
    PROGRAMS[given.program](given.url, given)


if __name__ == "__main__":
    main()
