"""`docs/conformance.md`, *Receipts, ERROR, DISCONNECT*: and how connections end."""

from __future__ import annotations

import re

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Pair, Peer, running_broker, until

from stompy.protocol import ClientProtocol
from stompy.protocol.headers import Version
from stompy_broker import RunningBroker

VERSIONS = ("1.0", "1.1", "1.2")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_frame_but_connect_may_ask_for_a_receipt(connect: Connect, queue: str, version: str):
    """R1, 1.2 *Header receipt*: and gets it."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client-individual\nreceipt:subscribe\n\n\0"
        "BEGIN\ntransaction:t\nreceipt:begin\n\n\0"
        f"SEND\ndestination:{queue}\ntransaction:t\nreceipt:send in it\n\n1\0"
        "COMMIT\ntransaction:t\nreceipt:commit\n\n\0"
        "BEGIN\ntransaction:t\n\n\0ABORT\ntransaction:t\nreceipt:abort\n\n\0"
        f"SEND\ndestination:{queue}\nreceipt:send\n\n2\0"
    )
    frames = [peer.read() for _ in range(8)]
    receipts = [frame["receipt-id"] for frame in frames if frame.command == "RECEIPT"]
    assert receipts == ["subscribe", "begin", "send in it", "commit", "abort", "send"]
    one, two = (frame for frame in frames if frame.command == "MESSAGE")
    for command, message in (("ACK", one), ("NACK", two)):
        name = f"id:{message['ack']}" if version == "1.2" else f"message-id:{message['message-id']}"
        peer.send(f"{command}\n{name}\nsubscription:0\nreceipt:{command}\n\n\0")
    peer.send("UNSUBSCRIBE\nid:0\nreceipt:unsubscribe\n\n\0DISCONNECT\nreceipt:bye\n\n\0")
    receipts = []
    while len(receipts) < 4:
        frame = peer.read()
        receipts += [frame["receipt-id"]] if frame.command == "RECEIPT" else []
    assert receipts == ["ACK", "NACK", "unsubscribe", "bye"]


@pytest.mark.parametrize("receipt", ["1", " 1 ", "", "a,b;c=d", "ü", "x" * 10_000])
def test_the_receipt_id_is_the_receipt(connect: Connect, receipt: str):
    """R2, 1.2 *RECEIPT*: octet by octet."""
    peer = connect("1.2")
    peer.send(f"BEGIN\ntransaction:t\nreceipt:{receipt}\n\n\0")
    assert peer.read().raw == f"RECEIPT\nreceipt-id:{receipt}\n\n\0".encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_receipts_are_cumulative(connect: Connect, queue: str, version: str):
    """R3, 1.2 *RECEIPT*: in the order of their frames, so one says that all before are done."""
    peer = connect(version)
    peer.send("BEGIN\ntransaction:t\n\n\0")
    for number in range(200):
        inside = "transaction:t\n" if number % 3 == 0 else ""
        peer.send(f"SEND\ndestination:{queue}\n{inside}receipt:{number}\n\n\0")
    receipts = [peer.expect("RECEIPT")["receipt-id"] for _ in range(200)]
    assert receipts == [str(number) for number in range(200)]


def test_a_receipt_means_processed(broker: RunningBroker, connect: Connect, queue: str):
    """R3, 1.2 *RECEIPT*: the message is in its queue."""
    peer = connect("1.2")
    peer.send(f"SEND\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\nreceipt:r\n\n\0")
    peer.expect("RECEIPT")
    name = queue.removeprefix("/queue/")
    assert [row.ready for row in broker.queues() if row.name == name] == [2]


@pytest.mark.parametrize("version", VERSIONS)
def test_error_then_close(connect: Connect, queue: str, version: str):
    """R4, 1.2 *ERROR*: in every version, and nothing that came later is done."""
    peer, other = connect(version), connect(version)
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    other.sync()
    peer.send("NONSENSE\n\n\0", f"SEND\ndestination:{queue}\nreceipt:r\n\n\0")
    peer.expect_error("unknown-command")
    other.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_before_the_bad_one_are_done(connect: Connect, queue: str, version: str):
    """R4, 1.2 *ERROR*: and their receipts come before the ERROR."""
    peer, other = connect(version), connect(version)
    peer.send(f"SEND\ndestination:{queue}\nreceipt:r\n\nbody\0", "NONSENSE\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "r"
    peer.expect_error("unknown-command")
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    assert other.bodies(1) == [b"body"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_explains_itself(connect: Connect, version: str):
    """R5, 1.2 *ERROR*: a short ``message``, a word for programs, a sentence in the body."""
    peer = connect(version)
    peer.send("COMMIT\ntransaction:no\n\n\0")
    error = peer.expect_error("unknown-transaction")
    assert error["message"] == "Unknown transaction"
    assert error["failed-command"] == "COMMIT"
    assert error.body == b"no transaction 'no' is open\n"


@pytest.mark.parametrize(
    "frame",
    [
        "SEND\nreceipt:r\n\n\0",
        "NONSENSE\nreceipt:r\n\n\0",
        "COMMIT\ntransaction:no\nreceipt:r\n\n\0",
        "UNSUBSCRIBE\nid:no\nreceipt:r\n\n\0",
        "SEND\ndestination:/queue/a\nreceipt:r\ncontent-length:1\n\nabc\0",
        "SEND\ndestination:/queue/a\nreceipt:r\ncontent-length:x\n\nabc\0",
        "BEGIN\ntransaction:t\nreceipt:r\n\nabc\0",
        "CONNECTED\nreceipt:r\n\n\0",
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_error_answers_the_receipt(connect: Connect, version: str, frame: str):
    """R6, 1.2 *ERROR*: ``receipt-id`` on the ERROR, and no RECEIPT beside it."""
    peer = connect(version)
    peer.send(frame)
    error = peer.expect("ERROR")
    assert error.all("receipt-id") == ["r"]
    peer.expect_eof()


def test_only_its_own_receipt(connect: Connect):
    """R6, 1.2 *ERROR*: not that of an earlier frame."""
    peer = connect("1.2")
    peer.send("BEGIN\ntransaction:t\nreceipt:r\n\n\0BEGIN\ntransaction:t\n\n\0")
    peer.expect("RECEIPT")
    peer.expect_error("duplicate-transaction", receipt=None)


@pytest.mark.parametrize("version", VERSIONS)
def test_disconnect_with_receipt(connect: Connect, queue: str, version: str):
    """R7, 1.2 *DISCONNECT*: the RECEIPT is the last frame, after everything before."""
    peer = connect(version)
    peer.send(f"SEND\ndestination:{queue}\nreceipt:1\n\n\0DISCONNECT\nreceipt:2\n\n\0")
    assert peer.read().raw == b"RECEIPT\nreceipt-id:1\n\n\0"
    assert peer.read().raw == b"RECEIPT\nreceipt-id:2\n\n\0"
    peer.expect_eof()


@pytest.mark.parametrize("version", VERSIONS)
def test_disconnect_without_receipt(connect: Connect, version: str):
    """R7, 1.2 *DISCONNECT*: the broker closes."""
    peer = connect(version)
    peer.send("DISCONNECT\n\n\0")
    peer.expect_eof()


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_done_after_disconnect(connect: Connect, queue: str, version: str):
    """R8, 1.2 *DISCONNECT*: frames after it are ignored, good ones and bad ones."""
    peer, other = connect(version), connect(version)
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    other.sync()
    peer.send("DISCONNECT\nreceipt:bye\n\n\0", f"SEND\ndestination:{queue}\n\n\0", "BAD\n\n\0")
    assert peer.expect("RECEIPT")["receipt-id"] == "bye"
    peer.expect_eof()
    peer.send(f"SEND\ndestination:{queue}\nreceipt:r\n\n\0")
    assert peer.rest() == b""
    other.sync()


def test_the_last_frame_arrives_although_the_client_goes_on_writing(connect: Connect):
    """R9, 1.2 *Connection Lingering*: unread input does not make the kernel destroy the ERROR."""
    peer = connect("1.2")
    peer.send("NONSENSE\nreceipt:r\n\n\0" + "SEND\ndestination:/queue/a\n\nx\0" * 20_000)
    peer.expect_error("unknown-command", receipt="r")


def test_the_last_receipt_arrives_although_the_client_closed_its_side(connect: Connect, queue: str):
    """R9, 1.2 *Connection Lingering*: half a connection is enough to be told."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n\nbody\0DISCONNECT\nreceipt:bye\n\n\0")
    peer.finish()
    assert peer.bodies(1) == [b"body"]
    assert peer.expect("RECEIPT")["receipt-id"] == "bye"
    peer.expect_eof()


@pytest.mark.parametrize("leave", [True, False])
def test_much_that_waits_is_still_written_to_a_client_that_closed_its_side(
    broker: RunningBroker, leave: bool
):
    """R9, 1.2 *Connection Lingering*: also what the socket did not take at once."""
    with Peer.open(broker.port, receive_buffer=8_192) as peer:
        receipt = "r" * 16_000
        peer.send(f"SEND\ndestination:/topic/nobody\nreceipt:{receipt}\n\n\0" * 400)
        peer.send("DISCONNECT\nreceipt:bye\n\n\0" if leave else "\n")
        peer.finish()
        receipts = [peer.expect("RECEIPT")["receipt-id"] for _ in range(400 + leave)]
        assert receipts == [receipt] * 400 + ["bye"] * leave
        peer.expect_eof()


def test_a_client_that_does_not_close_is_cut_off():
    """R9, 1.2 *Connection Lingering*: after the linger time."""
    with running_broker(times={"linger": 0.2}) as broker, Peer.open(broker.port) as peer:
        peer.send("DISCONNECT\nreceipt:bye\n\n\0")
        peer.expect("RECEIPT")
        until(lambda: broker.connections() == 0, "the broker to lose its patience")


@pytest.mark.parametrize("end", ["close", "finish"])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_received_is_done(connect: Connect, queue: str, version: str, end: str):
    """R10, 1.2 *RECEIPT*: also when the client has gone in the meantime."""
    peer = connect(version)
    peer.send("".join(f"SEND\ndestination:{queue}\n\n{n}\0" for n in range(1000)))
    getattr(peer, end)()
    other = connect("1.2")
    other.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    assert other.bodies(1000) == [str(n).encode() for n in range(1000)]


def test_clients_may_come_and_go(broker: RunningBroker, pair: Pair):
    """R11, 1.1 *Connecting*: servers must support clients that connect and disconnect rapidly."""
    for number in range(90):
        with Peer(broker.port) as peer:
            peer.send("CONNECT\naccept-version:1.1\nhost:x\n\n\0")
            if number % 3:
                peer.send("DISCONNECT\nreceipt:bye\n\n\0")
            if number % 3 == 1:  # the others leave without a look
                peer.expect("CONNECTED")
                peer.expect("RECEIPT")
                peer.expect_eof()
    pair.exchange()


COMMANDS = ["NONSENSE", "CONNECTED", "MESSAGE", "RECEIPT", "ERROR", "SENDX", "SUB", "ack", " SEND"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_other_commands(connect: Connect, version: str, command: str):
    """R12, 1.2 *Client Frames*: are an error; names are compared exactly."""
    peer = connect(version)
    peer.send(f"{command}\nid:0\ndestination:/queue/a\nreceipt:r\n\n\0")
    server_frame = command in ("CONNECTED", "MESSAGE", "RECEIPT", "ERROR")
    peer.expect_error("unexpected-frame" if server_frame else "unknown-command", receipt="r")


def test_a_client_takes_frames_it_does_not_know():
    """R13, 1.2 *Server Frames*: they are handed on, and are no failure."""
    client = ClientProtocol()
    client.connect({"host": "x"})
    frames = client.receive_data(
        b"CONNECTED\nversion:1.2\n\n\0NEWS\nx:1\n\n\0RECEIPT\nreceipt-id:1\n\n\0", 0.0
    )
    assert [frame.Command for frame in frames] == ["CONNECTED", "NEWS", "RECEIPT"]
    assert client.failure is None
    assert client.version is Version.V1_2


def test_the_broker_writes_only_the_frames_of_the_specification(connect: Connect, queue: str):
    """R13, 1.2 *Server Frames*: CONNECTED, MESSAGE, RECEIPT, ERROR; one EOL after each NUL."""
    peer = connect(None)
    peer.send(
        "CONNECT\naccept-version:1.2\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:1\n\n\0"
        f"SEND\ndestination:{queue}\n\nbody\0SEND\ndestination:{queue}\n\nbody\0BAD\n\n\0"
    )
    written = peer.rest()
    commands = re.findall(rb"(?:^|\0\n)([^\n\0]+)\n", written)
    assert commands == [b"CONNECTED", b"RECEIPT", b"MESSAGE", b"MESSAGE", b"ERROR"]
    assert written.endswith(b"\0\n")
