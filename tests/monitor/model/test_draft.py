"""What can be edited of a dead letter, and what was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_monitor.model.draft import LONGEST, Draft, DraftError

TOLD: dict[str, Any] = {
    "message_id": "7",
    "headers": {
        "destination": "/queue/DLQ.q",
        "kind": "x",
        "odd": "a:b\nc\\d\x1b[31m",
        "x-last-death-reason": "rejected",
        "x-death-info": "it is bad",
        "original-destination": "/queue/q",
    },
    "body": "one\ntwo\n",
    "encoding": "utf8",
}


def draft(**told: Any) -> Draft:
    return Draft.read("/queue/DLQ.q", {**TOLD, **told})


def test_what_the_broker_writes_is_not_edited() -> None:
    read = draft()
    assert set(read.headers) == {"kind", "odd"}
    assert read.fixed["original-destination"] == "/queue/q"
    assert read.reason == "rejected, it is bad"
    with pytest.raises(DraftError, match="line 2: x-death-info is written by the broker"):
        read.changes("kind: x\nx-death-info: good", None)


def test_a_header_is_one_line_that_can_be_typed() -> None:
    lines = draft().lines
    assert lines == ["kind: x", r"odd: a:b\nc\\d\u{1b}[31m"]
    assert draft().changes("\n".join(lines), TOLD["body"]) == {}


def test_what_was_edited() -> None:
    read = draft()
    edited = "kind: y\n\nnew: 1\n"
    assert read.changes(edited, "one\nthree\n") == {
        "headers": {"kind": "y", "new": "1", "odd": None},
        "body": "one\nthree\n",
    }
    assert read.diff(edited, "one\nthree\n") == [
        "-kind: x",
        r"-odd: a:b\nc\\d\u{1b}[31m",
        "+kind: y",
        "+new: 1",
        "",
        " one",
        "-two",
        "+three",
        " ",
    ]
    assert read.changes("\n".join(read.lines), None) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind", "line 1 of the headers is no “name: value”"),
        ("kind: 1\nkind: 2", "line 2 of the headers: kind is there twice"),
        (r"kind: \x", "line 1 of the headers: write"),
        (r"kind: \u{110000}", "line 1 of the headers: write"),
    ],
)
def test_what_is_no_header(text: str, words: str) -> None:
    with pytest.raises(DraftError) as caught:
        draft().changes(text, None)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"encoding": "base64"}, "it is no text"),
        ({"truncated": True}, f"it is longer than {LONGEST // 1024} KiB"),
        ({"body": "a\r\nb"}, "its lines end in CR"),
        ({"body": "a\x1b[31m"}, "it has characters that would not show"),
        ({"body": "\N{RIGHT-TO-LEFT OVERRIDE}"}, "it has characters that would not show"),
        ({"body": None}, "it is not there any more"),
    ],
)
def test_bodies_that_are_left_alone(told: dict[str, Any], why: str) -> None:
    read = draft(**told)
    assert (read.body, read.why) == (None, why)
    assert read.changes("kind: y\nodd: 1", None) == {"headers": {"kind": "y", "odd": "1"}}


def test_wide_characters_and_tabs_are_text() -> None:
    assert draft(body="日本\tä\n").why == ""


NAMES = st.text(min_size=1, max_size=8).filter(
    lambda name: name.strip() == name and not name.startswith(("x-", "original"))
)


@given(headers=st.dictionaries(NAMES, st.text(max_size=20), max_size=5))
def test_nothing_is_edited_by_showing_it(headers: dict[str, str]) -> None:
    read = draft(headers=headers)
    assert read.changes("\n".join(read.lines), read.body) == {}
