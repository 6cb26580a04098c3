"""What selectors take: the answers of ActiveMQ 5.17 on 80 cases, and why some of ours differ."""

from __future__ import annotations

import gc
import weakref
from typing import cast

import pytest
from tests.support.selector_oracle import ERROR, ORACLE, Headers

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message, MessageHead
from stompy_broker.selectors.parser import parse
from stompy_broker.selectors.selector import Selector, compile_selector


def message(headers: Headers, **others: str) -> Message:
    head = MessageHead.from_client({"destination": "/queue/q", **headers, **others})
    return Message(7, head, b"body", b"\ntimestamp:1700000000000\n")


def answer(selector: str, headers: Headers) -> bool | None:
    try:
        return compile_selector(selector).matches(message(headers))
    except ProtocolError as error:
        return ERROR if error.error_code is ErrorCode.BAD_SELECTOR else False


@pytest.mark.parametrize(("selector", "headers", "theirs", "ours", "why"), ORACLE)
def test_the_table_of_activemq(
    selector: str, headers: Headers, theirs: bool | None, ours: bool | None, why: str
) -> None:
    assert answer(selector, headers) is ours
    assert bool(why) is (theirs is not ours), "a difference has a reason, and a reason a difference"


def test_the_table_is_whole() -> None:
    assert len(ORACLE) == 80


def test_a_text_is_compiled_once() -> None:
    assert compile_selector("a = 1") is compile_selector("a = 1")
    assert compile_selector("a = 1") is not compile_selector("a  = 1")


def test_what_a_selector_says_of_itself() -> None:
    one = compile_selector("a = 'x' AND b > JMSPriority")
    assert one.text == "a = 'x' AND b > JMSPriority"
    assert one.names == {"a", "b", "JMSPriority"}
    assert not one.varies
    assert one.fault is None
    assert compile_selector("a = 'x' AND redelivered").varies


@pytest.mark.parametrize(
    ("selector", "equals"),
    [
        ("a = 'x'", ("a", "x")),
        ("'x' = a", ("a", "x")),
        ("(a = 'x') AND b > 1 AND c", ("a", "x")),
        ("\"my-h\" = 'it''s'", ("my-h", "it's")),
        ("b > 1 AND a = 'x'", None),
        ("a = 'x' OR b = 'y'", None),
        ("NOT a = 'x'", None),
        ("a <> 'x'", None),
        ("a = 5", None),
        ("a = b", None),
    ],
)
def test_what_an_index_finds_it_by(selector: str, equals: tuple[str, str] | None) -> None:
    assert compile_selector(selector).equals == equals


def test_answers_are_kept_with_a_head_that_repeats() -> None:
    one = message({"a": "1"})
    one.head.answers = {}
    assert compile_selector("a = 1 AND TRUE").matches(one)
    assert list(one.head.answers.values()) == [True]
    assert compile_selector("JMSMessageID = '7'").matches(one)
    assert len(one.head.answers) == 1  # it differs from message to message


def test_a_selector_that_fails_takes_nothing_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    selector = compile_selector("a = 1 AND b = 2")
    no_message = cast(Message, None)
    assert not selector.matches(no_message)
    assert not selector.matches(no_message)
    assert selector.fault is not None
    assert len(caplog.records) == 1


def test_a_selector_is_gone_with_the_last_who_uses_it() -> None:
    # The broker lets Python's collector of circles come by very seldom.
    text = "n > 5 AND (color = 'red' OR n = 9)"
    selector = Selector(text, parse(text))
    assert selector.matches(message({"n": "9", "color": "red"}))
    gone = weakref.ref(selector.matches)
    gc.disable()
    try:
        del selector
        assert gone() is None
    finally:
        gc.enable()
