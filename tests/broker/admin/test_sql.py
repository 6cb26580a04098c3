"""SQL over a broker: by its own program, by a client, by the commands, in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.broker.cli.test_store import run
from tests.support.wire import cheap_hash, running_broker, stats, until

import stompy
from stompy import magic
from stompy.cli import main
from stompy.data_table import DataTable
from stompy_broker import RunningBroker
from stompy_broker.security.access import Action, Rule

ORDERS = "/queue/orders"
COUNT = "SELECT state, count(*) AS n FROM messages WHERE queue = 'orders' GROUP BY 1 ORDER BY 1"


def ask(broker: RunningBroker, query: str, **options: object) -> list[tuple[object, ...]]:
    """The same from within and from outside."""
    inside = broker.sql(query, **options)  # type: ignore[arg-type]
    with stompy.connect(broker.url) as client:
        outside = stompy.sql(client, query, **options)  # type: ignore[arg-type]
    assert outside.names == inside.names
    assert outside.rows == inside.rows
    return inside.rows


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with running_broker() as broker, stompy.connect(broker.url) as client:
        for number in range(10):
            client.message(
                ORDERS,
                json.dumps({"customer": "ab"[number % 2], "total": number}),
                headers={"n": number, "priority": 5, "content-type": "application/json"},
                confirm=True,
            )
        client.message("/queue/other", b"\xff\x00", confirm=True)
        orders = client.subscription(ORDERS, prefetch=1)
        orders.get(timeout=5).nack(requeue=False, reason="no spoons")
        orders.get(timeout=5).nack(delay=600)
        assert orders.get(timeout=5)["n"] == "2"
        until(lambda: stats(broker, "DLQ.orders").ready == 1, "the dead letter")
        yield broker


def test_asking_for_events_is_no_event_of_a_mistake(broker: RunningBroker) -> None:
    ask(broker, "SELECT type FROM events WHERE type = 'queue.created'")
    mistakes = "SELECT reason FROM events WHERE type = 'admin.command' AND severity = 'warn'"
    assert ask(broker, mistakes) == []


def test_messages(broker: RunningBroker) -> None:
    assert ask(broker, COUNT) == [("delayed", 1), ("ready", 7), ("unacked", 1)]
    by_customer = (
        "SELECT json_extract(body, '$.customer') c, count(*), sum(body ->> '$.total') "
        "FROM messages WHERE queue = 'orders' GROUP BY 1"
    )
    assert ask(broker, by_customer) == [("a", 4, 20), ("b", 5, 25)]
    rows = ask(
        broker,
        "SELECT queue, message_id = CAST(sequence AS TEXT), priority, deliveries, content_type, "
        "due_at > received_at, headers ->> 'n' FROM messages WHERE state <> 'ready' ORDER BY 7",
    )
    assert rows == [
        ("orders", 1, 5, 1, "application/json", 1, "1"),
        ("orders", 1, 5, 1, "application/json", None, "2"),
    ]
    assert ask(broker, "SELECT body, typeof(body) FROM messages WHERE queue = 'other'") == [
        (b"\xff\x00", "blob")
    ]
    assert stats(broker, "orders").ready == 7


def test_some_queues(broker: RunningBroker) -> None:
    query = "SELECT DISTINCT queue FROM messages ORDER BY 1"
    assert ask(broker, query) == [("DLQ.orders",), ("orders",), ("other",)]
    assert ask(broker, query, queues=["/queue/other", "gone"]) == [("other",)]
    found = ask(broker, "SELECT queue FROM messages WHERE queue = ?", parameters=["other"])
    assert found == [("other",)]


def test_dead_letters(broker: RunningBroker) -> None:
    query = "SELECT origin, died_in, reason, deaths, info, headers ->> 'n' FROM dead_letters"
    assert ask(broker, query) == [(ORDERS, "orders", "rejected", 1, "no spoons", "0")]


def test_the_other_tables(broker: RunningBroker) -> None:
    assert ask(broker, "SELECT name, ready FROM queues ORDER BY 1") == [
        ("DLQ.orders", 1),
        ("orders", 7),
        ("other", 1),
    ]
    assert ask(broker, "SELECT destination, ack FROM subscriptions") == [
        (ORDERS, "client-individual")
    ]
    assert broker.sql("SELECT count(*) FROM connections").rows == [(1,)]
    created = "SELECT DISTINCT destination FROM events WHERE type = 'queue.created' ORDER BY 1"
    assert (ORDERS,) in ask(broker, created)
    joined = (
        "SELECT q.name, s.unacked FROM queues q JOIN subscriptions s "
        "ON s.destination = '/queue/' || q.name"
    )
    assert ask(broker, joined) == [("orders", 1)]


def test_what_cannot_be(broker: RunningBroker) -> None:
    for query, words in {
        "SELECT * FROM streams": "there are connections",
        "DELETE FROM messages": "only one SELECT",
        "SELECT x FROM messages": "no such column",
    }.items():
        with pytest.raises(stompy.SqlError, match=words):
            ask(broker, query)
    with pytest.raises(stompy.SqlError, match="too large"):
        broker.sql("SELECT body FROM messages", most_bytes=100)
    with (
        stompy.connect(broker.url) as client,
        pytest.raises(stompy.SqlError, match="too large"),
    ):
        stompy.sql(client, "SELECT body FROM messages", most_bytes=100)


def test_who_may_only_browse_names_the_queue() -> None:
    users = {"looks": cheap_hash("l")}
    acl = (Rule(user="looks", actions=(Action.BROWSE,)), Rule(access="deny"))
    with (
        running_broker(users=users, acl=acl) as broker,
        stompy.connect(broker.url, "looks", "l") as client,
    ):
        counted = stompy.sql(client, "SELECT count(*) FROM messages", queues=["q"])
        assert counted.rows == [(0,)]
        with pytest.raises(stompy.STOMPError, match="monitor"):
            stompy.sql(client, "SELECT count(*) FROM messages", timeout=5)


# -- from a shell ----------------------------------------------------------------------------


def test_the_command(broker: RunningBroker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", broker.url, COUNT]) == 0
    assert capsys.readouterr().out == "state    n\ndelayed  1\nready    7\nunacked  1\n"
    options = ["--url", broker.url, "--queue", "other", "--format", "json"]
    assert main(["sql", "SELECT body FROM messages", *options]) == 0
    assert json.loads(capsys.readouterr().out) == {"body": {"base64": "/wA="}}
    assert main(["sql", "SELECT 1 a, 'b,c' b", "--url", broker.url, "--format", "csv"]) == 0
    assert capsys.readouterr().out == 'a,b\n1,"b,c"\n'


def test_the_command_says_what_is_wrong(
    broker: RunningBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sql", broker.url, "SELECT * FROM past"]) == 1
    assert "history" in capsys.readouterr().err
    assert main(["sql", broker.url, "SELECT", "1"]) == 2
    assert "quotation marks" in capsys.readouterr().err


def test_a_directory(tmp_path: Path) -> None:
    with (
        running_broker(store={"data": str(tmp_path)}) as broker,
        stompy.connect(broker.url) as client,
    ):
        for number in range(3):
            client.message(ORDERS, f"order {number}", headers={"n": number}, confirm=True)
    query = "SELECT queue, headers ->> 'n' AS n, body FROM messages WHERE CAST(n AS INTEGER) > 0"
    answer = run("store", "sql", tmp_path, query, "--format", "csv")
    assert (answer.returncode, answer.stdout) == (
        0,
        "queue,n,body\norders,1,order 1\norders,2,order 2\n",
    )
    for wrong in ("SELECT * FROM queues", "DROP TABLE messages"):
        answer = run("store", "sql", tmp_path, wrong)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr


# -- in a notebook -----------------------------------------------------------------------------


class Shell:
    """What an extension needs of IPython."""

    def __init__(self, **variables: object) -> None:
        self.user_ns = dict(variables)
        self.magics: dict[str, object] = {}

    def register_magic_function(self, function: object, magic_kind: str, magic_name: str) -> None:
        self.magics[f"{magic_kind} {magic_name}"] = function


def test_the_magic(broker: RunningBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with stompy.connect(broker.url) as client:
        shell = Shell(broker=broker, client=client, number=1)
        magic.load_ipython_extension(shell)
        run_cell = shell.magics["cell stomp"]
        assert callable(run_cell)
        for line in ("sql broker", "sql client", f"sql {broker.url}"):
            assert run_cell(line, COUNT).rows == [("delayed", 1), ("ready", 7), ("unacked", 1)]
        monkeypatch.setenv("STOMPY_URL", broker.url)
        table = run_cell("sql --queue other --into found", "SELECT queue FROM messages")
        assert table is None
        found = shell.user_ns["found"]
        assert isinstance(found, DataTable)
        assert found.rows == [("other",)]
        assert "other" in found._repr_html_()
        for line in ("", "sq", "sql a b", "sql --queue", "sql --what", "sql nowhere", "sql number"):
            with pytest.raises(ValueError, match=r"stomp sql|no variable|asked by SQL"):
                run_cell(line, "SELECT 1")
