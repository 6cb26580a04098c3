"""What a queue is, by its interface alone: here, one that answers late, and at another broker.

Each test runs against all three. What a queue answers is taken as it comes: `World.settle_down`
lets all turns of the event loop pass that are due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.delaying import REFUSED, DelayingFactory
from tests.support.house import WALL, Taker, Time, make_head, make_message
from tests.support.placed import Brokers

from stompy.errors import ProtocolError
from stompy_broker.destinations.names import parse_destination
from stompy_broker.destinations.policy import Policies, Policy
from stompy_broker.message import Message
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.interface import (
    Browse,
    Browsed,
    Close,
    Configure,
    Move,
    Outcome,
    Queue,
    QueueFigures,
    Remove,
    Transfer,
    Withdraw,
    place_of,
)
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.rejection import Rejection, Retries
from stompy_broker.routing.router import Router
from stompy_broker.routing.selection import Selection
from stompy_broker.routing.sequences import STEP
from stompy_broker.routing.settings import QueueSettings
from stompy_broker.store.memory import MemoryStore

HERE, LATE, ELSEWHERE = "in this process", "late", "at another broker"


class World:
    """A router, and the turns of an event loop."""

    def __init__(self, *policies: Policy, kind: str, seed: int = 1, refuses: float = 0.0) -> None:
        self.brokers: Brokers | None = None
        if kind == ELSEWHERE:
            self._join(Brokers(*policies, seed=seed))
            return
        self.time = Time()
        self.turns: deque[Callable[[], None]] = deque()
        late_ones = DelayingFactory(self.turns.append, seed, refuses)
        self.store = MemoryStore(durable=True)
        self.router = Router(
            self.time.clock,
            lambda: WALL + int(self.time.now * 1000),
            [self.store],
            Policies(policies),
            memory_mark=1 << 30,
            idle_queue_seconds=300.0,
            factory=late_ones if kind == LATE else QueueFactory(),
        )

    def _join(self, brokers: Brokers) -> None:
        """Have the router of a front, whose queues are at another broker."""
        self.brokers, self.time, self.turns = brokers, brokers.time, brokers.turns
        front, owner = brokers.join("front"), brokers.join("owner")
        self.logged = owner.own("front")
        front.places.at(0, "owner")
        self.router, self._numbers = front.router, owner.group
        brokers.settle_down()
        self._first = self._numbers.sequences.last

    def sequence(self, number: int) -> int:
        """The sequence of the message that came so late; the owner gives it."""
        return number if self.brokers is None else self._first + number * STEP

    def numbers(self, messages: Iterable[Message]) -> list[int]:
        """As what numbers messages came."""
        first = 0 if self.brokers is None else self._first
        step = 1 if self.brokers is None else STEP
        return [(message.sequence - first) // step for message in messages]

    def kept(self) -> list[int]:
        """The sequences of messages that are in the store."""
        if self.brokers is None:
            return [one.message.sequence for one in self.store.restore()]
        return list(self.logged.index.messages)

    def kept_queues(self) -> Mapping[str, Mapping[str, str]]:
        """What is kept of queues."""
        return self.store.queues() if self.brokers is None else self.logged.queues()

    def settle_down(self) -> None:
        """Let turns pass until nothing is to be done in the next one."""
        if self.brokers is not None:
            self.brokers.settle_down()
        while self.turns:
            self.turns.popleft()()

    def pass_steps(self) -> None:
        """Let work be done that a queue does in steps."""
        self.settle_down()
        for _ in range(5):
            self.time.advance(0.002)
            self.settle_down()

    def figures(self, queue: Queue) -> QueueFigures:
        """What a queue tells of itself, when everything has been carried out."""
        found: list[QueueFigures] = []
        queue.stats(found.append)
        self.settle_down()
        return found[0]

    def browsed(self, queue: Queue, wanted: Browse | None = None) -> Browsed:
        """What a queue shows."""
        found: list[Browsed] = []
        queue.browse(wanted or Browse(), found.append)
        self.settle_down()
        return found[0]

    def order(self, queue: Queue, what: Remove | Move | Configure | Close) -> Outcome:
        """What comes of an order."""
        found: list[Outcome] = []
        queue.control(what, found.append)
        self.settle_down()
        (outcome,) = found
        return outcome

    def take_part(self, queue: Queue, taker: Taker) -> ProtocolError | None:
        """Attach and resume a consumer; gives why it is refused."""
        answers: list[ProtocolError | None] = []
        queue.attach(taker, lambda error=None: answers.append(error))
        self.settle_down()
        if answers == [None]:
            queue.resume(taker)
            self.settle_down()
        return answers[0]


@pytest.fixture(params=[HERE, LATE, ELSEWHERE])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(kind: str) -> Iterator[World]:
    world = World(
        Policy(match="/queue/full", max_length=2, overflow="reject-publish"),
        Policy(match="/queue/short", max_length=2, overflow="drop-head"),
        kind=kind,
    )
    yield world
    assert not world.turns


def test_messages_come_in_order_and_are_answered(world: World) -> None:
    queue, taker, done = world.router.queue("q"), Taker(10), []
    for number in range(1, 4):
        queue.publish(make_message(number), lambda error=None, n=number: done.append((n, error)))
    world.settle_down()
    assert done == [(1, None), (2, None), (3, None)]
    assert world.take_part(queue, taker) is None
    assert world.numbers(taker.taken) == [1, 2, 3]
    figures = world.figures(queue)
    assert (figures.published, figures.delivered, figures.unacked, figures.ready) == (3, 3, 3, 0)
    for message in taker.taken:
        queue.settle(message, None, lambda error=None: done.append(error))
    world.settle_down()
    assert done[3:] == [None, None, None]
    assert world.figures(queue).acked == 3
    assert world.kept() == []


def test_nothing_is_delivered_before_the_consumer_goes_on(world: World) -> None:
    """The RECEIPT of a SUBSCRIBE comes before its first message."""
    queue, taker = world.router.queue("q"), Taker(1)
    queue.publish(make_message(1))
    queue.attach(taker, lambda error=None: None)
    world.settle_down()
    assert taker.taken == []
    queue.resume(taker)
    world.settle_down()
    assert len(taker.taken) == 1


def test_what_is_refused_had_no_effect(world: World) -> None:
    queue, errors, done = world.router.queue("full"), [], []
    for number in range(1, 4):
        queue.publish(make_message(number), lambda error=None: done.append(error), errors.append)
    world.settle_down()
    assert [error.code for error in errors] == ["queue-full"]
    assert done == [None, None]
    assert world.figures(queue).published == 2
    answers: list[ProtocolError | None] = []
    queue.admit(1, 0, lambda error=None: answers.append(error))
    world.settle_down()
    assert [error and error.code for error in answers] == ["queue-full"]


def test_what_was_admitted_has_to_be_taken(world: World) -> None:
    queue = world.router.queue("full")
    for number in range(1, 5):
        queue.publish(make_message(number))
    assert world.figures(queue).ready == 4


def test_who_goes_gives_back_in_order_and_gets_nothing_more(world: World) -> None:
    queue, first, second, gone = world.router.queue("q"), Taker(2), Taker(10), []
    world.take_part(queue, first)
    for number in range(1, 5):
        queue.publish(make_message(number))
    world.settle_down()
    queue.detach(first, first.taken, lost=True, done=lambda error=None: gone.append(error))
    world.settle_down()
    assert gone == [None]
    assert world.take_part(queue, second) is None
    assert world.numbers(second.taken) == [1, 2, 3, 4]
    assert [message.failures for message in second.taken] == [1, 0, 0, 0]


def test_a_rejected_message_comes_back_or_dies(world: World) -> None:
    queue, taker = world.router.queue("q"), Taker(1)
    world.take_part(queue, taker)
    queue.publish(make_message(1))
    world.settle_down()
    queue.settle(taker.taken[0], Rejection(delay=5.0))
    assert world.figures(queue).delayed == 1
    world.time.advance(6.0)
    taker.room = 1
    queue.resume(taker)
    world.settle_down()
    assert taker.taken[1].deliveries == 1
    queue.settle(taker.taken[1], Rejection(requeue=False, reason="no"))
    world.settle_down()
    figures = world.figures(queue)
    assert (figures.nacked, figures.dead_lettered, figures.unacked) == (2, 1, 0)
    assert len(world.browsed(world.router.queue("DLQ.q")).messages) == 1


def test_what_a_consumer_refuses_comes_again_as_it_wants(world: World) -> None:
    queue, taker = world.router.queue("q"), Taker(10)
    assert world.take_part(queue, taker) is None
    queue.publish(make_message(1))
    world.settle_down()
    for failures in range(3):
        queue.settle(taker.taken[-1], Rejection(delay=0.0, failed=False))
        world.settle_down()
        assert (taker.taken[-1].deliveries, taker.taken[-1].failures) == (failures + 1, 0)
    queue.settle(taker.taken[-1], Rejection(retries=Retries(most=1, delay=5.0)))
    world.settle_down()
    assert world.figures(queue).delayed == 1
    world.time.advance(5.0)
    world.settle_down()
    assert taker.taken[-1].failures == 1
    queue.settle(taker.taken[-1], Rejection(retries=Retries(most=1, delay=5.0)))
    world.settle_down()
    after = world.figures(queue)
    assert (after.delayed, after.dead_lettered) == (0, 1)


def test_very_many_deliveries_end_in_steps(world: World) -> None:
    queue, taker, done, end = world.router.queue("q"), Taker(5000), [], []
    world.take_part(queue, taker)
    for number in range(1, 5001):
        queue.publish(make_message(number))
    world.settle_down()
    queue.settle_many(
        taker.taken, None, lambda error=None: done.append(error), lambda: end.append(1)
    )
    for _ in range(4):
        world.settle_down()
        world.time.advance(0.01)
    assert (len(done), end, world.figures(queue).acked) == (5000, [1], 5000)


def test_figures_that_are_known_are_given_again(world: World) -> None:
    queue, found = world.router.queue("q"), []
    known = world.figures(queue)
    queue.stats(found.append, known)
    world.settle_down()
    assert found[0] is known
    queue.publish(make_message(1))
    queue.stats(found.append, known)
    world.settle_down()
    assert found[1] is not known
    assert (found[1].ready, found[1].oldest_at) == (1, WALL)


def test_consumers_choose_by_selectors(world: World) -> None:
    queue = world.router.queue("q")
    red, blue = Taker(2, selector="colour = 'red'"), Taker(10, selector="colour = 'blue'")
    for number in range(1, 10):
        queue.publish(make_message(number, colour=("red", "blue", "green")[number % 3]))
    assert world.take_part(queue, red) is None
    assert world.take_part(queue, blue) is None
    world.pass_steps()
    assert world.numbers(red.taken) == [3, 6]
    assert world.numbers(blue.taken) == [1, 4, 7]
    figures = world.figures(queue)
    assert (figures.ready, figures.unacked, figures.unmatched) == (4, 5, 3)
    assert {line.selector: (line.ready, line.matched, line.skipped) for line in figures.lines} == {
        "colour = 'red'": (1, 3, 6),
        "colour = 'blue'": (0, 3, 4),  # two had gone before
    }
    # What comes back is next for who takes it, and nobody else.
    queue.settle(red.taken[0], Rejection(delay=0))
    queue.settle(red.taken[1])
    red.room = 2
    queue.resume(red)
    world.pass_steps()
    assert world.numbers(red.taken) == [3, 6, 3, 9]
    queue.detach(red, red.taken[2:])
    rest = Taker(10)
    assert world.take_part(queue, rest) is None
    world.pass_steps()
    assert world.numbers(rest.taken) == [2, 3, 5, 8, 9]
    assert world.figures(queue).unmatched == 0


def test_a_queue_is_plain_again_when_nobody_chooses(world: World) -> None:
    queue = world.router.queue("q")
    red = Taker(10, selector="colour = 'red'")
    for number in range(1, 5):
        queue.publish(make_message(number, colour="blue", priority=str(number % 2 + 4)))
    assert world.take_part(queue, red) is None
    world.pass_steps()
    assert world.figures(queue).unmatched == 4
    queue.detach(red)
    world.pass_steps()
    assert (world.figures(queue).unmatched, world.figures(queue).lines) == (0, ())
    rest = Taker(10)
    assert world.take_part(queue, rest) is None
    assert world.numbers(rest.taken) == [1, 3, 2, 4]


def test_who_withdraws_gets_no_match_either(world: World) -> None:
    queue, red = world.router.queue("q"), Taker(10, selector="colour = 'red'")
    assert world.take_part(queue, red) is None
    queue.control(Withdraw([red]))
    queue.publish(make_message(1, colour="red"))
    world.pass_steps()
    assert red.taken == []
    queue.resume(red)
    world.pass_steps()
    assert world.numbers(red.taken) == [1]


def test_looking_changes_nothing(world: World) -> None:
    queue = world.router.queue("q")
    for number in range(1, 11):
        queue.publish(make_message(number, b"x" * 100, kind="odd" if number % 2 else "even"))
    world.settle_down()
    before = world.figures(queue)
    everything = world.browsed(queue)
    assert world.numbers(everything.messages) == list(range(1, 11))
    assert not everything.more
    odd = Selection(headers=(("kind", "odd"),))
    some = world.browsed(queue, Browse(odd, skip=1, most=2, bodies=10_000))
    assert world.numbers(some.messages) == [3, 5]
    assert (some.more, some.messages[0].body) == (True, b"x" * 100)
    chosen = Selection(after=world.sequence(2), selector="kind = 'even' AND AMQSize > 50")
    assert world.numbers(world.browsed(queue, Browse(chosen)).messages) == [4, 6, 8, 10]
    later = world.browsed(queue, Browse(Selection(after=world.sequence(8))))
    assert world.numbers(later.messages) == [9, 10]
    one = world.browsed(queue, Browse(Selection(ids=frozenset((str(world.sequence(7)),)))))
    assert world.numbers(one.messages) == [7]
    assert world.figures(queue) == before


def test_looking_at_what_consumers_have(world: World) -> None:
    """Page after page, in one order, wherever the messages are."""
    queue, holder = world.router.queue("q"), Holder(2)
    assert world.take_part(queue, holder) is None
    for number in range(1, 6):
        queue.publish(make_message(number, b"x" * 100))
    world.settle_down()
    queue.control(Withdraw([holder]))
    queue.settle(holder.taken.pop(0), Rejection(delay=60.0))
    world.settle_down()
    before = world.figures(queue)
    states, pages = frozenset(MessageState), list[Browsed]()
    while not pages or pages[-1].more:
        beyond = place_of(pages[-1].messages[-1]) if pages else None
        look = Browse(skip=0, most=2, bodies=1000, states=states, beyond=beyond)
        pages.append(world.browsed(queue, look))
    shown = [message for page in pages for message in page.messages]
    assert world.numbers(shown) == [1, 2, 3, 4, 5]
    assert [message.body for message in shown] == [b"x" * 100] * 5
    told = [state for page in pages for state in page.states]
    assert told == ["delayed", "unacked", "ready", "ready", "ready"]
    held = world.browsed(queue, Browse(states=frozenset((MessageState.UNACKED,))))
    assert world.numbers(held.messages) == [2]
    some = world.browsed(queue, Browse(Selection(), 1, 1, states=states))
    assert (world.numbers(some.messages), some.skipped, some.more) == ([2], 1, True)
    assert world.figures(queue) == before


class Holder(Taker):
    """A consumer that tells what it has."""

    def holds(self) -> Iterable[Message]:
        """What it took and has not settled."""
        return list(self.taken)


def test_operators_take_out_and_move(world: World) -> None:
    queue, target = world.router.queue("q"), world.router.queue("full")
    for number in range(1, 6):
        queue.publish(make_message(number))
    assert world.order(queue, Remove(frozenset((world.sequence(1), 99)))) == 1
    there = parse_destination("/queue/full")
    head = make_head("/queue/full")
    transfers = [Transfer(world.sequence(number), there, head) for number in (2, 3)]
    assert world.order(queue, Move(transfers)) == 2
    world.settle_down()
    assert world.figures(target).ready == 2
    refused = world.order(queue, Move([Transfer(world.sequence(4), there, head)]))
    assert isinstance(refused, ProtocolError)
    assert refused.code == "queue-full"
    assert world.numbers(world.browsed(queue).messages) == [4, 5]
    assert world.figures(queue).removed == 3


def test_a_paused_queue_keeps_what_it_has(world: World) -> None:
    queue, taker = world.router.queue("q"), Taker(5)
    world.take_part(queue, taker)
    assert world.order(queue, Configure(QueueSettings(paused=True))) == 0
    queue.publish(make_message(1))
    world.settle_down()
    assert (taker.taken, world.figures(queue).settings.paused) == ([], True)
    assert world.kept_queues() == {"q": QueueSettings(paused=True).to_stored()}
    world.order(queue, Configure(QueueSettings()))
    world.settle_down()
    assert len(taker.taken) == 1


def test_who_withdraws_gets_nothing_until_it_goes_on(world: World) -> None:
    queue, taker = world.router.queue("q"), Taker(5)
    world.take_part(queue, taker)
    queue.control(Withdraw([taker]))
    queue.publish(make_message(1))
    world.settle_down()
    assert taker.taken == []
    queue.resume(taker)
    world.settle_down()
    assert len(taker.taken) == 1


def test_a_queue_ends_only_when_nobody_uses_it(world: World) -> None:
    queue, taker = world.router.queue("q"), Taker(5)
    queue.publish(make_message(1))
    assert isinstance(world.order(queue, Close(unused=0.0)), ProtocolError)
    assert world.order(queue, Remove(frozenset((world.sequence(1),)))) == 1
    world.take_part(queue, taker)
    assert isinstance(world.order(queue, Close(unused=0.0)), ProtocolError)
    queue.detach(taker)
    assert isinstance(world.order(queue, Close(unused=5.0)), ProtocolError)
    world.time.advance(6.0)
    assert world.order(queue, Close(unused=5.0)) == 0


def test_what_is_told_while_it_may_end_is_not_lost(world: World) -> None:
    queue, outcomes = world.router.queue("q"), []
    world.settle_down()
    queue.control(Close(unused=0.0), outcomes.append)
    if not outcomes:  # it has not answered: whoever sends now must not be too late
        queue.publish(make_message(1))
        world.settle_down()
        assert isinstance(outcomes[0], ProtocolError)
        assert world.figures(queue).ready == 1
    else:
        assert outcomes == [0]


def test_the_end_takes_along_what_waits(world: World) -> None:
    queue = world.router.queue("q")
    for number in range(1, 4):
        queue.publish(make_message(number))
    assert world.order(queue, Close()) == 3
    assert world.figures(queue).bytes == world.router.memory.used == 0
    assert world.kept() == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.lists(st.integers(0, 5), max_size=60))
def test_nothing_is_lost_or_doubled_whatever_is_refused(  # noqa: C901 -- one story
    seed: int, steps: list[int]
) -> None:
    """What was not refused is accepted by one consumer, in order, exactly once."""
    random = Random(seed)
    world = World(kind=LATE, seed=seed, refuses=0.2)
    queue, sent, refused, takers = world.router.queue("q"), [], set(), [Taker(3) for _ in range(3)]
    for taker in takers:
        queue.attach(taker)
        queue.resume(taker)
    accepted: list[int] = []

    def accept(taker: Taker) -> None:
        said_no = not taker.room
        for message in taker.taken:
            accepted.append(message.sequence)
            queue.settle(message)
        taker.room += len(taker.taken)
        taker.taken.clear()
        if said_no:
            queue.resume(taker)

    for step in steps:
        number = len(sent) + 1
        if step < 3:
            sent.append(number)
            errors = lambda error, n=number: refused.add(n)  # noqa: E731 -- one a message
            queue.publish(make_message(number), None, errors)
        elif step == 3:
            accept(random.choice(takers))
        elif world.turns:
            world.turns.popleft()()
    for _ in range(len(sent) + 1):
        world.settle_down()
        for taker in takers:
            accept(taker)
    world.settle_down()
    assert sorted(accepted) == [number for number in sent if number not in refused]
    figures = world.figures(queue)
    assert (figures.bytes, figures.unacked, figures.published) == (0, 0, len(accepted))


def test_a_bad_day_is_told_in_its_own_words() -> None:
    world = World(kind=LATE, refuses=1.0)
    queue, errors = world.router.queue("q"), []
    queue.publish(make_message(1), None, errors.append)
    world.settle_down()
    assert [error.Message for error in errors] == [REFUSED]
