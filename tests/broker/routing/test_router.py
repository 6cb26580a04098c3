"""From destinations to queues: topics, replies, dead letters, idle queues."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.support.house import (
    WALL,
    Taker,
    Time,
    backlog_of,
    browsed,
    figures,
    make_head,
    make_router,
    take_part,
)

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import Destination, parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import SharedMessage
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Close
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.store.memory import MemoryStore


def to(text: str) -> Destination:
    return parse_destination(text)


def test_sequences_grow_over_restarts() -> None:
    time = Time()
    first, taker = make_router(time), Taker(10)
    take_part(first.queue("q"), taker)
    first.publish(to("/queue/q"), make_head(), b"")
    first.publish(to("/queue/q"), make_head(), b"")
    time.advance(0.001)
    later = make_router(time)
    take_part(later.queue("q"), taker)
    later.publish(to("/queue/q"), make_head(), b"")
    sequences = [message.sequence for message in taker.taken]
    assert sequences == sorted(set(sequences))


def test_a_topic_reaches_every_subscriber_with_one_tail() -> None:
    router, takers = make_router(Time()), [Taker(10, auto=True) for _ in range(3)]
    for taker, pattern in zip(takers, ("a.b", "a.*", ">"), strict=True):
        take_part(router.registry.subscribe_topic(pattern), taker)
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
    queue = router.registry.temporary_queue("/temp-queue/mine", "secret")
    take_part(queue, taker)
    router.publish(to("/reply-queue/secret"), make_head("/reply-queue/secret", x="1"), b"r")
    assert taker.taken[0].head.headers() == {"destination": "/temp-queue/mine", "x": "1"}
    router.registry.close_temporary_queue(queue)
    router.publish(to("/reply-queue/secret"), make_head("/reply-queue/secret"), b"r")
    assert router.unroutable == 1


def test_a_dead_letter_tells_its_story() -> None:
    time, taker = Time(), Taker(10)
    router = make_router(time)
    take_part(router.queue("q"), taker)
    router.publish(to("/queue/q"), make_head(colour="red"), b"x")
    message = taker.taken.pop()
    time.advance(2.5)
    router.queues["q"].settle(message, Rejection(requeue=False, reason="ValueError: no"))
    dead = Taker(10)
    take_part(router.queue("DLQ.q"), dead)
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
    queue = router.registry.subscribe_topic("a.>")
    take_part(queue, taker)
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
        take_part(queue, taker)
        router.publish(to(f"/queue/{name}"), make_head(f"/queue/{name}"), b"x")
        queue.settle(taker.taken.pop(), Rejection(requeue=False))
    assert sorted(router.queues) == ["a", "b", "graveyard"]
    assert figures(router.queues["b"]).dropped == 1


def test_one_grave_for_all_gives_up_nothing() -> None:
    """It falls under the policy that names it; what is rejected there must not vanish."""
    router = make_router(Time(), Policy(match="/queue/>", dead_letter="/queue/graveyard"))
    queue, taker = router.queue("q"), Taker(1)
    take_part(queue, taker)
    router.publish(to("/queue/q"), make_head("/queue/q"), b"x")
    queue.settle(taker.taken.pop(), Rejection(requeue=False))
    grave, digger = router.queues["graveyard"], Taker(20)
    take_part(grave, digger)
    for _ in range(15):
        grave.settle(digger.taken[-1], Rejection(requeue=False, delay=0.0))
    assert len(digger.taken) == 16
    assert figures(grave).dropped == 0


def test_idle_queues_are_forgotten_and_used_ones_are_not() -> None:
    time, taker = Time(), Taker(10)
    router = make_router(time, idle=10.0)
    router.queue("idle")
    router.publish(to("/queue/full"), make_head(), b"x")
    take_part(router.queue("consumed"), taker)
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
    assert pressure is router.memory
    assert pressure.blocks(consumes=False)
    assert not pressure.blocks(consumes=True)
    gone_on: list[bool] = []
    pressure.wait(lambda: gone_on.append(True))
    taker = Taker(10, auto=True)
    take_part(router.queue("q"), taker)
    assert gone_on == [True]
    assert not pressure.blocks(consumes=False)


def test_bodies_stay_on_disk_beyond_half_the_mark() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = make_router(time, memory_mark=4000, store=store)
    messages = []
    for _ in range(3):
        router.publish(to("/queue/q"), make_head(), b"x" * 300)
        messages = list(router.queues["q"]._fifo)
    assert router.memory.used < 2000
    router.on_disk(messages)
    assert all(message.body is not None for message in messages)
    router.publish(to("/queue/q"), make_head(), b"x" * 3000)
    messages = list(router.queues["q"]._fifo)
    assert router.memory.full
    gone_on: list[bool] = []
    router.memory.wait(lambda: gone_on.append(True))
    router.on_disk(messages)
    router.on_disk(messages)
    assert gone_on == [True]
    assert router.memory.used == sum(message.ram_on_disk for message in messages)
    router.queues["q"].control(Close())
    assert (
        router.memory.used,
        router.groups.home.disk.used,
        figures(router.queues["q"]).bytes,
    ) == (0, 0, 0)


def test_sequences_go_on_behind_what_was_restored() -> None:
    time, store = Time(), MemoryStore(durable=True)
    time.advance(100.0)
    make_router(time, store=store).publish(to("/queue/q"), make_head(), b"1")
    # The clock was set back meanwhile.
    time.now = 0.0
    router, taker = make_router(time, store=store), Taker(10)
    router.registry.restore()
    router.publish(to("/queue/q"), make_head(), b"2")
    take_part(router.queue("q"), taker)
    assert [message.body for message in taker.taken] == [b"1", b"2"]


def test_arguments_are_restored_and_forgotten_with_the_queue() -> None:
    time, store = Time(), MemoryStore(durable=True)
    make_router(time, store=store).queue("q", {"x-max-length": "7", "x-other": "1"})
    assert store.queues() == {"q": {"x-max-length": "7"}}
    router = make_router(time, store=store, idle=10.0)
    router.registry.restore()
    assert router.queues["q"].policy.max_length == 7
    time.advance(11.0)
    time.advance(11.0)
    assert (router.queues, store.queues()) == ({}, {})


def test_queues_that_push_into_each_other_come_to_an_end() -> None:
    for overflow in ("drop-head", "reject-publish-dlx"):
        rings = [
            Policy.model_validate(
                {
                    "match": f"/queue/{name}",
                    "max_length": 1,
                    "overflow": overflow,
                    "overflow_to": f"/queue/{other}",
                    "dead_letter": f"/queue/{other}",
                }
            )
            for name, other in ("ab", "bc", "ca")
        ]
        router = make_router(Time(), *rings)
        for number in range(10):
            router.publish(to("/queue/a"), make_head("/queue/a"), b"%d" % number)
        assert [figures(router.queues[name]).ready for name in "abc"] == [1, 1, 1]
        assert sum(figures(router.queues[name]).dropped for name in "abc") == 7
        for name in "abc":
            take_part(router.queues[name], Taker(10, auto=True))
        assert router.memory.used == 0


def circle(time: Time, store: MemoryStore | None = None, **settings: object) -> Router:
    """Queues whose messages go to the next one when their time is over."""
    rings = [
        Policy.model_validate(
            {"match": f"/queue/{name}", "message_ttl": 1000, "expired_to": f"/queue/{other}"}
            | settings
        )
        for name, other in ("ab", "bc", "ca")
    ]
    return make_router(time, *rings, store=store)


def turn(time: Time, times: int = 1) -> None:
    """Let messages expire that often."""
    for _ in range(times):
        time.advance(1.1)


def test_what_comes_round_without_a_rejection_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    router = circle(time)
    for number in range(3):
        router.publish(to("/queue/b"), make_head("/queue/b"), b"%d" % number)
    turn(time, 2)
    (first, *_) = browsed(router.queues["a"])
    assert first.head.headers()["x-death-path"] == "/queue/b,/queue/c"
    turn(time, 4)
    assert [figures(router.queues[name]).ready for name in "abc"] == [0, 0, 0]
    assert [figures(router.queues[name]).expired for name in "abc"] == [3, 3, 3]
    assert router.memory.used == 0
    assert "/queue/a: it gives up messages to /queue/b" in caplog.text
    assert [event.type for event in router.events.recent].count("queue.circle") == 1


def test_a_circle_with_a_rejection_in_it_goes_on() -> None:
    time, taker = Time(), Taker(100)
    router = circle(time, dead_letter="/queue/c")
    take_part(router.queue("b"), taker)
    router.publish(to("/queue/a"), make_head("/queue/a"), b"x")
    for deliveries in range(1, 6):
        turn(time, 3)
        assert len(taker.taken) == deliveries
        router.queues["b"].settle(taker.taken[-1], Rejection(requeue=False))
        assert "x-death-path" not in browsed(router.queues["c"])[0].head.headers()


def test_a_message_knows_its_way_after_a_restart() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = circle(time, store)
    router.publish(to("/queue/a"), make_head("/queue/a"), b"x")
    turn(time)
    (waiting,) = browsed(router.queues["b"])
    path = waiting.head.headers()["x-death-path"]
    router = circle(time)
    router.publish(to("/queue/b"), waiting.head, b"x")
    turn(time)
    assert browsed(router.queues["c"])[0].head.headers()["x-death-path"] == f"{path},/queue/b"
    turn(time)
    assert "a" not in router.queues


def test_a_path_has_an_end() -> None:
    """A chain of queues with long names must not make the headers too long for its consumer."""
    time, names = Time(), [f"{number}{'x' * 200}" for number in range(40)]
    router = make_router(time)
    for name, other in pairwise(names):
        router.queue(name, {"x-message-ttl": "1000", "x-dead-letter-routing-key": other})
    router.publish(to(f"/queue/{names[0]}"), make_head(), b"x")
    turn(time, 40)
    assert all(not figures(queue).ready for queue in router)


def test_a_topic_s_messages_live_as_long_as_each_subscriber_s_policy_says() -> None:
    time = Time()
    router = make_router(time, Policy(match="/topic/short", message_ttl=5000))

    def publish() -> None:
        router.note_time()
        router.publish(parse_destination("/topic/short"), make_head("/topic/short"), b"x")

    short, long, taker = (
        router.registry.subscribe_topic("short"),
        router.registry.subscribe_topic("*"),
        Taker(2),
    )
    for _ in range(2):
        publish()
        time.advance(3.0)
    assert (figures(short).ready, figures(long).ready) == (1, 2)
    take_part(short, taker)
    time.advance(6.0)
    publish()
    assert [
        len(taker.taken),
        figures(short).expired,
        figures(long).ready,
        figures(long).expired,
    ] == [2, 1, 3, 0]
    alone = router.registry.subscribe_topic("short")
    router.registry.unsubscribe_topic(long)
    router.registry.unsubscribe_topic(short)
    publish()
    assert figures(alone).ready == 1
    time.advance(6.0)
    assert (figures(alone).ready, figures(alone).expired, router.memory.used) == (0, 1, 0)
    for message in taker.taken:
        short.settle(message)
    assert router.loans.used == 0


def test_a_subscriber_that_is_cut_off_gets_nothing_more_anywhere() -> None:
    """Its other backlogs are closed while the message that cut it off is on its way to them."""
    policy = Policy(match="/topic/t", backlog_messages=1, backlog_overflow="disconnect")
    router = make_router(Time(), policy)
    queues = [router.registry.subscribe_topic("t") for _ in range(3)]

    class Cut(Taker):
        def fail(self, reason: ProtocolError) -> None:
            for queue in queues:
                router.registry.unsubscribe_topic(queue)

    cut = Cut(1)
    take_part(queues[0], cut)
    for _ in range(3):
        router.publish(parse_destination("/topic/t"), make_head("/topic/t"), b"x")
    assert [figures(queue).ready for queue in queues] == [0, 0, 0]
    assert (router.memory.used, router.loans.used > 0) == (0, True)
    queues[0].settle(cut.taken[0])
    assert router.loans.used == 0


def test_a_body_counts_once_however_many_backlogs_hold_it() -> None:
    """Also when some of them leave it on disk, reject it or settle it, in any order."""
    time, store = Time(), MemoryStore(durable=True)
    router = make_router(time, store=store)
    durable = [
        backlog_of(router, DurableSubscription(f"c.{n}", "t", shared=False)) for n in range(4)
    ]
    private = [router.registry.subscribe_topic("t") for _ in range(3)]
    body = b"x" * 100_000
    router.publish(to("/topic/t"), make_head("/topic/t"), body)
    assert len(body) < router.memory.used < len(body) + 4 * 1000
    # With the frame that is made once for all.
    assert len(body) < router.loans.used < 2 * len(body) + 3 * 1000
    (on_disk,) = browsed(durable[0])
    on_disk.leave_body(router.memory)
    assert len(body) < router.memory.used < len(body) + 4 * 1000
    on_disk.body = body  # read again, it is another one
    router.memory.add(on_disk.size - on_disk.ram_on_disk)
    takers = []
    for queue in (*durable, *private):
        take_part(queue, taker := Taker(2))
        takers.append(taker)
    for queue, taker in zip((*durable, *private), takers, strict=True):
        queue.settle(taker.taken[0], Rejection(delay=0.0))
        queue.settle(taker.taken[1])
    assert (router.memory.used, router.loans.used) == (0, 0)
