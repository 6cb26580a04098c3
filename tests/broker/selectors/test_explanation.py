"""Why a selector takes a message or not, said of each of its conditions."""

from __future__ import annotations

from stompy_broker.message import Message, MessageHead
from stompy_broker.selectors.explanation import Verdict
from stompy_broker.selectors.selector import compile_selector


def message(**headers: str) -> Message:
    return Message(1, MessageHead.from_headers(headers), b"", b"\ntimestamp:1\n")


def told(selector: str, **headers: str) -> list[str]:
    return [str(one) for one in compile_selector(selector).explain(message(**headers))]


def test_each_condition_is_told() -> None:
    clauses = compile_selector("color = 'red' AND (n > 5 OR NOT (ok AND x IN (1)))").explain(
        message(color="red", n="3", ok="true")
    )
    assert [(one.text, one.verdict) for one in clauses] == [
        ("color = 'red'", Verdict.TRUE),
        ("n > 5", Verdict.FALSE),
        ("ok", Verdict.TRUE),
        ("x IN (1)", Verdict.UNKNOWN),
    ]
    assert [dict(one.values) for one in clauses] == [
        {"color": "red"},
        {"n": "3"},
        {"ok": "true"},
        {"x": None},
    ]


def test_why() -> None:
    assert told("n > 5") == ["`n > 5` is UNKNOWN because header n is missing"]
    assert told("a = b") == ["`a = b` is UNKNOWN because headers a and b are missing"]
    assert told("n > 5", n="abc") == ["`n > 5` is FALSE because n is 'abc'"]
    assert told("a + b > 5", a="1", b="x") == ["`a + b > 5` is UNKNOWN because a is '1', b is 'x'"]
    assert told("x IS NULL") == ["`x IS NULL` is TRUE because x is missing"]
    assert told("1 = 2") == ["`1 = 2` is FALSE"]
    assert told("NOT n > 5", n="1") == ["`NOT n > 5` is TRUE because n is '1'"]


def test_a_long_value_is_cut() -> None:
    assert len(told("n > 5", n="x" * 10_000)[0]) < 300
