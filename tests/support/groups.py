"""A broker with several groups of queues in one process, without a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.wire import running_broker

from stompy_broker import RunningBroker
from stompy_broker import broker as broker_module
from stompy_broker.broker import Broker
from stompy_broker.destinations.policy import Policies
from stompy_broker.embed import thread
from stompy_broker.routing.factory import QueueFactory
from stompy_broker.routing.router import Router
from stompy_broker.store.interface import MessageStore
from stompy_broker.store.memory import MemoryStore
from stompy_broker.timers import Clock


class ByFirstLetter(QueueFactory):
    """Names that begin with a are of the first group, with b of the second."""

    home = 2

    def group_of(self, name: str) -> int:
        return "ab".index(name.removeprefix("durable.")[0])


class BrokerOfGroups(Broker):
    """A broker whose queues are of two groups, but for those of single connections."""

    def _queue_factory(self) -> QueueFactory:
        return ByFirstLetter()


def _router_of_groups(
    clock: Clock,
    wall: Callable[[], int],
    stores: Iterable[MessageStore],
    policies: Policies,
    **settings: Any,
) -> Router:
    three = [MemoryStore(durable=True), MemoryStore(durable=True), MemoryStore()]
    return Router(clock, wall, three, policies, **settings)


@contextmanager
def broker_of_groups() -> Iterator[RunningBroker]:
    """One that runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread, "Broker", BrokerOfGroups)
        patch.setattr(broker_module, "Router", _router_of_groups)
        with running_broker() as broker:
            yield broker
