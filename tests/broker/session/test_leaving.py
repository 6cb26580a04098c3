"""What clients leave behind: in steps, in order, whatever fails, and all of it before a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.support.house import Time
from tests.support.wire import Peer, running_broker, until

from stompy_broker.broker import Broker
from stompy_broker.session.leaving import AT_ONCE, Leaving

MANY = 3 * AT_ONCE


def steps(name: str, count: int, done: list[str]) -> Iterator[None]:
    for _ in range(count):
        done.append(name)
        yield


def test_others_have_their_turn_in_between() -> None:
    time, done = Time(), list[str]()
    leaving = Leaving(time.clock)
    leaving.add(steps("first", AT_ONCE + 1, done))
    leaving.add(steps("second", AT_ONCE, done))
    assert done == []
    sizes = []
    for _ in range(3):
        time.advance(0.01)
        sizes.append(len(done))
    assert sizes == [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1]
    assert done == ["first"] * (AT_ONCE + 1) + ["second"] * AT_ONCE
    time.advance(0.01)
    leaving.add(steps("third", 1, done))
    time.advance(0.01)
    assert done[-1] == "third"


def test_all_is_finished_before_a_stop() -> None:
    time, done = Time(), list[str]()
    leaving = Leaving(time.clock)
    leaving.add(steps("first", MANY, done))
    leaving.add(steps("second", MANY, done))
    leaving.finish()
    assert len(done) == 2 * MANY


def test_who_fails_keeps_nobody_up() -> None:
    def fails() -> Iterator[None]:
        yield
        raise RuntimeError("a fault")

    time, done = Time(), list[str]()
    leaving = Leaving(time.clock)
    leaving.add(fails())
    leaving.add(steps("next", 1, done))
    for _ in range(2):
        time.advance(10.0)
    assert done == ["next"]


def test_a_client_with_many_subscriptions_leaves_nothing_behind() -> None:
    with running_broker() as broker:
        peer = Peer.open(broker.port)
        for number in range(MANY):
            peer.send(f"SUBSCRIBE\nid:{number}\ndestination:/topic/t.{number}.>\n\n\0")
        peer.send("SEND\ndestination:/queue/kept\n\nx\0")
        peer.send("SUBSCRIBE\nid:q\nack:client\ndestination:/queue/kept\n\n\0")
        peer.expect("MESSAGE")
        peer.close()

        def listeners() -> int:
            return broker._ask(lambda inner: sum(map(topic_of(inner), range(MANY))))

        def topic_of(inner: Broker) -> Callable[[int], int]:
            return lambda number: len(inner._router.topics.match(f"t.{number}.x"))

        until(lambda: broker.connections() == 0, "it to go")
        until(lambda: not listeners(), "its subscriptions to end")
        until(lambda: broker.queues()[0].ready == 1, "its message to come back")
