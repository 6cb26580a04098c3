"""What brokers say of themselves, and who counts as alive: silence, sleep, twins, old news."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stompy_broker.cluster.membership.members import (
    BeatError,
    Claim,
    Heard,
    Hold,
    Member,
    Members,
    Standing,
    Wish,
)

ME = Member("ann", "1")
BOB = Member("bob", "2", "10.0.0.2:61613")


def members() -> Members:
    return Members(ME, 3.0, 1.0)


def beat(count: int, **what: object) -> Member:
    return replace(BOB, count=count, **what)  # type: ignore[arg-type]


def test_what_is_said_is_read_again():
    said = Member(
        "bob",
        "n",
        "h:1",
        "2.0",
        "abc",
        7,
        Standing.DRAINING,
        0.25,
        {3: Claim(Hold.LEFT, 9, "cid", 1000)},
        frozenset((4, 5)),
        {0: Wish("cid", "m", 2)},
        {6: 77},
    )
    assert Member.read(said.write()) == said
    older = json.loads(said.write())
    del older["reads"]
    assert Member.read(json.dumps(older).encode()) == replace(said, reads={})


@pytest.mark.parametrize(
    "octets", [b"", b"[]", b"{}", b"5", b'["bob", true]', BOB.write().replace(b'"up"', b'"off"')]
)
def test_what_is_no_beat_is_told(octets: bytes):
    with pytest.raises(BeatError, match="speaks like that"):
        Member.read(octets)


def test_who_says_nothing_is_dead_sooner_if_a_connection_was_lost():
    some = members()
    assert some.hear(beat(1), 0.0) is Heard.NEW
    assert some.hear(beat(2), 1.0) is Heard.KNOWN
    assert some.remove_silent(3.9) == []
    some.suspect("bob")
    some.suspect("nobody")
    assert some.remove_silent(1.9) == []
    assert some.remove_silent(2.0) == ["bob"]
    assert some.alive == {}
    assert some.hear(beat(3), 9.0) is Heard.NEW
    some.suspect("bob")
    some.hear(beat(4), 9.5)
    assert some.remove_silent(12.4) == []
    assert some.remove_silent(12.5) == ["bob"]


def test_after_a_sleep_nobody_is_dead():
    some = members()
    some.hear(beat(1), 0.0)
    some.forgive(100.0)
    assert some.remove_silent(102.9) == []
    assert some.remove_silent(103.0) == ["bob"]


def test_old_news_is_none_and_the_end_is_the_end():
    some = members()
    some.hear(beat(2), 0.0)
    assert some.hear(beat(2), 0.0) is some.hear(beat(1), 0.0) is Heard.STALE
    some.hear(beat(5, standing=Standing.GONE), 0.0)
    assert some.alive == {}
    assert some.hear(beat(4), 0.0) is Heard.STALE


def test_a_process_that_follows_is_new_and_two_at_once_are_noticed():
    some = members()
    some.hear(beat(5), 0.0)
    assert some.hear(beat(1, nonce="3"), 1.0) is Heard.NEW
    for count in (6, 7, 8):
        assert some.hear(beat(count), 1.5) is Heard.STALE  # the one who lives stays
        assert some.alive["bob"].nonce == "3"
        assert some.doubled == (["bob"] if count == 8 else [])
    assert some.hear(beat(9), 2.0) is Heard.NEW
    assert some.doubled == []
    assert some.remove_silent(5.0) == ["bob"]
    assert some.hear(beat(2, nonce="3"), 5.0) is Heard.NEW


def test_another_one_with_our_name_is_noticed():
    some = members()
    assert some.hear(ME, 0.0) is Heard.OWN
    assert some.twin == ""
    assert some.hear(replace(ME, nonce="9"), 0.0) is Heard.TWIN
    assert some.twin == "9"
    assert some.alive == {}
