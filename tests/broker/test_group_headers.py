"""The headers that say to which group a message belongs."""

from __future__ import annotations

import pytest

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.group_headers import GROUP, group_told, may_tell_group
from stompy_broker.message import MessageHead, group_in


@pytest.mark.parametrize("name", GROUP)
def test_three_names_mean_the_same(name: str) -> None:
    assert group_told({name: "a"}) == ("a", False)
    assert group_told({name: "a", "JMSXGroupSeq": "-1"}) == ("a", True)
    assert group_told({name: "a", "JMSXGroupSeq": "7"}) == ("a", False)
    assert group_told({name: ""}) is None
    assert group_told({"JMSXGroupSeq": "-1"}) is None


def test_several_have_to_agree() -> None:
    assert group_told({"JMSXGroupID": "a", "x-group-id": "a"}) == ("a", False)
    with pytest.raises(ProtocolError) as raised:
        group_told({"JMSXGroupID": "a", "x-group-id": "b"})
    assert raised.value.error_code is ErrorCode.BAD_HEADER


def test_it_is_read_from_a_block_that_was_kept() -> None:
    head = MessageHead.from_headers({"destination": "/queue/q", "x-group-id": "a:b\n"})
    assert head.traits.group == "a:b\n"
    assert group_in(head.block) == ("a:b\n", False)
    assert not may_tell_group(b"destination:/queue/q\n\n")
    assert group_in(b"destination:/queue/q\nx:x-group-id:\n\n") is None
