"""Policies: which applies, and what it says."""

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
