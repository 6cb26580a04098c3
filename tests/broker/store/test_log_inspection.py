"""What the tools say of logs in a data directory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.house import WALL, make_head
from tests.support.storage import Shelf, short_wal

from stompy_broker.cli import main
from stompy_broker.message import Message, stamp
from stompy_broker.store.directory import FILE
from stompy_broker.store.inspection import inspected
from stompy_broker.store.log_inspection import LogCount


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with short_wal():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with two logs, one of them cut, and the rest of a third."""
    shelf = Shelf(tmp_path / "data")
    head = make_head(color="red")
    for number in range(2500):
        message = Message(number, head, b"%d" % number, stamp(WALL + number))
        shelf.store.logs.append("stream./queue/a", message, "red", b"!")
    shelf.store.logs.append("b", Message(9, head, b"nine", stamp(WALL)))
    shelf.store.logs.append("gone", Message(9, head, b"nine", stamp(WALL)))
    shelf.store.logs.keep_reader("stream./queue/a", "ann", 17)
    shelf.sync()
    shelf.store.logs.cut("stream./queue/a", 10)
    shelf.store.logs.drop("gone")
    shelf.close()
    return tmp_path / "data"


def damage(data: Path) -> None:
    connection = sqlite3.connect(data / FILE)
    with connection:
        connection.execute("UPDATE log_block SET content = 7 WHERE place & 1099511627775 = 1000")
        connection.execute(
            "INSERT INTO log_block SELECT place | 77 << 40, length, oldest, latest, sequence, "
            "content, total, checksum, filters, data FROM log_block "
            "WHERE place & 1099511627775 = 0 LIMIT 1"
        )
    connection.close()


def test_a_sound_directory(data: Path) -> None:
    with inspected(data) as inspection:
        assert inspection.check() == []
        one, other = inspection.stats().logs
        entries = list(inspection.export_logs())
        assert inspection.problems == []
    assert one == LogCount("b", 0, 1, 1, one.bytes, {})
    assert other == LogCount("stream./queue/a", 10, 2500, 3, other.bytes, {"ann": 17})
    assert len(entries) == 1 + 2490
    first = next(entry for entry in entries if entry.log != "b")
    assert (first.offset, first.sequence, first.message_id, first.body) == (10, 10, "10", b"10")
    assert (first.received_at, first.filter_value, first.payload) == (WALL + 10, "red", b"!")
    assert first.headers["color"] == "red"


def test_damage_is_said_and_the_rest_is_saved(data: Path) -> None:
    damage(data)
    with inspected(data) as inspection:
        missing, damaged = inspection.check()
        entries = list(inspection.export_logs())
        (problem,) = inspection.problems
    assert missing == "log 77 is missing, and has 1 blocks"
    assert damaged == problem
    assert problem.startswith("entries 1000 to 1999 of log stream./queue/a are damaged: its checks")
    assert len(entries) == 1 + 1490


def test_the_commands(data: Path) -> None:
    stats = CliRunner().invoke(main, ["store", "stats", str(data)])
    assert "stream./queue/a" in stats.output
    figures = json.loads(CliRunner().invoke(main, ["store", "stats", "--json", str(data)]).output)
    assert figures["logs"][1]["next"] == 2500
    lines = CliRunner().invoke(main, ["store", "export", str(data)]).output.splitlines()
    assert len(lines) == 2491
    assert json.loads(lines[0])["log"] in ("b", "stream./queue/a")
    assert CliRunner().invoke(main, ["store", "check", str(data)]).exit_code == 0
    damage(data)
    checked = CliRunner().invoke(main, ["store", "check", str(data)])
    assert checked.exit_code == 1
    assert "entries 1000 to 1999" in checked.output
