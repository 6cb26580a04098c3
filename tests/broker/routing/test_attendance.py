"""Who may consume beside whom, and what it means that the last one leaves."""

from __future__ import annotations

from tests.support.house import Taker

from stompy.errors import ErrorCode
from stompy_broker.destinations.policy import Policy
from stompy_broker.routing.attendance import Attendance
from stompy_broker.routing.interface import (
    DURABLE_BACKLOG,
    NAMED,
    TEMPORARY,
    Close,
    QueueIdentity,
    QueueKind,
)
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.routing.terms import Terms


def attendance(kind: QueueKind = NAMED, *, auto_delete: bool = False) -> Attendance:
    policy = Policy(auto_delete=auto_delete)
    return Attendance(QueueIdentity("/queue/q", "q", policy, *kind), 0.0)


def taker(holder: str = "") -> Taker:
    found = Taker(1)
    found.terms = Terms(holder=holder)
    return found


def test_anybody_may_come_unless_somebody_has_it_alone() -> None:
    queue = attendance()
    assert queue.come(taker(), NO_SETTINGS) is NO_SETTINGS
    assert queue.refusal(taker()) is None
    refused = queue.refusal(taker("one"))
    assert refused is not None
    assert refused.error_code is ErrorCode.ACCESS_REFUSED


def test_who_has_it_alone_may_come_twice() -> None:
    queue = attendance()
    assert queue.come(taker("one"), NO_SETTINGS) == QueueSettings(exclusive=True)
    assert queue.refusal(taker("one")) is None
    for other in ("", "two"):
        assert queue.refusal(taker(other)) is not None


def test_a_durable_subscription_of_one_has_one() -> None:
    queue = attendance(DURABLE_BACKLOG)
    assert queue.refusal(taker()) is None
    queue.come(taker(), NO_SETTINGS)
    refused = queue.refusal(taker())
    assert refused is not None
    assert refused.error_code is ErrorCode.SUBSCRIPTION_IN_USE


def test_the_last_one_is_the_last_one_once() -> None:
    queue, one, two = attendance(), taker(), taker()
    for consumer in (one, two):
        queue.come(consumer, NO_SETTINGS)
    assert queue.idle_since is None
    assert not queue.go(one, 5.0)
    assert queue.go(two, 6.0)
    assert not queue.go(two, 7.0)  # gives back what it had
    assert queue.stays(Close(2.0), False, 7.5)
    assert not queue.stays(Close(0.1), False, 7.5)


def test_what_is_in_it_may_keep_it_or_not() -> None:
    queue = attendance()
    assert queue.stays(Close(1.0), True, 9.0)
    assert not queue.stays(Close(1.0, messages=False), True, 9.0)
    assert not queue.stays(Close(), True, 9.0)
    queue.come(taker(), NO_SETTINGS)
    assert queue.stays(Close(1.0, messages=False), True, 9.0)


def test_what_ends_and_what_does_not() -> None:
    made, alone = QueueSettings(created=True), QueueSettings(exclusive=True)
    assert not attendance().ends(NO_SETTINGS, lost=True)
    assert attendance(auto_delete=True).ends(NO_SETTINGS, lost=False)
    assert not attendance(auto_delete=True).ends(made, lost=False)
    assert attendance().ends(alone, lost=True)
    assert not attendance().ends(alone, lost=False)  # its connection may come again
    assert not attendance(TEMPORARY, auto_delete=True).ends(NO_SETTINGS, lost=True)
