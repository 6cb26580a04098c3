"""What happens to a message that cannot be written, or given up, and to nobody else."""

from __future__ import annotations

import pytest
from tests.support.house import Taker, Time, make_head, make_message, make_router

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.dead_letters import Graves
from stompy_broker.routing.queue import LocalQueue as Queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.store.memory import MemoryStore


class Clumsy(Taker):
    """A consumer that cannot write some messages."""

    def deliver(self, message: Message) -> bool:
        """Take a message, or fail."""
        if message.body == b"poison":
            raise RuntimeError("a fault in writing")
        return super().deliver(message)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize("waits", [True, False])
def test_what_cannot_be_written_is_a_dead_letter(time: Time, auto: bool, waits: bool) -> None:
    """Whether it had waited or came just now; those behind it are delivered."""
    store = MemoryStore(durable=True)
    router = make_router(time, store=store)
    queue, taker, undertaker = router.queue("q"), Clumsy(10, auto=auto), Taker(10)
    router.queue("DLQ.q").attach(undertaker)
    if not waits:
        queue.attach(taker)
    for sequence, body in enumerate((b"one", b"poison", b"two"), 1):
        queue.publish(make_message(sequence, body))
    if waits:
        queue.attach(taker)
    assert [message.body for message in taker.taken] == [b"one", b"two"]
    (dead,) = undertaker.taken
    headers = dead.head.headers()
    assert headers["x-last-death-reason"] == "unwritable"
    assert headers["x-death-info"] == "RuntimeError: a fault in writing"
    for message in () if auto else taker.taken:
        queue.settle(message)
    router.queue("DLQ.q").settle(dead)
    assert (queue.unacked, queue.bytes, router.pressure.used, router.loans.used) == (0, 0, 0, 0)
    assert list(store.restore()) == []


def test_where_there_is_no_place_for_it_it_is_tried_again(time: Time) -> None:
    """A dead-letter queue gives nothing up."""
    queue, taker = make_router(time).queue("DLQ.q"), Clumsy(10)
    queue.attach(taker)
    queue.publish(make_message(1, b"poison"))
    queue.publish(make_message(2))
    assert [message.sequence for message in taker.taken] == [2]
    assert (queue.ready, queue.delayed) == (0, 1)
    queue.detach(taker)
    heir = Taker(10)
    queue.attach(heir)
    time.advance(61.0)
    assert [message.sequence for message in heir.taken] == [1]


def break_graves(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ValueError("a fault in burying")

    monkeypatch.setattr(Graves, "_head", fail)


def give_up(queue: Queue, router_time: Time, way: str) -> None:
    """Have a queue give up its only message, in some way."""
    if way == "nack":
        taker = Taker(1)
        queue.attach(taker)
        queue.settle(taker.taken[0], Rejection(requeue=False))
        queue.detach(taker)
    elif way == "expired":
        router_time.advance(5.0)
    else:
        queue.publish(make_message(2, b"innocent"))


@pytest.mark.parametrize("way", ["nack", "expired", "pushed out"])
def test_what_cannot_be_buried_stays(
    time: Time, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """It is never in no queue, and whoever is in the call does not hear of it."""
    policy = Policy(match="/queue/q", max_length=1, expired_to="/queue/g", overflow_to="/queue/g")
    router = make_router(time, policy)
    queue = router.queue("q")
    head = make_head(**({"ttl": "1000"} if way == "expired" else {}))
    router.publish(parse_destination("/queue/q"), head, b"body")
    break_graves(monkeypatch)
    give_up(queue, time, way)
    assert queue.delayed == 1
    assert "cannot become a dead letter" in caplog.text
    assert (queue.expired, queue.dead_lettered) == (0, 0)
    assert queue.ready == (way == "pushed out")
    monkeypatch.undo()
    taker, undertaker = Taker(5), Taker(5)
    router.queue("g").attach(undertaker)
    queue.attach(taker)
    time.advance(61.0)
    bodies = [message.body for message in taker.taken + undertaker.taken]
    assert bodies.count(b"body") == 1


def test_what_has_expired_on_arrival_and_cannot_be_buried_stays(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = make_router(time, Policy(match="/queue/q", expired_to="/queue/g"))
    break_graves(monkeypatch)
    router.publish(parse_destination("/queue/q"), make_head(expires="1"), b"body")
    assert router.queue("q").delayed == 1
