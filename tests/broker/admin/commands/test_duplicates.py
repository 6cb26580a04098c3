"""Commands about duplicate ids, and what rows and explanations tell of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.admin import Code, Observer, fails
from tests.support.wire import Peer, unique

from stompy_broker import RunningBroker


def send(peer: Peer, destination: str, value: str, *lines: str) -> dict[str, str]:
    more = "".join(f"{line}\n" for line in lines)
    peer.send(f"SEND\ndestination:{destination}\ndedup-id:{value}\n{more}receipt:r\n\nx\0")
    return dict(peer.expect("RECEIPT").headers)


@pytest.fixture
def sender(broker: RunningBroker) -> Iterator[Peer]:
    with Peer.open(broker.port) as peer:
        yield peer


@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_they_are_listed_found_and_forgotten(admin: Observer, sender: Peer, kind: str) -> None:
    name = unique()
    for value in "aab":
        send(sender, f"/{kind}/{name}", value)
    listed = admin.ask("dedup.list", match=name)
    assert listed["rows"] == [
        {
            "destination": f"/{kind}/{name}",
            "ids": 2,
            "queued": 0,
            "window": 20_000,
            "ttl_ms": 3_600_000,
            "duplicates": 1,
        }
    ]
    found = admin.ask("dedup.find", **{kind: name, "id": "a"})
    assert found["known"]
    assert found["duplicate_of"] == send(sender, f"/{kind}/{name}", "a")["duplicate-of"]
    assert not admin.ask("dedup.find", **{kind: f"/{kind}/{name}", "id": "c"})["known"]
    assert admin.ask("dedup.forget", dry_run=True, **{kind: name})["matched"] == 2
    forgotten = admin.ask("dedup.forget", expect=1, **{kind: name, "id": "a"})
    assert (forgotten["matched"], forgotten["forgotten"]) == (1, 1)
    assert "duplicate" not in send(sender, f"/{kind}/{name}", "a")
    assert admin.ask("dedup.forget", **{kind: name})["forgotten"] == 2
    assert "duplicate" not in send(sender, f"/{kind}/{name}", "b")


def test_what_is_queued_is_found(admin: Observer, sender: Peer) -> None:
    name = unique()
    send(sender, f"/queue/{name}", "a", "dedup-mode:queued")
    assert admin.ask("dedup.find", queue=name, id="a")["queued"]
    assert admin.ask("dedup.list", match=name)["rows"][0]["queued"] == 1


def test_what_makes_no_sense_is_refused(admin: Observer) -> None:
    fails(Code.BAD_REQUEST, admin.ask, "dedup.forget")
    fails(Code.BAD_REQUEST, admin.ask, "dedup.find", queue="a", topic="a", id="x")
    fails(Code.NOT_FOUND, admin.ask, "dedup.forget", queue=unique())
    name = unique()
    fails(Code.NOT_FOUND, admin.ask, "dedup.find", topic=name, id="x")


def test_no_id_is_longer_than_can_be(admin: Observer, sender: Peer) -> None:
    name = unique()
    send(sender, f"/queue/{name}", "a")
    for value in ("", "x" * 257):
        fails(Code.BAD_REQUEST, admin.ask, "dedup.find", queue=name, id=value)


def test_rows_count_them(admin: Observer, sender: Peer) -> None:
    name = unique()
    for kind in ("queue", "topic"):
        for value in "aab":
            send(sender, f"/{kind}/{name}", value)
    for kind, topic in (("queue", "queues"), ("topic", "topics")):
        page = admin.subscribe(topic)
        row = next(row for row in admin.page(page).rows if row.name == name)
        assert (row.duplicates, row.duplicate_ids) == (1, 2), kind
    page = admin.subscribe("broker")
    (row,) = admin.page(page).rows
    assert row.duplicates >= 2
    assert row.duplicate_ids >= 4


def test_explain_says_what_would_be_dropped(admin: Observer, sender: Peer) -> None:
    queue = f"/queue/{unique()}"
    send(sender, queue, "a")
    told = send(sender, queue, "a")
    headers = {"dedup-id": "a"}
    answer = admin.ask("route.explain", destination=queue, headers=headers)
    assert answer["duplicate"] == told["duplicate-of"]
    assert answer["gets"] == 0
    headers = {"dedup-id": "b"}
    answer = admin.ask("route.explain", destination=queue, headers=headers)
    assert (answer["duplicate"], answer["gets"]) == ("", 1)
    headers = {"dedup-id": "b", "Nats-Msg-Id": "c"}
    answer = admin.ask("route.explain", destination=queue, headers=headers)
    assert "mean the same" in answer["refused"]
