"""Consumers of a queue that choose by selectors (the manual, *Choosing in queues*)."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, stats, unique

from stompy_broker import RunningBroker

RED, BLUE = "selector:colour = 'red'\n", "selector:colour = 'blue'\n"


def send(peer: Peer, destination: str, *bodies: object, headers: str = "") -> None:
    """SEND messages, and be sure that they are safe."""
    for body in bodies:
        peer.send(f"SEND\ndestination:{destination}\n{headers}\n{body}\0")
    peer.sync()


def subscribe(peer: Peer, destination: str, headers: str = "", id: str = "0") -> None:
    """SUBSCRIBE, and be sure that it was done."""
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{headers}receipt:s\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "s"


def bodies(peer: Peer, count: int) -> list[str]:
    """The bodies of the next messages."""
    return [peer.expect("MESSAGE").body.decode() for _ in range(count)]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_match_is_found_however_deep_it_stands(connect: Connect, version: str) -> None:
    queue = f"/queue/{unique()}"
    sender, taker = connect(version), connect(version)
    send(sender, queue, *range(3000), headers="colour:blue\n")
    send(sender, queue, "here", headers="colour:red\n")
    subscribe(taker, queue, RED)
    assert bodies(taker, 1) == ["here"]
    send(sender, queue, "again", headers="colour:red\n")
    assert bodies(taker, 1) == ["again"]


def test_what_nobody_takes_stays_in_its_place(connect: Connect, queue: str) -> None:
    sender, red, other = connect(), connect(), connect()
    subscribe(red, queue, RED)
    for number in range(6):
        send(sender, queue, number, headers=f"colour:{'red' if number % 2 else 'blue'}\n")
    assert bodies(red, 3) == ["1", "3", "5"]
    send(sender, queue, "7", headers="colour:red\n")
    assert bodies(red, 1) == ["7"]
    subscribe(other, queue)
    assert bodies(other, 3) == ["0", "2", "4"]


def test_each_selector_and_who_takes_everything(connect: Connect, queue: str) -> None:
    sender, red, blue, plain = connect(), connect(), connect(), connect()
    subscribe(red, queue, f"{RED}ack:client-individual\nprefetch-count:2\n")
    subscribe(blue, queue, f"{BLUE}ack:client-individual\nprefetch-count:2\n")
    subscribe(plain, queue, "ack:client-individual\nprefetch-count:1\n")
    for number in range(4):
        send(sender, queue, f"r{number}", headers="colour:red\n")
    send(sender, queue, "b0", headers="colour:blue\n")
    send(sender, queue, "green", headers="colour:green\n")
    # In turn among those that match; who has no credit is passed over.
    assert bodies(red, 2) == ["r0", "r2"]
    first = plain.expect("MESSAGE")
    assert first.body == b"r1"
    assert bodies(blue, 1) == ["b0"]
    plain.send(f"ACK\nid:{first['ack']}\n\n\0")
    assert bodies(plain, 1) == ["r3"]


def test_a_message_that_comes_back_is_next(connect: Connect, queue: str) -> None:
    sender, red = connect(), connect()
    subscribe(red, queue, f"{RED}ack:client-individual\nprefetch-count:1\n")
    send(sender, queue, "first", "second", headers="colour:red\n")
    frame = red.expect("MESSAGE")
    red.send(f"NACK\nid:{frame['ack']}\n\n\0")
    frame = red.expect("MESSAGE")
    assert (frame.body, frame["redelivered"]) == (b"first", "true")
    red.close()
    again = connect()
    subscribe(again, queue, "selector:colour = 'red' AND JMSXDeliveryCount >= 3\n")
    assert bodies(again, 1) == ["first"]


def test_an_aborted_ack_leaves_the_message_with_its_consumer(connect: Connect, queue: str) -> None:
    sender, red, other = connect(), connect(), connect()
    subscribe(red, queue, f"{RED}ack:client-individual\n")
    send(sender, queue, "one", headers="colour:red\n")
    frame = red.expect("MESSAGE")
    ack = f"ACK\nid:{frame['ack']}\ntransaction:t\n\n\0"
    red.send(f"BEGIN\ntransaction:t\n\n\0{ack}ABORT\ntransaction:t\n\n\0")
    red.sync()
    subscribe(other, queue, RED)
    red.close()  # neither settled nor claimed any more, so it comes back with the connection
    assert bodies(other, 1) == ["one"]


def test_a_committed_ack_is_the_end_of_it(connect: Connect, queue: str) -> None:
    sender, red = connect(), connect()
    subscribe(red, queue, f"{RED}ack:client-individual\nprefetch-count:1\n")
    send(sender, queue, "one", "two", headers="colour:red\n")
    frame = red.expect("MESSAGE")
    ack = f"ACK\nid:{frame['ack']}\ntransaction:t\n\n\0"
    red.send(f"BEGIN\ntransaction:t\n\n\0{ack}")
    red.send(
        f"SEND\ndestination:{queue}\ntransaction:t\ncolour:red\n\nthree\0"
        "COMMIT\ntransaction:t\n\n\0"
    )
    frame = red.expect("MESSAGE")
    assert frame.body == b"two"
    red.send(f"ACK\nid:{frame['ack']}\n\n\0")
    assert bodies(red, 1) == ["three"]


def test_replies_can_be_told_apart(connect: Connect) -> None:
    peer = connect()
    for number in range(12):  # more than are asked one by one
        subscribe(
            peer, "/temp-queue/r", f"selector:JMSCorrelationID = '{number}'\n", id=str(number)
        )
    for number in reversed(range(12)):
        peer.send(f"SEND\ndestination:/temp-queue/r\ncorrelation-id:{number}\n\n{number}\0")
        frame = peer.expect("MESSAGE")
        assert (frame["subscription"], frame.body) == (str(number), str(number).encode())


def test_the_queue_is_plain_again(connect: Connect, broker: RunningBroker, queue: str) -> None:
    sender, red, other = connect(), connect(), connect()
    send(sender, queue, *range(20), headers="colour:blue\n")
    subscribe(red, queue, RED)
    red.send("UNSUBSCRIBE\nid:0\n\n\0")
    red.sync()
    subscribe(other, queue)
    assert bodies(other, 20) == [str(number) for number in range(20)]
    assert stats(broker, queue).ready == 0


def test_a_selector_that_is_none_is_refused(connect: Connect, queue: str) -> None:
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nselector:colour ='red\n\n\0")
    error = peer.expect("ERROR")
    assert error["error-code"] == "bad-selector"
    assert error["error-column"] == "9"
