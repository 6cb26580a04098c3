"""Durable subscriptions without I/O: what names one, and what the router does with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

import pytest
from tests.support.delaying import DelayingQueue, Line
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

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.lasting import NAME_HEADERS
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.durable import (
    DurableSubscription,
    durable_name,
    durable_subscription,
)
from stompy_broker.routing.interface import RestorableQueue
from stompy_broker.routing.router import Router
from stompy_broker.store.memory import MemoryStore

NEWS = DurableSubscription("c.news", "a.>", shared=False)
SHARED = {"durable": "true", "auto-delete": "false", "id": "1", "destination": "/topic/t"}


def publish(router: Router, topic: str, body: bytes) -> None:
    destination = f"/topic/{topic}"
    router.publish(parse_destination(destination), make_head(destination), body)


@pytest.mark.parametrize("header", NAME_HEADERS)
def test_a_name_is_the_client_s(header: str) -> None:
    assert durable_name({header: "news", "destination": "/topic/t"}, "c") == ("c.news", False)
    with pytest.raises(ProtocolError) as caught:
        durable_name({header: "news", "destination": "/topic/t"}, None)
    assert caught.value.error_code is ErrorCode.MISSING_HEADER


def test_an_id_and_a_topic_are_a_name() -> None:
    assert durable_name(SHARED, None) == ("1@t", True)
    persistent = {"persistent": "true", "auto-delete": "false", "id": "1", "destination": "t"}
    assert durable_name(persistent, None) == ("1@t", True)
    with pytest.raises(ProtocolError) as caught:
        durable_name({name: value for name, value in SHARED.items() if name != "id"}, None)
    assert caught.value.error_code is ErrorCode.MISSING_HEADER


@pytest.mark.parametrize("change", [{"durable": "false"}, {"auto-delete": "true"}])
def test_what_is_not_durable(change: dict[str, str]) -> None:
    assert durable_name(SHARED | change, None) is None


@pytest.mark.parametrize("name", ["durable", "persistent", "auto-delete"])
def test_a_word_that_is_neither_yes_nor_no_is_refused(name: str) -> None:
    headers = {"id": "1", "destination": "/topic/a", "durable": "true", name: "perhaps"}
    with pytest.raises(ProtocolError, match=f"{name} must be true or false, not 'perhaps'"):
        durable_name(headers, None)


def test_a_name_can_be_written_down() -> None:
    with pytest.raises(ProtocolError) as caught:
        durable_name({"durable-subscription-name": "a\nb", "destination": "t"}, "c")
    assert caught.value.error_code is ErrorCode.BAD_HEADER


def test_it_is_kept_as_it_is() -> None:
    wanted = durable_subscription(SHARED, parse_destination("/topic/t"), None, 7.5)
    assert wanted == DurableSubscription("1@t", "t", shared=True, expires=7.5)
    assert DurableSubscription.from_stored(wanted.to_stored()) == wanted


def test_a_restored_one_goes_on_in_order() -> None:
    time, store = Time(), MemoryStore(durable=True)
    first = make_router(time, store=store)
    queue, taker = backlog_of(first, NEWS), Taker(1)
    take_part(queue, taker)
    for number in range(4):
        publish(first, "a.b", b"%d" % number)
    queue.detach(taker, taker.taken)
    assert first.memory.used == figures(queue).bytes > 0

    second = make_router(time, store=store)
    assert second.registry.restore() == 4
    publish(second, "a.c", b"4")
    queue, taker = backlog_of(second, NEWS), Taker(10, auto=True)
    take_part(queue, taker)
    assert [message.body for message in taker.taken] == [b"0", b"1", b"2", b"3", b"4"]
    assert [message.deliveries for message in taker.taken] == [1, 0, 0, 0, 0]
    assert (second.memory.used, second.groups.home.disk.used, figures(queue).bytes) == (0, 0, 0)
    assert make_router(time, store=store).registry.restore() == 0


def test_deleting_leaves_nothing() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = make_router(time, store=store)
    backlog_of(router, NEWS)
    publish(router, "a.b", b"x")
    router.registry.durable.delete(NEWS.name)
    assert (router.memory.used, router.groups.home.disk.used, router.queues) == (0, 0, {})
    assert (list(store.restore()), store.subscriptions()) == ([], [])
    publish(router, "a.b", b"x")
    assert router.unroutable == 1
    with pytest.raises(ProtocolError) as caught:
        router.registry.durable.delete(NEWS.name)
    assert caught.value.error_code is ErrorCode.UNKNOWN_SUBSCRIPTION


def test_one_subscriber_unless_shared() -> None:
    router = make_router(Time())
    for shared in (False, True):
        wanted = DurableSubscription(f"s{shared}", "t", shared)
        take_part(backlog_of(router, wanted), Taker(1))
        if shared:
            take_part(backlog_of(router, wanted), Taker(1))
        else:
            with pytest.raises(ProtocolError) as caught:
                take_part(backlog_of(router, wanted), Taker(1))
            assert caught.value.error_code is ErrorCode.SUBSCRIPTION_IN_USE


def test_another_topic_replaces_it() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = make_router(time, store=store)
    backlog_of(router, NEWS)
    publish(router, "a.b", b"old")
    queue = backlog_of(router, DurableSubscription(NEWS.name, "z", shared=False))
    assert (figures(queue).ready, router.memory.used, router.groups.home.disk.used) == (0, 0, 0)
    assert [stored.pattern for stored in store.subscriptions()] == ["z"]


def test_messages_without_subscription_are_dropped() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = make_router(time, store=store)
    backlog_of(router, NEWS)
    publish(router, "a.b", b"x")
    store.drop_subscription(NEWS.name)
    assert make_router(time, store=store).registry.restore() == 0
    assert list(store.restore()) == []


@pytest.mark.parametrize("expires", ["subscription", "policy"])
def test_nobody_came_back(expires: str) -> None:
    time, store = Time(), MemoryStore(durable=True)
    policy = Policy(match="/topic/>", expires=20 if expires == "policy" else 0)
    router = make_router(time, policy, store=store)
    own = 20.0 if expires == "subscription" else 0.0
    wanted = DurableSubscription("d", "t", shared=False, expires=own)
    queue, taker = backlog_of(router, wanted), Taker(1)
    take_part(queue, taker)
    time.advance(1000.0)
    assert router.registry.durable.by_name
    queue.detach(taker)
    publish(router, "t", b"x")
    time.advance(10.0)
    assert router.registry.durable.by_name
    time.advance(20.0)
    time.advance(20.0)
    assert not router.registry.durable.by_name
    assert (router.memory.used, router.groups.home.disk.used, list(store.restore())) == (0, 0, [])


def test_without_expires_it_stays() -> None:
    time = Time()
    router = make_router(time, idle=10.0)
    backlog_of(router, NEWS)
    for _ in range(10):
        time.advance(100.0)
    assert router.registry.durable.by_name


def test_restarts_do_not_put_off_the_end() -> None:
    """A broker that restarts more often than a subscription may be abandoned deletes it all the
    same; and one whose subscriber was there until the end begins to count at the start."""
    store = MemoryStore(durable=True)
    policy = Policy(match="/topic/>", expires=100)

    def run(since: float, seconds: float, taker: Taker | None = None) -> bool:
        """Let a broker run for so long; whether the subscription is there then."""
        time = Time()
        time.now = since
        router = make_router(time, policy, store=store, idle=10.0)
        router.registry.restore()
        if taker is not None:
            take_part(backlog_of(router, NEWS), taker)
        for _ in range(int(seconds)):
            time.advance(1.0)
        return bool(router.registry.durable.by_name)

    assert run(0, 500, Taker(1))
    assert [run(since, 30) for since in (500, 531, 562, 593)] == [True, True, True, False]
    assert store.subscriptions() == []


def test_a_subscriber_that_came_back_is_not_away() -> None:
    time, store = Time(), MemoryStore(durable=True)
    router = make_router(time, Policy(match="/topic/>", expires=100), store=store, idle=10.0)
    queue, taker = backlog_of(router, NEWS), Taker(1)

    def left() -> int:
        (stored,) = store.subscriptions()
        return DurableSubscription.from_stored(stored).left

    assert left() == 0
    time.advance(60.0)
    assert left() == WALL
    take_part(queue, taker)
    time.advance(60.0)
    assert left() == 0


def test_a_long_absence_is_told(caplog: pytest.LogCaptureFixture) -> None:
    router = make_router(Time())
    queue = backlog_of(router, NEWS)
    for _ in range(10_000 * 2 + 1):
        publish(router, NEWS.pattern, b"")
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"{queue.destination}: 10000 messages",
        f"{queue.destination}: 20000 messages",
    ]
    assert figures(queue).ready == 20_001


def test_nobody_overtakes_a_message_whose_admission_waits_for_an_answer() -> None:
    """It waits when others may refuse it, and the next one comes when nobody may any more."""
    router = make_router(Time())
    backlog = backlog_of(router, NEWS)
    assert isinstance(backlog, RestorableQueue)
    turns: deque[Callable[[], None]] = deque()
    router.topics.remove(NEWS.pattern, backlog)
    router.topics.add(NEWS.pattern, DelayingQueue(backlog, Line(turns.append, Random(0))))
    topic, refused = parse_destination("/topic/a.b"), list[ProtocolError]()
    router.registry.durable.refusing += 1
    router.publish(topic, make_head("/topic/a.b"), b"first", None, refused.append)
    router.registry.durable.refusing -= 1
    router.publish(topic, make_head("/topic/a.b"), b"second", None, refused.append)
    while turns:
        turns.popleft()()
    assert [message.body for message in browsed(backlog)] == [b"first", b"second"]
    assert (refused, router.registry.durable.refusing) == ([], 0)
