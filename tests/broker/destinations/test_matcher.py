"""Wildcard matching, against examples and against a naive matcher."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.destinations.matcher import Matcher


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
    for shapes in (64, 1, 0):
        agree(Matcher(shapes=shapes, rows=2), added, removed, asked)


def agree(
    matcher: Matcher[int], added: list[tuple[str, int]], removed: list[bool], asked: list[str]
) -> None:
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


@pytest.mark.parametrize("shapes", [64, 1])
def test_removing_leaves_nothing_behind(shapes: int) -> None:
    matcher: Matcher[str] = Matcher(shapes=shapes, rows=2)
    patterns = ("a.b.c", "a.*.>", "a.b", "*.b", "*.c", "#", "x.*.y.*")
    for pattern in patterns:
        matcher.add(pattern, pattern)
    for pattern in patterns:
        matcher.remove(pattern, pattern)
    assert not any((matcher._names, matcher._shapes, matcher._tables, matcher._in_table))


def test_patterns_of_many_shapes_cost_a_match_little() -> None:
    """4,096 ways to write twelve words with wildcards, none of which fits in the end."""
    matcher: Matcher[int] = Matcher()
    for number, words in enumerate(product("a*", repeat=12)):
        matcher.add(".".join((*words, "never")), number)
    assert (len(matcher._shapes), len(matcher._tables)) == (64, 4)
    looked_at: list[int] = []

    class Words(dict[tuple[int, str], int]):
        def get(self, key: tuple[int, str], default: int | None = None) -> int | None:  # type: ignore[override]
            looked_at.append(1)
            return super().get(key, default)

    for table in matcher._tables:
        table._words = Words(table._words)
    assert matcher.match(".".join("a" * 12) + ".x") == ()
    assert len(looked_at) <= 4 * 13
    assert len(matcher.match(".".join("a" * 12) + ".never")) == 4096


def test_names_of_thousands_of_words() -> None:
    for shapes in (64, 0):
        matcher: Matcher[str] = Matcher(shapes=shapes)
        for pattern in ("a.>", "a." * 5000 + "a", "a." * 5000 + "*", "*." * 5000 + "b"):
            matcher.add(pattern, pattern)
        assert len(matcher.match("a." * 5000 + "a")) == 3


def test_memory_of_answers_is_bounded() -> None:
    matcher: Matcher[str] = Matcher()
    matcher.add(">", "x")
    for number in range(10_000):
        matcher.match(f"n.{number}")
    assert len(matcher._recent) <= 4096
