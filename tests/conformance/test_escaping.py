r"""`docs/conformance.md`, *Escaping*: what ``\n``, ``\c``, ``\\`` and ``\r`` mean, and where."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Peer, cheap_hash, running_broker


def relay(sender: Peer, receiver: Peer, queue: str, header: str) -> bytes:
    """Send a message with one more header line; give the MESSAGE's octets."""
    receiver.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    receiver.sync()
    sender.send(f"SEND\ndestination:{queue}\n{header}\n\n\0")
    return receiver.expect("MESSAGE").raw


@pytest.mark.parametrize("line", [r"x:a\nb\cc\\d\re\tf", "x:a:b::c", "x:\\", r"a\n:1"])
def test_1_0_has_no_escapes(connect: Connect, queue: str, line: str):
    """E1, 1.0: a backslash is a backslash, and values may hold colons."""
    raw = relay(connect("1.0"), connect("1.0"), queue, line)
    assert f"\n{line}\n".encode() in raw


def test_what_1_0_sends_reads_the_same_in_1_2(connect: Connect, queue: str):
    """E1, 1.0: what needs an escape in 1.2 gets one there."""
    raw = relay(connect("1.0"), connect("1.2"), queue, r"x:a\nb:c")
    assert b"\nx:a\\\\nb\\cc\n" in raw


def test_the_frames_of_the_broker_have_no_escapes_in_1_0(connect: Connect, queue: str):
    """E1, 1.0: neither subscription, destination nor receipt-id."""
    peer = connect("1.0")
    queue = rf"{queue}:\n"
    peer.send(f"SUBSCRIBE\nid:a:\\c\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\nreceipt:r:\\n\n\n\0")
    message = peer.expect("MESSAGE")
    assert message["subscription"] == r"a:\c"
    assert message["destination"] == queue
    assert peer.read().raw == b"RECEIPT\nreceipt-id:r:\\n\n\n\0"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_three_escapes_of_1_1(connect: Connect, queue: str, version: str):
    r"""E2, 1.1 *Value Encoding*: ``\n``, ``\c`` and ``\\`` are decoded, and encoded again."""
    raw = relay(connect("1.1"), connect(version), queue, r"x:\n\c\\\\n\\c")
    assert rb"x:\n\c\\\\n\\c" in raw


def test_escapes_are_decoded(connect: Connect, queue: str):
    r"""E2, 1.1 *Value Encoding*: ``\c`` is a colon; a 1.0 consumer sees it."""
    raw = relay(connect("1.1"), connect("1.0"), queue, r"x:a\cb\\n")
    assert b"\nx:a:b\\n\n" in raw


def test_1_1_does_not_know_r(connect: Connect):
    r"""E2, 1.1 *Value Encoding*: ``\r`` is undefined there, so it is fatal."""
    peer = connect("1.1")
    peer.send("SEND\ndestination:/queue/a\nreceipt:1\nx:\\r\n\n\0")
    peer.expect_error("bad-escape", receipt="1")


def test_four_escapes_of_1_2(connect: Connect, queue: str):
    r"""E3, 1.2 *Value Encoding*: ``\r`` too."""
    raw = relay(connect("1.2"), connect("1.2"), queue, r"x:\r\n\c\\\\r")
    assert rb"x:\r\n\c\\\\r" in raw


@pytest.mark.parametrize("sequence", [r"\t", r"\N", r"\0", r"\ ", r"\:", "\\", r"\\\x"])
@pytest.mark.parametrize("place", ["x:a{}", "x:a{}:b", "{}x:a", "destination:/queue/{}"])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_undefined_escapes_are_fatal(connect: Connect, version: str, place: str, sequence: str):
    """E4, 1.2 *Value Encoding*: an undefined sequence is a fatal protocol error, everywhere."""
    peer = connect(version)
    peer.send(f"SEND\nreceipt:1\n{place.format(sequence)}\ndestination:/queue/a\n\n\0")
    peer.expect_error("bad-escape", receipt="1")


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_connect_and_connected_have_no_escapes(connect: Connect, version: str, command: str):
    r"""E5, 1.2 *Value Encoding*: in CONNECT ``\c`` is two characters, and in CONNECTED too."""
    peer = connect(None)
    peer.send(f"{command}\naccept-version:{version}\nhost:x\nlogin:a\\c\\x:b\\\n\n\0")
    assert peer.expect("CONNECTED")["user-name"] == r"a\c\x:b" + "\\"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_passcode_may_hold_backslashes(version: str):
    """E5, 1.2 *Value Encoding*: a passcode is taken as it stands."""
    passcode = r"a\x\c:\n"
    with running_broker(users={"joe": cheap_hash(passcode)}) as broker:
        with Peer.open(broker.port, version, "login:joe", f"passcode:{passcode}") as peer:
            peer.sync()


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_names_are_escaped_too(connect: Connect, queue: str, version: str):
    """E6, 1.2 *Value Encoding*: a header name may hold a colon or a line end."""
    raw = relay(connect(version), connect("1.2"), queue, r"a\cb\n\\c:1")
    assert b"\n" + rb"a\cb\n\\c:1" + b"\n" in raw


def test_escaped_names_are_decoded(connect: Connect):
    r"""E6, 1.2 *Value Encoding*: a name is compared after decoding."""
    peer = connect("1.2")
    peer.send("BEGIN\ntransaction\\c:1\n\n\0")
    peer.expect_error("missing-header")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_receipt_ids_come_back_octet_by_octet(connect: Connect, version: str):
    """E7, 1.2 *RECEIPT*: escaped as in other frames."""
    peer = connect(version)
    receipt = r"a\cb\n\\ c" + (r"\r" if version == "1.2" else "")
    peer.send(f"BEGIN\ntransaction:1\nreceipt:{receipt}\n\n\0")
    assert peer.read().raw == f"RECEIPT\nreceipt-id:{receipt}\n\n\0".encode()


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_errors_are_escaped(connect: Connect, version: str):
    """E7, 1.2 *ERROR*: escaped as other frames; ``receipt-id`` comes back as it was."""
    peer = connect(version)
    peer.send("COMMIT\ntransaction:no\\c\\n\nreceipt:a\\cb\\n\\\\\n\n\0")
    peer.expect_error("unknown-transaction", receipt=r"a\cb\n\\")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_all_of_a_message_is_escaped(connect: Connect, queue: str, version: str):
    """E7, 1.2 *Value Encoding*: subscription and destination as well."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:a\\cb\\\\\ndestination:{queue}\\cx\nack:client\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\\cx\n\n\0")
    message = peer.expect("MESSAGE")
    assert message["subscription"] == r"a\cb\\"
    assert message["destination"] == rf"{queue}\cx"
    peer.sync()


@pytest.mark.parametrize(
    "frame",
    [
        "SEND\ndestination:/queue/a\nreceipt:a:\\n\\:b\n\n\0",
        "CONNECT\naccept-version:9:\\9\nreceipt:a:b\\\n\n\0",
        "CONNECT\naccept-version:1.2\nheart-beat:\\:\n\n\0",
        "CON\\NECT:\n\n\0",
    ],
)
def test_an_error_before_the_version_is_known_needs_no_escapes(connect: Connect, frame: str):
    """E8, 1.2 *Protocol Negotiation*: it reads the same in every version."""
    peer = connect(None)
    peer.send(frame)
    error = peer.expect("ERROR")
    peer.expect_eof()
    for name, value in error.headers:
        assert not set(name + value) & set(":\r\\"), error.raw
