"""Commands about queues, durable subscriptions and policies, over real sockets."""

from __future__ import annotations

import pytest
from tests.support.admin import Code, Observer, fails, observing
from tests.support.wire import unique, until

from stompy_broker import RunningBroker


def test_a_queue_is_made_once_and_deleted_when_nobody_uses_it(admin: Observer, queue: str) -> None:
    made = admin.ask("queue.create", queue=queue, arguments={"x-max-length": 5})
    assert made == {"created": 1, "queue": queue}
    assert admin.row(queue)["max_length"] == 5
    fails(Code.CONFLICT, admin.ask, "queue.create", queue=queue)
    bad = {"x-max-length": "many"}
    fails(Code.BAD_REQUEST, admin.ask, "queue.create", queue=unique(), arguments=bad)
    admin.fill(queue, "x")
    fails(Code.CONFLICT, admin.ask, "queue.delete", queue=queue, if_empty=True)
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client\n\n\0")
    fails(Code.CONFLICT, admin.ask, "queue.delete", queue=queue)
    admin.peer.send("UNSUBSCRIBE\nid:1\n\n\0")
    assert admin.ask("queue.delete", queue=queue, dry_run=True)["messages"] == 1
    assert admin.ask("queue.delete", queue=f"/queue/{queue}")["deleted"] == 1
    fails(Code.NOT_FOUND, admin.ask, "queue.delete", queue=queue)


def test_a_row_tells_which_subscription_binds_its_queue_now(admin: Observer, queue: str) -> None:
    admin.ask("queue.create", queue=queue)
    assert admin.row(queue)["backlog_of"] == ""
    topic = f"destination:/topic/{queue}\ndurable:true\nauto-delete:false\nx-queue-name:{queue}\n"
    admin.peer.send(
        f"SUBSCRIBE\nid:1\nack:client\n{topic}\n\0SUBSCRIBE\nid:2\nack:client\n"
        f"destination:/queue/{queue}\n\n\0"
    )
    admin.peer.sync()
    assert admin.row(queue)["backlog_of"] == queue
    admin.peer.send(f"UNSUBSCRIBE\nid:1\n{topic}\n\0")
    admin.peer.sync()
    assert admin.row(queue)["backlog_of"] == ""


def test_purging_spares_what_is_with_consumers(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        other.peer.send(
            f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n"
            "prefetch-count:2\n\n\0"
        )
        admin.fill(queue, *"abcde")
        acks = [other.peer.expect("MESSAGE")["ack"] for _ in range(2)]
        preview = admin.ask("queue.purge", queue=queue, dry_run=True)
        last = preview.pop("up_to")
        assert preview == {"queue": queue, "matched": 3, "unacked": 2}
        assert last.isdecimal()
        error = fails(Code.CONFLICT, admin.ask, "queue.purge", queue=queue, expect=5)
        assert error.detail == {"matched": 3, "expected": 5}
        assert admin.row(queue)["ready"] == 3
        assert admin.ask("queue.purge", queue=queue, expect=3)["purged"] == 3
        for ack in acks:
            other.peer.send(f"ACK\nid:{ack}\n\n\0")
        other.peer.sync()
        row = admin.row(queue)
        assert (row["total"], row["bytes"], row["removed"], row["acked"]) == (0, 0, 3, 2)


@pytest.mark.parametrize("cmd", ["queue.purge", "message.move", "message.delete"])
def test_what_comes_after_a_look_is_not_touched(admin: Observer, queue: str, cmd: str) -> None:
    args = {"queue": queue}
    if cmd == "message.move":
        args["to"] = f"/queue/{queue}.target"
    admin.fill(queue, *"abc", priority="4")
    up_to = admin.ask("message.count", queue=queue)["up_to"]
    if cmd != "message.delete":
        assert admin.ask(cmd, **args, dry_run=True)["up_to"] == up_to
    admin.fill(queue, *"de", priority="9")
    assert admin.ask(cmd, **args, up_to=up_to, dry_run=True)["matched"] == 3
    assert admin.ask(cmd, **args, up_to=up_to)["matched"] == 3
    left = [message["body"] for message in admin.ask("message.peek", queue=queue)["messages"]]
    assert left == ["d", "e"]
    assert admin.ask(cmd, **args, up_to=up_to)["matched"] == 0
    fails(Code.BAD_REQUEST, admin.ask, cmd, **args, up_to="x")
    fails(Code.BAD_REQUEST, admin.ask, cmd, **args, up_to="9" * 5000)


def test_purging_takes_what_is_delayed_too(admin: Observer, queue: str) -> None:
    admin.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\nack:client-individual\n\n\0")
    admin.peer.send(f"SEND\ndestination:/queue/{queue}\n\nx\0")
    ack = admin.peer.expect("MESSAGE")["ack"]
    admin.peer.send(f"NACK\nid:{ack}\ndelay:60000\n\n\0")
    assert admin.row(queue)["delayed"] == 1
    assert admin.ask("queue.purge", queue=queue)["purged"] == 1
    assert admin.row(queue)["total"] == 0


def test_a_paused_queue_delivers_nothing_until_resumed(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    with observing(broker.port) as other:
        other.peer.send(f"SUBSCRIBE\nid:1\ndestination:/queue/{queue}\n\n\0")
        other.peer.sync()
        assert admin.ask("queue.pause", queue=queue, dry_run=True)["paused"]
        assert not admin.row(queue)["paused"]
        admin.ask("queue.pause", queue=queue)
        admin.fill(queue, "x")
        other.peer.sync()
        row = admin.row(queue)
        assert (row["paused"], row["ready"], row["consumers"]) == (True, 1, 1)
        admin.ask("queue.resume", queue=queue)
        assert other.peer.bodies(1) == [b"x"]
        admin.fill(queue, "y")
        assert other.peer.bodies(1) == [b"y"]


def test_while_intake_is_paused_senders_wait(
    broker: RunningBroker, admin: Observer, queue: str
) -> None:
    admin.ask("queue.create", queue=queue)
    admin.ask("queue.pause", queue=queue, delivery=False, intake=True)
    with observing(broker.port) as other:
        send = f"SEND\ndestination:/queue/{queue}\n\nx\0"
        other.peer.send(send)
        until(lambda: admin.row(queue)["ready"] == 1, "the first message")
        other.peer.send(send * 5, f"SEND\ndestination:/queue/{queue}\nreceipt:1\n\nx\0")
        assert not other.peer.hears(0.2)
        assert admin.row(queue)["ready"] == 1
        admin.ask("queue.resume", queue=queue)
        other.peer.expect("RECEIPT")
        assert admin.row(queue)["ready"] == 7


def test_durable_subscriptions_are_listed_and_deleted(
    broker: RunningBroker, admin: Observer
) -> None:
    topic = unique("t")
    subscribe = f"SUBSCRIBE\nid:1\ndestination:/topic/{topic}\ndurable-subscription-name:d\n\n\0"
    with observing(broker.port, f"client-id:{topic}") as other:
        other.peer.send(subscribe)
        other.peer.sync()
        (row,) = admin.ask("durable.list", match=topic)["rows"]
        assert (row["name"], row["online"], row["pending"]) == (f"{topic}.d", True, 0)
        fails(Code.CONFLICT, admin.ask, "durable.delete", name=row["name"])
    until(lambda: not admin.ask("durable.list", match=topic)["rows"][0]["online"], "its end")
    admin.peer.send(f"SEND\ndestination:/topic/{topic}\n\nx\0")
    fails(Code.CONFLICT, admin.ask, "queue.delete", queue=row["queue"])
    assert admin.ask("durable.delete", name=row["name"], expect=1)["deleted"] == 1
    fails(Code.NOT_FOUND, admin.ask, "durable.delete", name=row["name"])


def test_policies_explain_themselves(admin: Observer) -> None:
    assert admin.ask("policy.list")["total"] == 3
    told = admin.ask("policy.explain", destination="/queue/small.x")
    assert (told["match"], told["settings"]["max_length"]) == ("/queue/small.>", 2)
    fails(Code.BAD_REQUEST, admin.ask, "policy.explain", destination="/chicken/x")
