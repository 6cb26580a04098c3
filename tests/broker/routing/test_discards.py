"""What happens to a message that cannot be written, or given up, and to nobody else."""

from __future__ import annotations

import pytest
from tests.support.house import (
    Taker,
    Time,
    figures,
    make_head,
    make_message,
    make_router,
    take_part,
)

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.dead_letters import DeadLetters
from stompy_broker.routing.queue import LocalQueue
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
    take_part(router.queue("DLQ.q"), undertaker)
    if not waits:
        take_part(queue, taker)
    for sequence, body in enumerate((b"one", b"poison", b"two"), 1):
        queue.publish(make_message(sequence, body))
    if waits:
        take_part(queue, taker)
    assert [message.body for message in taker.taken] == [b"one", b"two"]
    (dead,) = undertaker.taken
    headers = dead.head.headers()
    assert headers["x-last-death-reason"] == "unwritable"
    assert headers["x-death-info"] == "RuntimeError: a fault in writing"
    for message in () if auto else taker.taken:
        queue.settle(message)
    router.queue("DLQ.q").settle(dead)
    assert (
        figures(queue).unacked,
        figures(queue).bytes,
        router.memory.used,
        router.loans.used,
    ) == (0, 0, 0, 0)
    assert list(store.restore()) == []


def test_where_there_is_no_place_for_it_it_is_tried_again(time: Time) -> None:
    """A dead-letter queue gives nothing up."""
    queue, taker = make_router(time).queue("DLQ.q"), Clumsy(10)
    take_part(queue, taker)
    queue.publish(make_message(1, b"poison"))
    queue.publish(make_message(2))
    assert [message.sequence for message in taker.taken] == [2]
    assert (figures(queue).ready, figures(queue).delayed) == (0, 1)
    queue.detach(taker)
    heir = Taker(10)
    take_part(queue, heir)
    time.advance(61.0)
    assert [message.sequence for message in heir.taken] == [1]


def break_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ValueError("a fault in burying")

    monkeypatch.setattr(DeadLetters, "_head", fail)


def give_up(queue: LocalQueue, router_time: Time, way: str) -> None:
    """Have a queue give up its only message, in some way."""
    if way == "nack":
        taker = Taker(1)
        take_part(queue, taker)
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
    break_dead_letters(monkeypatch)
    give_up(queue, time, way)
    assert figures(queue).delayed == 1
    assert "cannot become a dead letter" in caplog.text
    assert (figures(queue).expired, figures(queue).dead_lettered) == (0, 0)
    assert figures(queue).ready == (way == "pushed out")
    monkeypatch.undo()
    taker, undertaker = Taker(5), Taker(5)
    take_part(router.queue("g"), undertaker)
    take_part(queue, taker)
    time.advance(61.0)
    bodies = [message.body for message in taker.taken + undertaker.taken]
    assert bodies.count(b"body") == 1


def test_what_has_expired_on_arrival_and_cannot_be_buried_stays(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = make_router(time, Policy(match="/queue/q", expired_to="/queue/g"))
    break_dead_letters(monkeypatch)
    router.publish(parse_destination("/queue/q"), make_head(expires="1"), b"body")
    assert figures(router.queue("q")).delayed == 1
