"""Two brokers that answer for each other: rows, events, commands; and one that does not answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from tests.support.cluster_status import MemberBroker, QuickEnd, joined, members
from tests.support.looping import looped, soon

import stompy.aio
from stompy.admin import RouteExplanation
from stompy.admin.command import Reply, Request
from stompy.admin.snapshot import COMMAND_DESTINATION, TOPIC_PREFIX

Envelope = Mapping[str, object]


class Pair:
    """Two brokers of a cluster with a client at each; ``ann`` owns group 0 in the eyes of both."""

    ann: MemberBroker
    bob: MemberBroker
    at_ann: stompy.aio.STOMPClient
    at_bob: stompy.aio.STOMPClient
    links: list[QuickEnd]


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    two = Pair()
    async with members("ann", "bob") as brokers, AsyncExitStack() as stack:
        two.ann, two.bob = brokers
        two.at_ann, two.at_bob = [
            await stack.enter_async_context(
                await stompy.aio.connect(one.url, headers={"client-id": one.cluster.broker})
            )
            for one in brokers
        ]
        two.links = [two.ann.links["bob"], two.bob.links["ann"]]
        yield two


async def command(client: stompy.aio.STOMPClient, cmd: str, **args: object) -> Reply:
    answer = await client.request(COMMAND_DESTINATION, Request(cmd, args).to_json())
    return Reply.from_json(answer.Body, answer.Headers)


async def watch(client: stompy.aio.STOMPClient, kind: str, **headers: str) -> None:
    headers = {"interval": "250", **headers}
    await client.subscribe(f"{TOPIC_PREFIX}{kind}", id=kind, headers=headers)


async def envelope(client: stompy.aio.STOMPClient) -> dict[str, object]:
    frame = await client.recv()
    assert frame is not None
    found: dict[str, object] = json.loads(frame.Body)
    return found


def names(told: Envelope, field: str = "name") -> set[str]:
    data = told["data"]
    assert isinstance(data, list)
    return {row[field] for row in data}


@looped
async def test_a_snapshot_has_the_rows_of_both_and_says_so() -> None:
    async with pair() as two:
        await watch(two.at_bob, "connections")
        told = await envelope(two.at_bob)
        assert (told["brokers"], "missing" in told) == (["bob", "ann"], False)
        assert names(told, "broker") == {"ann", "bob"}
        assert len(names(told, "id")) == 2


@looped
async def test_changes_at_a_peer_are_deltas() -> None:
    async with pair() as two:
        await watch(two.at_bob, "queues", mode="delta", format="columns", fields="broker,group")
        told = await envelope(two.at_bob)
        assert told["data"] == []
        await two.at_ann.message("/queue/a", "1")
        while not told["data"]:
            told = await envelope(two.at_bob)
        assert told["base"]
        assert told["fields"] == ["name", "broker", "group"]
        assert told["data"] == [["a", "ann", 0]]


@looped
async def test_nothing_is_told_to_who_does_not_listen() -> None:
    async with pair() as two:
        await watch(two.at_bob, "queues")
        await envelope(two.at_bob)
        near = two.links[1]
        assert near._listener is two.bob.peers
        publisher = two.ann._admin._publisher
        assert [spec.own for spec in publisher._streams] == [True]
        await two.at_bob.unsubscribe("queues")
        await soon(lambda: not publisher._streams, "the end of watching")


@looped
async def test_a_peer_that_does_not_answer_is_missing_and_holds_up_nobody() -> None:
    async with pair() as two:
        near = two.links[1]
        near.other.deliver = lambda: 0  # type: ignore[method-assign]  # what ann says stays there
        await watch(two.at_bob, "connections")
        for _ in range(3):
            told = await envelope(two.at_bob)
            assert (told["brokers"], told["missing"]) == (["bob"], ["ann"])
            assert names(told, "broker") == {"bob"}


@looped
async def test_what_a_lost_peer_told_is_forgotten_and_comes_back_with_it() -> None:
    async with pair() as two:
        await watch(two.at_bob, "connections")
        assert (await envelope(two.at_bob))["brokers"] == ["bob", "ann"]
        two.links[1].cut()
        told = await envelope(two.at_bob)
        while told["brokers"] != ["bob"]:
            told = await envelope(two.at_bob)
        assert told["missing"] == ["ann"]
        joined(two.bob, two.ann)
        while told["brokers"] != ["bob", "ann"]:
            told = await envelope(two.at_bob)


@looped
async def test_the_cluster_is_told_by_whom_it_is_about() -> None:
    async with pair() as two:
        await two.at_ann.message("/queue/a", "1")
        await soon(lambda: two.ann._router.queues, "the queue")
        await watch(two.at_bob, "cluster")
        told = await envelope(two.at_bob)
        data = told["data"]
        assert isinstance(data, list)
        rows = {row["id"]: row for row in data}
        assert list(rows) == ["member.ann", "member.bob", "group.0"]
        assert rows["member.ann"]["connections"] == 1
        assert rows["member.ann"]["links"] == 1
        assert (rows["group.0"]["queues"], rows["group.0"]["broker"]) == (1, "ann")


@looped
async def test_events_of_peers_come_once_with_those_of_late() -> None:
    async with pair() as two:
        await two.at_ann.message("/queue/early", "1")
        await soon(lambda: two.ann._router.queues, "the queue")
        await watch(two.at_bob, "event.queue.>")
        first = await envelope(two.at_bob)
        await two.at_ann.message("/queue/a", "1")
        await two.at_bob.message("/queue/b", "1")
        events = [first["data"]] + [(await envelope(two.at_bob))["data"] for _ in range(2)]
        found = [
            (event["destination"], event["broker"], event["replayed"])
            for event in events
            if isinstance(event, dict)
        ]
        assert found[0] == ("/queue/early", "ann", True)
        assert sorted(found[1:]) == [("/queue/a", "ann", False), ("/queue/b", "bob", False)]


@looped
async def test_a_queue_is_purged_at_its_owner_whoever_is_asked() -> None:
    async with pair() as two:
        await two.at_ann.message("/queue/a", "1")
        await soon(lambda: two.ann._router.queues, "the queue")
        reply = await command(two.at_bob, "queue.purge", queue="a")
        assert reply.checked()["purged"] == 1
        audits = [event for event in two.ann._router.events.recent if event.type == "admin.command"]
        assert [event.connection.endswith("@bob") for event in audits] == [True]
        assert not [e for e in two.bob._router.events.recent if e.type == "admin.command"]
        reply = await command(two.at_bob, "queue.purge", queue="nowhere")
        assert str(reply.error) == "not_found: there is no queue 'nowhere'"


@looped
async def test_nobody_owns_it() -> None:
    async with pair() as two:
        two.bob.cluster.owners[0] = ""
        reply = await command(two.at_bob, "queue.purge", queue="a")
        assert str(reply.error) == "conflict: nobody owns queue 'a' just now; try again"


@looped
async def test_a_listing_has_the_rows_of_both() -> None:
    async with pair() as two:
        result = (await command(two.at_bob, "connection.list", sort="broker")).checked()
        assert [row["broker"] for row in result["rows"]] == ["ann", "bob"]
        assert [row.get("self", False) for row in result["rows"]] == [False, True]
        assert result["brokers"] == ["bob", "ann"]
        result = (await command(two.at_bob, "connection.list", broker="ann")).checked()
        assert [row["broker"] for row in result["rows"]] == ["ann"]
        reply = await command(two.at_bob, "ping", broker="cid")
        assert reply.error is not None
        assert reply.error.code == "not_found"


@looped
async def test_a_broker_is_named_by_the_request() -> None:
    async with pair() as two:
        result = (await command(two.at_bob, "broker.info", broker="ann")).checked()
        assert (result["cluster"], result["broker"]) == ("shop", "ann")
        await command(two.at_bob, "broker.drain", broker="ann")
        assert two.ann._logins.draining
        assert not two.bob._logins.draining


@looped
async def test_connections_are_closed_where_they_are() -> None:
    async with pair() as two:
        rows = (await command(two.at_bob, "connection.list")).checked()["rows"]
        (there,) = [row["id"] for row in rows if row["broker"] == "ann"]
        reply = await command(two.at_bob, "connection.close", id=there)
        assert reply.checked()["closed"] == 1
        await soon(lambda: not two.ann.connections, "its end")


@looped
async def test_connections_of_a_user_are_closed_at_all_brokers() -> None:
    async with pair() as two, await stompy.aio.connect(two.bob.url) as third:
        args = {"user": "anonymous"}
        answer = await two.at_bob.request(
            COMMAND_DESTINATION, Request("connection.close", args, expect=2).to_json()
        )
        reply = Reply.from_json(answer.Body)
        assert reply.error is not None
        assert reply.error.detail == {"matched": 3, "expected": 2}
        assert third.is_connected
        answer = await third.request(
            COMMAND_DESTINATION, Request("connection.close", args, dry_run=True).to_json()
        )
        result = Reply.from_json(answer.Body).checked()
        assert (result["matched"], "closed" in result) == (3, False)


def _has_unacked(broker: MemberBroker) -> bool:
    return any(queue.unacked for queue in broker.queues())


@looped
async def test_messages_with_consumers_are_seen_at_all_brokers() -> None:
    async with pair() as two:
        # Each has a queue of that name, as if a front's consumer held something of the owner's.
        for client, broker in ((two.at_ann, two.ann), (two.at_bob, two.bob)):
            await client.subscribe("/queue/a", id="1", ack_mode="client-individual")
            await client.message("/queue/a", "1")
            await soon(partial(_has_unacked, broker), "a delivery")
        result = (await command(two.at_bob, "message.peek", queue="a", state="unacked")).checked()
        states = {message["state"].rpartition("@")[2] for message in result["messages"]}
        assert states == {"ann", "bob"}


@looped
async def test_a_link_that_breaks_says_that_the_outcome_is_not_known() -> None:
    async with pair() as two:
        near = two.links[1]
        near.other.deliver = lambda: 0  # type: ignore[method-assign]
        near.deliver = lambda: near.cut() or 0  # type: ignore[method-assign, func-returns-value]
        reply = await command(two.at_bob, "queue.purge", queue="a")
        assert reply.error is not None
        assert reply.error.code == "timeout"
        assert "not known" in reply.error.message
        reply = await command(two.at_bob, "queue.purge", queue="a")
        assert reply.error is not None
        assert "no link to broker 'ann'" in reply.error.message


@looped
async def test_nonsense_ends_the_link() -> None:
    async with pair() as two:
        two.links[0].send(b"\x60\0\0\0\1\0{}")
        await soon(lambda: not two.ann.peers.linked, "the end of the link")


@looped
async def test_who_gets_a_message_is_told_of_the_whole_cluster() -> None:
    async with pair() as two:
        await two.at_ann.subscribe("/topic/prices.*", id="1")
        await two.at_bob.subscribe("/topic/prices.tea", id="2")
        await two.at_bob.subscribe("/topic/prices.*", id="3", headers={"selector": "n > 5"})
        for client in (two.at_ann, two.at_bob):
            told = await command(client, "route.explain", destination="/topic/prices.tea")
            answer = RouteExplanation.from_json(told.checked())
            places = [(one.gets, one.broker) for one in answer.recipients]
            assert sorted(places) == [(False, "bob"), (True, "ann"), (True, "bob")]
        queue = await command(two.at_bob, "route.explain", destination="/queue/a")
        assert queue.checked()["gets"] == 1


@looped
async def test_a_dead_letter_is_repaired_at_its_owner() -> None:
    async with pair() as two:
        await two.at_ann.message("/queue/a", "poison", headers={"kind": "x"})
        await command(two.at_bob, "message.deadletter", queue="a", selector="kind = 'x'")
        peeked = await command(two.at_bob, "message.peek", queue="DLQ.a", selector="kind = 'x'")
        (letter,) = peeked.checked()["messages"]
        done = await command(
            two.at_bob,
            "message.edit_and_retry",
            queue="DLQ.a",
            id=letter["message_id"],
            body="medicine",
        )
        assert done.checked()["retried"] == 1
        (message,) = (await command(two.at_ann, "message.peek", queue="a")).checked()["messages"]
        assert (message["body"], message["message_id"]) == ("medicine", letter["message_id"])
        exported = await command(two.at_bob, "message.export", queue="a")
        assert [one["body"] for one in exported.checked()["messages"]] == ["medicine"]
