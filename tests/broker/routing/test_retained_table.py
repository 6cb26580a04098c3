"""What topics keep: how much there may be, and what a pattern matches."""

from __future__ import annotations

import pytest
from tests.support.house import make_message

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.routing.caps import Caps
from stompy_broker.routing.retained_table import RetainedTable


def table_of(*topics: str) -> RetainedTable:
    table = RetainedTable()
    for number, topic in enumerate(topics, 1):
        table.put(topic, make_message(number))
    return table


def test_what_is_put_again_is_the_last() -> None:
    table = table_of("a", "b", "a")
    assert [topic for topic, _ in table.matching(">", 0)] == ["b", "a"]
    assert table.bytes == sum(message.size for message in table.messages.values())
    assert table.drop("c") is None
    assert (table.drop("a") or make_message(9)).sequence == 3
    assert len(table) == 1


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.b", ["a.b"]),
        ("a.*", ["a.b", "a.b/c"]),
        ("a.>", ["a", "a.b", "a.b/c"]),
        ("a/*", ["a/b", "a/b.c"]),
        ("*", ["a", "a/b"]),
        ("**", ["a", "a.b", "a.b/c", "a/b", "a/b.c"]),
        ("$x.>", ["$x.a"]),
        ("none", []),
    ],
)
def test_patterns_of_all_dialects(pattern: str, found: list[str]) -> None:
    table = table_of("a", "a.b", "a.b/c", "a/b", "a/b.c", "$x.a")
    assert [topic for topic, _ in table.matching(pattern, 0)] == found


def test_what_has_ended_is_left_out() -> None:
    table = table_of("a", "b", "c")
    table.messages["a"].expires, table.messages["b"].expires = 100, 101
    assert [topic for topic, _ in table.matching(">", 100)] == ["b", "c"]
    assert [topic for topic, _ in table.matching("a", 100)] == []
    assert table.expired(100) == ["a"]


def test_there_is_room_for_what_takes_the_place_of_something() -> None:
    table, size = table_of("a", "b"), make_message(1).size
    caps = Caps(retained=2, retained_bytes=2 * size)
    table.check([("a", size), ("b", size)], caps)
    table.check([("a", size - 1), ("a", size)], caps)
    for wanted, setting in (
        ([("c", size)], "limits.retained)"),
        ([("a", size + 1)], "limits.retained_bytes)"),
        ([("a", 1), ("c", 1)], "limits.retained)"),
    ):
        with pytest.raises(ProtocolError) as raised:
            table.check(wanted, caps)
        assert raised.value.error_code is ErrorCode.LIMIT_EXCEEDED
        assert setting in raised.value.Message
    # Over a limit that was lowered, what becomes smaller still has room.
    table.check([("a", size - 1)], Caps(retained=1, retained_bytes=size))
