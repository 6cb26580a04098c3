"""The past of queues as tables: by SQL from within and from outside, and as a data frame."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.wire import running_broker, until

import stompy
from stompy import STOMPClient
from stompy.admin.command import CommandError
from stompy.admin.settlements import HISTORY_COLUMNS
from stompy.sql_query import SqlError
from stompy_broker import RunningBroker

POLICIES = [
    {"match": "/queue/plain"},
    {"match": "/queue/>", "history": "24h", "redelivery_delay": 0},
]


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker(policy=POLICIES) as broker, stompy.connect(broker.url) as client:
        orders = client.subscription("/queue/orders", prefetch=1)
        for number in range(3):
            client.message(
                "/queue/orders",
                b"\xff\x00" if number == 2 else f"body {number}",
                headers={"n": number, "content-type": "text/plain"},
                confirm=True,
            )
        orders.get(timeout=5).ack()
        orders.get(timeout=5).nack(reason="no spoons")
        orders.get(timeout=5).ack()
        orders.get(timeout=5).ack()
        plain = client.subscription("/queue/plain", "auto")
        client.message("/queue/plain", "x", confirm=True)
        plain.get(timeout=5)
        until(lambda: len(broker.sql("SELECT * FROM history").rows) == 4, "four rows")
        yield broker


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[STOMPClient]:
    with stompy.connect(broker.url) as client:
        yield client


def test_sql_from_within_and_from_outside_is_the_same(
    broker: RunningBroker, client: STOMPClient
) -> None:
    for query in (
        "SELECT * FROM history",
        "SELECT queue, outcome, count(*) FROM history GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT headers ->> '$.n', reason, deliveries FROM history ORDER BY place",
        "SELECT typeof(body), content_type FROM history ORDER BY place",
    ):
        for queues in ([], ["orders"]):
            inside = broker.sql(query, queues=queues)
            outside = stompy.sql(client, query, queues=queues)
            assert outside.names == inside.names
            assert outside.rows == inside.rows
    found = broker.sql("SELECT outcome, reason, size > 200 FROM history ORDER BY place").rows
    assert found == [
        ("acked", None, 1),
        ("nacked", "no spoons", None),
        ("acked", None, 1),
        ("acked", None, 1),
    ]


def test_sql_is_bounded(broker: RunningBroker, client: STOMPClient) -> None:
    with pytest.raises(SqlError, match="history is too large"):
        broker.sql("SELECT * FROM history", most_bytes=1000)
    with pytest.raises(SqlError, match="history is too large"):
        stompy.sql(client, "SELECT * FROM history", most_bytes=1000)


def test_a_client_gets_a_table(client: STOMPClient) -> None:
    table = stompy.history(client, "/queue/orders", bodies=True)
    assert table.names == HISTORY_COLUMNS
    assert table.column("outcome") == ["acked", "nacked", "acked", "acked"]
    assert table.column("body") == [b"body 0", None, b"body 1", b"\xff\x00"]
    headers = table.column("headers")
    assert isinstance(headers[0], dict)
    assert headers[0]["n"] == "0"
    assert len(set(table.column("session"))) == 1


def test_a_table_is_chosen(client: STOMPClient) -> None:
    only = stompy.history(client, "orders", outcomes=["nacked"])
    assert only.column("reason") == ["no spoons"]
    assert len(stompy.history(client, "orders", selector="n = '1'")) == 1
    assert len(stompy.history(client, "orders", limit=2)) == 2
    later = datetime.now(UTC) + timedelta(hours=1)
    assert len(stompy.history(client, "orders", since=later)) == 0
    assert len(stompy.history(client, "orders", since=-3_600_000, until=later)) == 4
    named = str(only.column("message_id")[0])
    assert len(stompy.history(client, "orders", ids=[named])) == 2


def test_times_of_a_table_may_be_so_long_ago(client: STOMPClient) -> None:
    hour = timedelta(hours=1)
    assert len(stompy.history(client, "orders", since=hour)) == 4
    assert len(stompy.history(client, "orders", until=hour)) == 0
    assert len(stompy.history(client, "orders", since=2 * hour, until=hour)) == 0
    for wrong in (timedelta(0), -hour):
        with pytest.raises(ValueError, match="since= is how long ago"):
            stompy.history(client, "orders", since=wrong)
    with pytest.raises(TypeError, match="until= is a datetime, a timedelta, or a whole number"):
        stompy.history(client, "orders", until="1h")  # type: ignore[arg-type]


def test_one_text_is_no_list(client: STOMPClient) -> None:
    with pytest.raises(TypeError, match=r"outcomes= is a list: outcomes=\['nacked'\]"):
        stompy.history(client, "orders", outcomes="nacked")
    with pytest.raises(TypeError, match="ids= is a list"):
        stompy.history(client, "orders", ids="17")


def test_a_queue_that_nothing_has_left_has_an_empty_table(client: STOMPClient) -> None:
    client.message("/queue/work", "x", confirm=True)
    table = stompy.history(client, "work")
    assert (table.names, len(table)) == (HISTORY_COLUMNS, 0)


def test_a_table_becomes_a_data_frame(client: STOMPClient) -> None:
    table = stompy.history(client, "orders")
    arrow = pytest.importorskip("pyarrow")
    assert table.to_arrow().column("outcome").type == arrow.string()
    assert table.to_arrow().num_rows == 4


def test_a_queue_without_history_is_refused(client: STOMPClient) -> None:
    with pytest.raises(CommandError, match="keeps no history"):
        stompy.history(client, "plain")


def test_rows_and_metrics_tell_how_much_it_is(broker: RunningBroker, client: STOMPClient) -> None:
    query = "SELECT history, history_records, history_bytes > 400, history_oldest_at > 0 "
    query += "FROM queues WHERE name = ?"
    assert broker.sql(query, ["orders"]).rows == [("24h", 4, 1, 1)]
    assert broker.sql(query, ["plain"]).rows == [("", 0, 0, None)]


def test_the_past_outlives_the_broker(tmp_path: Path) -> None:
    store = {"data": str(tmp_path / "data")}
    with (
        running_broker(store=store, policy=POLICIES) as broker,
        stompy.connect(broker.url) as client,
    ):
        orders = client.subscription("/queue/orders")
        for number in range(3):
            client.message("/queue/orders", f"body {number}", confirm=True)
            orders.get(timeout=5).ack()
        until(lambda: len(stompy.history(client, "orders")) == 3, "three rows")
        before = stompy.history(client, "orders", bodies=True)
    with (
        running_broker(store=store, policy=POLICIES) as broker,
        stompy.connect(broker.url) as client,
    ):
        assert stompy.history(client, "orders", bodies=True) == before
        client.message("/queue/orders", "later", confirm=True)
        client.subscription("/queue/orders").get(timeout=5).ack()
        until(lambda: len(stompy.history(client, "orders")) == 4, "the next row")
        assert stompy.history(client, "orders").column("place") == [0, 1, 2, 3]
