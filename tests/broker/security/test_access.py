"""Rules about who may do what, on paper and in a running broker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from tests.support.wire import Peer, cheap_hash, running_broker, until

from stompy.errors import ProtocolError
from stompy_broker import RunningBroker
from stompy_broker.config import BrokerConfig
from stompy_broker.destinations.names import parse_destination
from stompy_broker.security.access import Access, Action, Rule
from stompy_broker.security.auth import Principal

ANN, BOB = Principal("ann", client_id="c1"), Principal("bob")


def rule(match: str, user: str = "*", access: str = "allow", *actions: str) -> Rule:
    given = {"actions": actions} if actions else {}
    return Rule.model_validate({"match": match, "user": user, "access": access, **given})


ACCESS = Access(
    [
        rule("/queue/secret", "*", "deny"),
        rule("/queue/orders.>", "ann", "allow", "send", "create"),
        rule("/topic/prices.internal.>", "*", "deny"),
        rule("/topic/prices.>", "*", "allow", "receive"),
        rule("/queue/inbox.{user}.>"),
        rule("/topic/device.{client_id}"),
    ],
    "deny",
)


@pytest.mark.parametrize(
    ("principal", "action", "destination", "allowed", "by"),
    [
        (ANN, "send", "/queue/orders.eu", True, 1),
        (ANN, "send", "orders.eu", True, 1),
        (ANN, "receive", "/queue/orders.eu", False, None),
        (BOB, "send", "/queue/orders.eu", False, None),
        (ANN, "send", "/topic/orders.eu", False, None),
        (ANN, "send", "/queue/secret", False, 0),
        (BOB, "receive", "/topic/prices.eu", True, 3),
        (BOB, "receive", "/topic/prices.internal.x", False, 2),
        (BOB, "receive", "/topic/prices.>", False, 2),
        (BOB, "receive", "/topic/prices.*", False, 2),
        (BOB, "receive", "/topic/prices.*.x", False, 2),
        (BOB, "receive", "/topic/prices.eu.*", True, 3),
        (BOB, "receive", "/topic/>", False, 2),
        (BOB, "receive", "/topic/*", False, None),
        (ANN, "admin", "/queue/inbox.ann.work", True, 4),
        (BOB, "admin", "/queue/inbox.ann.work", False, None),
        (ANN, "send", "/topic/device.c1", True, 5),
        (BOB, "send", "/topic/device.c1", False, None),
        (BOB, "send", "/temp-queue/x", True, None),
        (BOB, "send", "/reply-queue/x", True, None),
        (BOB, "receive", "/topic/$SYS.queue", True, None),
    ],
)
def test_the_first_rule_that_matches_decides(
    principal: Principal, action: str, destination: str, allowed: bool, by: int | None
) -> None:
    decision = ACCESS.decide(principal, Action(action), parse_destination(destination))
    assert (decision.allowed, decision.rule) == (allowed, by)


@pytest.mark.parametrize("name", ["a.b", "*", ">", "#", "a/b", ""])
def test_a_name_never_says_more_than_itself(name: str) -> None:
    decision = ACCESS.decide(
        Principal(name), Action.SEND, parse_destination("/queue/inbox.ann.work")
    )
    assert not decision.allowed
    own = parse_destination(f"/queue/inbox.{name or 'x'}.work")
    assert not ACCESS.decide(Principal(name), Action.SEND, own).allowed


def test_without_rules_everything_goes_or_nothing() -> None:
    everything, nothing = Access(), Access((), "deny")
    assert everything.is_open
    assert not nothing.is_open
    everything.check(ANN, Action.SEND, parse_destination("/queue/q"))
    with pytest.raises(ProtocolError, match="user 'ann' may not send '/queue/q'"):
        nothing.check(ANN, Action.SEND, parse_destination("/queue/q"))


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ("a/b", True),
        ("a/b/*", True),
        ("a/*", False),
        ("a/**", False),
        ("a/secret", False),
        ("a/secret/*", False),
        ("*/b", False),
        ("**", False),
        (">", False),
        ("a.>", False),
        ("b.c", True),
    ],
)
def test_rules_hold_between_slashes_too(wanted: str, allowed: bool) -> None:
    rules = (
        Rule(match="/topic/a/secret/**", access="deny"),
        Rule(match="/topic/a/**"),
        Rule(match="/topic/b.>"),
    )
    access = Access(rules, "deny")
    decision = access.decide(ANN, Action.RECEIVE, parse_destination(f"/topic/{wanted}"))
    assert decision.allowed is allowed


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"match": "/nowhere/x"}, "/queue/, /topic/"),
        ({"match": "/temp-queue/x"}, "neither a queue nor a topic"),
        ({"match": "/topic/>.x"}, "before its last word"),
        ({"match": "/queue/x", "actions": ["fly"]}, "actions"),
        ({"match": "/queue/x", "access": "maybe"}, "access"),
        ({"match": "/queue/x"}, "default_access"),
    ],
)
def test_mistakes_in_rules(entry: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BrokerConfig.model_validate({"acl": [entry]})


# -- in a running broker -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(
        users={"ann": cheap_hash("a"), "bob": cheap_hash("b")},
        security={"default_access": "deny", "allow_anonymous": True},
        acl=[
            {"user": "ann", "match": "/queue/>"},
            {"user": "bob", "match": "/queue/shared", "actions": ["send", "receive"]},
            {"user": "anonymous", "match": "/topic/news", "actions": ["receive"]},
            {"match": "/topic/nobody.listens", "actions": ["send"]},
        ],
    ) as broker:
        yield broker


def enter(broker: RunningBroker, name: str) -> Peer:
    return Peer.open(broker.port, "1.2", f"login:{name}", f"passcode:{name[0]}")


def test_what_is_allowed_works_and_the_rest_is_refused(broker: RunningBroker) -> None:
    with enter(broker, "ann") as ann, enter(broker, "bob") as bob:
        ann.send("SUBSCRIBE\nid:0\ndestination:/queue/private\n\n\0")
        for _ in range(2):
            ann.send("SEND\ndestination:/queue/private\n\nx\0")
            assert ann.expect("MESSAGE").body == b"x"
        bob.send("SEND\ndestination:/queue/private\nreceipt:r1\n\nx\0")
        error = bob.expect_error("access-refused", "r1")
        assert error.body == b"user 'bob' may not send '/queue/private'\n"
        ann.sync()


def test_a_transaction_is_refused_when_the_frame_arrives(broker: RunningBroker) -> None:
    with enter(broker, "bob") as bob:
        bob.send("BEGIN\ntransaction:t\n\n\0")
        bob.send("SEND\ndestination:/queue/private\ntransaction:t\n\nx\0")
        bob.expect_error("access-refused")


def test_a_subscription_is_refused(broker: RunningBroker) -> None:
    with Peer.open(broker.port) as anonymous:
        anonymous.send("SUBSCRIBE\nid:0\ndestination:/topic/news\n\n\0")
        anonymous.sync()
        anonymous.send("SUBSCRIBE\nid:1\ndestination:/topic/>\n\n\0")
        anonymous.expect_error("access-refused")


def test_a_durable_subscription_is_not_ended_by_who_may_not_have_it() -> None:
    sections = {
        "users": {"ann": cheap_hash("a"), "bob": cheap_hash("b")},
        "acl": [
            {"user": "ann", "match": "/topic/private"},
            {"match": "/topic/private", "access": "deny"},
        ],
    }
    subscribe = "SUBSCRIBE\nid:0\ndurable-subscription-name:backup\nclient-id:c\n"
    with running_broker(**sections) as broker:
        with Peer.open(broker.port, "1.2", "login:ann", "passcode:a", "client-id:c") as ann:
            ann.send(f"{subscribe}destination:/topic/private\n\n\0")
            ann.sync()
            ann.send("UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0")
            ann.expect("RECEIPT")
            for frame in (
                f"{subscribe}destination:/topic/other\n\n\0",
                "UNSUBSCRIBE\nid:0\ndurable-subscription-name:backup\n\n\0",
            ):
                with Peer.open(broker.port, "1.2", "login:bob", "passcode:b", "client-id:c") as bob:
                    bob.send(frame)
                    bob.expect_error("access-refused")
            ann.send("SEND\ndestination:/topic/private\n\nstill kept\0")
            ann.send(f"{subscribe}destination:/topic/private\n\n\0")
            assert ann.expect("MESSAGE").body == b"still kept"


def test_who_may_not_create_a_queue_may_use_it(broker: RunningBroker) -> None:
    with enter(broker, "bob") as bob:
        bob.send("SEND\ndestination:/queue/shared\n\nx\0")
        assert b"may not create" in bob.expect_error("access-refused").body
    with enter(broker, "ann") as ann, enter(broker, "bob") as bob:
        ann.send("SUBSCRIBE\nid:0\ndestination:/queue/shared\n\n\0")
        ann.sync()
        for _ in range(2):
            bob.send("SEND\ndestination:/queue/shared\n\nx\0")
            assert ann.expect("MESSAGE").body == b"x"
        bob.send("SEND\ndestination:/queue/shared\nx-max-length:3\n\nx\0")
        bob.expect_error("access-refused")
    until(lambda: broker.connections() == 0, "everybody to go")


def test_rules_hold_for_operators_too() -> None:
    """A role opens commands, and no destination."""
    sections = {
        "users": {"ops": cheap_hash("o")},
        "roles": {"admin": ["ops"]},
        "acl": [
            {"match": "/queue/payroll", "actions": ["browse", "admin", "send"], "access": "deny"}
        ],
    }
    with running_broker(**sections) as broker, enter(broker, "ops") as ops:
        ops.send("SUBSCRIBE\nid:a\ndestination:/temp-queue/a\n\n\0")
        for queue in ("payroll", "other"):
            ops.send(f"SUBSCRIBE\nid:{queue}\ndestination:/queue/{queue}\n\n\0")

        def error_of(cmd: str, **args: object) -> str | None:
            body = json.dumps({"cmd": cmd, "args": args})
            head = "SEND\ndestination:/queue/$SYS.command\nreply-to:/temp-queue/a\n\n"
            ops.send(f"{head}{body}\0")
            answer = json.loads(ops.expect("MESSAGE").body)
            error = answer.get("error")
            return None if error is None else str(error["code"])

        commands: list[tuple[str, dict[str, object]]] = [
            ("queue.purge", {}),
            ("queue.pause", {}),
            ("message.peek", {}),
        ]
        for cmd, args in commands:
            assert error_of(cmd, queue="/queue/payroll", **args) == "forbidden"
            assert error_of(cmd, queue="other", **args) is None
        assert error_of("queue.get", queue="payroll") is None
        assert error_of("message.send", destination="/queue/payroll", body="x") == "forbidden"


def test_a_name_that_is_not_proved_is_as_good_as_none() -> None:
    """Without users a rule for who comes without login is not got round by any login."""
    rules = [{"user": "anonymous", "match": "/queue/secret", "access": "deny"}]
    with running_broker(acl=rules) as broker:
        for login in ("", "login:joe\n", "login:anonymous\npasscode:x\n"):
            with Peer(broker.port) as peer:
                peer.send(f"CONNECT\naccept-version:1.2\nhost:x\n{login}\n\0")
                peer.expect("CONNECTED")
                peer.send("SEND\ndestination:/queue/secret\n\nx\0")
                peer.expect_error("access-refused")
