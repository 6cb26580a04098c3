"""Wildcard matching, against examples and against a naive matcher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.routing.matcher import Matcher


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a", False),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.>", "a", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "b", False),
        ("a.#", "a.b.c", True),
        ("a.*.c", "a.b.c", True),
        (">", "a", True),
        ("#", "a.b", True),
        ("*", "a", True),
        (">", "$SYS", False),
        ("#", "$SYS.b", False),
        ("*.b", "$SYS.b", False),
        ("$SYS.*", "$SYS.b", True),
        ("$SYS.>", "$SYS.b", True),
        ("a.*", "a.$b", True),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
    ],
)
def test_examples(pattern: str, name: str, matches: bool) -> None:
    matcher: Matcher[str] = Matcher()
    matcher.add(pattern, "x")
    assert matcher.match(name) == (("x",) if matches else ())


def naive(pattern: str, name: str) -> bool:
    words, parts = pattern.split("."), name.split(".")
    if parts[0].startswith("$") and words[0] in ("*", ">", "#"):
        return False
    if words[-1] in (">", "#"):
        words.pop()
        if len(parts) < len(words):
            return False
        parts = parts[: len(words)]
    return len(words) == len(parts) and all(
        word in ("*", part) for word, part in zip(words, parts, strict=True)
    )


word = st.sampled_from(["a", "b", "c", "$x", ""])
names = st.lists(word, min_size=1, max_size=4).map(".".join)
patterns = st.builds(
    lambda head, last: ".".join([*head, *last]),
    st.lists(st.one_of(word, st.just("*")), max_size=3),
    # "#" says the same as ">", so an item under both would be there once.
    st.lists(st.one_of(word, st.sampled_from(["*", ">"])), min_size=1, max_size=1),
)


@given(
    st.lists(st.tuples(patterns, st.integers(0, 5)), max_size=12),
    st.lists(st.booleans(), max_size=12),
    st.lists(names, min_size=1, max_size=6),
)
def test_agrees_with_a_naive_matcher(
    added: list[tuple[str, int]], removed: list[bool], asked: list[str]
) -> None:
    matcher: Matcher[int] = Matcher()
    kept: set[tuple[str, int]] = set()
    for pattern, item in added:
        if (pattern, item) not in kept:
            matcher.add(pattern, item)
            kept.add((pattern, item))
    for name in asked:
        matcher.match(name)  # fills the memory that a change has to clear
    for (pattern, item), gone in zip(sorted(kept), removed, strict=False):
        if gone:
            matcher.remove(pattern, item)
            kept.discard((pattern, item))
    for name in asked:
        expected = {item for pattern, item in kept if naive(pattern, name)}
        assert sorted(matcher.match(name)) == sorted(expected)


def test_an_item_is_found_once_and_in_order_of_arrival() -> None:
    matcher: Matcher[str] = Matcher()
    for item in ("z", "y", "x"):
        matcher.add("a.b", item)
    matcher.add("a.*", "z")
    assert matcher.match("a.b") == ("z", "y", "x")


def test_removing_leaves_no_branches_behind() -> None:
    matcher: Matcher[str] = Matcher()
    for pattern in ("a.b.c", "a.*.>", "a.b"):
        matcher.add(pattern, pattern)
    for pattern in ("a.b.c", "a.*.>", "a.b"):
        matcher.remove(pattern, pattern)
    assert matcher._root.empty


def test_memory_of_answers_is_bounded() -> None:
    matcher: Matcher[str] = Matcher()
    matcher.add(">", "x")
    for number in range(10_000):
        matcher.match(f"n.{number}")
    assert len(matcher._recent) <= 4096
