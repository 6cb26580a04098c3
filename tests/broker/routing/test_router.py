"""From destinations to queues: topics, replies, dead letters, idle queues."""

from __future__ import annotations

from tests.support.house import WALL, Taker, Time, make_head, make_router

from stompy_broker.destination import Destination, parse_destination
from stompy_broker.message import SharedMessage
from stompy_broker.policy import Policy
from stompy_broker.routing.queue import Rejection


def to(text: str) -> Destination:
    return parse_destination(text)


def test_sequences_grow_over_restarts() -> None:
    time = Time()
    first, taker = make_router(time), Taker(10)
    first.queue("q").attach(taker)
    first.publish(to("/queue/q"), make_head(), b"")
    first.publish(to("/queue/q"), make_head(), b"")
    time.advance(0.001)
    later = make_router(time)
    later.queue("q").attach(taker)
    later.publish(to("/queue/q"), make_head(), b"")
    sequences = [message.sequence for message in taker.taken]
    assert sequences == sorted(set(sequences))


def test_a_topic_reaches_every_subscriber_with_one_tail() -> None:
    router, takers = make_router(Time()), [Taker(10, auto=True) for _ in range(3)]
    for taker, pattern in zip(takers, ("a.b", "a.*", ">"), strict=True):
        router.subscribe_topic(pattern).attach(taker)
    router.publish(to("/topic/a.b"), make_head("/topic/a.b"), b"x")
    router.publish(to("/topic/a.c"), make_head("/topic/a.c"), b"y")
    assert [[m.body for m in taker.taken] for taker in takers] == [
        [b"x"],
        [b"x", b"y"],
        [b"x", b"y"],
    ]
    assert isinstance(takers[0].taken[0], SharedMessage)
    assert len({id(taker.taken[0]) for taker in takers}) == 1


def test_what_nobody_subscribed_to_is_counted_and_still_receipted() -> None:
    router, done = make_router(Time()), []
    router.publish(to("/topic/none"), make_head(), b"", lambda: done.append(1))
    router.publish(to("/reply-queue/none"), make_head(), b"", lambda: done.append(2))
    assert router.unroutable == 2
    assert done == [1, 2]


def test_a_reply_bears_the_name_its_owner_chose() -> None:
    router, taker = make_router(Time()), Taker(10, auto=True)
    queue = router.temporary_queue("/temp-queue/mine", "secret")
    queue.attach(taker)
    router.publish(to("/reply-queue/secret"), make_head("/reply-queue/secret", x="1"), b"r")
    assert taker.taken[0].head.headers() == {"destination": "/temp-queue/mine", "x": "1"}
    router.close_temporary_queue(queue)
    router.publish(to("/reply-queue/secret"), make_head("/reply-queue/secret"), b"r")
    assert router.unroutable == 1


def test_a_dead_letter_tells_its_story() -> None:
    time, taker = Time(), Taker(10)
    router = make_router(time)
    router.queue("q").attach(taker)
    router.publish(to("/queue/q"), make_head(colour="red"), b"x")
    message = taker.taken.pop()
    time.advance(2.5)
    router.queues["q"].settle(message, Rejection(requeue=False, reason="ValueError: no"))
    dead = Taker(10)
    router.queue("DLQ.q").attach(dead)
    letter = dead.taken[0]
    assert letter.message_id == message.message_id
    assert letter.head.headers() == {
        "destination": "/queue/DLQ.q",
        "original-destination": "/queue/q",
        "colour": "red",
        "x-first-death-queue": "q",
        "x-first-death-reason": "rejected",
        "x-last-death-queue": "q",
        "x-last-death-reason": "rejected",
        "x-death-count": "1",
        "x-death-time": str(WALL + 2500),
        "x-death-info": "ValueError: no",
    }


def test_dead_letters_of_a_topic_are_filed_under_the_topic() -> None:
    router, taker = make_router(Time()), Taker(10)
    queue = router.subscribe_topic("a.>")
    queue.attach(taker)
    router.publish(to("/topic/a.b"), make_head("/topic/a.b"), b"x")
    queue.settle(taker.taken.pop(), Rejection(requeue=False))
    assert "DLQ.a.b" in router.queues


def test_a_policy_names_the_dead_letter_queue_or_none() -> None:
    router = make_router(
        Time(),
        Policy(match="/queue/a", dead_letter="/queue/graveyard"),
        Policy(match="/queue/b", dead_letter=""),
    )
    for name in ("a", "b"):
        queue, taker = router.queue(name), Taker(10)
        queue.attach(taker)
        router.publish(to(f"/queue/{name}"), make_head(f"/queue/{name}"), b"x")
        queue.settle(taker.taken.pop(), Rejection(requeue=False))
    assert sorted(router.queues) == ["a", "b", "graveyard"]
    assert router.queues["b"].dropped == 1


def test_idle_queues_are_forgotten_and_used_ones_are_not() -> None:
    time, taker = Time(), Taker(10)
    router = make_router(time, idle=10.0)
    router.queue("idle")
    router.publish(to("/queue/full"), make_head(), b"x")
    router.queue("consumed").attach(taker)
    time.advance(25.0)
    assert sorted(router.queues) == ["consumed", "full"]
    router.queues["consumed"].detach(taker)
    time.advance(5.0)
    assert "consumed" in router.queues
    time.advance(20.0)
    assert sorted(router.queues) == ["full"]


def test_the_memory_mark_tells_producers_to_wait_and_to_go_on() -> None:
    router = make_router(Time(), memory_mark=1000)
    pressures = [router.publish(to("/queue/q"), make_head(), b"x" * 100) for _ in range(5)]
    assert pressures[0] is None
    pressure = pressures[-1]
    assert pressure is router.pressure
    assert pressure.stops(consumes=False)
    assert not pressure.stops(consumes=True)
    gone_on: list[bool] = []
    pressure.wait(lambda: gone_on.append(True))
    taker = Taker(10, auto=True)
    router.queue("q").attach(taker)
    assert gone_on == [True]
    assert not pressure.stops(consumes=False)
