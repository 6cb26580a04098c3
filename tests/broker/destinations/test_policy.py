"""Policies: which applies, and what it says."""

from typing import Literal

import pytest
from pydantic import ValidationError

from stompy_broker.destinations.names import DestinationKind
from stompy_broker.destinations.policy import Policies, Policy


def test_the_first_that_matches_wins_and_kinds_do_not_mix() -> None:
    policies = Policies(
        [
            Policy(match="/queue/orders.>", max_deliveries=1),
            Policy(match="/queue/>", max_deliveries=2),
            Policy(match="/topic/>", max_deliveries=3),
        ]
    )
    assert policies.find(DestinationKind.QUEUE, "orders.new").max_deliveries == 1
    assert policies.find(DestinationKind.QUEUE, "mail").max_deliveries == 2
    assert policies.find(DestinationKind.TOPIC, "orders.new").max_deliveries == 3
    assert policies.find(DestinationKind.TEMPORARY, "x") == Policy()


@pytest.mark.parametrize(
    "settings",
    [
        {"match": "/amq/x"},
        {"match": "/temp-queue/x"},
        {"match": "/queue/a.>.b"},
        {"dead_letter": "/foo/{name}"},
        {"dead_letter": "/queue/*"},
        {"dead_letter": "/queue/x.{nam}"},
        {"dead_letter": "/topic/x"},
        {"dead_letter": "/queue/durable.x"},
        {"expired_to": "/queue/$SYS.x"},
        {"overflow_to": "/queue/durable.{name}"},
        {"max_deliveries": -2},
        {"redelivery_multiplier": 0.5},
        {"overflow": "explode"},
        {"unknown": 1},
    ],
)
def test_nonsense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate(settings)


def test_delays_never_overflow() -> None:
    policy = Policy(redelivery_multiplier=1000.0)
    assert policy.delay(0) == policy.delay(1) == 0.0
    assert policy.delay(2) == 1.0
    assert policy.delay(100_000) == 60.0


def test_exhausted() -> None:
    assert not Policy(max_deliveries=3).exhausted(2)
    assert Policy(max_deliveries=3).exhausted(3)
    assert not Policy(max_deliveries=-1).exhausted(10**9)


def test_delays_in_a_line() -> None:
    policy = Policy(redelivery="linear", redelivery_delay=2.0, redelivery_delay_max=5.0)
    assert [policy.delay(failures) for failures in (0, 1, 2, 3, 100_000)] == [0, 2, 4, 5, 5]


def test_jitter_makes_delays_shorter_and_spreads_them() -> None:
    policy = Policy(redelivery_delay=10, redelivery_delay_max=10, redelivery_jitter=0.5)
    delays = [policy.delay(2, seed) for seed in range(0, 4096, 4)]
    assert all(5 <= delay <= 10 for delay in delays)
    tenths = {int((delay - 5) * 2) for delay in delays}
    assert tenths >= set(range(10))
    assert policy.delay(2, 7) == policy.delay(2, 7)
    assert policy.delay(1, 7) == 0.0


@pytest.mark.parametrize(
    ("waits_for", "failed", "returned"),
    [
        ("failed", True, False),
        ("returned", False, True),
        ("all", True, True),
        ("none", False, False),
    ],
)
def test_which_messages_wait(
    waits_for: Literal["failed", "returned", "all", "none"], failed: bool, returned: bool
) -> None:
    policy = Policy(redelivery_for=waits_for)
    assert policy.waits(failed=True) is failed
    assert policy.waits(failed=False) is returned


def test_arguments_for_delayed_retries() -> None:
    policy = Policy(redelivery_multiplier=3).with_arguments(
        {"x-delayed-retry-type": "all", "x-delayed-retry-min": "1500"}
    )
    assert (policy.redelivery, policy.redelivery_for) == ("linear", "all")
    assert [policy.delay(failures) for failures in (1, 2, 1000)] == [1.5, 3.0, 1500.0]
    policy = Policy().with_arguments({"x-delayed-retry-min": "1000", "x-delayed-retry-max": "2500"})
    assert policy.redelivery_for == "failed"
    assert policy.delay(9) == 2.5
    policy = Policy().with_arguments({"x-delayed-retry-type": "disabled"})
    assert not policy.waits(failed=True)
