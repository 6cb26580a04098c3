"""Groups of messages: who gets them, in which order, and what passes them by."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from tests.support.house import Taker, Time, browsed, figures, make_router, take_part

from stompy.protocol.headers import Version
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.consumer import NotNow
from stompy_broker.routing.group_table import FORGET_SECONDS
from stompy_broker.routing.interface import Queue, Remove
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router

QUEUE = parse_destination("/queue/q")


def send(router: Router, body: str, group: str = "", **headers: str) -> None:
    """Send a message, of a group or of none."""
    told = {"destination": "/queue/q", **headers}
    if group:
        told["JMSXGroupID"] = group
    router.publish(QUEUE, MessageHead.from_headers(told), body.encode())


def bodies(taker: Taker) -> list[str]:
    """What a consumer has taken."""
    return [(message.body or b"").decode() for message in taker.taken]


def settle(queue: Queue, taker: Taker, message: Message, delay: float | None = -1.0) -> None:
    """Accept a message; or with a delay, give it back for so long."""
    if delay is not None and delay < 0:
        queue.settle(message)
    else:
        queue.settle(message, Rejection(requeue=True, delay=delay))
    taker.room += 1
    queue.resume(taker)


def take(queue: Queue, room: int, **terms: str) -> Taker:
    """A new consumer that has room for so many messages."""
    taker = Taker(room, **terms)  # type: ignore[arg-type]
    take_part(queue, taker)
    return taker


def is_first(message: Message) -> bool:
    """Whether a message says that its consumer got none of its group before."""
    return b"JMSXGroupFirstForConsumer:true\n" in message.tail(Version.V1_2)


def test_all_of_a_group_go_to_one_consumer_and_groups_in_turn() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    one, two = take(queue, 100), take(queue, 100)
    for number in range(12):
        send(router, str(number), "abc"[number % 3])
    assert bodies(one) == ["0", "2", "3", "5", "6", "8", "9", "11"]
    assert bodies(two) == ["1", "4", "7", "10"]
    assert [is_first(message) for message in one.taken[:4]] == [True, True, False, False]


def test_groups_that_waited_are_dealt_in_the_same_way() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    for number in range(12):
        send(router, str(number), "abc"[number % 3])
    one, two = Taker(100), Taker(100)
    queue.attach(one)
    queue.attach(two)
    queue.resume(one)
    queue.resume(two)
    assert bodies(one) == [str(number) for number in range(12)], "nobody else had credit"
    three = take(queue, 100)
    send(router, "new", "d")
    send(router, "old", "a")
    assert bodies(one)[-1] == "old"
    assert bodies(two) + bodies(three) == ["new"]


def test_messages_without_group_are_dealt_in_turn() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    one, two = take(queue, 100), take(queue, 100)
    send(router, "a", "a")
    for number in range(4):
        send(router, str(number))
    assert len(one.taken) + len(two.taken) == 5
    assert {len([body for body in bodies(taker) if body != "a"]) for taker in (one, two)} == {2}


def test_a_group_whose_owner_is_busy_lets_all_others_pass() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    one, two = take(queue, 1), take(queue, 10)
    for number in range(3000):
        send(router, f"busy {number}", "busy")
    send(router, "other", "other")
    send(router, "none")
    assert bodies(one) == ["busy 0"]
    assert bodies(two) == ["other", "none"]
    settle(queue, one, one.taken[0])
    assert bodies(one) == ["busy 0", "busy 1"]


def test_what_comes_back_is_next_of_its_group() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one = take(queue, 1)
    for number in range(3):
        send(router, str(number), "a", priority=str(number + 4))
    settle(queue, one, one.taken[0], 0.0)
    settle(queue, one, one.taken[1])
    settle(queue, one, one.taken[2])
    assert bodies(one) == ["0", "0", "1", "2"], "whatever their priorities"


def test_a_delayed_redelivery_holds_its_group_and_no_other() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one = take(queue, 2)
    send(router, "a0", "a")
    settle(queue, one, one.taken[0], 5.0)
    for text in ("a1", "b0", "-"):
        send(router, text, text[0] if text != "-" else "")
    assert bodies(one) == ["a0", "b0", "-"]
    assert figures(queue).delayed == 1
    settle(queue, one, one.taken[1])
    settle(queue, one, one.taken[2])
    time.advance(5)
    assert bodies(one) == ["a0", "b0", "-", "a0", "a1"]


def test_a_dead_letter_frees_its_group() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one = take(queue, 1)
    send(router, "0", "a")
    send(router, "1", "a")
    queue.settle(one.taken[0], Rejection(requeue=False))
    one.room += 1
    queue.resume(one)
    assert bodies(one) == ["0", "1"]


def test_a_removed_redelivery_frees_its_group() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one = take(queue, 5)
    send(router, "0", "a")
    settle(queue, one, one.taken[0], 50.0)
    send(router, "1", "a")
    assert bodies(one) == ["0"]
    queue.control(Remove(frozenset({one.taken[0].sequence})))
    time.advance(0)
    assert bodies(one) == ["0", "1"]


def test_an_owner_that_leaves_frees_its_groups_when_all_is_back() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    one = take(queue, 3)
    for number in range(6):
        send(router, str(number), "a")
    two = take(queue, 10)
    assert two.taken == []
    queue.detach(one, list(one.taken), lost=True)
    assert bodies(two) == ["0", "1", "2", "3", "4", "5"]
    assert [is_first(message) for message in two.taken] == [True] + 5 * [False]
    assert two.taken[0].redelivery is not None


def test_nobody_gets_a_group_of_which_somebody_who_left_still_has_some() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one = take(queue, 2)
    for number in range(4):
        send(router, str(number), "a")
    queue.detach(one)  # a transaction still has its messages
    two = take(queue, 10)
    assert two.taken == []
    queue.settle(one.taken[0])
    send(router, "x", "b")
    assert bodies(two) == ["x"]
    queue.settle(one.taken[1])
    time.advance(0)
    assert bodies(two) == ["x", "2", "3"]


def test_what_is_in_flight_of_a_group_may_be_limited() -> None:
    time = Time()
    router = make_router(time, Policy(match="/queue/>", group_in_flight=1))
    queue = router.queue("q")
    one = take(queue, 10)
    for number in range(3):
        send(router, f"a{number}", "a")
        send(router, f"b{number}", "b")
    assert bodies(one) == ["a0", "b0"]
    queue.settle(one.taken[0])
    time.advance(0)
    assert bodies(one) == ["a0", "b0", "a1"]


def test_a_group_that_is_closed_picks_anew() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one, two = take(queue, 10), take(queue, 10)
    send(router, "0", "a")
    send(router, "x", "b")
    send(router, "y", "b")
    send(router, "1", "a", JMSXGroupSeq="-1")
    send(router, "2", "a")
    assert bodies(one) == ["0", "1"]
    assert bodies(two) == ["x", "y"]
    for message in one.taken[:2]:
        queue.settle(message)
    send(router, "z", "c")
    time.advance(0)
    everything = bodies(one) + bodies(two)
    assert "2" in everything
    taker = one if "2" in bodies(one) else two
    assert is_first(taker.taken[bodies(taker).index("2")])


def test_an_owner_is_passed_over_for_what_it_does_not_match() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    red = take(queue, 10, selector="color = 'red'")
    send(router, "0", "a", color="red")
    every = take(queue, 10)
    send(router, "1", "a", color="blue")
    assert every.taken == [], "two would be at work on it"
    send(router, "2", "a", color="red")
    queue.settle(red.taken[0])
    time.advance(0)
    assert bodies(red) == ["0"]
    assert bodies(every) == ["1"]
    queue.settle(every.taken[0])
    time.advance(0)
    assert bodies(red) == ["0", "2"]
    assert not is_first(red.taken[1])


def test_one_that_takes_nothing_just_now_keeps_the_order() -> None:
    class Shy(Taker):
        shy = True

        def deliver(self, message: Message) -> bool:
            if self.shy:
                raise NotNow
            return super().deliver(message)

    router = make_router(Time())
    queue = router.queue("q")
    shy = Shy(10)
    take_part(queue, shy)
    send(router, "0", "a")
    send(router, "1", "a")
    shy.shy = False
    queue.resume(shy)
    assert bodies(shy) == ["0", "1"]
    assert is_first(shy.taken[0])


def test_it_is_seen_what_waits_aside() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    one = take(queue, 1)
    for number in range(5):
        send(router, str(number), "a")
    send(router, "x", "b")
    send(router, "-")
    assert [message.body for message in browsed(queue)] == [b"1", b"2", b"3", b"4", b"x", b"-"]
    assert figures(queue).ready == 6
    removed = frozenset({message.sequence for message in browsed(queue)[1:3]})
    queue.control(Remove(removed))
    settle(queue, one, one.taken[0])
    settle(queue, one, one.taken[1])
    assert bodies(one) == ["0", "1", "4"]


def test_priority_is_between_groups() -> None:
    router = make_router(Time())
    queue = router.queue("q")
    for number in range(2):
        send(router, f"low {number}", "low", priority="1")
        send(router, f"high {number}", "high", priority="8")
    one = take(queue, 1)
    for _ in range(3):
        settle(queue, one, one.taken[-1])
    assert bodies(one) == ["high 0", "high 1", "low 0", "low 1"]


def test_idle_groups_are_forgotten_and_the_queue_is_plain_again() -> None:
    time = Time()
    router = make_router(time)
    queue = router.queue("q")
    one = take(queue, 10)
    send(router, "0", "a")
    time.advance(2 * FORGET_SECONDS)
    time.advance(2 * FORGET_SECONDS)
    send(router, "still", "a")
    assert not is_first(one.taken[-1]), "something of it was unsettled"
    for message in one.taken:
        queue.settle(message)
    one.taken.clear()
    for _ in range(5):
        time.advance(FORGET_SECONDS)
    assert not figures(queue).lines
    send(router, "1")
    send(router, "2", "a")
    assert bodies(one) == ["1", "2"]
    assert is_first(one.taken[1])


@pytest.mark.parametrize("late", [True, False])
def test_groups_move_to_a_consumer_that_comes_later_if_that_is_wanted(late: bool) -> None:
    time = Time()
    router = make_router(time, Policy(match="/queue/>", group_rebalance=True))
    queue = router.queue("q")
    one = take(queue, 100)
    for group in "abcd":
        send(router, f"{group}0", group)
    if not late:
        for message in one.taken:
            queue.settle(message)
    two = take(queue, 100)
    if late:
        for message in one.taken:
            queue.settle(message)
    for group in "abcd":
        send(router, f"{group}1", group)
    assert len(one.taken) == 6
    assert len(two.taken) == 2


class Play:
    """A queue to which all sorts of things happen, and what its consumers have."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.time = Time()
        self.limit = rng.choice((0, 0, 1, 2))
        policy = Policy(
            match="/queue/>",
            group_in_flight=self.limit,
            group_rebalance=rng.random() < 0.5,
            max_deliveries=rng.choice((3, -1)),
            redelivery_delay=0.5,
        )
        self.router = make_router(self.time, policy)
        self.queue = self.router.queue("q")
        self.held: dict[Taker, list[Message]] = {}
        self.seen: dict[Taker, int] = {}
        self.sent = 0

    def come(self, room: int, selector: str = "") -> None:
        taker = Taker(room, selector=selector)
        self.held[taker], self.seen[taker] = [], 0
        take_part(self.queue, taker)
        self.look()

    def leave(self, taker: Taker, *, lost: bool = False) -> None:
        self.queue.detach(taker, self.held.pop(taker), lost=lost)
        self.look()

    def look(self) -> None:
        """Take note of what came, and see that it may."""
        last: dict[str, int] = {}
        counts: Counter[str] = Counter()
        workers: dict[str, set[Taker]] = defaultdict(set)
        for taker, held in self.held.items():
            held.extend(taker.taken[self.seen[taker] :])
            self.seen[taker] = len(taker.taken)
            for message in held:
                if group := message.head.traits.group:
                    counts[group] += 1
                    workers[group].add(taker)
                    last[group] = max(last.get(group, 0), message.sequence)
        assert all(len(some) == 1 for some in workers.values()), "two are at work on one group"
        assert not self.limit or all(count <= self.limit for count in counts.values())
        for message in browsed(self.queue):
            if message.redelivery is None:
                group = message.head.traits.group or ""
                assert message.sequence > last.get(group, 0), "one that came later was given before"

    def send(self) -> None:
        rng = self.rng
        for _ in range(rng.choice((1, 1, 5))):
            self.sent += 1
            more = {"JMSXGroupSeq": "-1"} if rng.random() < 0.1 else {}
            more |= {"n": str(rng.randrange(10)), "priority": str(rng.choice((4, 4, 7)))}
            send(self.router, str(self.sent), rng.choice(("", "a", "b", "c", "d", "e")), **more)

    def settle(self) -> None:
        rng = self.rng
        taker = rng.choice(list(self.held))
        held = self.held[taker]
        for _ in range(rng.choice((1, 3))):
            if held:
                message = held.pop(rng.randrange(len(held)))
                settle(self.queue, taker, message, rng.choice((-1.0, -1.0, -1.0, 0.0, 2.0, None)))

    def act(self) -> None:
        what = self.rng.random()
        if what < 0.45 or not self.held:
            self.send()
        elif what < 0.5 and len(self.held) < 5:
            self.come(self.rng.choice((1, 2, 5, 30)), self.rng.choice(("", "", "", "n < 5")))
        elif what < 0.55:
            self.leave(self.rng.choice(list(self.held)), lost=self.rng.random() < 0.5)
        elif what < 0.9:
            self.settle()
        else:
            self.time.advance(self.rng.choice((0.1, 1.0, 5.0)))
        self.look()

    def end(self) -> None:
        """Have one consumer take what is left."""
        for taker in list(self.held):
            self.leave(taker)
        self.come(1000)
        ((every, held),) = self.held.items()
        self.time.advance(5)
        self.look()
        for _ in range(1000):
            if not held and not figures(self.queue).delayed:
                break
            for message in held[:]:
                held.remove(message)
                settle(self.queue, every, message)
            self.time.advance(5)
            self.look()


@pytest.mark.parametrize("seed", range(30))
def test_order_holds_whatever_happens(seed: int) -> None:
    play = Play(seed)
    play.come(5)
    for _ in range(300):
        play.act()
    play.end()
    now = figures(play.queue)
    assert (now.ready, now.delayed, now.unacked) == (0, 0, 0)
