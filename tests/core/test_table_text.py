"""Tables as lines of text."""

from __future__ import annotations

import json

from stompy.data_table import DataTable
from stompy.table_text import table_lines

TABLE = DataTable(["name", "n"], [("a", 1), ("long, er", 1000), (None, None), (b"\xff", 2)])


def test_columns_with_numbers_to_the_right() -> None:
    assert list(table_lines(TABLE, "table")) == [
        "name         n",
        "a            1",
        "long, er  1000",
        "",
        "1 bytes      2",
    ]


def test_what_is_for_people_steers_no_terminal_and_may_be_cut_off() -> None:
    table = DataTable(["x"], [("\x1b[2J\u202e\n" + "y" * 100,)])
    (_, line) = table_lines(table, "table", narrow=True)
    assert line.isprintable()
    assert len(line) == 60
    assert len(list(table_lines(table, "table"))[1]) > 100


def test_objects() -> None:
    lines = [json.loads(line) for line in table_lines(TABLE, "json")]
    assert lines[1] == {"name": "long, er", "n": 1000}
    assert lines[2:] == [{"name": None, "n": None}, {"name": {"base64": "/w=="}, "n": 2}]


def test_separated_values() -> None:
    assert list(table_lines(TABLE, "csv")) == ["name,n", "a,1", '"long, er",1000', ",", "/w==,2"]


def test_nothing() -> None:
    assert list(table_lines(DataTable([], []), "table")) == []
    assert list(table_lines(DataTable(["a"], []), "table")) == ["a"]
