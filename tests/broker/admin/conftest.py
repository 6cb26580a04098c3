"""One broker for all tests here, and clients that may do everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.admin import Observer, observing
from tests.support.wire import running_broker, unique

from stompy_broker import RunningBroker

POLICIES = [
    {"match": "/queue/small.>", "max_length": 2, "overflow": "reject-publish"},
    {"match": "/queue/>", "redelivery_delay": 0},
]


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(policy=POLICIES) as broker:
        yield broker


@pytest.fixture
def admin(broker: RunningBroker) -> Iterator[Observer]:
    with observing(broker.port) as observer:
        yield observer


@pytest.fixture
def queue() -> str:
    return unique()
