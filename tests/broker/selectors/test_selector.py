"""What selectors take: the answers of ActiveMQ 5.17 on 80 cases, and why some of ours differ."""

from __future__ import annotations

from typing import cast

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message, MessageHead
from stompy_broker.selectors.selector import compile_selector

Headers = dict[str, str]

ERROR = None
"""The selector is refused."""

WHOLE = "there a header must be a whole number"
ARITHMETIC = "there arithmetic on headers never matches"
CONSUMED = "there the broker takes the header away from the message"

ORACLE: list[tuple[str, Headers, bool | None, bool | None, str]] = [
    # selector, headers, ActiveMQ's answer, ours, why ours is another
    ("n = 7", {"n": "7.0"}, False, True, WHOLE),
    ("n = 7.0", {"n": "7"}, True, True, ""),
    ("n > 5", {"n": "7"}, True, True, ""),
    ("n > 5", {"n": "7.5"}, False, True, WHOLE),
    ("n > 5", {"n": "abc"}, False, False, ""),
    ("n <> 5", {"n": "abc"}, True, True, ""),
    ("n <> 5", {}, False, False, ""),
    ("NOT (n = 5)", {"n": "abc"}, True, True, ""),
    ("NOT (n = 5)", {}, False, False, ""),
    ("a + 1 = 4", {"a": "3"}, False, True, ARITHMETIC),
    ("a - 1 = 2", {"a": "3"}, False, True, ARITHMETIC),
    ("a * 2 = 6", {"a": "3"}, False, True, ARITHMETIC),
    ("a / 2 = 1.5", {"a": "3"}, False, True, ARITHMETIC),
    ("a % 2 = 1", {"a": "3"}, False, True, ARITHMETIC),
    ("-a = -3", {"a": "3"}, False, True, ARITHMETIC),
    ("ok = TRUE", {"ok": "true"}, True, True, ""),
    ("ok = TRUE", {"ok": "TRUE"}, True, True, ""),
    ("ok = TRUE", {"ok": "1"}, False, False, ""),
    ("ok = FALSE", {"ok": "abc"}, True, False, "there every other text is FALSE"),
    ("ok = FALSE", {"ok": "false"}, True, True, ""),
    ("ok", {"ok": "true"}, False, True, "there a name alone never matches"),
    ("NOT ok", {"ok": "false"}, True, True, ""),
    ("x IN ('1','2')", {"x": "1"}, True, True, ""),
    ("x IN (1,2)", {"x": "1"}, ERROR, True, "there a list holds texts only"),
    ("x NOT IN ('1')", {}, False, False, ""),
    ("x NOT IN ('1')", {"x": "2"}, True, True, ""),
    ("s LIKE 'a%'", {"s": "abc"}, True, True, ""),
    ("s LIKE 'A%'", {"s": "abc"}, False, False, ""),
    ("s LIKE '1%'", {"s": "12"}, True, True, ""),
    ("s NOT LIKE 'a%'", {}, False, False, ""),
    ("s NOT LIKE 'a%'", {"s": "b"}, True, True, ""),
    ("s LIKE 'a%c'", {"s": "a\nc"}, True, True, ""),
    ("x IS NULL", {}, True, True, ""),
    ("x IS NULL", {"x": ""}, False, False, ""),
    ("x IS NOT NULL", {"x": ""}, True, True, ""),
    ("x = ''", {"x": ""}, True, True, ""),
    ("a = 1 OR b = 2", {"a": "1"}, True, True, ""),
    ("a = 1 AND b = 2", {"a": "1"}, False, False, ""),
    ("NOT (a = 1 AND b = 2)", {"a": "2"}, True, True, ""),
    ("n BETWEEN 1 AND 3", {"n": "2"}, True, True, ""),
    ("n BETWEEN 1 AND 3", {"n": "abc"}, False, False, ""),
    ("s BETWEEN 'a' AND 'c'", {"s": "b"}, ERROR, ERROR, ""),
    ("s > 'a'", {"s": "b"}, ERROR, ERROR, ""),
    ("JMSPriority > 5", {"priority": "9"}, True, True, ""),
    ("JMSPriority = 4", {}, True, True, ""),
    ("JMSType = 't'", {"type": "t"}, True, True, ""),
    ("JMSCorrelationID = 'c'", {"correlation-id": "c"}, True, True, ""),
    ("JMSDeliveryMode = 'NON_PERSISTENT'", {}, True, False, "ours keeps what says nothing"),
    ("JMSDeliveryMode = 'PERSISTENT'", {"persistent": "true"}, True, True, ""),
    ("JMSRedelivered = FALSE", {}, True, True, ""),
    ("JMSXDeliveryCount = 1", {}, True, True, ""),
    ("JMSReplyTo = 'queue://r'", {"reply-to": "/queue/r"}, True, True, ""),
    ("JMSDestination LIKE 'queue://%'", {}, True, True, ""),
    ("JMSExpiration = 0", {}, True, True, ""),
    ("JMSTimestamp > 0", {}, True, True, ""),
    ("\"my-h\" = 'x'", {"my-h": "x"}, ERROR, True, "there no name can be quoted"),
    ("my-h = 'x'", {"my-h": "x"}, False, ERROR, "there it never matches, without a word"),
    ("my.h = 'x'", {"my.h": "x"}, ERROR, ERROR, ""),
    ("priority = '9'", {"priority": "9"}, False, True, CONSUMED),
    ("destination IS NOT NULL", {}, False, True, CONSUMED),
    ("n = 0x10", {"n": "16"}, True, True, ""),
    ("n = 010", {"n": "8"}, True, ERROR, "there it is octal, which nobody expects"),
    ("n = 1e2", {"n": "100"}, True, True, ""),
    ("n = 5L", {"n": "5"}, True, True, ""),
    ("color = 'red' -- comment\n", {"color": "red"}, True, ERROR, "there are no comments"),
    ("1 = 1", {}, True, True, ""),
    ("TRUE", {}, True, True, ""),
    ("a = b", {"a": "1", "b": "1"}, True, True, ""),
    ("a = b", {"a": "1", "b": "1.0"}, False, False, ""),
    ("color == 'red'", {"color": "red"}, ERROR, ERROR, ""),
    ("color != 'red'", {"color": "blue"}, ERROR, ERROR, ""),
    ("", {}, ERROR, ERROR, ""),
    ("color = ", {}, ERROR, ERROR, ""),
    ("n > ", {}, ERROR, ERROR, ""),
    ("s LIKE 5", {"s": "5"}, ERROR, ERROR, ""),
    ("REGEX('^a', s)", {"s": "abc"}, True, ERROR, "no expressions of users: they can be costly"),
    ("convert_string_expressions:n > 5", {"n": "7"}, ERROR, True, "Artemis takes the prefix"),
    ("color='red' AND", {}, ERROR, ERROR, ""),
    ("Color = 'red'", {"color": "red"}, False, False, ""),
    (
        "color = 'red' and not n > 3",
        {"color": "red", "n": "1"},
        ERROR,
        True,
        "there NOT may not stand before a comparison",
    ),
]


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
