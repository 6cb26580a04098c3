"""Commands about the cluster, to brokers that believe to belong to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.cluster_control import ToldControl, member_of
from tests.support.cluster_status import ToldCluster

from stompy_broker.admin.cluster_status import MemberFacts, ServerFacts


@pytest.fixture
def control() -> ToldControl:
    cluster = ToldCluster("ann", {0: "ann", 1: "bob", 2: ""})
    cluster.known = [MemberFacts("ann"), MemberFacts("bob"), MemberFacts("eve", "lost")]
    cluster.nats = [ServerFacts("n1", "leader")]
    return ToldControl(cluster)


@pytest.fixture
def port(control: ToldControl) -> Iterator[int]:
    with member_of(control) as broker:
        yield broker.port


@pytest.fixture
def member(port: int) -> Iterator[Observer]:
    with observing(port, "login:admin", "passcode:secret") as observer:
        yield observer


def test_a_broker_that_is_alone_says_so(admin: Observer) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("cluster.status", {}),
        ("cluster.move", {"broker": "bob", "group": 1}),
        ("cluster.drain", {}),
    ]
    for cmd, args in asked:
        error = fails(Code.CONFLICT, admin.ask, cmd, **args)
        assert "this broker is alone" in error.message


def test_the_cluster_is_told(member: Observer) -> None:
    told = member.ask("cluster.status")
    assert (told["cluster"], told["broker"]) == ("shop", "ann")
    assert [(one["id"], one["state"]) for one in told["members"]] == [
        ("ann", "alive"),
        ("bob", "alive"),
        ("eve", "lost"),
    ]
    assert [(one["number"], one["owner"]) for one in told["groups"]] == [
        (0, "ann"),
        (1, "bob"),
        (2, ""),
    ]
    assert told["servers"][0]["name"] == "n1"


def test_a_group_is_moved(member: Observer, control: ToldControl) -> None:
    assert member.ask("cluster.move", group=0, broker="bob") == {
        "group": 0,
        "from": "ann",
        "to": "bob",
        "moved": True,
    }
    assert control.told == [("move", 0, "bob")]
    assert member.ask("cluster.move", group=0, broker="bob")["moved"] is False
    assert member.ask("cluster.move", group=2, broker="ann")["from"] == ""


def test_a_group_is_named_by_a_queue(member: Observer, control: ToldControl) -> None:
    # Without a map of groups, all queues are in the first one.
    assert member.ask("cluster.move", queue="/queue/q", broker="bob")["group"] == 0


def test_a_dry_run_moves_nothing(member: Observer, control: ToldControl) -> None:
    assert member.ask("cluster.move", dry_run=True, group=0, broker="bob")["moved"] is False
    assert member.ask("cluster.drain", dry_run=True)["groups"] == [0]
    assert control.told == []


@pytest.mark.parametrize(
    ("code", "args", "words"),
    [
        (Code.BAD_REQUEST, {"broker": "bob"}, "'group', a number, or 'queue'"),
        (Code.BAD_REQUEST, {"broker": "bob", "group": 1, "queue": "q"}, "or 'queue'"),
        (Code.NOT_FOUND, {"broker": "bob", "group": 3}, "there is no group 3"),
        (Code.NOT_FOUND, {"broker": "tom", "group": 0}, "there are ann, bob, eve"),
        (Code.CONFLICT, {"broker": "eve", "group": 0}, "eve is lost"),
    ],
)
def test_moves_that_cannot_be(
    member: Observer, control: ToldControl, code: Code, args: dict[str, object], words: str
) -> None:
    assert words in fails(code, member.ask, "cluster.move", **args).message
    assert control.told == []


def test_what_hinders_is_told(member: Observer, control: ToldControl) -> None:
    control.hindrance = "bob does not answer"
    error = fails(Code.CONFLICT, member.ask, "cluster.move", group=0, broker="bob")
    assert error.message == "bob does not answer"
    fails(Code.CONFLICT, member.ask, "cluster.drain")


def test_a_broker_is_drained_and_comes_back(member: Observer, control: ToldControl) -> None:
    assert member.ask("cluster.drain", expect=1) == {
        "broker": "ann",
        "draining": True,
        "groups": [0],
    }
    assert member.ask("cluster.drain", enable=False)["draining"] is False
    assert control.told == ["drain", "undrain"]


def test_damage_is_accepted_where_nobody_has_the_group(
    member: Observer, control: ToldControl
) -> None:
    member.ask("cluster.accept", dry_run=True, group=2)
    assert control.told == []
    assert member.ask("cluster.accept", group=2) == {"group": 2}
    assert control.told == [("accept", 2)]
    assert "bob" in fails(Code.CONFLICT, member.ask, "cluster.accept", group=1).message
    fails(Code.NOT_FOUND, member.ask, "cluster.accept", group=3)


def test_who_may(port: int, control: ToldControl) -> None:
    with observing(port, "login:monitor", "passcode:secret") as watching:
        assert watching.ask("cluster.status")["broker"] == "ann"
        fails(Code.FORBIDDEN, watching.ask, "cluster.drain")
    with observing(port, "login:operator", "passcode:secret") as operator:
        fails(Code.FORBIDDEN, operator.ask, "cluster.move", group=0, broker="bob")
    assert control.told == []


def test_a_move_leaves_a_trace(member: Observer) -> None:
    watch = member.subscribe("event.admin.*")
    member.ask("cluster.move", group=0, broker="bob")
    about: Any = lambda page: page.rows[0].detail["cmd"] == "cluster.move"  # noqa: E731
    event: Any = member.page_with(watch, about).rows[0]
    assert event.detail["args"]["broker"] == "bob"
