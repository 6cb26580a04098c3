"""What commands tell of routes, virtual topics and exchanges."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.admin import Observer, observing
from tests.support.wire import running_broker, stats

from stompy.admin import RouteExplanation
from stompy_broker import RunningBroker

ROUTES = [
    {"from": "/queue/a", "to": ["/queue/b"], "mode": "move", "selector": "n > 1"},
    {"from": "/queue/a", "to": ["/queue/c"], "set": {"way": "c"}},
]


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    exchanges = [{"name": "logs", "type": "fanout"}]
    with running_broker(route=ROUTES, exchange=exchanges) as broker:
        yield broker


@pytest.fixture
def admin(broker: RunningBroker) -> Iterator[Observer]:
    with observing(broker.port) as observer:
        yield observer


def test_routes_are_listed_as_they_are_written(admin: Observer) -> None:
    told = admin.ask("route.list")
    assert told["total"] == 2
    usual = {"selector": "", "mode": "copy", "set": {}}
    assert told["rows"] == [
        {"number": number, **usual, **route} for number, route in enumerate(ROUTES)
    ]


@pytest.mark.parametrize(
    ("destination", "lines"),
    [
        (
            "/queue/a",
            ["route.0 moves what matches n > 1 to /queue/b", "route.1 copies to /queue/c"],
        ),
        ("/queue/b", ["route.0 leads here from /queue/a"]),
        ("/exchange/logs/any", ["a fanout exchange"]),
        (
            "/topic/VirtualTopic.x",
            [
                "a virtual topic: what is sent to it goes to "
                "/queue/Consumer.*.VirtualTopic.x as well"
            ],
        ),
        (
            "/queue/Consumer.A.VirtualTopic.>",
            ["gets what is sent to the virtual topic /topic/VirtualTopic.>"],
        ),
        ("/queue/d", []),
    ],
)
def test_policy_explain_says_where_else_messages_go(
    admin: Observer, destination: str, lines: list[str]
) -> None:
    assert admin.ask("policy.explain", destination=destination)["directions"] == lines


def explain(admin: Observer, destination: str, **headers: str) -> list[tuple[str, str, bool]]:
    told = admin.ask("route.explain", destination=destination, headers=headers)
    recipients = RouteExplanation.from_json(told).recipients
    return [(one.kind, one.name, one.gets) for one in recipients]


def test_route_explain_follows_routes(admin: Observer) -> None:
    assert explain(admin, "/queue/a", n="2") == [
        ("route", "route.0", True),
        ("route", "route.1", True),
        ("queue", "b", True),
        ("queue", "c", True),
    ]
    assert explain(admin, "/queue/a", n="1") == [
        ("route", "route.0", False),
        ("route", "route.1", True),
        ("queue", "a", True),
        ("queue", "c", True),
    ]


def test_route_explain_knows_virtual_topics_and_exchanges(admin: Observer) -> None:
    admin.ask("queue.create", queue="Consumer.A.VirtualTopic.y")
    assert explain(admin, "/topic/VirtualTopic.y") == [
        ("topic", "VirtualTopic.y", False),
        ("virtual", "Consumer.A.VirtualTopic.y", True),
    ]
    assert explain(admin, "/exchange/logs/any") == [("exchange", "/exchange/logs", False)]
    admin.peer.send("SUBSCRIBE\nid:x\ndestination:/exchange/logs\n\n\0")
    ((kind, _, gets),) = explain(admin, "/exchange/logs/any")
    assert (kind, gets) == ("subscription", True)


def test_message_send_takes_routes(admin: Observer, broker: RunningBroker) -> None:
    admin.ask("message.send", destination="/queue/a", body="m", headers={"n": "9"}, count=2)
    assert [stats(broker, name).published for name in "bc"] == [2, 2]
    assert "a" not in {row.name for row in broker.queues()}
