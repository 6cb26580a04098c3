"""What is sent to come again and again (the manual, *Again and again*)."""

from __future__ import annotations

import time

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer

from stompy_broker import RunningBroker

YEAR = 365 * 24 * 3600 * 1000


def send(peer: Peer, destination: str, body: str, *headers: str) -> dict[str, str]:
    """SEND a message, and give the headers of its RECEIPT."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{destination}\n{lines}receipt:sent\n\n{body}\0")
    receipt = peer.expect("RECEIPT")
    assert receipt["receipt-id"] == "sent"
    return dict(receipt.headers)


def subscribe(peer: Peer, destination: str) -> None:
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0")
    peer.sync()


def planned(broker: RunningBroker, queue: str) -> list[str]:
    """The names of what is to come to a queue."""
    return sorted(row.name for row in broker.snapshot("scheduled") if row.destination == queue)


@pytest.mark.parametrize(
    "headers",
    [
        ("AMQ_SCHEDULED_DELAY:50", "AMQ_SCHEDULED_PERIOD:100", "AMQ_SCHEDULED_REPEAT:2"),
        ("x-delay:50", "x-repeat-every:100", "x-repeat-times:2"),
    ],
)
@pytest.mark.parametrize("kind", ["queue", "topic"])
def test_a_message_comes_again_so_many_times(
    connect: Connect, queue: str, topic: str, kind: str, headers: tuple[str, ...]
) -> None:
    peer, destination = connect(), queue if kind == "queue" else topic
    subscribe(peer, destination)
    send(peer, destination, "x", *headers, "color:red")
    messages = [peer.expect("MESSAGE") for _ in range(3)]
    assert not peer.hears(0.3)
    assert [message["scheduled-number"] for message in messages] == ["1", "2", "3"]
    assert len({message["message-id"] for message in messages}) == 3
    assert len({message["scheduledJobId"] for message in messages}) == 1
    due = [int(message["scheduled-at"]) for message in messages]
    assert [due[1] - due[0], due[2] - due[1]] == [100, 100]
    for message in messages:
        assert (message.body, message["color"]) == (b"x", "red")
        assert not {line.partition(":")[0] for line in headers} & set(dict(message.headers))
        assert "scheduled-missed" not in message


def test_a_period_alone_is_one_message_after_it(connect: Connect, queue: str) -> None:
    peer = connect()
    subscribe(peer, queue)
    send(peer, queue, "x", "x-repeat-every:100")
    message = peer.expect("MESSAGE")
    assert "scheduled-number" not in message
    assert not peer.hears(0.3)


def test_a_cron_expression_with_seconds(connect: Connect, queue: str) -> None:
    peer = connect()
    subscribe(peer, queue)
    send(peer, queue, "tick", "x-cron:* * * * * *", "x-schedule-id:clock")
    first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    due = [int(message["scheduled-at"]) for message in (first, second)]
    assert [one % 1000 for one in due] == [0, 0]
    assert due[1] - due[0] == 1000
    assert (first["scheduledJobId"], first["scheduled-number"]) == ("clock", "1")
    assert send(peer, queue, "", "x-schedule-id:clock", "x-schedule-cancel:true")["cancelled"]


def test_at_each_cron_time_so_many_after_a_delay(connect: Connect, queue: str) -> None:
    peer = connect()
    subscribe(peer, queue)
    send(
        peer,
        queue,
        "x",
        "AMQ_SCHEDULED_CRON:* * * * * *",
        "AMQ_SCHEDULED_DELAY:200",
        "AMQ_SCHEDULED_PERIOD:100",
        "AMQ_SCHEDULED_REPEAT:2",
        "x-schedule-id:series",
    )
    due = [int(peer.expect("MESSAGE")["scheduled-at"]) % 1000 for _ in range(4)]
    assert due == [200, 300, 400, 200]
    send(peer, queue, "", "x-schedule-id:series", "x-schedule-cancel:true")


def test_a_name_is_one_schedule_and_the_last_send_says_what_it_is(
    connect: Connect, broker: RunningBroker, queue: str
) -> None:
    peer = connect()
    subscribe(peer, queue)
    send(peer, queue, "old", f"x-delay:{YEAR}", "x-schedule-id:a", "color:red")
    send(peer, queue, "new", "x-delay:100", "x-schedule-id:a", "color:blue")
    send(peer, queue, "other", "x-delay:100", "x-schedule-id:b")
    assert {peer.expect("MESSAGE").body for _ in range(2)} == {b"new", b"other"}
    assert planned(broker, queue) == []


def test_the_receipt_says_whether_a_schedule_was_cancelled(
    connect: Connect, broker: RunningBroker, queue: str
) -> None:
    peer = connect()
    subscribe(peer, queue)
    cancel = ("x-schedule-id:a", "x-schedule-cancel:true")
    assert send(peer, queue, "", *cancel)["cancelled"] == "false"
    send(peer, queue, "x", f"x-delay:{YEAR}", "x-schedule-id:a")
    assert planned(broker, queue) == ["a"]
    assert send(peer, queue, "", *cancel)["cancelled"] == "true"
    assert planned(broker, queue) == []
    assert send(peer, queue, "", *cancel)["cancelled"] == "false"
    send(peer, queue, "x", "x-delay:50", "x-schedule-id:a")
    assert peer.expect("MESSAGE").body == b"x"
    assert send(peer, queue, "", *cancel)["cancelled"] == "false"


def test_in_a_transaction_it_counts_from_commit(
    connect: Connect, broker: RunningBroker, queue: str
) -> None:
    peer, other = connect(), connect()
    subscribe(other, queue)
    send(peer, queue, "old", f"x-delay:{YEAR}", "x-schedule-id:a")
    send(peer, queue, "gone", f"x-delay:{YEAR}", "x-schedule-id:b")
    peer.send(
        "BEGIN\ntransaction:t\n\n\0"
        f"SEND\ndestination:{queue}\ntransaction:t\nx-schedule-id:a\nx-delay:50\n\nnew\0"
        f"SEND\ndestination:{queue}\ntransaction:t\nx-schedule-id:b\nx-schedule-cancel:true\n\n\0"
    )
    peer.sync()
    assert not other.hears(0.2)
    assert planned(broker, queue) == ["a", "b"]
    peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "c"
    assert other.expect("MESSAGE").body == b"new"
    assert planned(broker, queue) == []


def test_names_of_one_destination_are_not_those_of_another(connect: Connect, queue: str) -> None:
    peer = connect()
    send(peer, queue, "one", f"x-delay:{YEAR}", "x-schedule-id:a")
    send(peer, queue + ".other", "two", f"x-delay:{YEAR}", "x-schedule-id:a")
    cancel = ("x-schedule-id:a", "x-schedule-cancel:true")
    assert send(peer, queue, "", *cancel)["cancelled"] == "true"
    assert send(peer, queue + ".other", "", *cancel)["cancelled"] == "true"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (("x-cron:61 * * * *",), "bad minute"),
        (("AMQ_SCHEDULED_CRON:0 0 30 2 *",), "never comes true"),
        (("x-cron:@daily", "x-cron-zone:Nowhere"), "time zone"),
        (("x-repeat-every:99",), "100"),
        (("x-repeat-times:3",), "x-repeat-every"),
        (("x-cron:@daily", "AMQ_SCHEDULED_CRON:@hourly"), "different things"),
        (("x-schedule-id:a",), "nothing says when"),
        (("x-schedule-cancel:true",), "x-schedule-id"),
    ],
)
def test_what_means_nothing_is_refused(
    connect: Connect, queue: str, headers: tuple[str, ...], said: str
) -> None:
    peer = connect()
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SEND\ndestination:{queue}\n{lines}receipt:r\n\n\0")
    error = peer.expect_error("bad-header", "r")
    assert said in error.body.decode() + error["message"]


def test_a_series_keeps_step_whatever_the_time_it_takes(connect: Connect, queue: str) -> None:
    peer = connect()
    subscribe(peer, queue)
    begun = time.time_ns() // 1_000_000
    send(peer, queue, "x", "x-repeat-every:100", "x-repeat-times:9", "x-schedule-id:s")
    due = [int(peer.expect("MESSAGE")["scheduled-at"]) for _ in range(10)]
    assert due == [due[0] + 100 * number for number in range(10)]
    assert due[0] >= begun + 100
