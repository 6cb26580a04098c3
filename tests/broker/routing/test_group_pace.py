"""Values that have their turns, rates and holds: who of them may go on, and when."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from tests.support.house import Taker, Time, figures, make_router, take_part

from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.group_register import MOST_GROUPS
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.queue import LocalQueue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router
from stompy_broker.selectors.names import text_of

QUEUE = parse_destination("/queue/q")


def fair(**settings: object) -> Policy:
    return Policy.model_validate(
        {"match": "/queue/q", "fair_by": "tenant", "max_deliveries": -1, **settings}
    )


def send(router: Router, body: str, tenant: str = "", **headers: str) -> None:
    told = {"destination": "/queue/q", **headers}
    if tenant:
        told["tenant"] = tenant
    router.publish(QUEUE, MessageHead.from_headers(told), body.encode())


def bodies(taker: Taker) -> list[str]:
    return [(message.body or b"").decode() for message in taker.taken]


def take(queue: Queue, room: int, **terms: str) -> Taker:
    taker = Taker(room, **terms)  # type: ignore[arg-type]
    take_part(queue, taker)
    return taker


def settle(
    queue: Queue, taker: Taker, message: Message, rejection: Rejection | None = None
) -> None:
    queue.settle(message, rejection)
    taker.room += 1
    queue.resume(taker)


def step(time: Time) -> None:
    """Let work be done that is done in steps."""
    for _ in range(5):
        time.advance(0.002)


# -- turns ---------------------------------------------------------------------------------------


def test_one_message_behind_100_000_of_another_value_is_next_but_one() -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    for number in range(100_000):
        send(router, f"a{number}", "a")
    send(router, "b", "b")
    assert "b" in bodies(take(queue, 2))


def test_values_have_their_turns_and_each_is_in_order() -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    for number in range(4):
        send(router, f"a{number}", "a")
    for number in range(3):
        send(router, f"b{number}", "b")
    send(router, "c0", "c")
    assert bodies(take(queue, 8)) == ["a0", "b0", "c0", "a1", "b1", "a2", "b2", "a3"]


@pytest.mark.parametrize("seed", range(5))
def test_one_that_comes_is_served_within_as_many_deliveries_as_there_are_values(seed: int) -> None:
    chance = random.Random(seed)
    router = make_router(Time(), fair())
    queue = router.queue("q")
    values = [f"v{number}" for number in range(chance.randrange(1, 30))]
    for _ in range(500):
        send(router, "x", chance.choice(values))
    for value in values:
        send(router, "x", value)
    taker = take(queue, chance.randrange(1, 200))
    before = len(taker.taken)
    send(router, "late", "late")
    for message in taker.taken[:]:
        settle(queue, taker, message)
    late = bodies(taker).index("late")
    assert late - before <= len(values) + 1


def test_messages_without_value_are_each_their_own() -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    for number in range(3):
        send(router, f"a{number}", "a")
    for number in range(3):
        send(router, str(number))
    first = bodies(take(queue, 6))
    assert first[:2] == ["a0", "0"]
    assert [one for one in first if len(one) == 1] == ["0", "1", "2"]


def test_those_who_wait_are_not_put_off_by_ever_new_values() -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    for number in range(100):
        send(router, f"a{number}", "a")
    taker = take(queue, 1)
    for number in range(200):
        for part in range(2):
            send(router, "new", f"n{number}.{part}")
            send(router, "own")
        settle(queue, taker, taker.taken[-1])
    served = bodies(taker)
    # Each of them is a value of its own, so there are more and more.
    assert sum(body.startswith("a") for body in served) >= 4


def test_bytes_count_where_they_are_to() -> None:
    router = make_router(Time(), fair(fair_unit="bytes"))
    queue = router.queue("q")
    for _ in range(100):
        send(router, "large" * 6000, "large")
    for _ in range(2000):
        send(router, "small" * 200, "small")
    taker = take(queue, 500)
    size = Counter[str]()
    for message in taker.taken:
        size["large" if (message.body or b"")[:5] == b"large" else "small"] += message.size
    assert 0.9 < size["large"] / size["small"] < 1.1


def test_a_consumer_that_takes_one_value_only_is_not_kept_waiting_for_turns() -> None:
    time = Time()
    router = make_router(time, fair())
    queue = router.queue("q")
    for number in range(4):
        send(router, f"a{number}", "a")
        send(router, f"b{number}", "b")
    only = take(queue, 3, selector="tenant = 'a'")
    step(time)
    assert bodies(only) == ["a0", "a1", "a2"]
    assert bodies(take(queue, 5)) == ["b0", "b1", "a3", "b2", "b3"]


def test_consumers_take_turns_and_what_comes_goes_straight_to_them() -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    one, two = take(queue, 10), take(queue, 10)
    for number in range(6):
        send(router, str(number), "a")
    assert (bodies(one), bodies(two)) == (["0", "2", "4"], ["1", "3", "5"])


def test_groups_of_messages_may_have_turns_and_one_consumer_each() -> None:
    router = make_router(Time(), fair(fair_by="JMSXGroupID"))
    queue = router.queue("q")
    for number in range(4):
        send(router, f"a{number}", JMSXGroupID="a")
    send(router, "b0", JMSXGroupID="b")
    one = take(queue, 3)
    two = take(queue, 3)
    assert bodies(one) == ["a0", "b0", "a1"]
    assert bodies(two) == []


# -- concurrency ---------------------------------------------------------------------------------


def test_so_many_of_one_value_are_unsettled_and_others_pass() -> None:
    time = Time()
    router = make_router(time, fair(group_concurrency=2))
    queue = router.queue("q")
    for number in range(5):
        send(router, f"a{number}", "a")
    send(router, "b0", "b")
    one, two = take(queue, 10), take(queue, 10)
    assert sorted(bodies(one) + bodies(two)) == ["a0", "a1", "b0"]
    first = next(taker for taker in (one, two) if "a0" in bodies(taker))
    settle(queue, first, first.taken[bodies(first).index("a0")])
    time.advance(0)
    assert sorted(bodies(one) + bodies(two)) == ["a0", "a1", "a2", "b0"]


@pytest.mark.parametrize("seed", range(5))
def test_concurrency_is_never_exceeded_whoever_leaves(seed: int) -> None:
    chance, time = random.Random(seed), Time()
    router = make_router(time, fair(group_concurrency=3))
    queue = router.queue("q")
    held: dict[Taker, list[Message]] = {}
    for number in range(2000):
        match chance.randrange(6):
            case 0 if len(held) < 4:
                taker = Taker(chance.randrange(1, 20))
                held[taker] = taker.taken
                take_part(queue, taker)
            case 1 if held:
                taker = chance.choice(list(held))
                queue.detach(taker, held.pop(taker), lost=chance.random() < 0.5)
            case 2 | 3 if held:
                taker = chance.choice(list(held))
                if held[taker]:
                    message = held[taker].pop(chance.randrange(len(held[taker])))
                    rejection = Rejection(delay=chance.choice([0.0, 1.0]))
                    settle(queue, taker, message, chance.choice([None, rejection]))
            case 4:
                time.advance(0.5)
            case _:
                send(router, str(number), chance.choice("abc"))
        out = Counter(text_of("tenant", message) for some in held.values() for message in some)
        assert all(count <= 3 for count in out.values())


# -- rates ---------------------------------------------------------------------------------------


def test_a_value_goes_on_at_its_rate_and_others_pass() -> None:
    time = Time()
    router = make_router(time, fair(group_rate="10/s"))
    queue = router.queue("q")
    for number in range(40):
        send(router, str(number), "a")
    taker = take(queue, 100)
    assert len(taker.taken) == 10, "what a second brings may come at once"
    send(router, "b", "b")
    assert bodies(taker)[-1] == "b"
    for tick in range(1, 21):
        time.advance(0.1)
        assert len(taker.taken) == 11 + tick
    assert figures(queue).ready == 10


def test_a_slow_rate_holds_although_its_value_could_be_forgotten() -> None:
    time = Time()
    router = make_router(time, fair(group_rate="1/h"))
    queue = router.queue("q")
    taker = take(queue, 10)
    send(router, "0", "a")
    for _ in range(100):
        time.advance(30)
    send(router, "1", "a")
    assert bodies(taker) == ["0"]
    time.advance(599)
    assert bodies(taker) == ["0"]
    time.advance(2)
    assert bodies(taker) == ["0", "1"]


def test_a_rate_holds_without_turns_as_well() -> None:
    time = Time()
    router = make_router(time, fair(fair_by="", group_rate="1/s"))
    queue = router.queue("q")
    taker = take(queue, 10)
    for number in range(3):
        send(router, str(number), JMSXGroupID="a")
    send(router, "none")
    assert bodies(taker) == ["0", "none"]
    time.advance(1)
    assert bodies(taker) == ["0", "none", "1"]


@pytest.mark.parametrize("auto", [True, False])
def test_a_rate_is_the_same_for_who_acknowledges_nothing(auto: bool) -> None:
    time = Time()
    router = make_router(time, fair(group_rate="1/min"))
    queue = router.queue("q")
    taker = Taker(100, auto=auto)
    take_part(queue, taker)
    for number in range(9):
        send(router, str(number), "a")
    for minute in range(1, 5):
        assert bodies(taker) == [str(number) for number in range(minute)]
        time.advance(60)


@pytest.mark.parametrize("auto", [True, False])
def test_turns_are_the_same_for_who_acknowledges_nothing(auto: bool) -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    for number in range(3):
        send(router, f"a{number}", "a")
    for number in range(3):
        send(router, f"b{number}", "b")
    taker = Taker(6, auto=auto)
    take_part(queue, taker)
    assert bodies(taker) == ["a0", "b0", "a1", "b1", "a2", "b2"]


class Broken(Taker):
    """A consumer for whom nothing can be written."""

    def deliver(self, message: Message) -> bool:
        raise RuntimeError(message.body)


def test_what_cannot_be_written_uses_up_the_rate_as_well() -> None:
    time = Time()
    router = make_router(time, fair(group_rate="1/min"))
    queue = router.queue("q")
    for number in range(4):
        send(router, str(number), "a")
    take_part(queue, Broken(100))
    assert figures(queue).ready == 3
    time.advance(60)
    assert figures(queue).ready == 2


@pytest.mark.parametrize("rate", ["", "2/s"])
def test_another_rate_holds_for_nobody_who_was_too_fast_for_the_one_before(rate: str) -> None:
    time = Time()
    router = make_router(time, fair(group_rate="1/h"))
    queue = router.queue("q")
    assert isinstance(queue, LocalQueue)
    taker = take(queue, 100)
    for number in range(5):
        send(router, str(number), "a")
    assert bodies(taker) == ["0"]
    queue.renew_policy(fair(group_rate=rate))
    step(time)
    assert bodies(taker) == [str(number) for number in range(3 if rate else 5)]
    time.advance(1)
    assert len(taker.taken) == 5


def test_another_rate_lets_nobody_go_who_is_held_for_another_reason() -> None:
    time = Time()
    router = make_router(time, fair(group_rate="1/min"))
    queue = router.queue("q")
    assert isinstance(queue, LocalQueue)
    taker = take(queue, 100)
    for number in range(3):
        send(router, str(number), "a")
    settle(queue, taker, taker.taken[0], Rejection(requeue=True, delay=20, whole_group=True))
    queue.renew_policy(fair())
    step(time)
    time.advance(19)
    assert bodies(taker) == ["0"]
    time.advance(1)
    step(time)
    assert bodies(taker) == ["0", "0", "1", "2"]


# -- holds ---------------------------------------------------------------------------------------


def test_a_consumer_holds_a_whole_value_back() -> None:
    time = Time()
    router = make_router(time, fair())
    queue = router.queue("q")
    taker = take(queue, 1)
    for number in range(3):
        send(router, f"a{number}", "a")
    send(router, "b0", "b")
    too_many = Rejection(delay=60.0, whole_group=True)
    settle(queue, taker, taker.taken[0], too_many)
    assert bodies(taker) == ["a0", "b0"]
    settle(queue, taker, taker.taken[1])
    send(router, "a3", "a")
    time.advance(59)
    assert bodies(taker) == ["a0", "b0"]
    time.advance(2)
    for index in (2, 3, 4):
        settle(queue, taker, taker.taken[index])
    assert bodies(taker) == ["a0", "b0", "a0", "a1", "a2", "a3"]


def test_one_redelivery_that_waits_holds_nobody_else_of_its_value() -> None:
    time = Time()
    router = make_router(time, fair())
    queue = router.queue("q")
    taker = take(queue, 1)
    for number in range(2):
        send(router, f"a{number}", "a")
    settle(queue, taker, taker.taken[0], Rejection(delay=60.0))
    assert bodies(taker) == ["a0", "a1"]
    settle(queue, taker, taker.taken[1])
    time.advance(61)
    assert bodies(taker) == ["a0", "a1", "a0"]


def test_what_is_thrown_away_may_hold_its_value_too() -> None:
    time = Time()
    router = make_router(time, fair(dead_letter=""))
    queue = router.queue("q")
    taker = take(queue, 1)
    for number in range(2):
        send(router, f"a{number}", "a")
    settle(queue, taker, taker.taken[0], Rejection(requeue=False, delay=5.0, whole_group=True))
    assert bodies(taker) == ["a0"]
    time.advance(5)
    assert bodies(taker) == ["a0", "a1"]


def test_without_a_group_only_the_message_waits() -> None:
    time = Time()
    router = make_router(time, fair())
    queue = router.queue("q")
    taker = take(queue, 1)
    send(router, "0")
    send(router, "1")
    settle(queue, taker, taker.taken[0], Rejection(delay=5.0, whole_group=True))
    assert bodies(taker) == ["0", "1"]
    settle(queue, taker, taker.taken[1])
    time.advance(5)
    assert bodies(taker) == ["0", "1", "0"]


# -- policies that change ------------------------------------------------------------------------


def test_another_policy_holds_for_what_comes_then() -> None:
    time = Time()
    router = make_router(time, Policy(match="/queue/q"))
    queue = router.queue("q")
    assert isinstance(queue, LocalQueue)
    send(router, "before", "a")
    queue.renew_policy(fair(group_concurrency=1))
    for number in range(2):
        send(router, str(number), "a")
    taker = take(queue, 10)
    assert bodies(taker) == ["before", "0"]
    queue.renew_policy(Policy(match="/queue/q"))
    step(time)
    for message in taker.taken[:]:
        queue.settle(message)
    time.advance(0)
    assert bodies(taker) == ["before", "0", "1"]
    queue.settle(taker.taken[-1])
    for _ in range(10):
        time.advance(60)
    assert _chooses(queue) is False


def _chooses(queue: LocalQueue) -> bool:
    return queue._dealer is not None


def test_very_many_values_share_turns() -> None:
    router = make_router(Time(), fair())
    queue = router.queue("q")
    for number in range(MOST_GROUPS + 100):
        send(router, "x", str(number))
    send(router, "again", "0")
    taker = take(queue, MOST_GROUPS + 101)
    assert len(taker.taken) == MOST_GROUPS + 101


def test_policies_say_whether_groups_keep_owners() -> None:
    def keeps(**settings: object) -> bool:
        return Policy.model_validate({"match": "/queue/q", **settings}).keeps_owners

    assert keeps()
    assert keeps(fair_by="JMSXGroupID")
    assert not keeps(fair_by="tenant")
    assert not keeps(group_sticky=False)
    assert not keeps(fair_by="tenant", group_sticky=True)
