"""Foreign text made harmless."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from stompy_monitor.model.escape import safe, safe_lines, safe_value

ANYTHING = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("\x1b\x07\x9b\u202e\u0301[]")
)


@given(ANYTHING, st.integers(1, 40))
def test_nothing_is_left_that_controls_a_terminal(text, cells):
    shown = safe(text, cells)
    assert shown.isprintable()
    assert cell_len(shown) <= cells
    assert safe(shown, cells) == shown
    shown.encode()  # no lone surrogate
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in shown)


@given(ANYTHING)
def test_marks_do_not_pile_up(text):
    run = 0
    for char in safe(text):
        run = run + 1 if unicodedata.category(char).startswith("M") else 0
        assert run <= 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("app.orders", "app.orders"),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
        ("a\u202eb", "a‹U+202E›b"),
        ("a\u200bb", "a‹U+200B›b"),
        ("\x9b31m", "‹U+009B›31m"),
        ("\x7f", "␡"),
        ("\udc80", "\ufffd"),
        ("[/bold]", "[/bold]"),
        ("a\u00a0b", "a b"),
        ("orders\ufe0f", "orders‹U+FE0F›"),
        ("\N{BLACK HEART SUIT}\ufe0f", "\N{BLACK HEART SUIT}"),
        ("a" + 4 * "\u0301", "a" + 3 * "\u0301" + "‹U+0301›"),
    ],
)
def test_what_becomes_of_it(text, shown):
    assert safe(text) == shown


def test_long_text_is_cut_by_width():
    assert safe("注" * 10, 5) == "注注…"


def test_lines():
    assert safe_lines("a\tb\r\nc\rd\x1b") == ["a   b", "c", "d␛"]


def test_values_inside_values():
    assert safe_value({"a\x1b": ["\x07", 1, None]}) == {"a␛": ["␇", 1, None]}
