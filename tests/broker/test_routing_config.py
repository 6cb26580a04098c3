"""Settings of exchanges, virtual topics and routes."""

from __future__ import annotations

import pytest

from stompy_broker.config import ConfigError, load_config


@pytest.mark.parametrize("name", ["amq.topic", "amq.match", "a/b", "", " ", "a.*", "#", "a\nb"])
def test_what_no_exchange_can_be_called(name: str) -> None:
    with pytest.raises(ConfigError, match=r"exchange\.0\.name"):
        load_config(overrides={"exchange": [{"name": name}]})


def test_a_name_is_needed_and_a_type_is_one_of_four() -> None:
    with pytest.raises(ConfigError, match=r"exchange\.0\.name: is missing"):
        load_config(overrides={"exchange": [{"type": "topic"}]})
    with pytest.raises(ConfigError, match=r"exchange\.0\.type: must be one of"):
        load_config(overrides={"exchange": [{"name": "a", "type": "random"}]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("match", "/topic/v"),
        ("match", "$SYS.>"),
        ("match", "a.>.b"),
        ("queues", "Consumer.*"),
        ("queues", "*."),
        ("queues", "Consumer.>."),
        ("queues", "Consumer..x."),
        ("queues", ""),
        ("queues", "/queue/Consumer."),
    ],
)
def test_names_of_virtual_topics_that_cannot_be(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"virtual_topics\.{key}"):
        load_config(overrides={"virtual_topics": {key: value}})


def routes(*settings: dict[str, object]) -> dict[str, object]:
    return {"route": [{"from": "/queue/a", "to": ["/queue/b"], **one} for one in settings]}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"from": "/queue/a.>.b"}, r"route\.0\.from: "),
        ({"from": "/temp-queue/a"}, r"route\.0\.from: .*must be a /queue/"),
        ({"from": "/topic/$SYS.queues"}, r"route\.0\.from: .*must be a /queue/"),
        ({"from": "/amq/queue/a"}, r"route\.0\.from: .*must be a /queue/"),
        ({"to": []}, r"route\.0\.to"),
        ({"to": ["/queue/*"]}, r"route\.0\.to: .*wildcard"),
        ({"to": ["/queue/durable.x"]}, r"route\.0\.to: "),
        ({"to": ["/amq/queue/x"]}, r"route\.0\.to: .*must be a /queue/"),
        ({"to": ["/queue/b", "/queue/b"]}, r"route\.0\.to: one destination stands there twice"),
        ({"to": ["/exchange/nobody/k"]}, r"route\.0\.to: there is no exchange 'nobody'"),
        ({"selector": "a ="}, r"route\.0\.selector: "),
        ({"mode": "forward"}, r"route\.0\.mode: must be one of"),
        ({"set": {"destination": "x"}}, r"route\.0\.set: the header 'destination' cannot be set"),
        ({"set": {"message-id": "x"}}, r"route\.0\.set: the header 'message-id' cannot be set"),
        ({"set": {"": "x"}}, r"route\.0\.set: "),
        ({"source": "/queue/a"}, r"route\.0\.source: unknown key"),
        ({"to": ["/queue/a"]}, r"route\.0: leads to itself: route\.0 -> route\.0"),
    ],
)
def test_routes_that_cannot_be(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_config(overrides=routes(settings))


def test_an_exchange_is_declared_once() -> None:
    twice = [{"name": "logs", "type": "fanout"}, {"name": "logs", "type": "direct"}]
    with pytest.raises(ConfigError, match=r"exchange\.1\.name: 'logs' is declared twice"):
        load_config(overrides={"exchange": twice})


def test_a_circle_of_several_is_found() -> None:
    circle: list[dict[str, object]] = [
        {},
        {"from": "/queue/*", "to": ["/topic/c"], "selector": "x = 1"},
        {"from": "/topic/>", "to": ["/queue/a"]},
    ]
    with pytest.raises(ConfigError, match=r"leads to itself: route\.0 -> route\.1"):
        load_config(overrides=routes(*circle))


def test_four_may_follow_each_other_and_no_more() -> None:
    chain: list[dict[str, object]] = [
        {"from": f"/queue/{number}", "to": [f"/queue/{number + 1}"]} for number in range(5)
    ]
    load_config(overrides=routes(*chain[:4]))
    with pytest.raises(ConfigError, match=r"route\.0: is longer than 4 routes"):
        load_config(overrides=routes(*chain))


def test_a_route_is_written_as_it_was_read() -> None:
    config = load_config(overrides=routes({}))
    assert config.model_dump()["route"][0]["from"] == "/queue/a"
    assert load_config(overrides={"route": config.model_dump()["route"]}) == config
