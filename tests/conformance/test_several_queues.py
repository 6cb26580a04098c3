"""`docs/wire.md`, *Several at once*: one SUBSCRIBE to several queues and topics."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.conformance.test_message_ack import fill, left, settle
from tests.support.wire import Frame, Peer

VERSIONS = ("1.0", "1.1", "1.2")


def subscribe(peer: Peer, destination: str, *headers: str, id: str = "0") -> None:
    """SUBSCRIBE, and wait until it stands."""
    lines = "".join(f"{line}\n" for line in headers)
    peer.send(f"SUBSCRIBE\nid:{id}\ndestination:{destination}\n{lines}\n\0")
    peer.sync()


def send(peer: Peer, destination: str, *bodies: str) -> None:
    for body in bodies:
        peer.send(f"SEND\ndestination:{destination}\n\n{body}\0")
    peer.sync()


def came(peer: Peer, count: int) -> list[tuple[str, bytes]]:
    """Destination and body of the next messages."""
    frames = [peer.expect("MESSAGE") for _ in range(count)]
    return [(frame["destination"], frame.body) for frame in frames]


@pytest.mark.parametrize("version", VERSIONS)
def test_messages_of_all_parts_come_under_one_id(connect: Connect, queue: str, version: str):
    """C1.5.3: one id; MESSAGE's destination tells the part."""
    peer = connect(version)
    a, b, t = f"{queue}-a", f"{queue}-b", f"/topic/{queue[7:]}"
    subscribe(peer, f"{a},{b},{t}")
    other = connect()
    for part in (a, b, t, a):
        send(other, part, part[-1])
    frames = [peer.expect("MESSAGE") for _ in range(4)]
    assert {frame["subscription"] for frame in frames} == {"0"}
    assert [frame["destination"] for frame in frames] == [a, b, t, a]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_credit_is_one_for_all_parts(connect: Connect, queue: str, version: str, mode: str):
    """C1.5.3: one credit."""
    a, b = f"{queue}-a", f"{queue}-b"
    fill(connect(), a, 3)
    fill(connect(), b, 3)
    peer = connect(version)
    subscribe_headers = (f"ack:{mode}", "prefetch-count:2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{a},{b}\n" + "\n".join(subscribe_headers) + "\n\n\0")
    found: list[Frame] = []
    while len(found) < 6:
        two = [peer.expect("MESSAGE") for _ in range(2)]
        peer.sync()  # and no third one
        found += two
        for frame in two:
            peer.send(settle("ACK", version, frame))
    peer.sync()
    assert [(frame["destination"][-1], frame.body) for frame in found] == [
        (part, b"%d" % number) for number in (1, 2, 3) for part in ("a", "b")
    ]
    assert left(connect, a) == left(connect, b) == []


@pytest.mark.parametrize("prefetch", [1, 2, 3, 7, 0])
def test_parts_that_have_something_take_turns(connect: Connect, queue: str, prefetch: int):
    """C1.5.3: round robin over the parts that have something, as long as there is credit."""
    parts = [f"{queue}-{part}" for part in "abc"]
    for part, count in zip(parts, (6, 2, 4), strict=True):
        fill(connect(), part, count)
    peer = connect()
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{','.join(parts)}\nack:client-individual\n"
        f"prefetch-count:{prefetch}\n\n\0"
    )
    order = ""
    for _ in range(12):
        frame = peer.expect("MESSAGE")
        order += frame["destination"][-1]
        peer.send(settle("ACK", "1.2", frame))
    assert order == "abcabcacacaa"
    peer.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_ack_is_cumulative_over_the_parts(connect: Connect, queue: str, version: str):
    """C1.5.3: one ack counter; `client` covers what came before from any part."""
    a, b = f"{queue}-a", f"{queue}-b"
    peer, other = connect(version), connect()
    subscribe(peer, f"{a},{b}", "ack:client")
    for number, part in enumerate((a, b, a, b, a), 1):
        send(other, part, str(number))
    frames = [peer.expect("MESSAGE") for _ in range(5)]
    peer.send(settle("ACK", version, frames[2]))
    peer.sync()
    peer.close()
    assert left(connect, a) == [(b"5", "true")]
    assert left(connect, b) == [(b"4", "true")]


@pytest.mark.parametrize("version", VERSIONS)
def test_nack_is_cumulative_over_the_parts(connect: Connect, queue: str, version: str):
    """C1.5.3: and what it refuses comes back from where it was."""
    a, b = f"{queue}-a", f"{queue}-b"
    peer, other = connect(version), connect()
    subscribe(peer, f"{a},{b}", "ack:client")
    for number, part in enumerate((a, b, a), 1):
        send(other, part, str(number))
    frames = [peer.expect("MESSAGE") for _ in range(3)]
    peer.send(settle("NACK", version, frames[1], "requeue:false"))
    peer.sync()
    peer.close()
    assert left(connect, a) == [(b"3", "true")]
    assert left(connect, b) == []
    assert left(connect, f"/queue/DLQ.{a[7:]}") == [(b"1", "false")]
    assert left(connect, f"/queue/DLQ.{b[7:]}") == [(b"2", "false")]


@pytest.mark.parametrize("version", VERSIONS)
def test_unsubscribe_ends_all_parts(connect: Connect, queue: str, version: str):
    """C1.5.3: what is not settled returns to where it came from."""
    a, b, t = f"{queue}-a", f"{queue}-b", f"/topic/{queue[7:]}"
    peer, other = connect(version), connect()
    subscribe(peer, f"{a},{t},{b}", "ack:client-individual")
    send(other, a, "1")
    send(other, b, "2")
    send(other, t, "3")
    frames = [peer.expect("MESSAGE") for _ in range(3)]
    peer.send("UNSUBSCRIBE\nid:0\nreceipt:gone\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "gone"
    peer.send(settle("ACK", version, frames[0]))  # late, and no error
    send(other, t, "4")
    send(other, a, "5")
    peer.sync()
    assert left(connect, a) == [(b"1", "true"), (b"5", "false")]
    assert left(connect, b) == [(b"2", "true")]


@pytest.mark.parametrize("end", ["COMMIT", "ABORT"])
@pytest.mark.parametrize("mode", ["client", "client-individual"])
def test_settled_in_a_transaction(connect: Connect, queue: str, end: str, mode: str):
    """9: claims over several parts are settled, or given back, together."""
    a, b = f"{queue}-a", f"{queue}-b"
    peer, other = connect(), connect()
    subscribe(peer, f"{a},{b}", f"ack:{mode}")
    for number, part in enumerate((a, b, a), 1):
        send(other, part, str(number))
    frames = [peer.expect("MESSAGE") for _ in range(3)]
    peer.send("BEGIN\ntransaction:t\n\n\0")
    settled = frames[1:2] if mode == "client" else frames[:2]
    for frame in settled:
        peer.send(settle("ACK", "1.2", frame, "transaction:t"))
    peer.send(f"SEND\ndestination:{queue}\ntransaction:t\n\nin it\0")
    peer.send(f"{end}\ntransaction:t\nreceipt:end\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "end"
    peer.close()
    done = end == "COMMIT"
    assert left(connect, a) == [(b"1", "true")] * (not done) + [(b"3", "true")]
    assert left(connect, b) == [(b"2", "true")] * (not done)
    assert [body for body, _ in left(connect, queue)] == [b"in it"] * done


def test_a_transaction_that_outlives_the_subscription_gives_back(connect: Connect, queue: str):
    """9: ABORT after UNSUBSCRIBE."""
    a, b = f"{queue}-a", f"{queue}-b"
    peer, other = connect(), connect()
    subscribe(peer, f"{a},{b}", "ack:client")
    send(other, a, "1")
    send(other, b, "2")
    frames = [peer.expect("MESSAGE") for _ in range(2)]
    peer.send("BEGIN\ntransaction:t\n\n\0", settle("ACK", "1.2", frames[1], "transaction:t"))
    peer.send("UNSUBSCRIBE\nid:0\n\n\0")
    peer.sync()
    peer.send("ABORT\ntransaction:t\n\n\0")
    peer.sync()
    assert left(connect, a) == [(b"1", "true")]
    assert left(connect, b) == [(b"2", "true")]


def test_who_has_no_credit_leaves_new_messages_to_others(connect: Connect, queue: str):
    """C1.5.3: a part that waits in line, and has no credit any more, holds nobody up."""
    a, b = f"{queue}-a", f"{queue}-b"
    several, one, other = connect(), connect(), connect()
    subscribe(several, f"{a},{b}", "ack:client-individual", "prefetch-count:1")
    send(other, a, "1")
    held = several.expect("MESSAGE")
    subscribe(one, b)
    for number in range(5):
        send(other, b, str(number))
    assert one.bodies(5) == [b"0", b"1", b"2", b"3", b"4"]
    several.send(settle("ACK", "1.2", held))
    several.sync()
    one.send("UNSUBSCRIBE\nid:0\n\n\0")
    one.sync()
    send(other, b, "last")
    frame = several.expect("MESSAGE")
    assert (frame.body, frame["redelivered"], frame["delivery-count"]) == (b"last", "false", "1")


def test_a_message_that_was_refused_for_want_of_credit_counts_as_new(connect: Connect, queue: str):
    """8: nobody has had it."""
    a, b = f"{queue}-a", f"{queue}-b"
    peer, other = connect(), connect()
    subscribe(peer, f"{a},{b}", "ack:client-individual", "prefetch-count:1")
    send(other, a, "1")
    held = peer.expect("MESSAGE")
    send(other, b, "2")
    peer.sync()
    peer.send(settle("ACK", "1.2", held))
    frame = peer.expect("MESSAGE")
    assert (frame.body, frame["redelivered"], frame["delivery-count"]) == (b"2", "false", "1")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_copies_of_one_message_are_settled_one_by_one(connect: Connect, topic: str, version: str):
    """C1.5.3: also where a delivery is named by its message-id, which copies have in common."""
    peer = connect(version)
    subscribe(peer, f"{topic}.a,{topic}.*", "ack:client-individual", "prefetch-count:2")
    sender = connect()
    send(sender, f"{topic}.a", "1")
    first, second = peer.expect("MESSAGE"), peer.expect("MESSAGE")
    assert first["message-id"] == second["message-id"]
    send(sender, f"{topic}.a", "2")
    peer.sync()
    for _ in range(2):
        peer.send(settle("ACK", version, first))
        assert peer.expect("MESSAGE").body == b"2"
    peer.sync()


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ("{0}-a,{0}-b,{0}-a", "bad-destination"),
        ("{0}-a,/nowhere/b", "bad-destination"),
        ("{0}-a,/queue/", "bad-destination"),
        ("{0}-a,b,{0}-c", "bad-destination"),
        ("a,{0}-c", "bad-destination"),
        ("{0}-a,/topic/$SYS.queues", "bad-destination"),
        ("{0}-a,/queue/durable.x", "bad-destination"),
        ("{0}-a,/dsub/x", "not-supported"),
    ],
)
def test_one_part_that_cannot_be_fails_all(connect: Connect, queue: str, parts: str, code: str):
    """C1.5.1: each part is checked by itself; one that fails fails all."""
    peer = connect()
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{parts.format(queue)}\nreceipt:r\n\n\0")
    peer.expect_error(code, receipt="r")
    fill(connect(), f"{queue}-a", 1)
    assert left(connect, f"{queue}-a") == [(b"1", "false")]


def test_at_most_64_parts(connect: Connect, queue: str):
    """C1.5.1: and so many are possible."""
    parts = [f"{queue}-{number}" for number in range(65)]
    peer = connect()
    subscribe(peer, ",".join(parts[:64]))
    send(connect(), parts[63], "x")
    assert peer.bodies(1) == [b"x"]
    peer.send(f"SUBSCRIBE\nid:1\ndestination:{','.join(parts)}\n\n\0")
    peer.expect_error("bad-destination")


def test_several_are_not_durable(connect: Connect, queue: str, topic: str):
    """C1.5.3, R3: said by name."""
    for header in ("durable-subscription-name:d", "durable:true"):
        peer = connect("1.2", "client-id:c")
        peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue},{topic}\n{header}\n\n\0")
        error = peer.expect_error("not-supported")
        assert header.partition(":")[0].encode() in error.body


@pytest.mark.parametrize("parts", ["{0}-a,{0}-b", "{0}-a,/topic/{1},{0}-b", "{0}-*"])
def test_a_selector_is_for_all_parts(connect: Connect, queue: str, parts: str):
    """C2.1: also on composite and pattern subscriptions; what does not match stays."""
    if "*" in parts:
        queue, parts = f"{queue}.x", f"{queue}.*"
    a, b, name = f"{queue}-a", f"{queue}-b", queue[7:]
    other, peer, plain = connect(), connect(), connect()
    for part in (a, b):
        for color in ("red", "blue"):
            other.send(f"SEND\ndestination:{part}\ncolor:{color}\n\n{color}\0")
    other.sync()
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{parts.format(queue, name)}\nselector:color = 'red'\n"
        "ack:client-individual\nprefetch-count:1\n\n\0"
    )
    for _ in range(2):
        frame = peer.expect("MESSAGE")
        assert frame.body == b"red"
        peer.sync()
        for part in (a, b):  # there is no credit, and others get what they want
            other.send(f"SEND\ndestination:{part}\ncolor:green\n\n\0")
        peer.send(settle("ACK", "1.2", frame))
    peer.sync()
    if "topic" in parts:
        for color in ("blue", "red"):
            other.send(f"SEND\ndestination:/topic/{name}\ncolor:{color}\n\n{color}\0")
        assert peer.expect("MESSAGE").body == b"red"
    peer.close()
    plain.send(f"SUBSCRIBE\nid:0\ndestination:{a},{b}\n\n\0")
    assert sorted(plain.bodies(6)) == [b"", b"", b"", b"", b"blue", b"blue"]
    plain.sync()


def test_who_chooses_and_has_no_credit_leaves_it_to_others(connect: Connect, queue: str):
    """C1.5.3, C2.1: among those that take the same, who has credit gets it, once, as new."""
    a, b = f"{queue}-a", f"{queue}-b"
    several, one, other = connect(), connect(), connect()
    several.send(
        f"SUBSCRIBE\nid:0\ndestination:{a},{b}\nselector:n > 1\nack:client-individual\n"
        "prefetch-count:1\n\n\0"
    )
    several.sync()
    other.send(f"SEND\ndestination:{a}\nn:2\n\nheld\0")
    held = several.expect("MESSAGE")
    one.send(f"SUBSCRIBE\nid:0\ndestination:{b}\nselector:n > 1\n\n\0")
    one.sync()
    for number in range(1, 5):
        other.send(f"SEND\ndestination:{b}\nn:{number}\n\n{number}\0")
    frames = [one.expect("MESSAGE") for _ in range(3)]
    assert [(f.body, f["redelivered"]) for f in frames] == [
        (b"2", "false"),
        (b"3", "false"),
        (b"4", "false"),
    ]
    one.send("UNSUBSCRIBE\nid:0\n\n\0")
    one.sync()
    other.send(f"SEND\ndestination:{b}\nn:5\n\n5\0")
    other.sync()
    several.sync()
    several.send(settle("ACK", "1.2", held))
    frame = several.expect("MESSAGE")
    assert (frame.body, frame["redelivered"], frame["delivery-count"]) == (b"5", "false", "1")
    several.close()
    assert left(connect, b) == [(b"1", "false"), (b"5", "true")]
