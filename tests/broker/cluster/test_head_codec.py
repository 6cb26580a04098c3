"""Heads of messages as bytes: there and back, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from tests.support.heads import heads, parts_of
from tests.support.house import make_head

from stompy_broker.cluster.head_codec import read_head, write_head
from stompy_broker.message import MessageHead


@given(heads)
def test_a_head_comes_back(head: MessageHead) -> None:
    again = read_head(write_head(head))
    assert parts_of(again) == parts_of(head)


def test_a_head_with_its_own_id_comes_back() -> None:
    head = MessageHead.from_headers({"destination": "/topic/a"}, message_id=b"T_1")
    assert parts_of(read_head(write_head(head))) == parts_of(head)


def test_what_is_cut_off_or_too_long_is_refused() -> None:
    octets = write_head(make_head("/queue/a"))
    for wrong in (b"", octets[:5], octets[:-1], octets + b"x"):
        with pytest.raises(ValueError, match="head"):
            read_head(wrong)
