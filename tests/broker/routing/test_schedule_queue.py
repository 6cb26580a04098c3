"""Messages that wait for their time, with a clock that the test turns."""

from __future__ import annotations

import pytest
from tests.support.house import WALL, Taker, Time, make_router

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind, schedules_of
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import MessageHead
from stompy_broker.routing.firing import Firing
from stompy_broker.routing.interface import Browse, Browsed, Close, Outcome, QueueFigures, Remove
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.router import Router
from stompy_broker.schedules.schedule_spec import CatchUp
from stompy_broker.session.scheduled_send import ScheduledSender
from stompy_broker.session.send_routes import SendRoutes
from stompy_broker.store.memory import MemoryStore

ORIGIN = "/queue/q"
LATER = Destination(DestinationKind.QUEUE, schedules_of(ORIGIN), is_pattern=False)


def open_router(time: Time, *policies: Policy, store: MemoryStore | None = None) -> Router:
    router = make_router(time, *policies, store=store)
    router.firing = ScheduledSender(router, SendRoutes(router.directions), "UTC", CatchUp.ONCE)
    router.registry.restore()
    return router


def send(router: Router, body: str, **headers: str) -> None:
    """SEND a message for later."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    head = MessageHead.from_headers({"destination": ORIGIN, **named})
    router.note_time()
    router.publish(LATER, head, body.encode())


def figures(router: Router, name: str = LATER.name) -> QueueFigures:
    told: list[QueueFigures] = []
    router.queues[name].stats(told.append)
    return told[0]


def bodies(taker: Taker) -> list[str]:
    return [message.body.decode() for message in taker.taken if message.body is not None]


def attach(router: Router, name: str = "q", room: int = 100) -> Taker:
    taker = Taker(room, auto=True)
    queue = router.queue(name)
    queue.attach(taker)
    queue.resume(taker)
    return taker


def test_they_come_in_the_order_of_their_times_and_then_as_they_were_sent() -> None:
    time = Time()
    router = open_router(time)
    taker = attach(router)
    for body, delay in (("c", "3000"), ("a", "1000"), ("d", "3000"), ("b", "2000")):
        send(router, body, x_delay=delay)
    time.advance(0.9)
    assert bodies(taker) == []
    time.advance(0.1)
    assert bodies(taker) == ["a"]
    time.advance(60)
    assert bodies(taker) == ["a", "b", "c", "d"]
    assert figures(router).delayed == 0


def test_the_queue_that_they_are_for_is_there_at_once() -> None:
    router = open_router(Time())
    send(router, "x", x_delay="1000")
    assert {queue.name for queue in router} == {"q"}


def test_nothing_rings_while_nothing_is_due() -> None:
    time = Time()
    router = open_router(time)
    for number in range(100):
        send(router, "x", x_deliver_at=str(WALL + 1_000_000_000 + number))
    rung: list[float] = []
    run = time.clock.run
    for _ in range(10):
        time.now += 1
        run()
        rung.append(time.now)
    assert figures(router).delayed == 100


def test_what_was_kept_goes_on_and_what_was_missed_comes_at_once() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = open_router(time, store=store)
    send(router, "a", x_delay="1000")
    send(router, "b", x_delay="5000")
    later = Time()
    later.now = 2.0
    again = open_router(later, store=store)
    assert figures(again).delayed == 2
    taker = attach(again)
    later.advance(0)
    assert bodies(taker) == ["a"]
    later.advance(2.9)
    assert bodies(taker) == ["a"]
    later.advance(0.1)
    assert bodies(taker) == ["a", "b"]
    assert list(store.restore()) == []


@pytest.mark.parametrize("persistent", ["true", "false"])
def test_only_what_persists_is_kept(persistent: str) -> None:
    store = MemoryStore(durable=True)
    router = open_router(Time(), store=store)
    send(router, "x", x_delay="1000", persistent=persistent)
    kept = [(one.destination, one.due) for one in store.restore()]
    assert kept == ([(str(LATER), WALL + 1000)] if persistent == "true" else [])


def test_time_to_live_counts_from_when_it_is_due() -> None:
    time = Time()
    router = open_router(time)
    send(router, "x", x_delay="10000", ttl="1000")
    time.advance(10.5)
    assert figures(router, "q").ready == 1
    time.advance(1)
    assert (figures(router, "q").ready, figures(router, "q").expired) == (0, 1)


def test_what_would_end_before_its_time_is_expired_at_once() -> None:
    time = Time()
    router = open_router(time, Policy(match="/queue/q", expired_to="dead-letter"))
    send(router, "x", x_delay="10000", expires=str(WALL + 5000))
    assert (figures(router).delayed, figures(router).expired) == (0, 1)
    taker = attach(router, "DLQ.q")
    assert bodies(taker) == ["x"]
    headers = taker.taken[0].head.headers()
    assert headers["x-last-death-reason"] == "expired"
    assert headers["x-last-death-queue"] == "q"
    assert "x-delay" not in headers


def test_what_a_full_queue_refuses_when_it_is_due_is_a_dead_letter() -> None:
    time = Time()
    full = Policy(match="/queue/q", max_length=1, overflow="reject-publish")
    router = open_router(time, full)
    for body in "abc":
        send(router, body, x_delay="1000")
    assert figures(router).delayed == 3  # not counted before
    time.advance(1)
    assert figures(router, "q").ready == 1
    taker = attach(router, "DLQ.q")
    assert bodies(taker) == ["b", "c"]
    headers = taker.taken[0].head.headers()
    assert headers["x-last-death-reason"] == "maxlen"
    assert headers["x-last-death-queue"] == "q"
    assert headers["scheduled-at"] == str(WALL + 1000)


def test_it_ends_with_its_queue_and_keeps_it_from_ending() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = open_router(time, store=store)
    send(router, "x", x_delay="1000000000")
    time.advance(301)
    time.advance(301)
    assert {queue.name for queue in router} == {"q"}
    router.registry.delete_queue(router.queues["q"], "a test")
    assert router.queues == {}
    assert list(store.restore()) == []


def test_an_idle_one_ends_like_others() -> None:
    time = Time()
    router = open_router(time)
    send(router, "x", x_delay="1000")
    taker = attach(router)
    time.advance(1)
    assert bodies(taker) == ["x"]
    for _ in range(3):
        time.advance(301)
    assert list(router.queues) == ["q"]


def test_messages_are_looked_at_and_taken_out() -> None:
    router = open_router(Time())
    for body in "abc":
        send(router, body, x_delay="1000")
    queue, seen = router.queues[LATER.name], list[Browsed]()
    queue.browse(Browse(states=frozenset(MessageState), bodies=1 << 20), seen.append)
    assert [message.body for message in seen[0].messages] == [b"a", b"b", b"c"]
    assert set(seen[0].states) == {MessageState.SCHEDULED}
    assert seen[0].due == (WALL + 1000,) * 3
    queue.browse(Browse(states=frozenset((MessageState.READY,))), seen.append)
    assert seen[1].messages == []
    outcomes: list[Outcome] = []
    queue.control(Remove(frozenset((seen[0].messages[0].sequence,))), outcomes.append)
    assert (outcomes, figures(router).delayed) == ([1], 2)


def test_nobody_consumes_from_it() -> None:
    router = open_router(Time())
    send(router, "x", x_delay="1000")
    answers: list[ProtocolError | None] = []

    def take(error: ProtocolError | None = None, /) -> None:
        answers.append(error)

    router.queues[LATER.name].attach(Taker(1), take)
    assert answers[0] is not None
    assert answers[0].error_code is ErrorCode.BAD_DESTINATION


def test_it_does_not_end_while_something_waits() -> None:
    router, outcomes = open_router(Time()), list[Outcome]()
    send(router, "x", x_delay="1000")
    router.queues[LATER.name].control(Close(unused=0.0), outcomes.append)
    assert isinstance(outcomes[0], ProtocolError)
    router.queues[LATER.name].control(Close(), outcomes.append)
    assert outcomes[1] == 1


def test_the_wall_decides_and_never_early() -> None:
    time = Time()
    router = make_router(time)
    behind = 0
    router.wall = lambda: WALL + int(time.now * 1000) - behind
    router.firing = ScheduledSender(router, SendRoutes(router.directions), "UTC", CatchUp.ONCE)
    taker = attach(router)
    send(router, "x", x_delay="1000")
    behind = 500  # the clock was corrected
    time.advance(1)
    assert bodies(taker) == []
    time.advance(0.5)
    assert bodies(taker) == ["x"]


class Faulty(Firing):
    """Cannot send anything."""

    def fire(self, *_: object) -> bool:
        raise RuntimeError("a fault")


def test_what_cannot_be_sent_now_is_tried_again() -> None:
    time = Time()
    router = open_router(time)
    taker = attach(router)
    send(router, "x", x_delay="1000")
    sender, router.firing = router.firing, Faulty()
    time.advance(1)
    assert figures(router).delayed == 1
    router.firing = sender
    time.advance(60)
    assert bodies(taker) == ["x"]
