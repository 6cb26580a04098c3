"""What two patterns have in common, against the broker's own matcher."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy_broker.destinations.matcher import Matcher
from stompy_broker.destinations.patterns import (
    cover,
    covers,
    is_slashed,
    name_test,
    overlap,
    overlaps,
    words_of,
)

WORDS = st.sampled_from(["a", "b", "*"])
DOTTED = st.tuples(st.lists(WORDS, max_size=3), st.sampled_from([(), (">",), ("#",)])).map(
    lambda parts: [*parts[0], *parts[1]]
)
SLASHED = st.tuples(
    st.lists(WORDS, max_size=3), st.sampled_from([(), ("**",), (">",), ("#",)])
).map(lambda parts: "/".join([*parts[0], *parts[1]]))
NAMES = [
    "".join(name)
    for length in range(1, 4)
    for words in product("abc", repeat=length)
    for separators in product("./", repeat=length - 1)
    for name in [[part for pair in zip(words, (*separators, ""), strict=True) for part in pair]]
]
"""All names of up to three words, with either separator between each two."""


def names_of(pattern: str) -> set[str]:
    """What a topic subscription by that pattern gets, by the broker's own matcher."""
    matcher: Matcher[str] = Matcher(slashes=True)
    matcher.add(pattern, "it")
    return {name for name in NAMES if matcher.match(name)}


@given(DOTTED.filter(bool), DOTTED.filter(bool))
def test_patterns_are_compared_as_topics_are_matched(one: list[str], other: list[str]) -> None:
    mine, theirs = names_of(".".join(one)), names_of(".".join(other))
    dotted = {name for name in mine & theirs if len(one) + len(other) or "/" not in name}
    assert overlaps(one, other) or not dotted
    assert overlaps(one, other) == overlap(".".join(one), ".".join(other))
    if covers(one, other):
        assert theirs <= mine


PATTERNS = (DOTTED.map(".".join) | SLASHED).filter(bool)


@given(PATTERNS, PATTERNS)
def test_no_name_is_in_both_when_they_do_not_overlap(one: str, other: str) -> None:
    if not overlap(one, other):
        assert not names_of(one) & names_of(other)
    if cover(one, other):
        assert names_of(other) <= names_of(one)
        assert overlap(one, other)


@given(SLASHED.filter(bool), SLASHED.filter(bool))
def test_between_slashes_they_are_compared_as_between_dots(one: str, other: str) -> None:
    if is_slashed(one) and is_slashed(other):
        assert overlap(one, other) == overlaps(words_of(one), words_of(other))
        assert cover(one, other) == covers(words_of(one), words_of(other))


@given(PATTERNS, st.sampled_from(NAMES))
def test_a_name_is_covered_by_what_matches_it(pattern: str, name: str) -> None:
    matched = name in names_of(pattern)
    assert cover(pattern, name) is matched
    assert overlap(pattern, name) is matched


@given(PATTERNS)
def test_names_are_told_quickly_as_the_matcher_finds_them(pattern: str) -> None:
    is_meant = name_test(pattern)
    found = {pattern} if is_meant is None else {name for name in NAMES if is_meant(name)}
    assert found & set(NAMES) == names_of(pattern)
    if is_meant is not None:
        assert not is_meant("$SYS.a")


@given(PATTERNS, st.sampled_from(NAMES))
def test_the_matcher_finds_what_the_words_say(pattern: str, name: str) -> None:
    """The table of the contract: the pattern decides how a name is read."""
    separator = "/" if is_slashed(pattern) else "."
    words, own = name.split(separator), words_of(pattern)
    while own and words and own[0] in ("*", words[0]):
        own, words = own[1:], words[1:]
    expected = own[:1] in ([">"], ["#"]) if own else not words
    assert (name in names_of(pattern)) is expected


@pytest.mark.parametrize(
    ("name", "slashed"),
    [
        ("a/b", False),
        ("a/*", True),
        ("a/**", True),
        ("**", True),
        ("*", False),
        (">", False),
        ("a/b.*", False),
        ("a*/b", False),
        ("*/b", True),
    ],
)
def test_which_patterns_are_read_between_slashes(name: str, slashed: bool) -> None:
    assert is_slashed(name) is slashed


def test_what_is_removed_is_found_no_more() -> None:
    matcher: Matcher[str] = Matcher(slashes=True)
    for pattern in ("a/*", "a.*", "a/b"):
        matcher.add(pattern, pattern)
    assert set(matcher.match("a/b")) == {"a/*", "a/b"}
    for pattern in ("a/*", "a.*", "a/b"):
        matcher.remove(pattern, pattern)
    assert not matcher.match("a/b")
    assert not matcher.match("a.b")


def test_names_that_look_like_separators_stay_apart() -> None:
    matcher: Matcher[str] = Matcher(slashes=True)
    matcher.add("a/b/**", "it")
    assert not matcher.match("a.b/c")
    assert not matcher.match("a/b.c")
    assert matcher.match("a/b/c.d")
