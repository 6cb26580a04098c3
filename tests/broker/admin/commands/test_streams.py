"""Commands about streams, over real sockets."""

from __future__ import annotations

import pytest
from tests.support.admin import Code, Observer, fails

from stompy_broker.admin.commands.streams import foreseen
from stompy_broker.routing.reading import read_start
from stompy_broker.routing.stream_orders import StreamFigures


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("first", 5),
        ("last", 8),
        ("next", 9),
        ("offset=7", 7),
        ("offset=1", 5),
        ("offset=99", 9),
        ("last=2", 7),
        ("-100", 5),
        ("age=1h", None),
        ("timestamp=1700000000", None),
    ],
)
def test_where_a_start_is_is_told_beforehand(text: str, offset: int | None) -> None:
    assert foreseen(read_start(text), StreamFigures(5, 9, 9, 100, 100, ())) == offset


def test_the_last_message_of_an_empty_stream_is_the_next_one() -> None:
    assert foreseen(read_start("last"), StreamFigures(5, 5, 5, 0, 0, ())) == 5


def test_they_are_for_streams_only(admin: Observer, queue: str) -> None:
    admin.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
    admin.peer.sync()
    for command, args in {
        "stream.info": {},
        "stream.truncate": {"before": 1},
        "stream.seek": {"name": "n", "offset": "first"},
        "stream.forget": {"name": "n"},
    }.items():
        error = fails(Code.BAD_REQUEST, admin.ask, command, stream=queue, **args)
        assert "is no stream" in str(error)
        fails(Code.NOT_FOUND, admin.ask, command, stream="/stream/none", **args)
    assert admin.ask("stream.readers", stream=queue)["rows"] == []
