"""Whether clients should be sent to a broker, and why not."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import cast

import pytest
from tests.support.house import Time, make_router

from stompy_broker.admin.health import LONGEST_TURN, STARTING, STOPPING, Health
from stompy_broker.admin.pages import health_page, readiness_page
from stompy_broker.routing.router import Router
from stompy_broker.security.login import Logins


@pytest.fixture
def router() -> Router:
    return make_router(Time())


@pytest.fixture
def logins() -> Logins:
    return cast(Logins, SimpleNamespace(draining=False))


@pytest.fixture
def health(router: Router, logins: Logins) -> Health:
    health = Health()
    health.watch(router, logins)
    return health


def test_a_broker_is_ready_between_its_start_and_its_stop(health: Health) -> None:
    assert readiness_page(health).status == HTTPStatus.SERVICE_UNAVAILABLE
    assert STARTING.encode() in readiness_page(health).content
    health.phase = ""
    assert readiness_page(health).status == HTTPStatus.OK
    health.phase = STOPPING
    assert health.not_ready() == STOPPING


def test_draining_and_alarms_are_against_it(health: Health, router: Router, logins: Logins) -> None:
    health.phase = ""
    assert health.not_ready() == ""
    router.store_troubled(True)
    assert health.not_ready() == "alarm store: the store cannot be written"
    logins.draining = True
    router.memory.hold()
    assert health.not_ready() == (
        "the broker is draining: only operators may come in; alarm store: the store cannot be "
        "written; alarm memory: waiting messages have reached limits.memory"
    )
    router.store_troubled(False)
    router.memory.open()
    logins.draining = False
    assert health.not_ready() == ""


def test_a_broker_that_is_left_takes_clients(health: Health, router: Router) -> None:
    health.phase = ""
    for name in ("cluster.peer_lost", "cluster.settings", "cluster.fenced"):
        router.alarms[name] = 0.0
    assert health.not_ready() == ""


def test_others_can_be_against_it(health: Health) -> None:
    reasons = ["group 3 has no owner", ""]
    health.phase = ""
    health.reasons += [lambda: reasons[0], lambda: reasons[1]]
    assert readiness_page(health).content == b"not ready: group 3 has no owner\n"
    reasons[:] = ["", ""]
    assert readiness_page(health).status == HTTPStatus.OK


def test_a_loop_that_hardly_turns_is_not_healthy() -> None:
    assert health_page(0.1).status == HTTPStatus.OK
    assert health_page(LONGEST_TURN + 1).status == HTTPStatus.SERVICE_UNAVAILABLE
