"""Commands about messages that topics keep, and their rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.process import BrokerProcess
from tests.support.wire import Peer, cheap_hash, running_broker, unique

from stompy_broker import RunningBroker


def keep(peer: Peer, topic: str, body: str, *lines: str) -> None:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:/topic/{topic}\nx-retain:true\nreceipt:k\n{more}\n{body}\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "k"


@pytest.fixture
def sender(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


@pytest.fixture
def name(sender: Peer) -> str:
    """A name below which three topics keep something."""
    name = unique("t")
    for part in ("a", "b", "b.c"):
        keep(sender, f"{name}.{part}", part * 3, "color:red")
    return name


def topics(result: dict[str, list[dict[str, str]]], name: str) -> list[str]:
    return [row["name"].removeprefix(f"{name}.") for row in result["rows"]]


def retained(admin: Observer, topic: str) -> int:
    """What the row of a topic says."""
    page = admin.subscribe("topics")
    rows = {row.name: row.retained for row in admin.page(page).rows}
    admin.peer.send(f"UNSUBSCRIBE\nid:{page}\n\n\0")
    found: int = rows[topic]
    return found


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ("{n}", ["a", "b", "b.c"]),
        ("{n}.b*", ["b", "b.c"]),
        ("/topic/{n}.*", ["a", "b"]),
        ("{n}.>", ["a", "b", "b.c"]),
        ("/topic/{n}.b", ["b"]),
    ],
)
def test_they_are_listed(admin: Observer, name: str, match: str, found: list[str]) -> None:
    result = admin.ask("retained.list", match=match.format(n=name))
    assert topics(result, name) == found
    assert result["total"] == len(found)
    some = admin.ask("retained.list", match=name, sort="-name", limit=1, fields=["name"])
    assert some["rows"] == [{"name": f"{name}.b.c"}]


def test_one_is_shown_with_its_body(admin: Observer, sender: Peer, name: str) -> None:
    shown = admin.ask("retained.get", topic=f"/topic/{name}.b.c")
    assert (shown["name"], shown["destination"]) == (f"{name}.b.c", f"/topic/{name}.b.c")
    assert shown["message"]["body"] == "b.cb.cb.c"
    assert shown["message"]["headers"]["color"] == "red"
    assert shown["message"]["message_id"] == shown["message_id"]
    assert (shown["persistent"], shown["expires_at"]) == (True, None)
    keep(sender, f"{name}.b", "x", "persistent:false", "expires:9999999999999")
    shown = admin.ask("retained.get", topic=f"{name}.b")
    assert (shown["persistent"], shown["expires_at"]) == (False, 9999999999999)
    fails(Code.NOT_FOUND, admin.ask, "retained.get", topic=f"{name}.none")


def test_they_are_forgotten(admin: Observer, name: str) -> None:
    watched = admin.subscribe("event.retained.>")
    dry = admin.ask("retained.delete", dry_run=True, match=f"{name}.b*")
    assert dry == {"matched": 2, "deleted": 0, "names": [f"{name}.b", f"{name}.b.c"]}
    fails(Code.CONFLICT, admin.ask, "retained.delete", expect=1, match=f"{name}.b*")
    done = admin.ask("retained.delete", expect=2, match=f"/topic/{name}.b.>")
    assert done["deleted"] == 2
    assert topics(admin.ask("retained.list", match=name), name) == ["a"]
    done = admin.ask("retained.delete", topics=[f"/topic/{name}.a", f"{name}.none"])
    assert (done["matched"], done["deleted"]) == (1, 1)
    event = admin.page_with(watched, lambda page: f"{name}.a" in str(page.rows[0].detail)).rows[0]
    assert (event.type, event.reason) == ("retained.forgotten", "an operator had it forgotten")
    assert admin.ask("retained.delete", match=name)["matched"] == 0
    for args in ({}, {"match": "a", "topics": ["a"]}):
        fails(Code.BAD_REQUEST, admin.ask, "retained.delete", **args)


def test_rows_and_figures(admin: Observer, sender: Peer, name: str) -> None:
    page = admin.subscribe("retained")
    row = next(r for r in admin.page(page).rows if r.name == f"{name}.a")
    assert (row.destination, row.persistent) == (f"/topic/{name}.a", True)
    assert retained(admin, f"{name}.a") > 200
    own = admin.page(admin.subscribe("broker")).rows[0]
    assert own.retained >= 3
    assert own.retained_bytes > 600
    listed = admin.ask("queue.list", match="retained")
    assert listed["rows"] == []
    keep(sender, f"{name}.a", "")
    assert retained(admin, f"{name}.a") == 0


def test_it_is_told_who_asks_that_a_topic_keeps_one(
    admin: Observer, sender: Peer, name: str
) -> None:
    watched = admin.subscribe("event.retained.kept")
    keep(sender, f"{name}.a", "again")
    keep(sender, f"{name}.new", "x")
    keep(sender, f"{name}.new", "y")
    keep(sender, f"{name}.last", "x")
    told = [admin.page(watched).rows[0].destination for _ in range(2)]
    assert told == [f"/topic/{name}.new", f"/topic/{name}.last"]


def explained(admin: Observer, topic: str, size: int, **headers: str) -> dict[str, object]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = admin.ask(
        "route.explain", destination=f"/topic/{topic}", headers=told, body_bytes=size
    )
    kept = [one for one in answer["recipients"] if one["kind"] == "retained"]
    return {"refused": answer.get("refused"), **(kept[0] if kept else {})}


def test_they_are_a_table_of_sql(broker: RunningBroker, name: str) -> None:
    query = "SELECT name FROM retained WHERE name LIKE ? AND persistent ORDER BY name"
    table = broker.sql(query, [f"{name}.b%"])
    assert table.rows == [(f"{name}.b",), (f"{name}.b.c",)]


def test_it_is_explained(admin: Observer, name: str) -> None:
    told = explained(admin, f"{name}.a", 3, x_retain="true")
    assert told["gets"] is True
    assert "takes the place" in str(told["why"])
    assert "kind" not in explained(admin, f"{name}.a", 3)
    assert "forget" in str(explained(admin, f"{name}.a", 0, retain="true")["why"])
    told = explained(admin, f"{name}.new", 1 << 30, x_retain="true")
    assert told["gets"] is False
    assert "limits.retained_bytes" in str(told["refused"])
    assert "disagree" in str(explained(admin, name, 1, x_retain="no", retain="true")["refused"])
    policy = admin.ask("policy.explain", destination=f"/topic/{name}.a")
    assert policy["retained"]["name"] == f"{name}.a"
    assert admin.ask("policy.explain", destination=f"/topic/{name}")["retained"] is None
    assert admin.ask("policy.explain", destination=f"/queue/{name}")["retained"] is None


def test_the_access_rules_are_asked() -> None:
    users = {"ann": cheap_hash("a"), "mallory": cheap_hash("m")}
    acl = [{"user": "mallory", "match": "/topic/secret.>", "access": "deny"}]
    with running_broker(users=users, acl=acl, roles={"admin": ["mallory"]}) as broker:
        with Peer.open(broker.port, "1.2", "login:ann", "passcode:a") as ann:
            keep(ann, "secret.a", "x")
            keep(ann, "open.a", "x")
        with observing(broker.port, "login:mallory", "passcode:m") as admin:
            fails(Code.FORBIDDEN, admin.ask, "retained.get", topic="secret.a")
            fails(Code.FORBIDDEN, admin.ask, "retained.delete", match="a")
            assert admin.ask("retained.get", topic="open.a")["message"]["body"] == "x"
            assert admin.ask("retained.delete", match="open.*")["deleted"] == 1


def test_bodies_on_disk_and_rows_of_topics_after_a_restart(tmp_path: Path) -> None:
    with BrokerProcess(tmp_path / "data") as process, Peer.open(process.port) as peer:
        keep(peer, "a", "x" * 1000)
        process.kill()
    with BrokerProcess(tmp_path / "data") as process, observing(process.port) as admin:
        assert retained(admin, "a") > 1000
        assert admin.ask("retained.get", topic="a")["message"]["body"] == "x" * 1000


def test_a_broker_of_which_nothing_was_asked() -> None:
    with running_broker() as broker, observing(broker.port) as admin:
        assert admin.ask("retained.list")["rows"] == []
        assert admin.ask("retained.delete", match="x")["deleted"] == 0
