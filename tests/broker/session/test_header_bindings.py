"""What a SUBSCRIBE to a headers exchange asks for, as a selector."""

from __future__ import annotations

import pytest
from tests.support.house import make_message

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.exchanges import Exchanges
from stompy_broker.destinations.names import parse_destination
from stompy_broker.foreign_headers import NAMES
from stompy_broker.selectors.selector import compile_selector
from stompy_broker.session.header_bindings import bound_selector
from stompy_broker.session.header_values import PREFETCH_HEADERS

HEADERS = parse_destination("/exchange/amq.headers")
OWN = {"destination": "/exchange/amq.headers", "id": "s", "durable": "true", "x-queue-name": "q"}


def selector(*places: str, **headers: str) -> str | None:
    parts = [parse_destination(place) for place in places] or [HEADERS]
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return bound_selector(parts, OWN | given, Exchanges())


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"code": "100"}, "\"code\" = '100'"),
        ({"a": "1", "b": "2", "x_match": "all"}, "\"a\" = '1' AND \"b\" = '2'"),
        ({"a": "1", "b": "2", "x_match": "any"}, "\"a\" = '1' OR \"b\" = '2'"),
        ({"a": "1", "x_b": "2", "x_match": "all"}, "\"a\" = '1'"),
        ({"a": "1", "x_b": "2", "x_match": "all-with-x"}, "\"a\" = '1' AND \"x-b\" = '2'"),
        ({"x_b": "2", "x_match": "any-with-x"}, "\"x-b\" = '2'"),
        ({"a": "it's"}, "\"a\" = 'it''s'"),
        ({"a": "1", "selector": "n > 2"}, "(\"a\" = '1') AND (n > 2)"),
        ({"selector": "n > 2"}, "n > 2"),
        ({"x_match": "all"}, None),
        ({}, None),
    ],
)
def test_pairs_are_conditions(headers: dict[str, str], text: str | None) -> None:
    assert selector(**headers) == text
    if text is not None:
        compile_selector(text)


def test_what_stands_in_them_is_no_part_of_the_selector() -> None:
    text = selector(**{'a" = 1 OR TRUE --': "' OR '1' = '1"})
    assert text is not None
    chosen = compile_selector(text)
    assert not chosen.matches(make_message(1, a="1"))
    assert chosen.matches(make_message(1, **{'a" = 1 OR TRUE --': "' OR '1' = '1"}))


@pytest.mark.parametrize(
    ("places", "headers", "code"),
    [
        (["/exchange/amq.direct/k"], {"x_match": "all"}, ErrorCode.NOT_SUPPORTED),
        (["/topic/a"], {"x_match": "any"}, ErrorCode.NOT_SUPPORTED),
        (["/exchange/amq.headers", "/topic/a"], {"a": "1"}, ErrorCode.NOT_SUPPORTED),
        (["/exchange/amq.headers"], {"x_match": "any"}, ErrorCode.BAD_HEADER),
        (["/exchange/amq.headers"], {"x_match": "none"}, ErrorCode.BAD_HEADER),
    ],
)
def test_where_it_means_nothing(places: list[str], headers: dict[str, str], code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        selector(*places, **headers)
    assert caught.value.error_code == code


@pytest.mark.parametrize("name", sorted({*PREFETCH_HEADERS, *NAMES, "transaction", "receipt"}))
def test_what_the_broker_understands_is_no_pair(name: str) -> None:
    assert bound_selector([HEADERS], OWN | {name: "1"}, Exchanges()) is None


def test_elsewhere_headers_are_those_of_an_application() -> None:
    assert selector("/topic/a", code="1") is None
    assert selector("/exchange/amq.direct/k", code="1", selector="n = 1") == "n = 1"
