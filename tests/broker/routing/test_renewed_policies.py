"""Queues that there are already go by policies that change while the broker runs."""

from __future__ import annotations

import pytest
from tests.support.house import (
    WALL,
    Taker,
    Time,
    backlog_of,
    browsed,
    figures,
    make_head,
    make_message,
    make_router,
    take_part,
)

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.durable import DurableSubscription
from stompy_broker.routing.interface import Queue
from stompy_broker.routing.rejection import Rejection
from stompy_broker.routing.router import Router


def renew(router: Router, *policies: Policy) -> int:
    """Go by these policies; gives how many queues have another one."""
    router.policies.renew(policies)
    return list(router.registry.renew_policies())[-1]


def publish(queue: Queue, count: int, **headers: str) -> list[ProtocolError]:
    """Publish messages of one second each; gives the refusals."""
    refused: list[ProtocolError] = []
    for _ in range(count):
        sequence = queue.sequences.take()
        queue.publish(make_message(sequence, **headers), None, refused.append)
    return refused


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def router(time: Time) -> Router:
    return make_router(time)


@pytest.fixture
def queue(router: Router) -> Queue:
    return router.queue("q")


def test_only_queues_that_behave_otherwise_are_counted(router: Router, queue: Queue) -> None:
    router.queue("other")
    policy = Policy(match="/queue/q", max_length=3)
    assert renew(router, policy) == 1
    assert queue.policy is policy
    assert renew(router, Policy(match="/queue/q", max_length=3)) == 0
    assert renew(router) == 1
    assert queue.policy == Policy()


def test_a_lower_limit_lets_what_waits_go_step_by_step(router: Router, queue: Queue) -> None:
    publish(queue, 250)
    renew(router, Policy(match="/queue/q", max_length=10))
    assert figures(queue).ready == 250
    # Each message that comes pushes out a hundred at most.
    for expected in (151, 52, 10, 10):
        publish(queue, 1)
        assert figures(queue).ready == expected
    assert figures(queue).dropped == 250 + 4 - 10
    renew(router)
    publish(queue, 5)
    assert figures(queue).ready == 15


def test_a_queue_that_refuses_begins_and_ceases_to(router: Router, queue: Queue) -> None:
    publish(queue, 3)
    renew(router, Policy(match="/queue/q", max_length=2, overflow="reject-publish"))
    (error,) = publish(queue, 1)
    assert error.error_code is ErrorCode.QUEUE_FULL
    assert figures(queue).ready == 3
    renew(router)
    assert publish(queue, 1) == []


def test_a_time_to_live_holds_for_new_messages(router: Router, queue: Queue, time: Time) -> None:
    publish(queue, 1)
    renew(router, Policy(match="/queue/q", message_ttl=5000))
    publish(queue, 1)
    time.advance(6)
    assert figures(queue).ready == 1
    # Messages end in another order now than they came in.
    publish(queue, 1)
    renew(router, Policy(match="/queue/q", message_ttl=1000))
    publish(queue, 1)
    assert [message.expires for message in browsed(queue)] == [0, WALL + 5000, WALL + 1000]
    renew(router)
    publish(queue, 1)
    time.advance(60)
    assert [message.expires for message in browsed(queue)] == [0, 0]


def test_dead_letters_and_redelivery_go_by_what_holds_when_they_happen(
    router: Router, queue: Queue
) -> None:
    publish(queue, 2)
    taker = Taker(2)
    take_part(queue, taker)
    renew(router, Policy(match="/queue/q", max_deliveries=1, dead_letter="/queue/elsewhere"))
    for message in list(taker.taken):
        queue.settle(message, Rejection())
    assert figures(router.queue("elsewhere")).ready == 2


def test_a_mark_of_its_own_comes_moves_and_goes(router: Router, queue: Queue) -> None:
    publish(queue, 10)
    size = figures(queue).bytes
    assert queue.watermark is None
    renew(router, Policy(match="/queue/q", max_bytes=size // 2))
    assert queue.watermark is not None
    assert figures(queue).full
    gone_on: list[bool] = []
    queue.watermark.wait(lambda: gone_on.append(True))
    renew(router, Policy(match="/queue/q", max_bytes=size + 1))
    assert figures(queue).full  # it is above three quarters of it
    renew(router, Policy(match="/queue/q", max_bytes=2 * size))
    assert (figures(queue).full, gone_on) == (False, [True])
    renew(router, Policy(match="/queue/q", max_bytes=1))
    assert figures(queue).full
    renew(router)
    assert not figures(queue).full
    publish(queue, 10)
    assert not figures(queue).full


def test_an_operators_hold_outlasts_another_mark(router: Router, queue: Queue) -> None:
    renew(router, Policy(match="/queue/q", max_bytes=1000))
    assert queue.watermark is not None
    queue.watermark.hold()
    renew(router, Policy(match="/queue/q", max_bytes=2000))
    assert figures(queue).full
    queue.watermark.open()
    assert not figures(queue).full


def test_arguments_of_the_first_frame_stay_on_top(router: Router) -> None:
    queue = router.queue("set", {"x-max-length": "3"})
    renew(router, Policy(match="/queue/>", max_length=7, max_deliveries=2))
    assert (queue.policy.max_length, queue.policy.max_deliveries) == (3, 2)


def test_durable_subscriptions_go_by_policies_of_their_topic(router: Router) -> None:
    backlog = backlog_of(router, DurableSubscription("d", "news.*", shared=False))
    policy = Policy(match="/topic/news.*", max_length=1, overflow="reject-publish")
    assert renew(router, policy) == 1
    assert (backlog.policy, router.registry.durable.refusing) == (policy, 1)
    topic = Destination(DestinationKind.TOPIC, "news.a", is_pattern=False)
    refused: list[ProtocolError] = []
    for _ in range(2):
        router.publish(topic, make_head("/topic/news.a"), b"", None, refused.append)
    assert [error.error_code for error in refused] == [ErrorCode.QUEUE_FULL]
    renew(router)
    assert router.registry.durable.refusing == 0


def test_an_unused_queue_goes_as_soon_as_the_new_policy_says(router: Router, time: Time) -> None:
    router.queue("idle")
    renew(router, Policy(match="/queue/idle", expires=5))
    time.advance(6)
    assert "idle" not in router.queues


def test_it_is_done_in_steps(router: Router) -> None:
    for number in range(450):
        router.queue(f"q{number}")
    router.policies.renew([Policy(match="/queue/>", max_length=1)])
    assert list(router.registry.renew_policies()) == [200, 400, 450]


def test_a_queue_that_has_ended_stays_closed(router: Router, queue: Queue) -> None:
    router.registry.delete_queue(queue, "test")
    queue.renew_policy(Policy(max_length=1))
    publish(queue, 2)
    assert figures(queue).ready == 0
