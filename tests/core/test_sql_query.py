"""One SELECT over rows in memory: what it can do, and what nobody can do with it."""

from __future__ import annotations

import pytest

from stompy import sql_query
from stompy.data_table import Value
from stompy.sql_query import SqlError, SqlQuery

TABLES = {"messages": ("queue", "n", "body"), "queues": ("name", "ready")}
VIEWS = {"late": "SELECT queue, n FROM messages WHERE n > 1"}
ROWS: dict[str, list[tuple[Value, ...]]] = {
    "messages": [("a", 1, '{"x": [1, 2]}'), ("a", 2, b"\xff"), ("b", 3, None)],
    "queues": [("a", 2), ("b", 1)],
}
COUNT = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t)"


def ask(query: str, *parameters: Value, **limits: float) -> list[tuple[Value, ...]]:
    wanted = SqlQuery(query, TABLES, VIEWS)
    return wanted.run(ROWS, parameters, **limits)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT queue, count(*), sum(n) FROM messages GROUP BY 1", [("a", 2, 3), ("b", 1, 3)]),
        ("SELECT n FROM late ORDER BY n DESC", [(3,), (2,)]),
        ("SELECT ready FROM queues JOIN messages ON name = queue WHERE n = 3", [(1,)]),
        ("SELECT json_extract(body, '$.x[1]') FROM messages WHERE n = 1", [(2,)]),
        ("SELECT value FROM messages, json_each(body, '$.x') WHERE n = 1", [(1,), (2,)]),
        ("SELECT typeof(body) FROM messages", [("text",), ("blob",), ("null",)]),
        ("-- why\nSELECT 1 ;", [(1,)]),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("SELECT row_number() OVER (ORDER BY n DESC) FROM messages", [(1,), (2,), (3,)]),
        ("SELECT instr('abcb', 'cb'), instr('abc', 'x'), instr(x'0102', x'02')", [(3, 0, 2)]),
        ("SELECT replace('abcb', 'b', 'xx'), replace('a', '', 'b')", [("axxcxx", "a")]),
        ("SELECT trim('xyaxy', 'xy'), ltrim('aab', 'a'), rtrim(' b '), trim(NULL, 'a')",
         [("a", "b", " b", None)]),
    ],
)  # fmt: skip
def test_what_it_gives(query: str, rows: list[tuple[Value, ...]]) -> None:
    assert ask(query) == rows


def test_parameters() -> None:
    assert ask("SELECT n FROM messages WHERE queue = ? AND n > ?", "a", 1) == [(2,)]
    wanted = SqlQuery("SELECT n FROM messages WHERE queue = :queue", TABLES)
    assert wanted.run(ROWS, {"queue": "b"}) == (["n"], [(3,)])
    with pytest.raises(SqlError, match="binding"):
        ask("SELECT ?")


def test_columns_of_one_name_are_told_apart() -> None:
    wanted = SqlQuery("SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS a", TABLES)
    assert wanted.run({})[0] == ["a", "a:2", "b", "a:3"]


@pytest.mark.parametrize(
    ("query", "needs"),
    [
        ("SELECT 1", {}),
        ("SELECT count(*) FROM queues", {"queues": set()}),
        ("SELECT queue FROM messages WHERE n = 1", {"messages": {"queue", "n"}}),
        ("SELECT n FROM late", {"messages": {"queue", "n"}}),
        ("SELECT * FROM queues", {"queues": {"name", "ready"}}),
        ("SELECT (SELECT max(ready) FROM queues) FROM messages",
         {"queues": {"ready"}, "messages": set()}),
    ],
)  # fmt: skip
def test_what_it_needs_is_known_before(query: str, needs: dict[str, set[str]]) -> None:
    assert SqlQuery(query, TABLES, VIEWS).needs == needs


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "ATTACH ':memory:' AS x",
        "DETACH main",
        "PRAGMA query_only = OFF",
        "PRAGMA table_info(messages)",
        "SELECT * FROM pragma_table_info('messages')",
        "SELECT * FROM pragma_database_list",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE TRIGGER x AFTER INSERT ON messages BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE x USING fts5(a)",
        "DROP TABLE messages",
        "ALTER TABLE messages ADD COLUMN x",
        "INSERT INTO messages VALUES (1, 2, 3)",
        "REPLACE INTO messages VALUES (1, 2, 3)",
        "UPDATE messages SET n = 0",
        "DELETE FROM messages",
        "DELETE FROM sqlite_master",
        "WITH x AS (SELECT 1) INSERT INTO messages SELECT 1, 2, 3",
        "VACUUM",
        "VACUUM INTO '/tmp/x.db'",
        "ANALYZE",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT a",
        "EXPLAIN SELECT 1",
        "  explain query plan SELECT 1",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/x', 'y')",
        "SELECT edit('x')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE messages",
        "SELECT 'a\0b'",
        "SELECT",
        "",
        " \n",
        "-- nothing",
        "nonsense",
        "SELECT " + "(" * 500 + "1" + ")" * 500,
        "SELECT " + " + ".join(["1"] * 2000),
        "SELECT " + ", ".join(["1"] * 2000),
        " UNION ALL ".join(["SELECT 1"] * 200),
        "SELECT '" + "x" * 100_000 + "'",
    ],
)
def test_nothing_else_is_possible(query: str) -> None:
    with pytest.raises(SqlError) as caught:
        ask(query)
    assert str(caught.value)
    assert len(str(caught.value)) < 500


def test_nothing_is_written_anywhere(tmp_path) -> None:
    for query in (f"ATTACH '{tmp_path}/a' AS a", f"VACUUM INTO '{tmp_path}/b'"):
        with pytest.raises(SqlError):
            ask(query)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "query",
    [
        f"{COUNT} SELECT count(*) FROM t",
        f"{COUNT} SELECT group_concat(x) FROM t",
        f"SELECT count(*) FROM {', '.join(f'messages m{number}' for number in range(20))}",
    ],
)
def test_it_ends(query: str) -> None:
    with pytest.raises(SqlError, match=r"longer than 0\.2 s"):
        ask(query, seconds=0.2)


@pytest.mark.parametrize(
    "query",
    [
        f"{COUNT} SELECT randomblob(100000) FROM t",
        f"{COUNT} SELECT x FROM t",
        f"{COUNT} SELECT hex(randomblob(2000)) h FROM t ORDER BY h",
        f"{COUNT} SELECT DISTINCT hex(randomblob(2000)) FROM t",
        "SELECT zeroblob(1000000000)",
        "SELECT replace(hex(zeroblob(4000000)), '0', 'xxxxxxxx')",
        f"{COUNT} SELECT json_group_array(hex(zeroblob(1000000))) FROM (SELECT x FROM t LIMIT 99)",
    ],
)
def test_it_takes_no_more_memory_than_it_may(query: str) -> None:
    with pytest.raises(SqlError):
        ask(query, most_bytes=8 * 1024 * 1024, seconds=30)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT instr(zeroblob(16000000), zeroblob(8000000) || x'01')",
        "SELECT instr(hex(zeroblob(8000000)), hex(zeroblob(4000000)) || '1')",
        "SELECT replace(hex(zeroblob(8000000)), hex(zeroblob(4000000)) || '1', '')",
        "SELECT trim(hex(zeroblob(8000000)), '123456789')",
        f"SELECT hex(zeroblob(8000000)) LIKE '{'%0' * 40}%1'",
        f"SELECT hex(zeroblob(8000000)) LIKE '{'%_' * 40}%1'",
        f"SELECT hex(zeroblob(8000000)) GLOB '{'*[0-9]' * 20}*x'",
    ],
)
def test_no_function_takes_for_ever(query: str) -> None:
    """None of them looks at the clock meanwhile: had one been quadratic, this would not end."""
    assert len(ask(query, seconds=30)) == 1


def test_a_function_that_is_given_too_much_says_so() -> None:
    with pytest.raises(SqlError, match="64 characters"):
        ask("SELECT trim('x', hex(zeroblob(100)))")


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(SqlError, match="no such table: nowhere; there are late, messages, queues"):
        ask("SELECT * FROM nowhere")
    with pytest.raises(SqlError, match="not yet"):
        SqlQuery("SELECT * FROM history", TABLES, absent={"history": "not yet"})
    with pytest.raises(SqlError, match="no such column: x"):
        ask("SELECT x FROM messages")


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(SqlError, match="no such column: nam; there is name"):
        ask("SELECT nam FROM queues")
    with pytest.raises(SqlError, match="the header colour is headers ->> 'colour'"):
        ask("SELECT m.colour FROM messages m")


def test_rows_that_are_too_large_together() -> None:
    wanted = SqlQuery("SELECT count(body) FROM messages", TABLES)
    rows = (("a", number, "x" * 10_000) for number in range(1000))
    with pytest.raises(SqlError, match="too large together"):
        wanted.run({"messages": rows}, most_bytes=1024 * 1024)


def test_a_value_that_is_too_long_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_query, "LONGEST_VALUE", 100)
    wanted = SqlQuery("SELECT n, body FROM messages", TABLES)
    rows = [("a", 1, "x" * 100), ("a", 2, "x" * 101), ("a", 3, "ü" * 60), ("a", 4, b"x" * 101)]
    found = wanted.run({"messages": rows})[1]
    assert found == [(1, "x" * 100), (2, None), (3, None), (4, None)]
