"""Exchanges as topics in a name space of their own."""

from __future__ import annotations

import pytest

from stompy.errors import ProtocolError
from stompy_broker.destinations.exchange_names import exchange_of, topic_of, written
from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.names import DestinationKind, parse_destination, sendable


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/exchange/amq.topic/a.b", "a.b"),
        ("/exchange/amq.topic/a.*", "a.*"),
        ("/exchange/amq.direct/a.b", "$exchange.amq/direct.a.b"),
        ("/exchange/amq.direct/a/b", "$exchange.amq/direct.a/b"),
        ("/exchange/amq.fanout", "$exchange.amq/fanout"),
        ("/exchange/amq.fanout/key", "$exchange.amq/fanout"),
        ("/exchange/amq.headers", "$exchange.amq/headers"),
        ("/exchange/amq.match/key", "$exchange.amq/headers"),
        ("/exchange/logs/a.b", "$exchange.logs.a.b"),
        ("/exchange/my.logs", "$exchange.my/logs"),
    ],
)
def test_each_key_is_a_topic(text: str, name: str) -> None:
    destination = parse_destination(text)
    assert (destination.kind, destination.name) == (DestinationKind.TOPIC, name)
    assert parse_destination(str(destination)) == destination


@pytest.mark.parametrize("exchange", ["amq.direct", "logs", "a.b.c"])
@pytest.mark.parametrize("key", ["", "k", "a.b", "a/b"])
def test_names_are_read_back(exchange: str, key: str) -> None:
    topic = topic_of(exchange, key)
    assert exchange_of(topic) == (exchange, key)
    assert written(topic) == (f"/exchange/{exchange}/{key}" if key else f"/exchange/{exchange}")


@pytest.mark.parametrize(
    "text", ["/exchange/", "/exchange//k", "/exchange/amq.topic", "/exchange/amq.topic/$SYS.queues"]
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_destination(text)


def test_nobody_can_write_the_name_of_the_topic_itself() -> None:
    for text in ("/topic/$exchange.logs.x", "/topic/$exchange.>"):
        with pytest.raises(ProtocolError, match="is written '/exchange/"):
            parse_destination(text)
    with pytest.raises(ProtocolError):
        sendable("/topic/$exchange.logs.x")
    assert sendable("/exchange/logs/x").of_exchange


def test_no_pattern_of_topics_matches_it() -> None:
    matcher: Matcher[str] = Matcher()
    for pattern in (">", "#", "*.*.*", "*.>"):
        matcher.add(pattern, pattern)
    assert matcher.match(topic_of("logs", "x")) == ()
