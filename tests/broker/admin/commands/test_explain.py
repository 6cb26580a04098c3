"""``route.explain``: what it says is what then happens, and nothing is changed by it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import cheap_hash, running_broker, until

from stompy.admin import Kind, Recipient, RouteExplanation, moving_fields
from stompy_broker import RunningBroker
from stompy_broker.foreign_headers import FOREIGN


def explain(admin: Observer, destination: str, /, **args: Any) -> RouteExplanation:
    told = admin.ask("route.explain", destination=destination, **args)
    return RouteExplanation.from_json(told)


def one(admin: Observer, destination: str, /, **args: Any) -> Recipient:
    (recipient,) = explain(admin, destination, **args).recipients
    return recipient


def subscribe(admin: Observer, number: int, destination: str, **headers: object) -> None:
    lines = "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())
    admin.peer.send(f"SUBSCRIBE\nid:{number}\ndestination:{destination}\n{lines}\n\0")


def test_a_queue_that_is_not_there_is_made_and_waits(admin: Observer, queue: str) -> None:
    recipient = one(admin, f"/queue/{queue}")
    assert (recipient.kind, recipient.name, recipient.gets) == ("queue", queue, True)
    assert recipient.why == ("the first message makes it",)
    assert recipient.policy == "policy.2 (/queue/>)"
    fails(Code.NOT_FOUND, admin.ask, "queue.get", queue=queue)
    admin.fill(queue, "a")
    assert one(admin, queue).why == ("no consumer: it waits",)


def test_nothing_is_changed(admin: Observer, queue: str) -> None:
    admin.fill(queue, "a")
    before = admin.row(queue)
    explain(admin, queue, headers={"n": 3}, body_bytes=100)
    moving = moving_fields(Kind.QUEUE)
    after = admin.row(queue)
    assert {k: v for k, v in before.items() if k not in moving} == {
        k: v for k, v in after.items() if k not in moving
    }


def test_consumers_by_credit(admin: Observer, queue: str) -> None:
    subscribe(admin, 1, f"/queue/{queue}", ack="client-individual", prefetch_count=1)
    recipient = one(admin, queue)
    (consumer,) = recipient.consumers
    assert recipient.next == (consumer.name,)
    assert (consumer.gets, consumer.user) == (True, "anonymous")
    assert consumer.connection == admin.ask("broker.info")["connection"]
    admin.fill(queue, "a")
    admin.frame("1")
    recipient = one(admin, queue)
    assert recipient.next == ()
    assert recipient.gets
    assert recipient.why == ("no consumer takes it now: it waits",)
    assert recipient.consumers[0].why == ("no credit: 1 of 1 unsettled",)


def test_a_paused_queue_lets_it_wait(admin: Observer, queue: str) -> None:
    subscribe(admin, 1, f"/queue/{queue}")
    admin.ask("queue.pause", queue=queue, intake=True)
    told = explain(admin, queue)
    (recipient,) = told.recipients
    assert recipient.next == ()
    assert recipient.why == ("paused: an operator stopped deliveries; it waits",)
    assert told.waits == f"an operator stopped what comes in to /queue/{queue}"


def test_a_full_queue_refuses(admin: Observer, queue: str) -> None:
    small = f"small.{queue}"
    admin.fill(small, "a", "b")
    told = explain(admin, small)
    assert told.gets == ()
    assert told.refused.startswith(f"/queue/{small} is full: 2 messages wait")
    assert "reject-publish" in told.recipients[0].why[-1]
    assert told.recipients[0].policy == "policy.1 (/queue/small.>)"


def test_when_it_ends(admin: Observer, queue: str) -> None:
    now = admin.ask("ping")["at"]
    ends = one(admin, queue, headers={"ttl": 60000}).expires_at
    assert ends is not None
    assert now + 60000 <= ends <= admin.ask("ping")["at"] + 60000
    over = one(admin, f"late.{queue}", headers={"expires": 1})
    assert not over.gets
    assert over.why[-1] == f"its time is over when it comes: it goes to /queue/over.late.{queue}"


def test_a_header_that_cannot_be_is_refused(admin: Observer, queue: str) -> None:
    told = explain(admin, queue, headers={"priority": "high"})
    assert "priority must be a whole number" in told.refused
    assert told.recipients == ()


def test_a_header_that_is_not_done_is_refused_and_nobody_is_told(
    admin: Observer, queue: str
) -> None:
    name, foreign = next((one.names[0], one) for one in FOREIGN if "SEND" in one.commands)
    value = next(iter(foreign.asks), "5")
    told = explain(admin, f"/queue/{queue}", headers={name: value})
    assert f"this broker does not do the header {name!r}" in told.refused


def test_a_topic_tells_of_each_subscription(admin: Observer, queue: str) -> None:
    nobody = one(admin, f"/topic/{queue}.a")
    assert (nobody.kind, nobody.gets) == ("topic", False)
    assert nobody.why == ("nobody has subscribed: it is dropped, and counted as unroutable",)
    subscribe(admin, 1, f"/topic/{queue}.*")
    subscribe(admin, 2, f"/topic/{queue}.b")
    recipient = one(admin, f"/topic/{queue}.a")
    assert (recipient.kind, recipient.gets) == ("subscription", True)
    assert recipient.why == (f"of /topic/{queue}.*",)


def test_a_durable_subscription_keeps_it_without_subscriber(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    topic = f"/topic/{queue}"
    with observing(broker.port) as other:
        subscribe(other, 1, topic, durable="true")
        until(lambda: admin.ask("durable.list", match=queue)["total"] == 1, "it")
        recipient = one(admin, topic)
        assert recipient.next == tuple(consumer.name for consumer in recipient.consumers)
        assert len(recipient.next) == 1
    until(lambda: not admin.ask("durable.list", match=queue)["rows"][0]["online"], "its end")
    recipient = one(admin, topic)
    assert (recipient.kind, recipient.gets) == ("durable", True)
    assert recipient.why == (f"of {topic}", "no consumer: it waits")


def test_several_destinations_get_it_or_none(admin: Observer, queue: str) -> None:
    small = f"/queue/small.{queue}"
    told = explain(admin, f"/queue/{queue},{small}")
    assert [recipient.gets for recipient in told.recipients] == [True, True]
    admin.fill(f"small.{queue}", "a", "b")
    told = explain(admin, f"/queue/{queue},{small}")
    assert [recipient.gets for recipient in told.recipients] == [False, False]
    assert told.refused.startswith(f"{small}: ")


@pytest.mark.parametrize(
    "text", ["/chicken/a", "/queue/a.*", "/temp-queue/a", "/topic/$SYS.queues"]
)
def test_where_nobody_may_send(admin: Observer, text: str) -> None:
    fails(Code.BAD_REQUEST, admin.ask, "route.explain", destination=text)


def test_a_composite_subscription_counts_for_each_of_its_topics(
    admin: Observer, queue: str
) -> None:
    subscribe(admin, 1, f"/topic/{queue}.a,/topic/{queue}.>,/queue/{queue}")
    recipient = one(admin, f"/topic/{queue}.a")
    assert (recipient.kind, recipient.gets) == ("subscription", True)
    assert one(admin, f"/queue/{queue}").next == (recipient.name,)


def test_a_named_queue_that_is_bound_and_a_group(admin: Observer, queue: str) -> None:
    topic = f"/topic/{queue}.a"
    bound = {"durable": "true", "auto_delete": "false", "x_queue_name": queue}
    subscribe(admin, 1, topic, **bound)
    subscribe(admin, 2, f"/topic/{queue}.b", **bound)
    subscribe(admin, 3, topic, share="workers", selector="n > 2", ack="client")
    subscribe(admin, 4, topic, share="workers", ack="client")
    kinds = {one.kind: one for one in explain(admin, topic, headers={"n": 1}).recipients}
    assert set(kinds) == {"binding", "share"}
    assert (kinds["binding"].name, len(kinds["binding"].next)) == (queue, 1)
    assert kinds["binding"].policy == "policy.2 (/queue/>)"
    group = kinds["share"]
    assert [consumer.gets for consumer in group.consumers] == [False, True]
    assert group.next == (group.consumers[1].name,)
    assert one(admin, f"/topic/{queue}.b").kind == "binding"


def test_what_a_subscription_declines_is_said(admin: Observer, queue: str) -> None:
    subscribe(admin, 1, f"/topic/{queue}", no_local="true")
    assert "no-local: not if its own connection sends it" in one(admin, f"/topic/{queue}").why


@pytest.mark.parametrize("seed", range(4))
def test_what_it_says_is_what_then_happens(admin: Observer, queue: str, seed: int) -> None:
    """Consumers that choose, of whom some have no credit left: the one that is named gets it."""
    pick = random.Random(seed)
    selectors = ["", "n > 2", "kind = 'x'", "n < 3 OR kind = 'y'"][: 1 + seed]
    for number, selector in enumerate(selectors * 2):
        how = {"selector": selector} if selector else {}
        ack = "client-individual"
        credit = pick.randint(1, 3)
        subscribe(admin, number, f"/queue/{queue}", ack=ack, prefetch_count=credit, **how)
    rows = admin.ask("subscription.list")["rows"]
    names = {row["id"]: row["subscription"] for row in rows}
    held: list[str] = []
    for step in range(30):
        headers = {"n": str(pick.randint(0, 5)), "kind": pick.choice("xyz")}
        told = one(admin, f"/queue/{queue}", headers=headers)
        assert len(told.next) <= 1, told
        waiting = admin.row(queue)["ready"]
        admin.fill(queue, str(step), **headers)
        if told.next:
            frame = admin.frame(names[told.next[0]])
            assert frame.body == str(step).encode()
            held.append(frame["ack"])
        else:
            assert admin.row(queue)["ready"] == waiting + 1
            if not waiting and held and pick.random() < 0.5:
                admin.ask("message.delete", queue=queue, limit=1)
                admin.peer.send(f"ACK\nid:{held.pop(pick.randrange(len(held)))}\n\n\0")


ACL = [
    {"user": "alice", "match": "/queue/a.>", "actions": ["send"]},
    {"match": "/queue/b.>", "access": "deny"},
    {"match": "/queue/>", "actions": ["create"], "access": "deny"},
]


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningBroker]:
    users = {"alice": cheap_hash("x")}
    with running_broker(users=users, acl=ACL, roles={"admin": ["alice"]}) as broker:
        yield broker


def test_a_route_is_a_way_and_gets_nothing_itself() -> None:
    routes = [{"from": "/queue/in", "to": ["/queue/out"], "mode": "move"}]
    with running_broker(route=routes) as broker:
        told = broker.explain("/queue/in")
        assert [(one.kind, one.gets) for one in told.recipients] == [
            ("route", True),
            ("queue", True),
        ]
        assert [one.name for one in told.gets] == ["out"]
        assert str(told).startswith("/queue/in: 1 gets it")


def test_the_rules_say_who_may(guarded: RunningBroker) -> None:
    told = guarded.explain("/queue/b.c", user="alice")
    assert not told.allowed
    assert told.acl.startswith("acl.1 (deny send|receive|")
    assert told.gets == ()
    assert told.refused == f"not allowed by {told.acl}"
    new = guarded.explain("/queue/a.c", user="alice")
    assert new.allowed
    assert "alice may not make one: acl.2 (deny create on /queue/> to *)" in new.refused


def test_selectors_tell_clause_by_clause(guarded: RunningBroker) -> None:
    with observing(guarded.port, "login:alice", "passcode:x") as admin:
        subscribe(admin, 1, "/topic/t", selector="n > 5 AND kind = 'x'")
        admin.ask("ping")
        rows = admin.ask("subscription.list")["rows"]
        (row,) = [row for row in rows if row["destination"] == "/topic/t"]
        assert row["selector"] == "n > 5 AND kind = 'x'"
        wrong = guarded.explain("/topic/t", {"n": "3"}).recipients[0]
        assert wrong.why == (
            "selector: `n > 5` is FALSE because n is '3'",
            "selector: `kind = 'x'` is UNKNOWN because header kind is missing",
        )
        right = guarded.explain("/topic/t", {"n": "7", "kind": "x"}).recipients[0]
        assert right.gets
    until(lambda: guarded.connections() == 0, "its end")


def test_what_the_broker_would_answer_to_a_request(admin: Observer, queue: str) -> None:
    asked = {"reply-to": "/temp-queue/a", "reply-timeout": 500}

    def told(destination: str, **more: object) -> RouteExplanation:
        return explain(admin, destination, headers=asked | more)

    several = f"/queue/{queue},/topic/{queue}"
    for destination in (queue, f"/topic/{queue}", several):
        answer = told(destination)
        assert answer.request.startswith("answered at once with reply-status:no-consumers")
        assert not answer.gets
        assert answer.request in str(answer)
    subscribe(admin, 1, f"/queue/{queue}", selector="n = 1")
    assert "no-consumers" in told(queue, n=2).request
    for destination in (queue, several):
        answer = told(destination, n=1)
        assert "timeout after 500 ms" in answer.request
        assert answer.gets
    assert explain(admin, queue).request == ""
    refused = explain(admin, queue, headers={"reply-timeout": 500})
    assert (refused.request, refused.gets) == ("", ())
    assert "needs reply-to" in refused.refused
