"""One broker for all tests here, and clients that may do everything.

Whatever is asked of queues is proved twice: with queues that answer at once, and with queues that
do what they are told, and answer, some turns of the event loop later.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.admin import Observer, observing
from tests.support.delaying import DelayingBroker
from tests.support.wire import running_broker, unique

from stompy_broker import RunningBroker
from stompy_broker.embed import thread

POLICIES = [
    {"match": "/queue/late.>", "expired_to": "/queue/over.{name}", "redelivery_delay": 0},
    {"match": "/queue/small.>", "max_length": 2, "overflow": "reject-publish"},
    {"match": "/queue/>", "redelivery_delay": 0},
]


@pytest.fixture(scope="module", params=["at once", "later"])
def broker(request: pytest.FixtureRequest) -> Iterator[RunningBroker]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "later":
            patch.setattr(thread, "Broker", DelayingBroker)
        with running_broker(policy=POLICIES) as broker:
            yield broker


@pytest.fixture
def admin(broker: RunningBroker) -> Iterator[Observer]:
    with observing(broker.port) as observer:
        yield observer


@pytest.fixture
def queue() -> str:
    return unique()
