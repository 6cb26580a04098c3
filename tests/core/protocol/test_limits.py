"""How large a frame may be."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from stompy.protocol.limits import DEFAULT_LIMITS, MOST, Limits


def test_the_defaults():
    assert Limits() == DEFAULT_LIMITS
    assert DEFAULT_LIMITS.command == 32
    assert DEFAULT_LIMITS.header_line == 16 * 1024
    assert DEFAULT_LIMITS.header_count == 256
    assert DEFAULT_LIMITS.header_block == 1024 * 1024
    assert DEFAULT_LIMITS.body == 64 * 1024 * 1024


def test_what_is_told_is_read_again_and_nonsense_is_not():
    told = Limits(header_line=10, header_count=2, header_block=100, body=200).told()
    assert Limits.read({**told, "server": "x"}) == Limits(32, 10, 2, 100, 200)
    for nonsense in ("", "-1", "x", "9" * 19, "1_0", "²"):
        assert Limits.read({"limits-body": nonsense}) == Limits()
    assert Limits.read({"limits-body": "9" * 18}).body == MOST


def test_a_receiver_has_room_for_what_a_broker_adds():
    roomy = Limits(header_line=10, header_count=2, header_block=100, body=200).with_room()
    assert roomy == Limits(32, 20, 66, 200, 200)


def test_before_login_they_are_far_smaller():
    limits = DEFAULT_LIMITS.before_login()
    assert limits.header_block == limits.body == 64 * 1024
    assert limits.command == DEFAULT_LIMITS.command
    assert limits.header_line == DEFAULT_LIMITS.header_line
    assert limits.header_count == DEFAULT_LIMITS.header_count


def test_smaller_ones_stay():
    small = Limits(command=4, header_line=10, header_count=2, header_block=100, body=200)
    assert small.before_login() == small


def test_they_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        DEFAULT_LIMITS.body = 1  # type: ignore[misc]
