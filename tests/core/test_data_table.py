"""Tables: what they hold, how they look, and what data libraries make of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stompy import DataTable

HEADERS = [{"color": "red"}, {"color": "blue", "n": "1"}, {}]
TABLE = DataTable(
    ("sequence", "due", "price", "urgent", "text", "body", "headers", "mixed", "nothing"),
    [
        (1883287835412339712, None, 1.5, True, "a", "x", HEADERS[0], 1, None),
        (1883287835412339713, 5, 2, False, None, b"\xff", HEADERS[1], "x", None),
        (1883287835412339714, 6, None, None, "ü", None, HEADERS[2], [1, {"a": None}], None),
    ],
)


def test_rows_and_columns() -> None:
    table = DataTable(["a", "b"], [[1, "x"], [2, "y"]])
    assert table.names == ("a", "b")
    assert table.rows == [(1, "x"), (2, "y")]
    assert len(table) == 2
    assert list(table) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert table[1] == {"a": 2, "b": "y"}
    assert table[-1:] == DataTable(["a", "b"], [(2, "y")])
    assert table.column("b") == ["x", "y"]
    assert table != DataTable(["a", "c"], [(1, "x"), (2, "y")])
    assert table != [(1, "x"), (2, "y")]
    with pytest.raises(KeyError, match="there are a, b"):
        table.column("c")


def test_how_it_looks() -> None:
    table = DataTable(["name", "value"], [("a", 1), ("bb", None), ("c", {"x": "y" * 100})])
    lines = repr(table).split("\n")
    assert lines[:3] == ["name  value", "a     1", "bb"]
    assert lines[3].startswith('c     {"x": "yyy')
    assert len(lines[3]) < 60
    assert repr(DataTable(["n"], [[n] for n in range(1000)])).endswith("9\n… 1,000 rows")
    assert repr(DataTable(["n"], [])) == "n"
    assert "\x1b" not in repr(DataTable(["n"], [["\x1b[31m"]]))


def test_what_a_notebook_shows_of_it() -> None:
    html = DataTable(["name"], [["<script>"] for _ in range(100)])._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "and 80 more" in html


def test_pandas_keeps_what_is_whole() -> None:
    pandas = pytest.importorskip("pandas")
    frame = TABLE.to_pandas()
    assert list(frame.columns) == list(TABLE.names)
    assert frame["sequence"].tolist() == TABLE.column("sequence")
    assert frame["due"].dtype == "Int64"
    assert frame["due"].dropna().tolist() == [5, 6]
    assert frame["headers"].tolist() == HEADERS
    assert frame["price"].sum() == 3.5
    assert len(DataTable(["a"], []).to_pandas()) == 0
    assert list(DataTable(["a", "a"], [(None, 1), (2, 3)]).to_pandas().columns) == ["a", "a"]
    assert isinstance(frame, pandas.DataFrame)


def test_polars_takes_it() -> None:
    pytest.importorskip("polars")
    frame = TABLE.to_polars()
    assert frame["sequence"].to_list() == TABLE.column("sequence")
    assert frame["price"].to_list() == [1.5, 2.0, None]
    assert frame["body"].to_list() == [b"x", b"\xff", None]
    assert frame["headers"].struct.field("color").to_list() == ["red", "blue", None]
    assert frame["mixed"].to_list() == ["1", '"x"', '[1, {"a": null}]']
    assert frame["nothing"].to_list() == [None] * 3
    assert DataTable(["a"], []).to_polars().height == 0


def test_arrow_takes_it() -> None:
    pytest.importorskip("pyarrow")
    table = TABLE.to_arrow()
    assert table.column_names == list(TABLE.names)
    assert table["sequence"].to_pylist() == TABLE.column("sequence")
    assert table["urgent"].to_pylist() == [True, False, None]
    assert [dict(one) for one in table["headers"].to_pylist()] == HEADERS
    assert DataTable(["a", "a"], [(1, 2)]).to_arrow().num_columns == 2


def test_duckdb_reads_it_and_cannot_change_it() -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    with duckdb.connect() as connection:
        TABLE.to_duckdb(connection, "messages")
        query = "SELECT headers['color'], count(*) FROM messages GROUP BY 1 ORDER BY 1"
        assert connection.sql(query).fetchall() == [("blue", 1), ("red", 1), (None, 1)]
        with pytest.raises(duckdb.Error):
            connection.sql("DELETE FROM messages")


def test_a_number_that_is_too_large_is_written_out() -> None:
    pytest.importorskip("pyarrow")
    assert DataTable(["n"], [[2**70], [1]]).to_arrow()["n"].to_pylist() == [str(2**70), "1"]


def test_no_data_library_is_loaded_by_itself() -> None:
    code = "import sys, stompy; stompy.DataTable(['a'], [[1]])._repr_html_(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pandas", "polars", "pyarrow", "duckdb", "numpy"} & set(loaded)
