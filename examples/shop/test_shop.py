"""The shop, tested with a real broker for each test."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import BILLS, ORDERS, Order, Stock, Worker, place

from stompy import STOMPClient
from stompy_broker import RunningBroker
from stompy_broker.embed.testing import Brokers

SPOON = Order("4711", "spoon")


@pytest.fixture
def stock(stompy_broker: RunningBroker) -> Iterator[Stock]:
    with Stock(stompy_broker.url, {"spoon": 10}) as stock:
        yield stock


@pytest.fixture
def worker(stompy_broker: RunningBroker, stock: Stock) -> Iterator[Worker]:
    with Worker(stompy_broker.url, pause=0.05) as worker:
        yield worker


def bills(broker: RunningBroker) -> list[Order]:
    """What was billed, in order; nothing is taken out."""
    return [Order.read(message) for message in broker.queue(BILLS).messages]


def test_an_order_becomes_a_bill(
    stompy_broker: RunningBroker, stompy_client: STOMPClient, worker: Worker
) -> None:
    stompy_client.message(ORDERS, SPOON.body)
    stompy_broker.join(ORDERS)
    assert bills(stompy_broker) == [SPOON]
    (bill,) = stompy_broker.queue(BILLS).messages
    assert bill["customer"] == "4711"


def test_many_orders_become_one_bill_each(stompy_broker: RunningBroker, worker: Worker) -> None:
    orders = [Order(str(number), "spoon") for number in range(50)]
    asyncio.run(place(stompy_broker.url, *orders))
    stompy_broker.join(ORDERS, count=50)
    assert sorted(bills(stompy_broker), key=lambda bill: int(bill.customer)) == orders


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "an order is a JSON object"),
        ('{"customer": "4711"}', "missing 1 required positional argument: 'item'"),
        ('{"customer": "4711", "item": "spoon", "count": 0}', "nobody can order 0"),
    ],
)
def test_what_is_no_order_becomes_a_dead_letter_at_once(
    stompy_broker: RunningBroker, stompy_client: STOMPClient, worker: Worker, body: str, reason: str
) -> None:
    stompy_client.message(ORDERS, body)
    stompy_broker.join(ORDERS)
    (dead,) = stompy_broker.queue("DLQ.orders").messages
    assert dead.text == body
    assert reason in dead["x-death-info"]
    assert bills(stompy_broker) == []


def test_an_order_waits_until_there_is_enough(
    stompy_broker: RunningBroker, stompy_client: STOMPClient, stock: Stock, worker: Worker
) -> None:
    stock.items["spoon"] = 0
    stompy_client.message(ORDERS, SPOON.body)
    orders = stompy_broker.queue(ORDERS)
    stompy_broker.wait_for(lambda: orders.delayed == 1)
    stock.items["spoon"] = 1
    stompy_broker.join(ORDERS)
    assert bills(stompy_broker) == [SPOON]


def test_without_an_answer_of_the_stock_nothing_is_billed_and_nothing_is_lost(
    stompy_broker: RunningBroker, stompy_client: STOMPClient
) -> None:
    with Worker(stompy_broker.url, patience=0.05):
        stompy_client.message(ORDERS, SPOON.body)
        stompy_broker.join(ORDERS)
    (dead,) = stompy_broker.queue("DLQ.orders").messages
    assert Order.read(dead) == SPOON
    assert dead["x-death-info"] == "NoResponders"
    assert bills(stompy_broker) == []


def test_it_goes_on_when_the_broker_was_away(stompy_start_broker: Brokers, tmp_path: Path) -> None:
    kept = {"store": {"data": str(tmp_path / "data")}}
    broker = stompy_start_broker(**kept)
    with Stock(broker.url, {"spoon": 10}) as stock, Worker(broker.url) as worker:
        stompy_start_broker.stop(broker)
        broker = stompy_start_broker(**kept, listen={"port": broker.port})
        for service in (stock, worker):
            service.client.wait_connected()
        asyncio.run(place(broker.url, SPOON))
        broker.join(ORDERS)
        assert bills(broker) == [SPOON]
