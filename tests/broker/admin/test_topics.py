"""What the broker publishes about itself, over real sockets."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
from tests.support.admin import Observer, data, observing
from tests.support.wire import Peer, cheap_hash, running_broker, unique, until

from stompy.admin import (
    PAGE_ROWS,
    ROWS,
    SINGLE,
    VERSION,
    CommandError,
    Kind,
    Page,
    Table,
    field_names,
)
from stompy_broker import RunningBroker
from stompy_broker.build import compiled
from stompy_broker.event_loop import chosen

SNAPSHOTS = [kind for kind in Kind if kind not in (Kind.QUEUE, Kind.EVENT, Kind.CLUSTER)]


def traffic(peer: Peer, queue: str) -> None:
    """Something to see of every kind."""
    topic = queue.replace("q-", "t.")
    peer.send(
        f"SUBSCRIBE\nid:a\ndestination:/queue/{queue}\nack:client-individual\n\n\0",
        f"SUBSCRIBE\nid:b\ndestination:/topic/{topic}\n\n\0",
        f"SUBSCRIBE\nid:c\ndestination:/topic/{topic}.>\ndurable:true\nauto-delete:false\n\n\0",
        f"BEGIN\ntransaction:tx\n\n\0SEND\ndestination:/queue/{queue}\ntransaction:tx\n\nx\0",
        f"SEND\ndestination:/queue/{queue}\nx-delay:3600000\n\nlater\0",
        f"SEND\ndestination:/queue/{queue}\n\nhello\0SEND\ndestination:/topic/{topic}\n\nx\0",
    )
    assert len(peer.bodies(2 + 1)) == 3


def memory(peer: Peer, queue: str) -> None:
    """Somebody reads a stream, and a topic keeps a message."""
    peer.send(
        f"SUBSCRIBE\nid:s\ndestination:/stream/{queue}-s\nx-stream-consumer:n\n\n\0",
        f"SEND\ndestination:/topic/{queue}\nx-retain:true\n\nkept\0",
    )
    peer.sync()


def of_interest(page: Page, queue: str) -> bool:
    return queue.removeprefix("q-") in json.dumps([dataclasses.asdict(row) for row in page.rows])


@pytest.mark.parametrize("form", ["objects", "columns"])
def test_every_kind_comes_at_once_and_again(
    broker: RunningBroker, admin: Observer, queue: str, form: str
) -> None:
    with observing(broker.port, f"client-id:{queue}") as other:
        traffic(other.peer, queue)
        memory(other.peer, queue)
        ids = {k: admin.subscribe(k, format=form, interval=250) for k in SNAPSHOTS}
        first = {kind: admin.page(ids[kind]) for kind in SNAPSHOTS}
        assert len({page.tick for page in first.values()}) == 1
        for kind, page in first.items():
            assert page.kind is kind
            assert page.seq == 1
            assert all(isinstance(row, ROWS[kind]) for row in page.rows)
            if kind is not Kind.BROKER:
                assert of_interest(page, queue), kind
        second = {kind: admin.page(ids[kind]) for kind in SNAPSHOTS}
        assert [page.seq for page in second.values()] == [2] * len(SNAPSHOTS)
        assert all(second[kind].up_ms > first[kind].up_ms for kind in SNAPSHOTS)
        # Who came between two rounds, or was put off on a busy machine, joins the others.
        ticks = {kind: {page.tick} for kind, page in second.items()}
        while not set.intersection(*ticks.values()):
            latest = max(max(seen) for seen in ticks.values())
            for kind, seen in ticks.items():
                if max(seen) < latest:
                    seen.add(admin.page(ids[kind]).tick)
        other.peer.send(
            "UNSUBSCRIBE\nid:c\ndurable:true\nauto-delete:false\n\n\0",
            f"SEND\ndestination:/topic/{queue}\nx-retain:true\n\n\0",
        )
        other.peer.sync()


def test_json_holds_every_field_of_the_schema_and_nothing_else(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        traffic(other.peer, queue)
        memory(other.peer, queue)
        for kind in (*SNAPSHOTS, f"queue.{queue}"):
            frame = admin.frame(admin.subscribe(kind))
            envelope = data(frame)
            rows = envelope["data"]
            row = rows if isinstance(rows, dict) else rows[0]
            assert list(row) == list(field_names(Kind(envelope["kind"])))
            assert envelope["v"] == VERSION
            assert frame["destination"] == f"/topic/$SYS.{kind}"
            assert (frame["kind"], frame["seq"]) == (envelope["kind"], str(envelope["seq"]))
            assert isinstance(rows, dict) == (Kind(envelope["kind"]) in SINGLE)
        other.peer.send(
            "UNSUBSCRIBE\nid:c\ndurable:true\nauto-delete:false\n\n\0",
            f"SEND\ndestination:/topic/{queue}\nx-retain:true\n\n\0",
        )
        other.peer.sync()


def test_the_rows_say_what_is_so(broker: RunningBroker, admin: Observer, queue: str) -> None:
    with observing(broker.port, "client-id:the-one") as other:
        traffic(other.peer, queue)
        admin.fill(queue, "1", "2")
        assert len(other.peer.bodies(2)) == 2
        watched = admin.page(admin.subscribe("connections")).rows
        (own,) = [row for row in watched if row.self]
        (one,) = [row for row in watched if row.client_id == "the-one"]
        assert own.role == "admin"
        assert (one.subscriptions, one.transactions, one.unacked) == (3, 1, 3)
        assert one.in_msgs == 4
        assert one.out_msgs == 5
        (row,) = [
            r for r in admin.page(admin.subscribe("subscriptions")).rows if queue in r.destination
        ]
        assert (row.connection, row.ack, row.unacked, row.delivered) == (
            one.id,
            "client-individual",
            3,
            3,
        )
        assert row.oldest_unacked_at is not None
        (detail,) = admin.page(admin.subscribe(f"queue.{queue}")).rows
        assert (detail.unacked, detail.consumers, detail.in_msgs) == (3, 1, 3)
        assert detail.consumers_detail[0]["id"] == row.id
        transactions = admin.page(admin.subscribe("transactions")).rows
        (transaction,) = [row for row in transactions if row.connection == one.id]
        assert transaction.destinations[0]["sends"] == transaction.sends == 1
        (brokers,) = admin.page(admin.subscribe("broker")).rows
        assert brokers.connections == 2
        assert brokers.compiled == compiled()
        assert brokers.loop == chosen("auto")
        assert brokers.messages_unacked >= 3
        assert brokers.store is not None
        assert brokers.store["kind"] == "memory"
        other.peer.send("UNSUBSCRIBE\nid:c\ndurable:true\nauto-delete:false\n\n\0")
        other.peer.sync()


def test_how_long_a_delivery_waits_is_known_to_who_looks_first(
    broker: RunningBroker, queue: str
) -> None:
    """Nobody was watching when it was made."""
    before = int(time.time() * 1000)
    with Peer.open(broker.port) as peer:
        peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
        peer.send(f"SUBSCRIBE\nid:0\ndestination:/queue/{queue}\nack:client\n\n\0")
        peer.expect("MESSAGE")
        after = int(time.time() * 1000)
        until(lambda: time.time() * 1000 > after + 5, "some time to pass")
        with observing(broker.port) as admin:
            rows = admin.page(admin.subscribe("subscriptions")).rows
            (row,) = [row for row in rows if queue in row.destination]
            assert before - 2 <= row.oldest_unacked_at <= after + 2


def test_many_rows_come_in_pages_and_deltas_hold_what_changed(
    broker: RunningBroker, admin: Observer
) -> None:
    word = unique("many")
    for number in range(PAGE_ROWS + 5):
        admin.peer.send(f"SEND\ndestination:/queue/{word}.{number}\n\nx\0")
    admin.ask("ping")
    watch = admin.subscribe("queues", mode="delta", format="columns", interval=250, fields="ready")
    table = Table(Kind.QUEUES)
    page = admin.page(watch)
    assert page.pages > 1
    assert not table.add(page)
    while not table.add(page := admin.page(watch)):
        assert page.base is None
    assert table.rows[f"{word}.7"].ready == 1
    assert len(table.rows) == page.total > PAGE_ROWS
    admin.fill(f"{word}.7", "y")
    page = admin.page_with(watch, lambda page: page.rows)
    assert page.base == page.seq - 1
    assert [(row.name, row.ready) for row in page.rows] == [(f"{word}.7", 2)]
    admin.ask("queue.delete", queue=f"{word}.7")
    page = admin.page_with(watch, lambda page: page.removed)
    assert page.removed == (f"{word}.7",)
    for number in range(PAGE_ROWS + 5):
        if number != 7:
            admin.ask("queue.delete", queue=f"{word}.{number}")


def test_projection_leaves_out_all_but_the_key_and_what_was_asked_for(admin: Observer) -> None:
    admin.fill(unique(), "x")
    envelope = data(admin.frame(admin.subscribe("queues", fields="ready, unacked, nonsense")))
    assert set(envelope["data"][0]) == {"name", "ready", "unacked"}


@pytest.mark.parametrize(
    ("headers", "note"),
    [
        ({"fields": "ready,nonsense,a:b"}, "there is no field a\\cb, nonsense"),
        ({"interval": 50}, "the interval is 250 ms"),
        ({"interval": "00", "fields": "x"}, "there is no field x; the interval is 250 ms"),
        ({"interval": "0300", "fields": "name,,"}, None),
        ({}, None),
    ],
)
def test_what_has_no_effect_is_said(
    admin: Observer, headers: dict[str, object], note: str | None
) -> None:
    assert admin.frame(admin.subscribe("queues", **headers)).get("note") == note


def test_a_command_refuses_what_would_have_no_effect(admin: Observer) -> None:
    for args in ({"fields": ["nonsense"]}, {"interval": 50}):
        with pytest.raises(CommandError) as caught:
            admin.ask("snapshot.get", kind="queues", **args)
        assert caught.value.code == "bad_request"


def test_a_wildcard_gives_all_kinds_and_life_events(admin: Observer) -> None:
    watch = admin.subscribe(">")
    seen: set[Kind] = set()
    while not seen >= {*SNAPSHOTS, Kind.EVENT}:
        seen.add(admin.page(watch).kind)


def test_who_asks_for_the_cluster_of_a_broker_that_has_none_is_told_so(admin: Observer) -> None:
    frame = admin.frame(admin.subscribe("cluster"))
    assert frame["note"] == "this broker belongs to no cluster"
    assert data(frame)["data"] == []
    assert not data(frame).keys() & {"brokers", "missing"}


def test_ordinary_wildcards_and_sends_never_reach_the_brokers_own(broker: RunningBroker) -> None:
    with observing(broker.port) as admin:
        admin.peer.send(
            "SUBSCRIBE\nid:all\ndestination:/topic/>\n\n\0",
            "SUBSCRIBE\nid:star\ndestination:/topic/*.queues\n\n\0",
        )
        admin.page(admin.subscribe("queues"))
        assert not [frame for frame in admin._kept if frame["subscription"] in ("all", "star")]
        admin.peer.send("SEND\ndestination:/topic/$SYS.queues\n\n{}\0")
        error = admin.peer.read()
        while error.command != "ERROR":
            error = admin.peer.read()
        assert error["error-code"] == "bad-destination"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ("destination:/topic/$SYS.chickens", "bad-destination"),
        ("destination:/topic/$SYS.queues.>.x", "bad-destination"),
        ("destination:/topic/$SYS.queues\nack:client", "bad-header"),
        ("destination:/topic/$SYS.queues\nselector:a = ", "bad-selector"),
        ("destination:/topic/$SYS.queues\nno-local:true", "bad-header"),
        ("destination:/topic/$SYS.queues\ndurable:true", "bad-header"),
        ("destination:/topic/$SYS.queues\ninterval:soon", "bad-header"),
        ("destination:/topic/$SYS.queues\nformat:xml", "bad-header"),
        ("destination:/topic/$SYS.queues\nmode:half", "bad-header"),
        ("destination:/queue/$SYS.command", "bad-destination"),
    ],
)
def test_what_makes_no_sense_is_an_error(broker: RunningBroker, headers: str, code: str) -> None:
    with observing(broker.port) as admin:
        admin.peer.send(f"SUBSCRIBE\nid:1\n{headers}\n\n\0")
        admin.peer.expect_error(code)


def test_what_a_subscription_chooses_and_how_it_is_bounded_stands_in_its_row(
    broker: RunningBroker,
) -> None:
    topic = f"/topic/{unique('rows')}"
    with observing(broker.port) as admin, Peer.open(broker.port) as peer:
        events = admin.subscribe("event.subscription.timed_out")
        peer.send(
            f"SUBSCRIBE\nid:red\ndestination:{topic}\nselector:color = 'red'\nno-local:true\n\n\0"
            f"SUBSCRIBE\nid:slow\ndestination:{topic}\nack:client-individual\n"
            "consumer-window-size:0\nx-consumer-timeout:20\n\n\0"
            f"SEND\ndestination:{topic}\ncolor:red\nreceipt:sent\n\n\0"
        )
        while peer.read().command != "RECEIPT":
            pass  # what it sent itself comes to one of its subscriptions
        for color in ("red", "blue", "red"):
            admin.peer.send(f"SEND\ndestination:{topic}\ncolor:{color}\n\n\0")
        told = data(admin.frame(events))["data"]
        assert (told["destination"], told["severity"]) == (topic, "warn")
        assert told["detail"]["messages"] == 1
        rows = {
            row.subscription: row
            for row in admin.page(admin.subscribe("subscriptions")).rows
            if row.destination == topic
        }
        red, slow = rows["red"], rows["slow"]
        assert (red.selector, red.no_local) == ("color = 'red'", True)
        assert (red.matched, red.skipped) == (2, 2)
        assert (red.window_bytes, red.timeout_ms) == (-1, 0)
        assert (slow.selector, slow.no_local, slow.matched, slow.skipped) == ("", False, 0, 0)
        assert (slow.window_bytes, slow.timeout_ms) == (0, 20)
        assert slow.timed_out >= 1


def test_what_consumers_choose_from_a_queue_stands_in_the_rows(broker: RunningBroker) -> None:
    name = unique("rows")
    queue = f"/queue/{name}"
    with observing(broker.port) as admin, Peer.open(broker.port) as peer:
        for color in ("red", "blue", "green", "red"):
            admin.fill(name, color, color=color)
        for color in ("red", "blue"):
            peer.send(
                f"SUBSCRIBE\nid:{color}\ndestination:{queue}\nselector:color = '{color}'\n\n\0"
            )
        assert sorted(peer.expect("MESSAGE").body for _ in range(3)) == [b"blue", b"red", b"red"]

        def chosen(page: Page) -> bool:
            rows = {row.subscription: row for row in page.rows if row.destination == queue}
            red, blue = rows["red"], rows["blue"]
            # What had gone to the one before the other came was not looked at for that.
            return (red.matched, red.skipped, blue.matched) == (2, 2, 1) and blue.skipped > 0

        admin.page_with(admin.subscribe("subscriptions"), chosen)
        admin.page_with(
            admin.subscribe("queues"),
            lambda page: any(
                (row.destination, row.unmatched, row.ready) == (queue, 1, 1) for row in page.rows
            ),
        )


def test_a_selector_looks_at_the_headers_of_snapshots_and_events(broker: RunningBroker) -> None:
    queue = f"/queue/{unique('chosen')}"
    with observing(broker.port) as admin, Peer.open(broker.port) as peer:
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
        peer.sync()
        admin.peer.send(
            "SUBSCRIBE\nid:no\ndestination:/topic/$SYS.queues\nselector:kind = 'topics'\n\n\0"
            "SUBSCRIBE\nid:yes\ndestination:/topic/$SYS.queues\nselector:kind = 'queues'\n\n\0"
            "SUBSCRIBE\nid:event\ndestination:/topic/$SYS.event.>\n"
            f"selector:about = '{queue}' AND severity = 'info'\n\n\0"
        )
        event = admin.peer.expect("MESSAGE")
        while event["subscription"] != "event":
            assert event["subscription"] == "yes"
            event = admin.peer.expect("MESSAGE")
        assert (event["about"], event["severity"]) == (queue, "info")
        assert event["destination"].startswith("/topic/$SYS.event.")


def test_an_id_in_use_is_an_error_and_unsubscribing_frees_it(broker: RunningBroker) -> None:
    with observing(broker.port) as admin:
        watch = admin.subscribe("queues")
        admin.page(watch)
        admin.peer.send(f"UNSUBSCRIBE\nid:{watch}\nreceipt:1\n\n\0")
        assert admin.peer.expect("RECEIPT")["receipt-id"] == "1"
        admin.peer.send(f"SUBSCRIBE\nid:{watch}\ndestination:/topic/$SYS.queues\n\n\0")
        admin.page(watch)
        admin.peer.send(f"SUBSCRIBE\nid:{watch}\ndestination:/queue/a\n\n\0")
        frame = admin.peer.read()
        while frame.command != "ERROR":
            frame = admin.peer.read()
        assert frame["error-code"] == "duplicate-subscription"


def test_a_1_0_client_watches_too(broker: RunningBroker) -> None:
    peer = Peer.open(broker.port, "1.0")
    peer.send("SUBSCRIBE\ndestination:/topic/$SYS.broker\n\n\0")
    assert data(peer.expect("MESSAGE"))["data"]["connections"] >= 1
    peer.send("UNSUBSCRIBE\ndestination:/topic/$SYS.broker\n\n\0")
    peer.sync()
    peer.close()


def test_what_is_watched_is_counted_apart(broker: RunningBroker, admin: Observer) -> None:
    (before,) = admin.page(watch := admin.subscribe("broker", interval=250)).rows
    for _ in range(3):
        (after,) = admin.page(watch).rows
    assert after.admin["out_msgs"] >= before.admin["out_msgs"] + 3
    assert after.admin["watchers"] >= 1
    assert (after.in_msgs, after.out_msgs) == (before.in_msgs, before.out_msgs)


def test_nothing_is_computed_while_nobody_watches(broker: RunningBroker, admin: Observer) -> None:
    admin.page(watch := admin.subscribe("queues", interval=250))
    admin.peer.send(f"UNSUBSCRIBE\nid:{watch}\nreceipt:1\n\n\0")
    while admin.peer.read().command != "RECEIPT":
        pass
    ticks = broker._ask(lambda broker: broker.census._ticks)
    admin.ask("ping")
    assert not admin.peer.hears(0.6)
    assert broker._ask(lambda broker: broker.census._ticks) == ticks


def test_hostile_names_are_json_like_any_other(broker: RunningBroker, admin: Observer) -> None:
    names = [f'{unique()}"\\<b>[/x]', f"{unique()}\u202eevil\u2066".replace("\u202e", "é"), "a:b"]
    for name in names:
        escaped = name.replace("\\", "\\\\").replace(":", "\\c")
        if not name.isprintable():
            continue
        admin.peer.send(f"SEND\ndestination:/queue/{escaped}\n\nx\0")
        frame = admin.frame(admin.subscribe(f"queue.{escaped}"))
        assert data(frame)["data"]["name"] == name
        assert admin.row(name)["ready"] >= 1


def test_a_queue_that_is_not_there_has_no_detail(admin: Observer, queue: str) -> None:
    page = admin.page(admin.subscribe(f"queue.{queue}"))
    assert page.rows == ()


def test_a_slow_monitor_gets_gaps_and_not_memory(broker: RunningBroker, admin: Observer) -> None:
    word = unique("slow")
    for number in range(1500):
        admin.peer.send(f"SEND\ndestination:/queue/{word}.{number}\n\nx\0")
    admin.ask("ping")
    slow = Observer(Peer.open(broker.port, receive_buffer=4096))
    watch = slow.subscribe("queues", interval=250)

    def dropped() -> int:
        return sum(
            subscription.dropped
            for session in broker._ask(lambda broker: list(broker._admin.sessions.values()))
            for subscription in session.sys_subscriptions
        )

    until(lambda: dropped() >= 3, "snapshots to be dropped", patience=45)
    waiting = broker._ask(
        lambda broker: max(s.peer.unwritten for s in broker._admin.sessions.values())
    )
    assert waiting < 4 * 1024 * 1024
    table = Table(Kind.QUEUES)
    while table.gaps < 3:
        table.add(slow.page(watch))
    assert len(table.rows) >= 1500
    slow.peer.close()
    for number in range(1500):
        admin.ask("queue.delete", queue=f"{word}.{number}")


USERS = ("none", "monitor", "operator")


def test_roles_decide_who_watches() -> None:
    users = {name: cheap_hash("secret") for name in USERS}
    roles = {"monitor": ["monitor"], "operator": ["operator"], "admin": []}
    with running_broker(users=users, roles=roles) as broker:
        for name in USERS:
            with observing(broker.port, f"login:{name}", "passcode:secret") as client:
                connected = client.peer.connected
                assert connected is not None
                assert connected["admin-role"] == name
                assert connected["admin-version"] == str(VERSION)
                watch = client.subscribe("broker")
                if name == "none":
                    assert b"'monitor'" in client.peer.expect_error("access-refused").body
                else:
                    client.page(watch)


def test_a_subscription_to_several_queues_is_one_row(admin: Observer) -> None:
    word = unique("row")
    admin.fill(f"{word}.a", "x")
    admin.fill(f"{word}.b", "x")
    peer = admin.peer
    peer.send(f"SUBSCRIBE\nid:several\ndestination:/queue/{word}.*,/topic/{word}\nack:client\n\n\0")
    frames = [peer.expect("MESSAGE") for _ in range(2)]
    peer.send(
        f"BEGIN\ntransaction:{word}\n\n\0ACK\nid:{frames[0]['ack']}\ntransaction:{word}\n\n\0"
    )
    rows = admin.ask("subscription.list", match="s-*")["rows"]
    (row,) = [row for row in rows if row["subscription"] == "several"]
    assert (row["destination"], row["queues"]) == (f"/queue/{word}.*,/topic/{word}", 3)
    assert (row["delivered"], row["unacked"], row["prefetch"]) == (2, 2, 1000)
    held = admin.ask("message.peek", queue=f"{word}.a", state="unacked")["messages"]
    other = admin.ask("message.peek", queue=f"{word}.b", state="unacked")["messages"]
    assert len(held) == len(other) == 1
    (transaction,) = [
        row for row in admin.ask("transaction.list")["rows"] if row["transaction"] == word
    ]
    (holding,) = transaction["destinations"]
    assert (holding["name"], holding["acks"]) == (frames[0]["destination"], 1)
    assert admin.ask("subscription.close", id=row["id"])["destination"] == row["destination"]
    peer.send(f"ABORT\ntransaction:{word}\n\n\0UNSUBSCRIBE\nid:several\n\n\0")
    peer.sync()
