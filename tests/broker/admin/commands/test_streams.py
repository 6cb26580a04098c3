"""Commands about streams, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.admin import Code, Observer, fails
from tests.support.wire import Frame, Peer, until

from stompy.admin.command import CommandError
from stompy.admin.rows import Event, ReaderRow
from stompy_broker import RunningBroker
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
    commands: dict[str, dict[str, Any]] = {
        "stream.info": {},
        "stream.truncate": {"before": 1},
        "stream.seek": {"name": "n", "offset": "first"},
        "stream.forget": {"name": "n"},
    }
    for command, args in commands.items():
        error = fails(Code.BAD_REQUEST, admin.ask, command, stream=queue, **args)
        assert "is no stream" in str(error)
        fails(Code.NOT_FOUND, admin.ask, command, stream="/stream/none", **args)
    assert admin.ask("stream.readers", stream=queue)["rows"] == []


# -- on streams --------------------------------------------------------------------------------


@pytest.fixture
def stream(admin: Observer, queue: str) -> str:
    """A stream of five messages; nobody reads it."""
    for body in "abcde":
        admin.peer.send(f"SEND\ndestination:/stream/{queue}\nn:{body}\n\n{body}\0")
    admin.peer.sync()
    return queue


@pytest.fixture
def held() -> list[Frame]:
    """What Ann has not settled."""
    return []


@pytest.fixture
def reader(broker: RunningBroker, stream: str, held: list[Frame]) -> Iterator[Peer]:
    """Ann, who has settled the first of four messages."""
    with Peer.open(broker.port) as peer:
        peer.send(
            f"SUBSCRIBE\nid:0\ndestination:/stream/{stream}\nack:client-individual\n"
            "x-stream-consumer:ann\nx-stream-offset:first\nprefetch-count:3\n\n\0"
        )
        first, *more = [peer.expect("MESSAGE") for _ in range(3)]
        peer.send(f"ACK\nid:{first['ack']}\n\n\0")
        held += [*more, peer.expect("MESSAGE")]
        peer.sync()
        yield peer


@pytest.mark.parametrize("prefix", ["", "/queue/", "/stream/"])
def test_what_there_is_to_know(admin: Observer, stream: str, reader: Peer, prefix: str) -> None:
    info = admin.ask("stream.info", stream=prefix + stream)
    assert (info["stream"], info["first"], info["next"], info["safe"]) == (
        f"/queue/{stream}",
        0,
        5,
        5,
    )
    assert info["messages"] == 5
    assert info["bytes"] > 0
    assert info["oldest_at"] <= info["newest_at"]
    assert (info["max_age"], info["max_length"], info["max_length_bytes"]) == ("", 0, 0)
    assert info["arguments"] == {"x-queue-type": "stream"}
    (ann,) = info["readers"]
    assert ann["id"] == f"/queue/{stream} ann"
    assert (ann["settled"], ann["lag"], ann["unacked"], ann["acked"]) == (1, 4, 3, 1)
    (told,) = admin.ask("queue.get", queue=prefix + stream)["stream_readers"]
    assert {**told, "behind_ms": 0} == {**ann, "behind_ms": 0}


def test_readers_are_listed(admin: Observer, stream: str, reader: Peer) -> None:
    admin.peer.send(f"SUBSCRIBE\nid:r\ndestination:/stream/{stream}\n\n\0")
    admin.peer.sync()
    listed = admin.ask("stream.readers", stream=stream, sort="name", fields=["name", "lag"])
    assert listed["rows"] == [{"name": "", "lag": 0}, {"name": "ann", "lag": 4}]
    assert admin.ask("stream.readers", match=f"*{stream} ann")["total"] == 1


def test_truncating_takes_the_oldest(admin: Observer, stream: str) -> None:
    dry = admin.ask("stream.truncate", stream=stream, before=2, dry_run=True)
    assert dry == {"stream": f"/queue/{stream}", "first": 2, "matched": 2}
    fails(Code.CONFLICT, admin.ask, "stream.truncate", stream=stream, before=2, expect=3)
    assert admin.ask("stream.info", stream=stream)["first"] == 0
    done = admin.ask("stream.truncate", stream=stream, before=2, expect=2)
    assert done["truncated"] == 2
    info = admin.ask("stream.info", stream=stream)
    assert (info["first"], info["next"], info["messages"]) == (2, 5, 3)
    assert admin.ask("stream.truncate", stream=stream, before=1)["truncated"] == 0
    assert admin.ask("stream.truncate", stream=stream, before=99)["truncated"] == 3


def test_seeking_has_a_reader_go_on_elsewhere(
    admin: Observer, stream: str, reader: Peer, held: list[Frame]
) -> None:
    about: dict[str, Any] = {"stream": stream, "name": "ann"}
    fails(Code.BAD_REQUEST, admin.ask, "stream.seek", **about, offset="somewhere")
    fails(Code.NOT_FOUND, admin.ask, "stream.seek", stream=stream, name="bob", offset="first")
    dry = admin.ask("stream.seek", **about, offset="last", dry_run=True)
    assert (dry["before"], dry["offset"]) == (1, 4)
    done = admin.ask("stream.seek", **about, offset="last", expect=1)
    assert done["offset"] == 4
    for message in held:  # what it has it settles, which says nothing of its new place
        reader.send(f"ACK\nid:{message['ack']}\n\n\0")
    again = reader.expect("MESSAGE")
    assert (again["x-stream-offset"], again.body) == ("4", b"e")
    reader.send(f"ACK\nid:{again['ack']}\n\n\0")
    reader.sync()
    (ann,) = admin.ask("stream.info", stream=stream)["readers"]
    assert (ann["settled"], ann["kept"], ann["lag"]) == (5, 5, 0)


def test_also_one_that_is_not_there(
    broker: RunningBroker, admin: Observer, stream: str, reader: Peer
) -> None:
    reader.close()
    about: dict[str, Any] = {"stream": stream, "name": "ann"}
    until(
        lambda: admin.ask("stream.info", stream=stream)["readers"][0]["consumers"] == 0,
        "the reader to leave",
    )
    assert admin.ask("stream.seek", **about, offset="offset=3")["offset"] == 3
    with Peer.open(broker.port) as peer:
        peer.send(f"SUBSCRIBE\nid:0\ndestination:/stream/{stream}\nx-stream-consumer:ann\n\n\0")
        assert peer.bodies(2) == [b"d", b"e"]


def test_forgetting_a_place(admin: Observer, stream: str, reader: Peer) -> None:
    about: dict[str, Any] = {"stream": stream, "name": "ann"}
    fails(Code.CONFLICT, admin.ask, "stream.forget", **about)
    reader.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
    while reader.read().command != "RECEIPT":
        pass
    assert admin.ask("stream.forget", **about, dry_run=True)["forgotten"] == 0
    assert admin.ask("stream.forget", **about)["forgotten"] == 1
    assert admin.ask("stream.info", stream=stream)["readers"] == []
    fails(Code.NOT_FOUND, admin.ask, "stream.forget", **about)


def test_nothing_is_left_of_one_that_was_moved_while_it_was_away(
    admin: Observer, stream: str, reader: Peer
) -> None:
    about: dict[str, Any] = {"stream": stream, "name": "ann"}
    reader.send("UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
    while reader.read().command != "RECEIPT":
        pass
    admin.ask("stream.seek", **about, offset="offset=3")
    assert admin.ask("stream.forget", **about)["forgotten"] == 1
    assert admin.ask("stream.info", stream=stream)["readers"] == []


def test_each_leaves_an_event(admin: Observer, stream: str, reader: Peer) -> None:
    admin.peer.send("SUBSCRIBE\nid:events\ndestination:/topic/$SYS.event.stream.>\nack:auto\n\n\0")
    admin.ask("stream.truncate", stream=stream, before=1)
    admin.ask("stream.seek", stream=stream, name="ann", offset="next")
    wanted = {"stream.truncated", "stream.sought"}
    found: dict[str, Event] = {}
    while wanted - found.keys():
        told = [row for row in admin.page("events").rows if isinstance(row, Event)]
        found |= {event.type: event for event in told if event.destination == f"/queue/{stream}"}
    assert found["stream.truncated"].detail == {"first": 1, "truncated": 1}
    assert found["stream.sought"].detail == {"name": "ann", "before": 1, "offset": 5}


def test_purging_is_truncating_all(admin: Observer, stream: str) -> None:
    fails(Code.BAD_REQUEST, admin.ask, "queue.purge", queue=stream, selector="n = 'a'")
    assert admin.ask("queue.purge", queue=stream, dry_run=True)["matched"] == 5
    fails(Code.CONFLICT, admin.ask, "queue.purge", queue=stream, expect=4)
    assert admin.ask("queue.purge", queue=stream)["purged"] == 5
    info = admin.ask("stream.info", stream=stream)
    assert (info["first"], info["next"]) == (5, 5)


def test_deleting_takes_all_of_it_and_the_next_one_begins_anew(
    admin: Observer, stream: str
) -> None:
    assert admin.ask("queue.delete", queue=f"/stream/{stream}")["messages"] == 5
    admin.peer.send(f"SEND\ndestination:/queue/{stream}\n\nx\0")
    admin.peer.sync()
    assert admin.ask("queue.get", queue=stream)["type"] == "queue"


def test_messages_are_looked_at_and_copied_but_not_taken(
    broker: RunningBroker, admin: Observer, stream: str
) -> None:
    rows = admin.ask("message.peek", queue=stream, body="full")["messages"]
    assert [(row["stream_offset"], row["body"]) for row in rows] == list(enumerate("abcde"))
    (last,) = admin.ask("message.peek", queue=stream, start="last")["messages"]
    assert (last["stream_offset"], last["body"]) == (4, "e")
    fails(Code.BAD_REQUEST, admin.ask, "message.peek", queue=stream, start="middle")
    assert admin.ask("message.count", queue=stream, selector="n = 'c'")["count"] == 1
    other = f"{stream}-copy"
    ids = [rows[1]["message_id"], rows[3]["message_id"]]
    assert admin.ask("message.copy", queue=stream, ids=ids, to=f"/queue/{other}")["copied"] == 2
    taking: dict[str, dict[str, Any]] = {
        "message.delete": {},
        "message.move": {"to": f"/queue/{other}"},
        "message.deadletter": {},
    }
    for command, more in taking.items():
        with pytest.raises(CommandError, match="is a stream"):
            admin.ask(command, queue=stream, ids=ids, **more)
    assert admin.ask("stream.info", stream=stream)["messages"] == 5


def test_a_policy_and_a_route_are_explained(
    admin: Observer, stream: str, reader: Peer, queue: str
) -> None:
    told = admin.ask("policy.explain", destination=f"/stream/{stream}")
    assert told["settings"]["type"] == "stream"
    assert told["arguments"] == {"x-queue-type": "stream"}
    answer = admin.ask("route.explain", destination=f"/stream/{stream}")
    (one,) = answer["recipients"]
    assert "a stream: it stays, with offset 5" in one["why"]
    refused = admin.ask(
        "route.explain", destination=f"/stream/{stream}", headers={"x-queue-type": "classic"}
    )
    assert "x-queue-type" in refused["refused"]


def test_rows_of_readers_are_published(admin: Observer, stream: str, reader: Peer) -> None:
    admin.peer.send("SUBSCRIBE\nid:rows\ndestination:/topic/$SYS.readers\nack:auto\n\n\0")
    found: list[ReaderRow] = []
    while not found:
        rows = [row for row in admin.page("rows").rows if isinstance(row, ReaderRow)]
        found = [row for row in rows if row.stream.endswith(stream)]
    assert [(row.name, row.settled, row.lag) for row in found] == [("ann", 1, 4)]
