"""Where a message would go, as JSON and for people."""

from __future__ import annotations

from stompy.admin import Recipient, RouteExplanation

CONSUMER = Recipient(
    kind="consumer",
    name="s-3",
    gets=True,
    why=("its selector takes it: n > 2",),
    connection="c-1",
    user="worker",
    broker="ann",
)
QUEUE = Recipient(
    kind="queue",
    name="x",
    gets=True,
    why=("paused",),
    policy="policy.2 (/queue/>)",
    expires_at=1000,
    next=("s-3",),
    consumers=(CONSUMER,),
)
OTHER = Recipient(kind="durable", name="d", why=("selector: `n > 5` is FALSE because n is '3'",))
ANSWER = RouteExplanation(
    destination="/queue/x",
    user="me",
    acl="security.default_access (allow)",
    waits="the disk is full",
    recipients=(QUEUE, OTHER),
)


def test_it_is_the_same_after_json() -> None:
    told = ANSWER.to_json()
    assert told["gets"] == 1
    told["new"] = "not known here"
    assert RouteExplanation.from_json(told) == ANSWER
    assert "policy" not in OTHER.to_json()
    assert "next" not in OTHER.to_json()


def test_who_gets_it() -> None:
    assert ANSWER.gets == (QUEUE,)
    assert RouteExplanation().gets == ()


def test_it_is_some_lines_for_people() -> None:
    assert str(ANSWER).split("\n") == [
        "/queue/x: 1 gets it",
        "  me may send to it: security.default_access (allow)",
        "  its sender has to wait: the disk is full",
        "+ queue x",
        "    paused",
        "    goes to s-3",
        "    expires at 1970-01-01T00:00:01.000+00:00",
        "    policy.2 (/queue/>)",
        "  + consumer s-3 (c-1, worker, ann)",
        "      its selector takes it: n > 2",
        "- durable d",
        "    selector: `n > 5` is FALSE because n is '3'",
    ]
    refused = RouteExplanation(destination="/queue/x", user="me", allowed=False, refused="acl.1")
    assert str(refused).split("\n")[:3] == [
        "/queue/x: nobody gets it",
        "  me may not send to it: ",
        "  refused: acl.1",
    ]
