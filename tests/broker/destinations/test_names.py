"""Names of destinations."""

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import (
    MOST_PARTS,
    DestinationKind,
    check_subscribable,
    parse_destination,
    parts_of,
    sendable,
)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("/queue/a", DestinationKind.QUEUE, "a"),
        ("a", DestinationKind.QUEUE, "a"),
        ("a.b", DestinationKind.QUEUE, "a.b"),
        ("/queue/a/b", DestinationKind.QUEUE, "a/b"),
        ("/queue/a b", DestinationKind.QUEUE, "a b"),
        ("/queue/queue/a", DestinationKind.QUEUE, "queue/a"),
        ("/topic/a.b", DestinationKind.TOPIC, "a.b"),
        ("/temp-queue/x", DestinationKind.TEMPORARY, "x"),
        ("/reply-queue/x", DestinationKind.REPLY, "x"),
        ("/remote-temp-queue/x", DestinationKind.REPLY, "x"),
        ("/queue/größe", DestinationKind.QUEUE, "größe"),
        ("queue://a", DestinationKind.QUEUE, "a"),
        ("topic://a.b", DestinationKind.TOPIC, "a.b"),
        ("temp-queue://a", DestinationKind.TEMPORARY, "a"),
        ("temp-topic://a", DestinationKind.TEMPORARY_TOPIC, "a"),
        ("/temp-topic/a", DestinationKind.TEMPORARY_TOPIC, "a"),
        ("/reply-topic/a", DestinationKind.TOPIC, "$temp.a"),
        ("/remote-temp-topic/a", DestinationKind.TOPIC, "$temp.a"),
        ("http://a", DestinationKind.QUEUE, "http://a"),
        ("/amq/queue/a.b", DestinationKind.QUEUE, "a.b"),
        ("/stream/a.b", DestinationKind.QUEUE, "a.b"),
        ("/exchange/logs/a.b", DestinationKind.TOPIC, "$exchange.logs.a.b"),
    ],
)
def test_kinds(text: str, kind: DestinationKind, name: str) -> None:
    destination = parse_destination(text)
    assert (destination.kind, destination.name) == (kind, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/queue/a,/queue/b",
        "/queue/",
        "/queue",
        "/amq/a",
        "/amq/queue/",
        "/queue/a\nb",
        "//a",
    ],
)
def test_refused_names_say_what_is_valid(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_destination(text)
    assert caught.value.error_code is ErrorCode.BAD_DESTINATION
    assert repr(text) in caught.value.Message


def test_an_existing_queue_is_told_apart() -> None:
    assert parse_destination("/amq/queue/a").existing
    assert not parse_destination("/queue/a").existing
    assert str(parse_destination("/amq/queue/a")) == "/queue/a"


def test_topics_of_the_broker_are_none_of_exchanges() -> None:
    assert parse_destination("/topic/$SYS.queues").of_broker
    assert not parse_destination("/exchange/logs/a").of_broker
    assert not parse_destination("/queue/$SYS.command").of_broker


@pytest.mark.parametrize("name", ["a", "a.>", "a/b"])
def test_a_prefix_without_its_slash_would_be_a_queue_by_mistake(name: str) -> None:
    for prefix in ("queue/", "topic/"):
        with pytest.raises(ProtocolError) as caught:
            parse_destination(prefix + name)
        assert f"no slash before its prefix; write '/{prefix}{name}'" in caught.value.Message


@pytest.mark.parametrize("text", [" /queue/a", "/queue/a ", "/topic/ a", "a "])
def test_blanks_around_a_name_are_refused_where_clients_name_it(text: str) -> None:
    with pytest.raises(ProtocolError) as sent:
        sendable(text)
    with pytest.raises(ProtocolError) as subscribed:
        check_subscribable(parse_destination(text))
    for caught in (sent, subscribed):
        assert "a blank before or behind its name" in caught.value.Message


def test_a_name_has_so_many_words_and_no_more() -> None:
    parse_destination("/topic/" + "a." * 127 + "a")
    for text in ("/topic/" + "a." * 128 + "a", "/topic/" + "*." * 5000 + ">"):
        with pytest.raises(ProtocolError, match="128 are the most"):
            parse_destination(text)


@pytest.mark.parametrize("text", ["/topic/a.*", "/topic/>", "/queue/#", "/topic/$SYS.x", "$x"])
def test_not_sendable(text: str) -> None:
    with pytest.raises(ProtocolError):
        sendable(text)


@pytest.mark.parametrize("text", ["/topic/a*b", "/queue/a>b", "/topic/a", "/reply-queue/x"])
def test_sendable(text: str) -> None:
    assert str(sendable(text)) == text


@pytest.mark.parametrize("text", ["/topic/a.*", "/topic/>", "/topic/a.#", "/topic/$SYS.>"])
def test_subscribable(text: str) -> None:
    check_subscribable(parse_destination(text))


@pytest.mark.parametrize(
    "text", ["/topic/a.>.b", "/topic/#.b", "/queue/>.a", "/reply-queue/x", "/queue/$SYS.command"]
)
def test_not_subscribable(text: str) -> None:
    with pytest.raises(ProtocolError):
        check_subscribable(parse_destination(text))


def test_apollos_durable_subscriptions_are_refused_with_what_to_write() -> None:
    with pytest.raises(ProtocolError, match="x-queue-name") as caught:
        parse_destination("/dsub/a")
    assert caught.value.error_code is ErrorCode.NOT_SUPPORTED


@pytest.mark.parametrize("text", ["/topic/$temp.a", "/reply-topic/*", "/topic/$temp.>"])
def test_a_temporary_topic_is_sent_to_by_its_address(text: str) -> None:
    with pytest.raises(ProtocolError):
        sendable(text)
    assert sendable("/reply-topic/a").name == "$temp.a"


def test_no_pattern_finds_temporary_topics() -> None:
    for text in ("/reply-topic/*", "/reply-topic/>", "/topic/$temp.*"):
        with pytest.raises(ProtocolError, match="belongs to the connection"):
            check_subscribable(parse_destination(text))
    check_subscribable(parse_destination("/reply-topic/a"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/queue/a", ("/queue/a",)),
        ("/queue/a,b", ("/queue/a,b",)),
        ("/queue/a,/topic/b", ("/queue/a", "/topic/b")),
        ("queue://a,topic://b", ("queue://a", "topic://b")),
        ("/queue/a,topic://b", ("/queue/a", "topic://b")),
        ("queue://a,b", ("queue://a,b",)),
        ("/queue/a,b,/queue/c", ("/queue/a,b,/queue/c",)),
        ("a,/queue/b", ("a,/queue/b",)),
    ],
)
def test_the_parts_of_a_composite(text: str, parts: tuple[str, ...]) -> None:
    assert parts_of(text) == parts


def test_a_blank_after_a_comma_makes_no_queue_of_a_strange_name() -> None:
    with pytest.raises(ProtocolError, match="a blank after a comma; write several as"):
        sendable("/queue/a, /queue/b")
    with pytest.raises(ProtocolError, match="a blank after a comma"):
        check_subscribable(parse_destination("/queue/a, /queue/b"))
    with pytest.raises(ProtocolError, match="a blank after a comma"):
        sendable("queue://a,  topic://b")
    assert sendable("/queue/smith, john").name == "smith, john"


def test_a_composite_has_no_part_twice_and_not_too_many() -> None:
    with pytest.raises(ProtocolError, match="names '/queue/a' twice"):
        parts_of("/queue/a,/queue/b,queue://a")
    most = [f"/queue/{number}" for number in range(MOST_PARTS)]
    assert len(parts_of(",".join(most))) == MOST_PARTS
    with pytest.raises(ProtocolError, match="65 parts; 64 are the most"):
        parts_of(",".join([*most, "/queue/x"]))


def test_a_stream_is_a_queue_that_says_what_it_is() -> None:
    stream, queue = parse_destination("/stream/a"), parse_destination("/queue/a")
    assert str(stream) == "/queue/a"
    assert (stream.stream, queue.stream) == (True, False)
    assert stream.plain == queue
    assert stream.arguments == {"x-queue-type": "stream"}
    assert queue.arguments is None
    assert stream.setting_up({"x-max-age": "1h"}) == {"x-queue-type": "stream", "x-max-age": "1h"}
    assert queue.setting_up({"a": "b"}) == {"a": "b"}
    with pytest.raises(ProtocolError, match="means a stream"):
        stream.setting_up({"x-queue-type": "quorum"})


def test_streams_are_read_by_name() -> None:
    with pytest.raises(ProtocolError, match="wildcard"):
        check_subscribable(parse_destination("/stream/a.*"))
