"""Messages as readers have them: their own object, one wire form, and the offset of a stream."""

from __future__ import annotations

import pytest
from tests.support.house import make_head

from stompy.protocol.headers import Version
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.routing.reader_message import LARGEST_SHARED, OffsetMessage, ReaderMessage


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize(
    "headers", [{}, {"a": "b:c"}, {"timestamp": "7"}, {"a": "ü\r"}, {"content-length": "4"}]
)
def test_the_wire_form_is_that_of_a_message(version: Version, headers: dict[str, str]) -> None:
    head = make_head(**headers)
    plain = Message(5, head, b"body", stamp(9))
    assert ReaderMessage(3, 5, head, b"body", stamp(9)).tail(version) == plain.tail(version)
    of_stream = OffsetMessage(3, 5, head, b"body", stamp(9))
    assert of_stream.tail(version).replace(b"x-stream-offset:3\n", b"", 1) == plain.tail(version)
    assert of_stream.front(version) + b"body\0\n" == of_stream.tail(version)


def test_who_is_given_one_has_an_object_of_its_own() -> None:
    head = MessageHead.from_headers({"destination": "/queue/s"}, message_id=b"x1")
    message = OffsetMessage(3, 5, head, b"body", stamp(9))
    assert message.share() == len(message.tail(Version.V1_0))
    assert message.share() == 0
    copy = message.given_to(7)
    assert (copy.place, copy.reader, copy.message_id, copy.size) == (3, 7, "x1", message.size)
    assert copy.tail(Version.V1_2) is message.tail(Version.V1_1)
    copy.returned(failed=True)
    assert message.redelivery is None


def test_what_differs_by_version_or_is_large_is_not_shared() -> None:
    for head, body in ((make_head(a="ü\r"), b"body"), (make_head(), b"x" * LARGEST_SHARED)):
        message = OffsetMessage(3, 5, head, body, stamp(9))
        assert message.share() == 0
        assert message.shared_tail is None
