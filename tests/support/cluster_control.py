"""A cluster that does what commands say, and brokers that believe to belong to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.cluster_status import MemberBroker, ToldCluster
from tests.support.wire import cheap_hash, running_broker

from stompy_broker import RunningBroker
from stompy_broker.admin.service import AdminService
from stompy_broker.config import BrokerConfig
from stompy_broker.embed import thread


@dataclass
class ToldControl:
    """A `ClusterControl` that does what it is told, or says why not.

    Args:
        cluster: whose groups are moved.

    Attributes:
        hindrance: why it does not.
        told: what it was told.
    """

    cluster: ToldCluster
    hindrance: str = ""
    told: list[object] = field(default_factory=list)

    def move(self, group: int, broker: str, done: Callable[[str], None]) -> None:
        """Move it at once."""
        self.told.append(("move", group, broker))
        if not self.hindrance:
            self.cluster.owners[group] = broker
        done(self.hindrance)

    def drain(self, done: Callable[[str], None]) -> None:
        """Remember it, and be done at once."""
        self.told.append("drain")
        done(self.hindrance)

    def undrain(self) -> None:
        """Remember it."""
        self.told.append("undrain")

    def accept(self, group: int) -> None:
        """Remember it."""
        self.told.append(("accept", group))


USERS = {name: cheap_hash("secret") for name in ("monitor", "operator", "admin")}
"""Of the brokers here: for each role a user of its name, whose passcode is ``secret``."""


@contextmanager
def member_of(control: ToldControl) -> Iterator[RunningBroker]:
    """A broker that believes to belong to a cluster.

    Args:
        control: of that cluster.
    """

    class Member(MemberBroker):
        def __init__(self, config: BrokerConfig | None, time: None = None) -> None:
            super().__init__(config, control.cluster)

        def _admin_service(self, *parts: Any) -> AdminService:
            service = super()._admin_service(*parts)
            service.control = control
            return service

    roles = {name: [name] for name in USERS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread, "Broker", Member)
        with running_broker(users=USERS, roles=roles) as broker:
            yield broker
