"""The language of filters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_monitor.model.filter import (
    And,
    Compare,
    Contains,
    ExpressionError,
    Matches,
    Name,
    Not,
    Or,
    number,
    parse,
)
from stompy_monitor.tables.vocabulary import condition_names


class Thing:
    def __init__(self, haystack="", **values):
        self.haystack = haystack
        self.values = values

    def value(self, name):
        return self.values.get(name)


ORDERS = Thing("app.Orders", ready=1500, consumers=0, oldest_ms=90_000, paused=True, name="orders")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("orders", True),
        ("!orders", False),
        ("~^app", True),
        ("~^orders", False),
        ("ready>1k", True),
        ("ready>=1.5k", True),
        ("ready>1KiB", True),
        ("ready>2k", False),
        ("oldest_ms>1m", True),
        ("oldest_ms>2m", False),
        ("ready>1k consumers=0", True),
        ("ready>1k consumers=1", False),
        ("ready<1 or consumers=0", True),
        ("(ready<1 or consumers=0) !bills", True),
        ("ready<1 and consumers=0", False),
        ("paused=true", True),
        ("paused=no", False),
        ("name=orders", True),
        ("name!=orders", False),
        ("name~^ord", True),
        ("absent>1", False),
        ("absent!=1", True),
        ('"app.orders"', True),
    ],
)
def test_what_holds(text, holds):
    assert parse(text).matches(ORDERS) is holds


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("ready>", 5),
        ("a or", 4),
        ("(a", 0),
        ("a)", 1),
        ("or a", 0),
        ('a "b', 2),
        ("~[", 1),
        ("ready>many", 6),
        ("nonsense=1", 0),
        ("ready>1 && consumers=0", 8),
        ("ready>1 || ready=0", 8),
        ("ready>1 AND consumers=0", 8),
        ("not ready=1", 0),
    ],
)
def test_where_it_breaks(text, position):
    with pytest.raises(ExpressionError) as caught:
        parse(text, known={name: Name(name) for name in ("ready", "consumers")})
    assert caught.value.position == position


def test_units():
    assert [number(text) for text in ("2k", "1MiB", "5m", "3x", "-1")] == [
        2_000,
        2**20,
        300_000,
        None,
        -1,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "queue.bytes>5m",
        "queue.ready>1m",
        "queue.ready>1%",
        "queue.oldest>5M",
        "broker.cpu_pct>1k",
        "broker.alarms>0",
        "broker.loop_lag_ms>1",
        "transaction.destinations=/queue/a",
        "durable.connections=c-1",
    ],
)
def test_what_could_never_be_meant_is_refused(text):
    with pytest.raises(ExpressionError, match=r"does not go with|no single value"):
        parse(text, condition_names())


@pytest.mark.parametrize(
    "text",
    ["queue.bytes>5M", "queue.oldest>5m", "broker.cpu_pct>80%", "transaction.destinations~a"],
)
def test_units_that_go_with_a_column(text):
    parse(text, condition_names())


WORDS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=8)
NAMES = st.sampled_from(("ready", "rate.in", "oldest_ms"))
LEAVES = (
    WORDS.map(Contains)
    | st.builds(Matches, st.sampled_from(("^a", 'b"\\.', "x y")))
    | st.builds(Compare, NAMES, st.sampled_from(("=", "!=")), WORDS)
    | st.builds(Compare, NAMES, st.sampled_from((">", "<=")), st.sampled_from(("1", "2k")))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        inner.map(Not)
        | st.lists(inner, min_size=2, max_size=3).map(tuple).map(And)
        | st.lists(inner, min_size=2, max_size=3).map(tuple).map(Or)
    ),
    max_leaves=6,
)


@given(TREES)
def test_it_reads_what_it_prints(tree):
    assert str(parse(str(tree))) == str(tree)
    assert parse(str(tree)) == tree


@given(st.text(max_size=30))
def test_whatever_is_typed_is_understood_or_refused(text):
    position = 0
    try:
        parse(text).matches(ORDERS)
    except ExpressionError as error:
        position = error.position
    assert 0 <= position <= len(text)
