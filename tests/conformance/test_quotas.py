"""What single users may use: rates, numbers, and what of theirs is in queues.

The manual: *Quotas*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import pytest
from tests.support.admin import Observer, data, observing
from tests.support.wire import Peer, cheap_hash, running_broker, unique, until

from stompy_broker import RunningBroker
from stompy_broker.destinations.policy import Policy

USERS = ("ann", "bob", "cyd", "root")
Enter = Callable[..., Peer]


@contextmanager
def broker_with(*quotas: Mapping[str, object], **more: object) -> Iterator[RunningBroker]:
    """A broker whose users have these quotas; `root` is its admin, and has none."""
    users = {name: cheap_hash(name) for name in USERS}
    sections = {"users": users, "roles": {"admin": ("root",)}, "quota": quotas, **more}
    with running_broker(**sections) as broker:
        yield broker


@contextmanager
def clients_of(broker: RunningBroker) -> Iterator[Enter]:
    """Let users in; all of them leave at the end."""
    with ExitStack() as stack:

        def enter(user: str, *headers: str) -> Peer:
            peer = Peer.open(broker.port, "1.2", f"login:{user}", f"passcode:{user}", *headers)
            stack.callback(peer.close)
            return peer

        yield enter


def send(peer: Peer, destination: str, *bodies: str, receipt: str = "") -> None:
    line = f"receipt:{receipt}\n" if receipt else ""
    frames = [f"SEND\ndestination:{destination}\n{line}\n{body}\0" for body in bodies]
    peer.send("".join(frames))


def subscribe(peer: Peer, destination: str, identity: str = "0", ack: str = "auto") -> None:
    peer.send(f"SUBSCRIBE\nid:{identity}\ndestination:{destination}\nack:{ack}\nreceipt:s\n\n\0")
    peer.expect("RECEIPT")


def subscribe_quietly(peer: Peer, destination: str, identity: str = "0") -> None:
    peer.send(f"SUBSCRIBE\nid:{identity}\ndestination:{destination}\n\n\0")


def published(broker: RunningBroker, queue: str) -> int:
    rows = [row for row in broker.queues() if f"/queue/{row.name}" == queue]
    return rows[0].published if rows else 0


# -- sending -------------------------------------------------------------------------------------


def test_who_sends_too_fast_is_not_read_and_nobody_else_is_held_up() -> None:
    queue = f"/queue/{unique()}"
    with (
        broker_with({"user": "ann", "send_rate": "20/h"}) as broker,
        clients_of(broker) as enter,
        observing(broker.port, "login:root", "passcode:root") as root,
    ):
        events = root.subscribe("event.>")
        ann, bob = enter("ann"), enter("bob")
        send(ann, queue, *map(str, range(500)))
        row = connection_of(root, "ann", lambda row: row["state"] == "blocked")
        assert row["blocked_by"] == "quota"
        # Ann's next token comes in minutes; Bob's thousand messages do not wait for it.
        other = f"/queue/{unique()}"
        send(bob, other, *map(str, range(1000)))
        bob.sync()
        assert published(broker, other) == 1000
        assert published(broker, queue) == 1
        assert connection_of(root, "bob")["blocked_by"] == ""
        told = events_of(root, events, "connection.blocked", "quota.reached")
        assert {(one["type"], one["reason"]) for one in told} == {
            ("connection.blocked", "quota"),
            ("quota.reached", "send_rate"),
        }
        assert {one["user"] for one in told} == {"ann"}


def test_what_waits_is_sent_in_order_at_its_rate() -> None:
    queue = f"/queue/{unique()}"
    with broker_with({"send_rate": "200/s"}) as broker, clients_of(broker) as enter:
        ann = enter("ann")
        bodies = [str(number) for number in range(260)]
        send(ann, queue, *bodies)
        send(ann, queue, "last", receipt="r")
        assert ann.expect("RECEIPT")["receipt-id"] == "r"
        subscribe(ann, queue)
        assert ann.bodies(261) == [body.encode() for body in (*bodies, "last")]


def test_connections_of_one_user_share_and_take_turns() -> None:
    queues = [f"/queue/{unique()}" for _ in range(4)]
    with broker_with({"user": "ann", "send_rate": "100/s"}) as broker, clients_of(broker) as enter:
        peers = [enter("ann") for _ in queues]
        for peer, queue in zip(peers, queues, strict=True):
            send(peer, queue, *["x"] * 1000)
        until(lambda: min(published(broker, queue) for queue in queues) >= 5, "all to have turns")
        # One may have had the first burst to itself, but nobody waits until another one is done.
        assert max(published(broker, queue) for queue in queues) < 1000


def test_bytes_count_as_well() -> None:
    queue = f"/queue/{unique()}"
    with (
        broker_with({"user": "ann", "send_bytes_rate": "1KiB/h"}) as broker,
        clients_of(broker) as enter,
    ):
        ann = enter("ann")
        send(ann, queue, "x" * 5000, receipt="r")
        ann.expect("RECEIPT")
        send(ann, queue, "y", receipt="never")
        ann2 = enter("bob")
        ann2.sync()
        assert published(broker, queue) == 1


def test_who_is_refused_is_told_when_to_come_again() -> None:
    with (
        broker_with({"send_rate": "2/h", "on_excess": "refuse"}) as broker,
        clients_of(broker) as enter,
    ):
        ann = enter("ann")
        send(ann, "/queue/a", "1", receipt="1")
        ann.expect("RECEIPT")
        send(ann, "/queue/a", "2", receipt="2")
        error = ann.expect_error("rate-limited", "2")
        assert error["quota"] == "send_rate"
        assert 1700 < float(error["retry-after"]) <= 1800
        assert error["failed-command"] == "SEND"


def test_frames_behind_one_that_waits_keep_their_order() -> None:
    with broker_with({"send_rate": "5/s"}) as broker, clients_of(broker) as enter:
        ann = enter("ann")
        subscribe(ann, "/queue/order")
        frames = [f"SEND\ndestination:/queue/order\n\n{number}\0" for number in range(7)]
        ann.send("".join(frames), "UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0")
        assert ann.bodies(7) == [str(number).encode() for number in range(7)]
        assert ann.expect("RECEIPT")["receipt-id"] == "u"


def test_what_was_sent_by_who_has_left_is_a_debt_of_its_user() -> None:
    with broker_with({"send_rate": "1/h"}) as broker, clients_of(broker) as enter:
        ann = enter("ann")
        send(ann, "/queue/a", "1", "2", "3")
        until(lambda: published(broker, "/queue/a") == 1, "the first one")
        ann.close()
        until(lambda: broker.connections() == 0, "the client to go")
        assert published(broker, "/queue/a") == 3
        again, other = enter("ann"), enter("bob")
        send(again, "/queue/a", "4")
        send(other, "/queue/b", "1", receipt="r")
        other.expect("RECEIPT")
        assert published(broker, "/queue/a") == 3


# -- receiving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_who_gets_too_much_waits_and_others_get_the_rest(ack: str) -> None:
    with (
        broker_with({"user": "ann", "receive_rate": "2/h"}) as broker,
        clients_of(broker) as enter,
    ):
        ann, more, bob, sender = enter("ann"), enter("ann"), enter("bob"), enter("cyd")
        for number, peer in enumerate((ann, more)):
            subscribe(peer, f"/queue/{number}", ack=ack)
            subscribe(peer, "/queue/both", "both", ack=ack)
        send(sender, "/queue/0", "first")
        ann.bodies(1)
        send(sender, "/queue/1", *"abc")
        send(sender, "/queue/both", *map(str, range(100)))
        send(sender, "/queue/0", "second")
        sender.sync()
        subscribe_quietly(bob, "/queue/both")
        assert bob.bodies(100) == [str(number).encode() for number in range(100)]
        # All that time neither connection of Ann got anything more.
        for peer in (ann, more):
            peer.sync()
        ready = {row.name: row.ready for row in broker.queues()}
        assert (ready["0"], ready["1"], ready["both"]) == (1, 3, 0)


@pytest.mark.parametrize("ack", ["auto", "client-individual"])
@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_all_that_waits_comes_in_order_at_its_rate(kind: str, ack: str) -> None:
    destination = f"/{kind}/{unique()}"
    bodies = [str(number) for number in range(150)]
    with broker_with({"receive_rate": "100/s"}) as broker, clients_of(broker) as enter:
        ann, sender = enter("ann"), enter("bob")
        subscribe(ann, destination, ack=ack)
        send(sender, destination, *bodies)
        for body in bodies:
            message = ann.expect("MESSAGE")
            assert message.body == body.encode()
            if ack != "auto":
                ann.send(f"ACK\nid:{message['ack']}\n\n\0")


def test_subscriptions_of_one_user_take_turns() -> None:
    with (
        broker_with({"user": "ann", "receive_rate": "20/s"}) as broker,
        clients_of(broker) as enter,
    ):
        peers = [enter("ann") for _ in range(4)]
        for number, peer in enumerate(peers):
            subscribe(peer, f"/queue/{number}")
        sender = enter("bob")
        for number in range(4):
            send(sender, f"/queue/{number}", *["x"] * 100)
        for peer in peers:
            peer.bodies(3)
        counts = {row.name: row.delivered for row in broker.queues()}
        assert all(count >= 3 for count in counts.values()), counts


# -- numbers -------------------------------------------------------------------------------------


def test_so_many_connections_of_one_user() -> None:
    with broker_with({"user": "*", "connections": 2}) as broker, clients_of(broker) as enter:
        one, _ = enter("ann"), enter("ann")
        enter("bob")  # has a quota for himself
        with Peer(broker.port) as third:
            third.send("CONNECT\naccept-version:1.2\nhost:x\nlogin:ann\npasscode:ann\n\n\0")
            assert third.expect_error("limit-exceeded")["quota"] == "connections"
        one.close()
        until(lambda: broker.connections() == 2, "the first to go")
        enter("ann")


def test_so_many_logins_in_a_time() -> None:
    with (
        broker_with({"user": "ann", "connect_rate": "1/h"}) as broker,
        clients_of(broker) as enter,
    ):
        enter("ann").close()
        with Peer(broker.port) as second:
            second.send("CONNECT\naccept-version:1.2\nhost:x\nlogin:ann\npasscode:ann\n\n\0")
            error = second.expect_error("rate-limited")
            assert (error["quota"], 0 < float(error["retry-after"]) <= 3600) == (
                "connect_rate",
                True,
            )
        enter("bob")


def test_so_many_subscriptions_of_all_connections() -> None:
    with broker_with({"user": "ann", "subscriptions": 3}) as broker, clients_of(broker) as enter:
        one, two = enter("ann"), enter("ann")
        subscribe(one, "/queue/a", "1")
        subscribe(one, "/topic/a", "2")
        subscribe(two, "/queue/a", "1")
        one.send("UNSUBSCRIBE\nid:1\nreceipt:u\n\n\0")
        one.expect("RECEIPT")
        subscribe(two, "/queue/b", "2")
        two.send("SUBSCRIBE\nid:3\ndestination:/queue/b\nreceipt:r\n\n\0")
        assert two.expect_error("limit-exceeded", "r")["quota"] == "subscriptions"
        subscribe(one, "/queue/a", "3")


def test_so_many_queues_that_a_user_was_first_to_use() -> None:
    with broker_with({"user": "ann", "queues": 2}) as broker, clients_of(broker) as enter:
        ann, bob = enter("ann"), enter("bob")
        send(bob, "/queue/of.bob", "x", receipt="r")
        bob.expect("RECEIPT")
        send(ann, "/queue/of.bob", "x")
        send(ann, "/queue/1", "x")
        subscribe(ann, "/queue/2")
        send(ann, "/queue/1", "x", receipt="r")
        ann.expect("RECEIPT")
        send(ann, "/queue/3", "x", receipt="3")
        assert ann.expect_error("limit-exceeded", "3")["quota"] == "queues"
        send(enter("bob"), "/queue/3", "x")


@pytest.mark.parametrize("kind", ["SUBSCRIBE", "COMMIT", "several"])
def test_so_many_queues_however_they_are_made(kind: str) -> None:
    with broker_with({"user": "ann", "queues": 1}) as broker, clients_of(broker) as enter:
        ann = enter("ann")
        if kind == "SUBSCRIBE":
            subscribe(ann, "/queue/1")
            ann.send("SUBSCRIBE\nid:2\ndestination:/queue/2\nreceipt:r\n\n\0")
        elif kind == "COMMIT":
            ann.send(
                "BEGIN\ntransaction:t\n\n\0",
                "SEND\ntransaction:t\ndestination:/queue/1\n\n\0",
                "SEND\ntransaction:t\ndestination:/queue/2\n\n\0",
                "COMMIT\ntransaction:t\nreceipt:r\n\n\0",
            )
        else:
            send(ann, "/queue/1,/queue/2", "x", receipt="r")
        ann.expect_error("limit-exceeded", "r")


# -- what is in queues -----------------------------------------------------------------------------


def test_who_has_too_much_in_queues_waits_until_it_is_taken() -> None:
    with (
        broker_with({"user": "ann", "stored_messages": 10}) as broker,
        clients_of(broker) as enter,
        observing(broker.port, "login:root", "passcode:root") as root,
    ):
        ann, bob = enter("ann"), enter("bob")
        for number in range(30):
            send(ann, f"/queue/{number % 3}", str(number), receipt="r")
            if number < 10:
                ann.expect("RECEIPT")
        row = connection_of(root, "ann", lambda row: row["state"] == "blocked")
        assert row["blocked_by"] == "quota"
        send(bob, "/queue/1", *["x"] * 100)
        bob.sync()
        for number in range(3):
            bob.send(f"SUBSCRIBE\nid:{number}\ndestination:/queue/{number}\n\n\0")
        for _ in range(20):
            ann.expect("RECEIPT")
        connection_of(root, "ann", lambda row: row["state"] == "running")


@pytest.mark.parametrize("key", ["stored_messages", "stored_bytes"])
def test_who_has_too_much_in_queues_is_refused(key: str) -> None:
    quota = {"user": "ann", key: 3 if key == "stored_messages" else 2000, "on_excess": "refuse"}
    with broker_with(quota) as broker, clients_of(broker) as enter:
        ann, bob = enter("ann"), enter("bob")
        for number in range(3):
            send(ann, f"/queue/{number}", "x" * 400, receipt="r")
            ann.expect("RECEIPT")
        send(ann, "/queue/0", "x" * 400, receipt="4")
        assert ann.expect_error("limit-exceeded", "4")["quota"] == key
        subscribe(bob, "/queue/0")
        bob.bodies(1)
        again = enter("ann")
        send(again, "/queue/1", "x" * 400, receipt="4")
        again.expect("RECEIPT")


def test_commit_counts_all_that_is_in_it() -> None:
    quota = {"user": "ann", "stored_messages": 3, "on_excess": "refuse"}
    with broker_with(quota) as broker, clients_of(broker) as enter:
        ann = enter("ann")
        ann.send("BEGIN\ntransaction:t\n\n\0")
        for number in range(4):
            ann.send(f"SEND\ntransaction:t\ndestination:/queue/{number}\n\n\0")
        ann.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
        assert ann.expect_error("limit-exceeded", "c")["quota"] == "stored_messages"
        assert not broker.queues()


def test_whatever_ends_a_message_frees_what_it_counted_for() -> None:
    """Taken, given up, expired, purged, deleted, pushed out, or moved: nothing is left over."""
    policies = [
        Policy(match="/queue/short", max_length=2, overflow_to="/queue/pushed.out"),
        Policy(match="/queue/bad", max_deliveries=1),
        Policy(match="/queue/quick", message_ttl=20),
    ]
    with (
        broker_with({"user": "ann", "stored_messages": 1000}, policy=policies) as broker,
        clients_of(broker) as enter,
        observing(broker.port, "login:root", "passcode:root") as root,
    ):
        ann, bob = enter("ann"), enter("bob")
        for queue in ("taken", "purged", "deleted", "moved", "bad", "quick", "short"):
            send(ann, f"/queue/{queue}", *"abcde")
        send(ann, "/queue/taken,/queue/purged", "both")
        ann.sync()
        until(lambda: stored_of(root, "ann") == 7 * 5 - 5 - 3 + 2, "what was not expired")
        root.ask("queue.purge", queue="purged")
        root.ask("queue.delete", queue="deleted")
        root.ask("message.move", queue="moved", to="/queue/elsewhere", limit=100)
        root.ask("queue.purge", queue="short")
        subscribe(bob, "/queue/taken", "t")
        bob.bodies(6)
        subscribe(bob, "/queue/bad", "b", "client-individual")
        for _ in range(5):
            bob.send(f"NACK\nid:{bob.expect('MESSAGE')['ack']}\n\n\0")
        until(lambda: stored_of(root, "ann") == 0, "all of it to be gone")


def test_what_was_sent_to_come_later_counts_before_and_after() -> None:
    with (
        broker_with({"user": "ann", "stored_messages": 100}) as broker,
        clients_of(broker) as enter,
        observing(broker.port, "login:root", "passcode:root") as root,
    ):
        ann, bob = enter("ann"), enter("bob")
        for delay in (1, 3_600_000):
            ann.send(f"SEND\ndestination:/queue/later\nx-delay:{delay}\nreceipt:r\n\nx\0")
            ann.expect("RECEIPT")
        until(lambda: published(broker, "/queue/later") == 1, "the first to come")
        assert stored_of(root, "ann") == 2
        subscribe_quietly(bob, "/queue/later")
        bob.bodies(1)
        until(lambda: stored_of(root, "ann") == 1, "it to be taken")


# -- who is meant --------------------------------------------------------------------------------


def test_the_first_entry_that_fits_counts() -> None:
    quotas = [
        {"user": "ann", "connections": 1},
        {"user": "@admin", "connections": 3},
        {"user": "*", "connections": 2},
    ]
    most = {"ann": 1, "root": 3, "bob": 2}
    with broker_with(*quotas) as broker, clients_of(broker) as enter:
        for user, count in most.items():
            for _ in range(count):
                enter(user)
            with Peer(broker.port) as more:
                more.send(
                    f"CONNECT\naccept-version:1.2\nhost:x\nlogin:{user}\npasscode:{user}\n\n\0"
                )
                more.expect_error("limit-exceeded")


def test_names_that_nobody_proves_are_one_user() -> None:
    with running_broker(quota=[{"connections": 2}]) as broker, clients_of(broker) as enter:
        enter("ann")
        enter("bob")
        with Peer(broker.port) as third:
            third.send("CONNECT\naccept-version:1.2\nhost:x\nlogin:cyd\n\n\0")
            third.expect_error("limit-exceeded")


# -- what is to be seen --------------------------------------------------------------------------


def test_what_is_used_and_what_is_told_of_it() -> None:
    quotas = [
        {"user": "ann", "connections": 5, "queues": 2, "send_rate": "10/h", "receive_rate": "5/s"},
        {"user": "bob", "send_rate": "1000/s", "subscriptions": 5, "on_excess": "refuse"},
    ]
    with (
        broker_with(*quotas) as broker,
        clients_of(broker) as enter,
        observing(broker.port, "login:root", "passcode:root") as root,
    ):
        events = root.subscribe("event.quota.>")
        assert root.ask("user.usage") == {"total": 0, "rows": []}
        for _ in range(4):
            ann = enter("ann")
        near = data(root.frame(events))["data"]
        assert (near["type"], near["user"], near["reason"]) == ("quota.near", "ann", "connections")
        assert near["detail"] == {"limit": 5, "used": 4}
        enter("ann")
        reached = data(root.frame(events))["data"]
        assert (reached["type"], reached["severity"]) == ("quota.reached", "warn")
        send(ann, "/queue/1", "x", "y")
        enter("bob")
        connection_of(root, "ann", lambda row: row["blocked_by"] == "quota")
        first, second = root.ask("user.usage")["rows"]
        assert first["limits"].pop("send_rate")["used"] == pytest.approx(1, abs=0.3)
        assert first == {
            "user": "ann",
            "role": "none",
            "quota": "quota.0",
            "match": "ann",
            "on_excess": "wait",
            "connections": 5,
            "blocked": 1,
            "waiting_subscriptions": 0,
            "refused": 0,
            "limits": {
                "receive_rate": {"limit": "5/s", "used": 0},
                "connections": {"limit": 5, "used": 5},
                "queues": {"limit": 2, "used": 1},
            },
        }
        assert second["user"] == "bob"
        explained = root.ask("route.explain", destination="/queue/1", user="ann")
        assert explained["waits"] == "user 'ann' has used up send_rate = 10/h (quota.0)"
        assert not root.ask("route.explain", destination="/queue/1", user="bob")["waits"]
        assert root.ask("user.usage", user="bob")["rows"] == [second]


def test_who_is_not_held_up_any_more_is_told_of_once() -> None:
    with (
        broker_with({"user": "ann", "send_rate": "50/s"}) as broker,
        clients_of(broker) as enter,
        observing(broker.port, "login:root", "passcode:root") as root,
    ):
        events = root.subscribe("event.connection.*")
        ann = enter("ann")
        send(ann, "/queue/1", *["x"] * 80)
        ann.sync()
        types = []
        while "connection.unblocked" not in types:
            event = data(root.frame(events))["data"]
            if event["user"] == "ann":
                types.append(event["type"])
        assert types == ["connection.opened", "connection.blocked", "connection.unblocked"]


def stored_of(root: Observer, user: str) -> int:
    """How many messages of a user are in queues."""
    (row,) = root.ask("user.usage", user=user)["rows"]
    return int(row["limits"]["stored_messages"]["used"])


def connection_of(
    root: Observer, user: str, wanted: Callable[[dict[str, object]], bool] = lambda row: True
) -> dict[str, object]:
    """The row of a user's connection, as soon as something holds."""
    found: list[dict[str, object]] = []

    def look() -> bool:
        rows = root.ask("connection.list")["rows"]
        found[:] = [row for row in rows if row["user"] == user and wanted(row)]
        return bool(found)

    until(look, f"the row of {user}")
    return found[0]


def events_of(root: Observer, subscription: str, *types: str) -> list[dict[str, object]]:
    """The first event of each type."""
    found: dict[str, dict[str, object]] = {}
    while len(found) < len(types):
        event = data(root.frame(subscription))["data"]
        if event["type"] in types:
            found.setdefault(event["type"], event)
    return [found[one] for one in types]
