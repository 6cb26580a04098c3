"""What must cost the same however much there is beside it, in steps and bytes, not in time."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import tracemalloc
from collections import deque
from contextlib import ExitStack

import pytest
from tests.support.executed import executed
from tests.support.house import Taker, Time, figures, make_head, make_router, take_part
from tests.support.wire import PATIENCE, running_broker

from stompy_broker.cli.run import YOUNG
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.parking import Parking
from stompy_broker.routing.router import Router
from stompy_broker.routing.topics import REMEMBERED, Topics
from stompy_broker.selectors.selector import compile_selector

FEW, MANY = 100, 5000
SLACK = 1.2
"""A container that grows now and then."""


def publish(router: Router, destination: str) -> None:
    router.publish(parse_destination(destination), make_head(destination), b"x")


# -- topics -----------------------------------------------------------------------------------


def with_subscriptions(count: int) -> Router:
    """A router with so many subscriptions of a few shapes, and some that fit ``/topic/a.b``."""
    router = make_router(Time())
    shapes = ("other.{}.*", "o.*.{}", "p.{}.>", "q.{}")
    for number in range(count):
        router.registry.subscribe_topic(shapes[number % 4].format(number))
    for pattern in ("a.b", "a.*", ">"):
        router.registry.subscribe_topic(pattern)
    return router


def steps_of_topics(count: int) -> list[int]:
    router = with_subscriptions(count)
    queues = []
    topic = parse_destination("/topic/a.b")
    head = make_head("/topic/a.b")

    def publish() -> None:
        router.publish(topic, head, b"x")

    return [
        executed(publish),
        executed(lambda: queues.append(router.registry.subscribe_topic("a.>"))),
        executed(publish),  # finds the subscribers anew
        executed(lambda: router.registry.unsubscribe_topic(queues.pop())),
    ]


def test_subscriptions_cost_nothing_to_who_is_not_subscribed_to() -> None:
    for few, many in zip(steps_of_topics(FEW), steps_of_topics(MANY), strict=True):
        assert many <= few * SLACK


def test_more_topics_than_are_remembered_are_not_looked_through() -> None:
    topics, router = Topics(), make_router(Time())
    topics.add(">", router.queue("q"))

    def find(begin: int) -> None:
        for number in range(begin, begin + FEW):
            topics.find(f"n{number}")

    few = executed(lambda: find(0))
    for number in range(FEW, REMEMBERED):
        topics.find(f"n{number}")
    assert executed(lambda: find(REMEMBERED)) <= few * SLACK


# -- queues -----------------------------------------------------------------------------------


def steps_at_backlog(count: int) -> list[int]:
    router = make_router(Time())
    for _ in range(count):
        publish(router, "/queue/q")
    taker = Taker(10)
    return [
        executed(lambda: publish(router, "/queue/q")),
        executed(lambda: take_part(router.queue("q"), taker)),
        executed(lambda: router.queue("q").settle(taker.taken.pop())),
        executed(lambda: router.queue("q").detach(taker, taker.taken)),
    ]


def test_a_backlog_costs_nothing_to_who_sends_and_takes() -> None:
    for few, many in zip(steps_at_backlog(FEW), steps_at_backlog(MANY), strict=True):
        assert many <= few * SLACK


def steps_of_expiry(count: int) -> int:
    """Ten messages end before all others, in a queue with a time to live."""
    time = Time()
    router = make_router(time, Policy(match="/queue/q", message_ttl=60_000))
    for number in range(count):
        if number == 10:
            time.advance(30.0)
            router.note_time()
        publish(router, "/queue/q")
    steps = executed(lambda: time.advance(31.0))
    told = figures(router.queue("q"))
    assert (told.ready, told.expired) == (count - 10, 10)
    return steps


def test_messages_that_end_later_are_not_looked_at() -> None:
    assert steps_of_expiry(MANY) <= steps_of_expiry(FEW) * SLACK


def test_queues_cost_nothing_to_others() -> None:
    def steps(count: int) -> list[int]:
        router = make_router(Time())
        for number in range(count):
            router.queue(f"other.{number}")
        return [executed(lambda: publish(router, "/queue/q")) for _ in range(2)]

    for few, many in zip(steps(FEW), steps(MANY), strict=True):
        assert many <= few * SLACK


# -- the garbage collector --------------------------------------------------------------------

COLLECTED = """
import gc
from stompy_broker.cli.run import tune_collector
tune_collector()
before = [one["collections"] for one in gc.get_stats()]
kept = [[] for _ in range(1_000_000)]
print([one["collections"] - was for one, was in zip(gc.get_stats(), before)])
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="looks at what has stayed in small parts")
def test_the_collector_looks_at_nothing_that_stays() -> None:
    """It stops the broker for as long as there is much."""
    told = subprocess.run(
        [sys.executable, "-c", COLLECTED], check=True, capture_output=True, text=True
    )
    young, middle, old = map(int, told.stdout.strip(" []\n").split(","))
    assert young >= 90
    assert (middle, old) == (0, 0)


YOUNG_REFERENCES = 100_000
"""What the collector may follow in one go: each is a message that was not looked at for long."""


@pytest.mark.parametrize("filled", [False, True], ids=["sorted in", "filled"])
def test_the_collector_follows_little_while_messages_are_parked(filled: bool) -> None:
    """Blocks of messages are young then, and each holds many."""
    head = make_head("/queue/q", color="red")
    fifo = deque(Message(number, head, b"", b"") for number in range(20_000))
    parking = Parking(fifo, [])
    parking.line(compile_selector("color = 'blue'"))
    if filled:
        parking.step(len(fifo), lambda: True)
        parking.line(compile_selector("color = 'red'"))
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        parking.step(30_000, lambda: True)
        made = gc.get_count()[0] - before
        young = [one for one in gc.get_objects(generation=0) if isinstance(one, list) and one]
        followed = sum(len(one) for one in young if isinstance(one[0], Message))
    finally:
        gc.enable()
    assert not parking.busy
    assert followed == 20_000
    assert followed / made * YOUNG < YOUNG_REFERENCES


# -- connections ------------------------------------------------------------------------------

IDLE = 12_800
"""Bytes of an idle connection at most, beside the kernel's."""


def connect(port: int, count: int) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port), PATIENCE)
        client.sendall(b"CONNECT\naccept-version:1.2\nhost:/\nheart-beat:60000,60000\n\n\0")
        assert client.recv(4096).startswith(b"CONNECTED")
        clients.append(client)
    return clients


def test_an_idle_connection_is_small() -> None:
    with running_broker() as broker, ExitStack() as stack:
        for client in connect(broker.port, 10):  # what is made once
            stack.enter_context(client)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for client in connect(broker.port, FEW):
                stack.enter_context(client)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (after - before) / FEW <= IDLE
