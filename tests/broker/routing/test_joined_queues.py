"""Several queues for one consumer, against a model that knows nothing of queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import Taker, Time, figures, make_head, make_router, raise_refusal

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.policy import Policy
from stompy_broker.message import Message
from stompy_broker.routing.interface import Queue, Withdraw
from stompy_broker.routing.joined_queues import JoinedQueues, by_queue, queues_of
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router


class Client(Taker):
    """A consumer that knows where each message came from, and settles."""

    def __init__(self, room: int, *, auto: bool = False) -> None:
        super().__init__(room, auto=auto)
        self.unsettled: list[Message] = []
        self.refuses = False

    def deliver(self, message: Message) -> bool:
        """Take a message."""
        if self.refuses:
            raise UnicodeError("cannot be written")
        if not self.auto:
            self.unsettled.append(message)
        return super().deliver(message)


def joined(router: Router, client: Client, *names: str) -> tuple[JoinedQueues, list[Queue]]:
    """A consumer of the queues of these names that takes messages."""
    queues = [router.queue(name) for name in names]
    numbers = count(1000)
    several = JoinedQueues(
        "as written", queues, (), router.work_budget, lambda: next(numbers), at_once
    )
    several.attach(client, raise_refusal)
    several.resume(client)
    return several, queues


def at_once(steps: Iterator[None]) -> None:
    """Carry out all steps."""
    for _ in steps:
        pass


def publish(router: Router, queue: Queue, body: str) -> None:
    head = make_head(queue.destination)
    router.publish_to(queue, head, body.encode())


def bodies(client: Taker) -> list[str]:
    """What the client was given, in order."""
    return [message.body.decode() for message in client.taken if message.body is not None]


@pytest.fixture
def router() -> Router:
    return make_router(Time())


def test_a_full_consumer_leaves_what_comes(router: Router) -> None:
    client = Client(1)
    several, (a, b) = joined(router, client, "a", "b")
    publish(router, a, "1")
    publish(router, b, "2")
    assert bodies(client) == ["1"]
    assert figures(b).ready == 1
    assert figures(b).delivered == figures(b).unacked == 0
    client.room += 1
    several.resume(client)
    assert bodies(client) == ["1", "2"]
    assert figures(b).unacked == 1
    assert client.taken[1].redelivery is None
    assert several.delivered == 2


def test_what_it_leaves_goes_to_others_in_order(router: Router) -> None:
    client, other = Client(1), Taker(10)
    _, (a, b) = joined(router, client, "a", "b")
    b.attach(other)
    b.resume(other)
    publish(router, a, "0")
    for number in range(5):
        publish(router, b, str(number))
    assert bodies(other) == ["0", "1", "2", "3", "4"]


def test_settled_where_it_came_from(router: Router) -> None:
    client = Client(10)
    several, (a, b) = joined(router, client, "a", "b")
    for queue in (a, b, a):
        publish(router, queue, queue.name)
    first, second, third = client.unsettled
    assert by_queue(several, [first, second, third]) == {a: [first, third], b: [second]}
    several.settle(second)
    several.settle(first, Rejection(requeue=False))
    assert (figures(b).acked, figures(b).unacked) == (1, 0)
    assert (figures(a).nacked, figures(a).unacked) == (1, 1)
    done: list[str] = []
    several.settle_many([third], None, None, lambda: done.append("done"))
    assert figures(a).acked == 1
    assert done == ["done"]


def test_many_are_settled_in_steps(router: Router) -> None:
    client = Client(10_000)
    several, queues = joined(router, client, "a", "b", "c")
    for number in range(3000):
        publish(router, queues[number % 3], str(number))
    done: list[int] = []
    answers: list[ProtocolError | None] = []

    def answered(error: ProtocolError | None = None, /) -> None:
        answers.append(error)

    several.settle_many(iter(client.unsettled), None, answered, lambda: done.append(len(answers)))
    while not done:
        assert figures(queues[0]).unacked > 0
        router.work_budget._begin()  # the pause is over
    assert done == [3000]
    assert [figures(queue).acked for queue in queues] == [1000, 1000, 1000]


def test_of_a_lost_consumer_the_oldest_message_of_all_counts_as_failed(router: Router) -> None:
    client = Client(10)
    several, (a, b) = joined(router, client, "a", "b")
    for queue in (b, a, b):
        publish(router, queue, "x")
    first, second, third = client.unsettled
    several.detach(client, client.unsettled, lost=True)
    assert [message.failures for message in (first, second, third)] == [1, 0, 0]
    assert [message.deliveries for message in (first, second, third)] == [1, 1, 1]
    assert (figures(a).ready, figures(b).ready) == (1, 2)
    assert figures(a).consumers == figures(b).consumers == 0


def test_what_a_transaction_held_comes_back_after_the_end(router: Router) -> None:
    client = Client(10)
    several, (a, b) = joined(router, client, "a", "b")
    publish(router, a, "1")
    publish(router, b, "2")
    first, second = client.unsettled
    several.detach(client, [second])
    assert (figures(a).unacked, figures(b).ready) == (1, 1)
    several.detach(client, [first])
    assert (figures(a).unacked, figures(a).ready) == (0, 1)


def test_all_or_none_is_let_in(router: Router) -> None:
    queues = [router.queue("a"), router.queue("b")]
    several = JoinedQueues("x", queues, (), router.work_budget, lambda: 1, at_once)
    refusal = ProtocolError(ErrorCode.ACCESS_REFUSED, "no")
    told: list[ProtocolError | None] = []

    def answered(error: ProtocolError | None = None, /) -> None:
        told.append(error)

    class Refusing:
        """A queue that lets nobody in."""

        name = destination = "b"
        private = False
        policy = Policy()

        def attach(self, consumer: object, done: object) -> None:
            """Refuse whoever comes."""
            assert callable(done)
            done(refusal)

        def detach(self, *args: object, **more: object) -> None:
            """Let go whoever was not let in."""

    refusing = Refusing()
    several._inlets = {queues[0]: None, refusing: None}  # type: ignore[dict-item]
    several._named = frozenset((queues[0], refusing))  # type: ignore[arg-type]
    client = Client(5)
    several.attach(client, answered)
    assert told == [refusal]
    several.detach(client)
    assert figures(queues[0]).consumers == 0
    several._inlets = {}
    several._ended = False
    several.join(Refusing())  # type: ignore[arg-type]
    assert queues_of(several) == []


def test_a_queue_that_comes_later_joins_in(router: Router) -> None:
    client = Client(3)
    several, _ = joined(router, client, "a")
    late = router.queue("late")
    publish(router, late, "1")
    several.join(late)
    several.join(late)
    assert bodies(client) == ["1"]
    publish(router, late, "2")
    assert bodies(client) == ["1", "2"]
    several.leave(late)
    several.settle(client.unsettled[0])
    assert figures(late).acked == 1
    several.detach(client, client.unsettled[1:])
    several.join(router.queue("too late"))
    assert figures(router.queue("too late")).consumers == 0


def test_withdrawn_it_takes_nothing(router: Router) -> None:
    client = Client(3)
    several, (a,) = joined(router, client, "a")
    several.control(Withdraw([client]))
    publish(router, a, "1")
    assert bodies(client) == []
    assert figures(a).ready == 1


@pytest.mark.parametrize("auto", [True, False])
def test_what_cannot_be_written_is_given_up(
    router: Router, auto: bool, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(3, auto=auto)
    several, (a,) = joined(router, client, "a")
    client.refuses = True
    publish(router, a, "1")
    client.refuses = False
    publish(router, a, "2")
    assert bodies(client) == ["2"]
    assert figures(a).dead_lettered == 1
    assert "cannot be written" in caplog.text
    assert several.delivered == 1


@pytest.mark.parametrize("auto", [True, False])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(0, 2)),
            st.tuples(st.just("room"), st.integers(1, 3)),
            st.tuples(st.just("settle"), st.integers(0, 5)),
            st.tuples(st.just("return"), st.integers(0, 5)),
            st.tuples(st.just("withdraw"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_it_is_as_fair_and_as_full_as_a_model(auto: bool, steps: list[tuple[str, int]]) -> None:
    """Never more than there is room for, nothing left that could go, and by turns."""
    time = Time()
    router = make_router(time)
    client = Client(2, auto=auto)
    several, queues = joined(router, client, "0", "1", "2")
    waiting = [deque[str](), deque[str](), deque[str]()]
    number = 0
    for what, value in steps:
        before = len(client.taken)
        if what == "publish":
            number += 1
            waiting[value].append(str(number))
            publish(router, queues[value], str(number))
        elif what == "room":
            client.room += value
            several.resume(client)
        elif what == "withdraw":
            several.control(Withdraw([client]))
        elif client.unsettled:
            message = client.unsettled.pop(value % len(client.unsettled))
            queue = several.origin(message)
            if what == "settle":
                several.settle(message)
            else:
                waiting[int(queue.name)].appendleft((message.body or b"").decode())
                several.settle(message, Rejection(delay=0))
        given_now = client.taken[before:]
        for message in given_now:
            body = (message.body or b"").decode()
            (at,) = [place for place, line in enumerate(waiting) if body in line]
            waiting[at].remove(body)
        assert client.room >= 0
        if client.room and client.waiting:
            assert not any(waiting), "something could have gone"
        for queue, line in zip(queues, waiting, strict=True):
            assert figures(queue).ready + figures(queue).delayed == len(line)
            held = by_queue(several, client.unsettled).get(queue, [])
            assert figures(queue).unacked == len(held)
    several.detach(client, client.unsettled)
    assert sum(figures(queue).unacked for queue in queues) == 0
    assert sum(figures(queue).consumers for queue in queues) == 0
