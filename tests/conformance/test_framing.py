"""`docs/conformance.md`, *Framing*: how bytes become frames."""

from __future__ import annotations

import pytest
from tests.conformance.conftest import Connect
from tests.support.wire import Pair, unique

from stompy.protocol.codec import FrameParser
from stompy.protocol.headers import Version

VERSIONS = ("1.0", "1.1", "1.2")


def test_eols_may_stand_before_the_first_frame(connect: Connect):
    """F1, 1.2 *STOMP Frames*: leading EOLs are passed over, CR LF ones too."""
    peer = connect(None)
    peer.send("\n\n\r\n\nCONNECT\naccept-version:1.2\nhost:x\n\n\0")
    assert peer.expect("CONNECTED")["version"] == "1.2"


@pytest.mark.parametrize("version", VERSIONS)
def test_content_length_means_nothing_where_there_is_no_body(
    connect: Connect, queue: str, version: str
):
    """F4, 1.2 *Header content-length*: some clients send back that of the MESSAGE with its ACK."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n\nhello\0")
    message = peer.expect("MESSAGE")
    names = f"id:{message.get('ack')}\nsubscription:0\nmessage-id:{message['message-id']}\n"
    peer.send(f"ACK\n{names}content-length:5\n\n\0")
    peer.sync()
    peer.send("DISCONNECT\ncontent-length:100\nreceipt:bye\n\n\0")
    peer.expect("RECEIPT")
    peer.expect_eof()


@pytest.mark.parametrize("version", VERSIONS)
def test_eols_may_stand_between_frames(connect: Connect, version: str):
    """F1, 1.2 *STOMP Frames*: any number of EOLs follows the NUL."""
    peer = connect(version)
    peer.send("\n\n\nBEGIN\ntransaction:a\nreceipt:1\n\n\0\n\r\n\n")
    peer.send("\nABORT\ntransaction:a\nreceipt:2\n\n\0\n")
    assert peer.read().raw == b"RECEIPT\nreceipt-id:1\n\n\0"
    assert peer.read().raw == b"RECEIPT\nreceipt-id:2\n\n\0"
    peer.sync()


def test_a_frame_is_command_headers_blank_line_body_nul(connect: Connect, queue: str):
    """F1, 1.2 *STOMP Frames*: what the broker writes has that form, without padding."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:7\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\n\nbody\0")
    message = peer.expect("MESSAGE")
    head = b"".join(b"%b:%b\n" % (n.encode(), v.encode()) for n, v in message.headers)
    assert message.raw == b"MESSAGE\n" + head + b"\nbody\0"


@pytest.mark.parametrize("version", VERSIONS)
def test_lf_ends_a_line(connect: Connect, version: str):
    """F2, 1.2 *STOMP Frames*: LF ends a line in every version."""
    peer = connect(None)
    peer.send(f"CONNECT\naccept-version:{version}\nhost:x\n\n\0")
    assert peer.expect("CONNECTED")["version"] == version
    peer.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_connect_may_end_its_lines_with_cr_lf(connect: Connect, version: str):
    """F2, 1.2 *STOMP Frames*: CR LF ends its lines, since the version is not known yet."""
    peer = connect(None)
    peer.send(f"CONNECT\r\naccept-version:{version}\r\nhost:x\r\n\r\n\0")
    assert peer.expect("CONNECTED")["version"] == version


def test_cr_lf_ends_a_line_in_1_2(connect: Connect, queue: str):
    """F2, 1.2 *STOMP Frames*: CR LF ends a line, and the CR belongs to nothing; mixing is fine."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\r\nid:0\r\ndestination:{queue}\r\nreceipt:1\r\n\r\n\0")
    assert peer.read().raw == b"RECEIPT\nreceipt-id:1\n\n\0"
    peer.send(f"SEND\ndestination:{queue}\r\nx:1\n\r\nCR LF\r\n\r\n and LF\n\n stay\0")
    message = peer.expect("MESSAGE")
    assert message["destination"] == queue
    assert message["x"] == "1"
    assert message.body == b"CR LF\r\n\r\n and LF\n\n stay"


def test_in_1_1_a_cr_before_lf_belongs_to_the_value(connect: Connect, queue: str):
    """F2, 1.1 *STOMP Frames*: only LF ends a line; a CR is an octet of the value."""
    old, new = connect("1.1"), connect("1.2")
    new.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    new.sync()
    old.send(f"SEND\ndestination:{queue}\nx:1\r\n\n\0")
    assert new.expect("MESSAGE")["x"] == r"1\r"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_command_that_ends_with_cr_lf_has_a_head_that_does(
    connect: Connect, queue: str, version: str
):
    """F2, 1.1 *STOMP Frames*: no command has a CR, so nothing else can be meant."""
    peer, new = connect(version), connect("1.2")
    new.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    new.sync()
    for end in ("\r\n\r\n", "\r\n\n"):
        frame = f"SEND\r\ndestination:{queue}\r\nx:1{end}body\r\n\n\0\r\n"
        peer.send(frame)
        peer.dribble(frame)
        for _ in range(2):
            message = new.expect("MESSAGE")
            assert (message["x"], message.body) == ("1", b"body\r\n\n")
    peer.sync()


def test_cr_and_lf_may_arrive_apart():
    """F2, 1.2 *STOMP Frames*: a CR LF that is cut between two reads is still one line end."""
    data = (
        b"\r\nSEND\r\ndestination:/queue/a\r\n\r\nbody\r\n\0"
        b"\r\n\r\nBEGIN\r\ntransaction:1\r\n\r\n\0"
    )
    for cut in range(len(data) + 1):
        parser = FrameParser(version=Version.V1_2)
        frames = parser.feed(data[:cut]) + parser.feed(data[cut:])
        assert parser.failure is None, cut
        assert [(head.command, head.headers, body) for head, body in frames] == [
            ("SEND", {"destination": "/queue/a"}, b"body\r\n"),
            ("BEGIN", {"transaction": "1"}, b""),
        ]


@pytest.mark.parametrize("command", ["connect", "Connect", "stomp"])
def test_connect_is_case_sensitive(connect: Connect, command: str):
    """F3, 1.2 *STOMP Frames*: there is no command ``connect``."""
    peer = connect(None)
    peer.send(f"{command}\naccept-version:1.2\nhost:x\n\n\0")
    peer.expect_error("unknown-command")


@pytest.mark.parametrize("version", VERSIONS)
def test_commands_are_case_sensitive(connect: Connect, version: str):
    """F3, 1.2 *STOMP Frames*: there is no command ``Send``."""
    peer = connect(version)
    peer.send("Send\ndestination:/queue/a\n\n\0")
    peer.expect_error("unknown-command")


@pytest.mark.parametrize("version", VERSIONS)
def test_header_names_are_case_sensitive(connect: Connect, version: str):
    """F3, 1.2 *STOMP Frames*: ``Destination`` is some other header."""
    peer = connect(version)
    peer.send("SEND\nDestination:/queue/a\n\n\0")
    peer.expect_error("missing-header")


@pytest.mark.parametrize("version", VERSIONS)
def test_content_length_counts_every_octet(connect: Connect, queue: str, version: str):
    """F4, 1.2 *Header content-length*: NULs and line ends inside the body are body."""
    peer = connect(version)
    body = b"\0\n\0SEND\ndestination:/queue/no\n\n\0\xff\0"
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\ncontent-length:{len(body)}\n\n", body, b"\0")
    message = peer.expect("MESSAGE")
    assert message.body == body
    assert message.all("content-length") == [str(len(body))]
    peer.sync()


def test_content_length_may_stand_on_every_frame(connect: Connect, queue: str):
    """F4, 1.2 *Header content-length*: all frames may include it."""
    peer = connect(None)
    peer.send("CONNECT\naccept-version:1.2\ncontent-length:0\nhost:x\n\n\0")
    peer.expect("CONNECTED")
    zero = "content-length:0\n"
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\nack:client\n{zero}\n\0"
        f"BEGIN\ntransaction:1\n{zero}\n\0"
        f"SEND\ntransaction:1\ndestination:{queue}\n{zero}\n\0"
        f"COMMIT\ntransaction:1\n{zero}\n\0"
    )
    ack = peer.expect("MESSAGE")["ack"]
    peer.send(
        f"ACK\nid:{ack}\n{zero}\n\0UNSUBSCRIBE\nid:0\n{zero}\n\0DISCONNECT\nreceipt:bye\n{zero}\n\0"
    )
    assert peer.expect("RECEIPT")["receipt-id"] == "bye"
    peer.expect_eof()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_nul_must_follow_a_body_of_known_length(connect: Connect, version: str):
    """F4, 1.2 *Header content-length*: an octet other than NUL there is an error."""
    peer = connect(version)
    peer.send("SEND\ndestination:/queue/a\nreceipt:r\ncontent-length:3\n\nbody\0")
    peer.expect_error("malformed-frame", receipt="r")


@pytest.mark.parametrize("value", ["-1", "+1", "1.0", "0x10", "ten", "", "1 ", "\u0661", "9" * 40])
def test_content_length_is_a_plain_number(connect: Connect, value: str):
    """F4, 1.2 *Header content-length*: anything else is refused before the body comes."""
    peer = connect("1.2")
    peer.send(f"SEND\ndestination:/queue/a\nreceipt:r\ncontent-length:{value}\n\n")
    peer.expect_error("bad-content-length", receipt="r")


def test_a_huge_content_length_is_refused_before_the_body_comes(connect: Connect):
    """F4, 1.2 *Size Limits*: nothing is allocated for a body beyond the limit."""
    peer = connect("1.2")
    peer.send("SEND\ndestination:/queue/a\nreceipt:r\ncontent-length:99999999999\n\n")
    peer.expect_error("frame-too-large", receipt="r")


@pytest.mark.parametrize("version", VERSIONS)
def test_without_content_length_the_first_nul_ends_the_body(
    connect: Connect, queue: str, version: str
):
    """F5, 1.2 *Body*: the body ends at the first NUL."""
    peer = connect(version)
    peer.send(
        f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0"
        f"SEND\ndestination:{queue}\n\none\n\n:two\0\nSEND\ndestination:{queue}\n\n\0"
    )
    assert peer.bodies(2) == [b"one\n\n:two", b""]
    peer.sync()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_body_of_the_broker_has_a_content_length(connect: Connect, queue: str, version: str):
    """F6, 1.2 *Header content-length*: MESSAGE and ERROR carry it, once, also if SEND did not."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0SEND\ndestination:{queue}\n\nbody\0")
    assert peer.expect("MESSAGE").all("content-length") == ["4"]
    peer.send("NONSENSE\n\n\0")
    error = peer.expect_error("unknown-command")
    assert error.all("content-length") == [str(len(error.body))]


BODILESS = {
    "SUBSCRIBE": "id:1\ndestination:/queue/bodiless\n",
    "UNSUBSCRIBE": "id:0\n",
    "BEGIN": "transaction:t\n",
    "DISCONNECT": "",
}


@pytest.mark.parametrize("command", BODILESS)
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_only_send_may_have_a_body(connect: Connect, queue: str, version: str, command: str):
    """F7, 1.2 *Body*: a body on another command is an error."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"{command}\n{BODILESS[command]}receipt:r\n\nbody\0")
    peer.expect_error("unexpected-body", receipt="r")


@pytest.mark.parametrize("length", ["", "content-length:4\n"])
def test_in_1_0_the_body_of_a_subscribe_is_ignored(connect: Connect, queue: str, length: str):
    """F7, 1.0 *Client Commands*: 1.0 says that the body of SUBSCRIBE is ignored."""
    peer = connect("1.0")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\nreceipt:r\n{length}\nbody\0")
    assert peer.read().raw == b"RECEIPT\nreceipt-id:r\n\n\0"
    peer.sync()


def test_of_repeated_headers_the_first_counts(connect: Connect, queue: str):
    """F8, 1.2 *Repeated Header Entries*: only the first one is used."""
    peer = connect("1.2")
    other = f"/queue/{unique('other')}"
    peer.send(f"SUBSCRIBE\nid:0\nid:1\ndestination:{queue}\ndestination:{other}\n\n\0")
    peer.send(
        f"SEND\ndestination:{queue}\ndestination:{other}\nreceipt:a\nreceipt:b\n"
        "x:first\nx:second\n\nbody\0"
    )
    message = peer.expect("MESSAGE")
    assert message["subscription"] == "0"
    assert message["destination"] == queue
    assert message["x"] == "first"
    assert peer.read().raw == b"RECEIPT\nreceipt-id:a\n\n\0"
    peer.sync()


def test_the_first_content_length_counts(connect: Connect, queue: str):
    """F8, 1.2 *Repeated Header Entries*: also where frames are cut."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\ncontent-length:3\ncontent-length:1\n\na\0b\0")
    assert peer.expect("MESSAGE").body == b"a\0b"
    peer.sync()


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_blanks_in_headers_are_kept(connect: Connect, queue: str, version: str):
    """F9, 1.2 *STOMP Frames*: neither names nor values are trimmed or padded."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid: 0 \ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\nx:  a b\t \n y :1\nempty:\nreceipt: r \n\n\0")
    message = peer.expect("MESSAGE")
    assert message["subscription"] == " 0 "
    assert message["x"] == "  a b\t "
    assert message[" y "] == "1"
    assert message["empty"] == ""
    assert peer.read().raw == b"RECEIPT\nreceipt-id: r \n\n\0"


def test_in_1_0_padding_is_dropped(connect: Connect, queue: str):
    """F9, 1.0: its own examples pad, so there blanks round names and values mean nothing."""
    peer = connect(None)
    peer.send("CONNECT\nlogin: guest \npasscode: guest\n\n\0")
    assert peer.expect("CONNECTED")["user-name"] == "guest"
    peer.send(f"SUBSCRIBE\ndestination: {queue}\nack: auto\n\n\0")
    peer.send(f"SEND\ndestination:{queue} \nx : a b \nreceipt: r\n\n\0")
    assert peer.expect("MESSAGE")["x"] == "a b"
    assert peer.read().raw == b"RECEIPT\nreceipt-id:r\n\n\0"


@pytest.mark.parametrize("line", ["nonsense", ":value", ":", "nonsense\nx:1"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_header_line_has_a_name_and_a_colon(connect: Connect, version: str, line: str):
    """F10, 1.2 *Augmented BNF*: a line without colon or without name is no header."""
    peer = connect(version)
    peer.send(f"SEND\nreceipt:r\ndestination:/queue/a\n{line}\n\nbody\0")
    peer.expect_error("malformed-frame", receipt="r")


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_headers_are_utf_8(connect: Connect, version: str):
    """F11, 1.2 *Value Encoding*: names and values are UTF-8."""
    peer = connect(version)
    queue = f"/queue/Grüße-日本-{unique()}"
    peer.send(f"SUBSCRIBE\nid:ü\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\nключ:значение\nreceipt:€\n\n\0")
    message = peer.expect("MESSAGE")
    assert message["destination"] == queue
    assert message["subscription"] == "ü"
    assert message["ключ"] == "значение"
    assert peer.read().raw == "RECEIPT\nreceipt-id:€\n\n\0".encode()


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_headers_that_are_not_utf_8_are_refused(connect: Connect, version: str, octets: bytes):
    """F11, 1.2 *Value Encoding*: other octets are an error."""
    peer = connect(version)
    peer.send(b"SEND\ndestination:/queue/a\nx:", octets, b"\n\n\0")
    peer.expect_error("bad-encoding")


def test_1_0_does_not_say_which_encoding(connect: Connect, queue: str):
    """F11, 1.0: octets that are no UTF-8 pass through unharmed."""
    peer = connect("1.0")
    peer.send(f"SUBSCRIBE\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\nx:".encode(), b"caf\xe9\nreceipt:\xe9\n\nbody\0")
    assert b"\nx:caf\xe9\n" in peer.expect("MESSAGE").raw
    assert peer.read().raw == b"RECEIPT\nreceipt-id:\xe9\n\n\0"


UNFINISHED = {
    "command": "C" * 40,
    "header line": "SEND\nx:" + "y" * 17_000,
    "headers": "SEND\n" + "".join(f"h{n}:x\n" for n in range(300)),
    "header block": "SEND\n" + ("x" * 8000 + ":y\n") * 140,
    "body": "SEND\ndestination:/queue/a\ncontent-length:70000000\n\n",
}


@pytest.mark.parametrize("what", UNFINISHED)
@pytest.mark.parametrize("version", VERSIONS)
def test_limits_hold_before_the_frame_is_complete(connect: Connect, version: str, what: str):
    """F12, 1.2 *Size Limits*: ERROR, then close, as soon as it is clear."""
    peer = connect(version)
    peer.send(UNFINISHED[what])
    peer.expect_error("frame-too-large")


@pytest.mark.parametrize(
    "headers", ["x:" + "y" * 16_000, "\n".join(f"h{n}:x" for n in range(250))], ids=["long", "many"]
)
def test_what_is_within_the_limits_is_taken(connect: Connect, queue: str, headers: str):
    """F12, 1.2 *Size Limits*: up to 16 KiB a line, 256 lines."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\n{headers}\n\n\0")
    name, _, value = headers.rsplit("\n", maxsplit=1)[-1].partition(":")
    assert peer.expect("MESSAGE")[name] == value


def test_far_smaller_limits_hold_before_login(connect: Connect):
    """F12, 1.2 *Size Limits*: 64 KiB for who has not logged in."""
    peer = connect(None)
    peer.send("CONNECT\naccept-version:1.2\n" + ("x" * 8000 + ":y\n") * 9)
    peer.expect_error("frame-too-large")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "content_type", ["text/plain;charset=iso-8859-1", "application/json", "not a type"]
)
def test_content_type_passes_untouched(
    connect: Connect, queue: str, version: str, content_type: str
):
    """F13, 1.2 *Header content-type*: the broker converts nothing."""
    peer = connect(version)
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    peer.send(f"SEND\ndestination:{queue}\ncontent-type:{content_type}\n\n".encode(), b"\xe9\0")
    message = peer.expect("MESSAGE")
    assert message["content-type"] == content_type
    assert message.body == b"\xe9"


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_may_come_in_one_segment(connect: Connect, queue: str, version: str):
    """F14, 1.2 *STOMP Frames*: what TCP does to the stream means nothing."""
    peer = connect(None)
    peer.send(
        f"CONNECT\naccept-version:{version}\nhost:x\n\n\0"
        f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0"
        + "".join(f"SEND\ndestination:{queue}\n\n{n}\0\n" for n in range(500))
        + "DISCONNECT\nreceipt:bye\n\n\0"
    )
    peer.expect("CONNECTED")
    assert peer.bodies(500) == [str(n).encode() for n in range(500)]
    assert peer.expect("RECEIPT")["receipt-id"] == "bye"
    peer.expect_eof()


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_frames_may_come_octet_by_octet(connect: Connect, queue: str, eol: str):
    """F14, 1.2 *STOMP Frames*: what TCP does to the stream means nothing."""
    peer = connect(None)
    peer.dribble(
        f"CONNECT\naccept-version:1.2\nhost:x\n\n\0\n"
        f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0"
        f"SEND\ndestination:{queue}\ncontent-length:3\n\na\0b\0"
        f"SEND\ndestination:{queue}\n\nü\0".replace("\n", eol)
    )
    peer.expect("CONNECTED")
    assert peer.bodies(2) == [b"a\0b", "ü".encode()]
    peer.sync()


def test_a_frame_may_come_in_two_parts(pair: Pair, connect: Connect, queue: str):
    """F14, 1.2 *STOMP Frames*: others go on while half a frame has arrived."""
    peer = connect("1.2")
    peer.send(f"SUBSCRIBE\nid:0\ndestination:{queue}\n\n\0")
    frame = f"SEND\ndestination:{queue}\ncontent-length:4\n\nbo", "dy\0"
    peer.send(frame[0])
    pair.exchange()
    peer.send(frame[1])
    assert peer.expect("MESSAGE").body == b"body"
