"""Messages between brokers as bytes, and what is none."""

from __future__ import annotations

import pytest

from stompy_broker.admin.peers.peer_codec import (
    END,
    FIRST,
    PeerMessage,
    Saying,
    decode,
    encode,
    encode_json,
)


@pytest.mark.parametrize("saying", Saying)
@pytest.mark.parametrize("last", [False, True])
def test_there_and_back(saying: Saying, last: bool) -> None:
    for body in (b"", b'{"a":1}'):
        message = PeerMessage(saying, 2**32 - 1, last, body)
        octets = b"".join(encode(message))
        assert FIRST <= octets[0] < END
        assert decode(octets) == message


def test_a_body_is_an_object() -> None:
    told = decode(b"".join(encode_json(Saying.WATCH, 7, {"kind": "queues"})))
    assert told is not None
    assert told.json() == {"kind": "queues"}
    for body in (b"[]", b"", b"{"):
        with pytest.raises(ValueError, match=r"JSON|Expecting"):
            PeerMessage(Saying.WATCH, 1, body=body).json()


def test_what_a_later_version_says_is_passed_over_and_what_is_short_is_refused() -> None:
    assert decode(bytes([END - 1, 0, 0, 0, 1, 0])) is None
    for length in range(6):
        with pytest.raises(ValueError, match="bytes are no message"):
            decode(b"\x60\0\0\0\0\0"[:length])
