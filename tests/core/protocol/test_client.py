"""The client's side of the conversation, without a socket."""

import pytest

from stompy.errors import ErrorCode
from stompy.protocol.client import ClientProtocol
from stompy.protocol.codec import encode_frame
from stompy.protocol.headers import Version
from stompy.protocol.heartbeat import BEAT
from stompy.protocol.limits import Limits
from stompy.protocol.states import State


def opened(connected: str = "version:1.2\n", **options) -> ClientProtocol:
    protocol = ClientProtocol(**options)
    protocol.connect({"host": "/"})
    protocol.receive_data(f"CONNECTED\n{connected}\n\0".encode(), 0.0)
    return protocol


# -- CONNECT and CONNECTED (1.2, *Connecting*) ---------------------------------------------------


def test_connect_offers_versions_and_heart_beat():
    protocol = ClientProtocol()
    assert protocol.state is State.START
    assert protocol.connect({"host": "h", "login": "me"}) == (
        b"CONNECT\naccept-version:1.0,1.1,1.2\nheart-beat:10000,10000\nhost:h\nlogin:me\n\n\0"
    )
    assert protocol.state is State.CONNECTING


def test_what_is_given_takes_the_place_of_what_is_offered():
    protocol = ClientProtocol(versions=[Version.V1_1], heart_beat=(1, 2))
    data = protocol.connect({"accept-version": "1.1,1.2", "heart-beat": "3,4"})
    assert data == b"CONNECT\naccept-version:1.1,1.2\nheart-beat:3,4\n\n\0"
    protocol.receive_data(b"CONNECTED\nversion:1.1\nheart-beat:1000,1000\n\n\0", 0.0)
    assert (protocol.heart_beat.send, protocol.heart_beat.receive) == (1, 1)


def test_connect_is_not_escaped_and_cannot_hold_line_breaks():
    protocol = ClientProtocol()
    with pytest.raises(ValueError, match="line break"):
        protocol.connect({"passcode": "a\nb"})
    assert protocol.state is State.START
    assert b"passcode:a:b\\\n" in protocol.connect({"passcode": "a:b\\"})


@pytest.mark.parametrize(
    ("header", "version"),
    [("version:1.0\n", "1.0"), ("version:1.1\n", "1.1"), ("version:1.2\n", "1.2"), ("", "1.0")],
)
def test_the_server_chooses_the_version(header, version):
    protocol = opened(header)
    assert protocol.version == version
    assert protocol.state is State.OPEN
    assert protocol.failure is None
    assert protocol.connected.Command == "CONNECTED"


@pytest.mark.parametrize("header", ["version:1.3\n", "version:\n", "version:1.0\n", ""])
def test_a_version_that_was_not_offered_is_a_failure(header):
    protocol = opened(header, versions=[Version.V1_2, Version.V1_1])
    assert protocol.failure.error_code is ErrorCode.UNSUPPORTED_VERSION
    assert protocol.connected is None


def test_the_answer_may_come_in_pieces_with_frames_behind_it():
    data = (
        b"\nCONNECTED\nversion:1.2\nsession:x\\y\n\n\0\n"
        b"MESSAGE\nmessage-id:a\\cb\ndestination:/queue/q\n\nbody\0"
    )
    for size in (1, 7, len(data)):
        protocol = ClientProtocol()
        protocol.connect({})
        frames = []
        for start in range(0, len(data), size):
            frames += protocol.receive_data(data[start : start + size], 0.0)
        assert [frame.Command for frame in frames] == ["CONNECTED", "MESSAGE"]
        assert frames[0]["session"] == "x\\y"
        assert frames[1]["message-id"] == "a:b"
        assert frames[1].Body == b"body"


def test_an_error_instead_of_connected():
    protocol = ClientProtocol()
    protocol.connect({})
    (frame,) = protocol.receive_data(b"ERROR\nmessage:no\n\nwords\0", 0.0)
    assert frame.Command == "ERROR"
    assert protocol.failure is None
    assert protocol.connected is None
    assert protocol.state is State.CLOSING


def test_any_other_answer_is_a_failure():
    protocol = ClientProtocol()
    protocol.connect({})
    protocol.receive_data(b"MESSAGE\nmessage-id:1\n\n\0", 0.0)
    assert protocol.failure.error_code is ErrorCode.UNEXPECTED_FRAME
    assert protocol.state is State.CONNECTING


# -- heart-beats ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "agreed"),
    [
        ("heart-beat:10000,20000\n", (20, 10)),
        ("heart-beat:0,0\n", (0, 0)),
        ("", (0, 0)),
        ("heart-beat:\n", (0, 0)),
        # As ActiveMQ was seen to answer: a negative number means none, not its absolute value.
        ("heart-beat:-5,-5\n", (0, 0)),
        ("heart-beat:-5,20000\n", (20, 0)),
        ("heart-beat:20000,-5\n", (0, 20)),
        ("heart-beat:-10000, - 10000\n", (0, 0)),
    ],
)
def test_heart_beats_are_agreed(header, agreed):
    protocol = opened(f"version:1.2\n{header}")
    assert protocol.failure is None
    assert (protocol.heart_beat.send, protocol.heart_beat.receive) == agreed


def test_a_heart_beat_that_is_no_pair_of_numbers_is_a_failure():
    protocol = opened("version:1.2\nheart-beat:often\n")
    assert protocol.failure.error_code is ErrorCode.BAD_HEADER
    assert protocol.connected is None


def test_it_beats_when_it_is_time():
    protocol = opened("version:1.2\nheart-beat:0,10000\n")
    assert protocol.next_deadline() == 7.5
    assert protocol.tick(7.4) == b""
    assert protocol.tick(7.5) == BEAT
    assert protocol.next_deadline() == 15.0


def test_any_byte_keeps_the_server_alive():
    protocol = opened("version:1.2\nheart-beat:10000,0\n")
    protocol.receive_data(b"\n", 15.0)
    protocol.receive_data(b"MESS", 30.0)
    protocol.tick(50.0)
    assert protocol.failure is None
    protocol.tick(50.1)
    assert protocol.failure.error_code is ErrorCode.HEARTBEAT_TIMEOUT
    assert "nothing received for 20.1 s" in str(protocol.failure)


def test_before_the_answer_there_is_no_heart_beat():
    protocol = ClientProtocol()
    assert protocol.next_deadline() is None
    assert protocol.tick(1e9) == b""
    assert protocol.failure is None


# -- frames --------------------------------------------------------------------------------------


def test_frames_are_written_for_the_version_in_use():
    headers = {"destination": "/queue/a:b"}
    assert opened("version:1.2\n").send("SEND", headers, b"x") == (
        b"SEND\ndestination:/queue/a\\cb\ncontent-length:1\n\nx\0"
    )
    assert opened("").send("SEND", headers) == b"SEND\ndestination:/queue/a:b\n\n\0"


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.0", {"a": "two\nlines"}),
        ("1.0", {"a:b": "c"}),
        ("1.0", {"a": " blank"}),
        ("1.1", {"a": "return\r"}),
        ("1.1", {"": "b"}),
    ],
)
def test_what_a_version_cannot_carry_is_refused(version, headers):
    protocol = opened(f"version:{version}\n")
    with pytest.raises(ValueError, match=f"STOMP {version} cannot carry"):
        protocol.send("SEND", headers)


def test_frames_are_read_by_the_rules_of_the_version():
    data = b"MESSAGE\na:b\\nc\n\n\0"
    assert opened("version:1.2\n").receive_data(data, 0.0)[0]["a"] == "b\nc"
    assert opened("").receive_data(data, 0.0)[0]["a"] == "b\\nc"


def test_frames_before_a_broken_one_are_given():
    protocol = opened()
    frames = protocol.receive_data(b"RECEIPT\nreceipt-id:1\n\n\0broken\nline\n\n\0", 0.0)
    assert [frame.Command for frame in frames] == ["RECEIPT"]
    assert protocol.failure.error_code is ErrorCode.MALFORMED_FRAME
    assert protocol.receive_data(b"RECEIPT\nreceipt-id:2\n\n\0", 0.0) == []


def test_limits_hold_for_the_server_too():
    protocol = opened(limits=Limits(body=10))
    protocol.receive_data(b"MESSAGE\ncontent-length:11\n\n", 0.0)
    assert protocol.failure.error_code is ErrorCode.FRAME_TOO_LARGE


# -- the end -------------------------------------------------------------------------------------


def test_disconnect_asks_for_a_receipt():
    protocol = opened()
    assert protocol.disconnect("r9") == b"DISCONNECT\nreceipt:r9\n\n\0"
    assert protocol.state is State.CLOSING
    # It still reads what the server says last, but beats no more.
    assert protocol.receive_data(b"RECEIPT\nreceipt-id:r9\n\n\0", 0.0)[0]["receipt-id"] == "r9"
    assert protocol.tick(1e9) == b""


def test_eof_may_come_at_any_time_and_again():
    for protocol in (ClientProtocol(), opened()):
        protocol.receive_eof()
        protocol.receive_eof()
        assert protocol.state is State.CLOSED


def test_repr_shows_version_and_state():
    assert repr(ClientProtocol()) == "<ClientProtocol no version START>"
    assert repr(opened()) == "<ClientProtocol 1.2 OPEN>"


# -- limits --------------------------------------------------------------------------------------


def test_it_takes_the_limits_that_the_server_tells():
    protocol = opened("version:1.2\nlimits-body:100\nlimits-header-line:50\n")
    (frame,) = protocol.receive_data(b"MESSAGE\na:" + b"x" * 90 + b"\n\n" + b"y" * 100 + b"\0", 0.0)
    assert len(frame.Body) == 100
    assert protocol.failure is None
    protocol.receive_data(b"MESSAGE\n\n" + b"y" * 101 + b"\0", 0.0)
    assert protocol.failure.error_code is ErrorCode.FRAME_TOO_LARGE
    assert "body of 101 bytes or more is over the limit of 100 bytes" in protocol.failure.Message
    assert "connect(limits=stompy.Limits(…)) sets others" in protocol.failure.Message


def test_limits_that_were_asked_for_stay():
    mine = Limits(body=10)
    protocol = opened("version:1.2\nlimits-body:100\n", limits=mine)
    assert protocol.limits is mine
    assert not protocol.receive_data(b"MESSAGE\n\n" + b"y" * 11 + b"\0", 0.0)
    assert protocol.failure is not None


def test_headers_that_a_broker_adds_have_room():
    protocol = opened()
    lines = b"".join(b"h%d:x\n" % number for number in range(256 + 64))
    assert protocol.receive_data(b"MESSAGE\n" + lines + b"\n\0", 0.0)


def test_octets_that_are_no_text_cost_nobody_the_connection():
    protocol = opened()
    for block in (b"a:caf\xe9\n", b"a:caf\xe9\\c\n", b"message-id:\xff\ndestination:/queue/q\n"):
        (frame,) = protocol.receive_data(b"MESSAGE\n" + block + b"\n\0", 0.0)
        assert frame.Command == "MESSAGE"
    assert frame.Headers["message-id"].encode("utf-8", "surrogateescape") == b"\xff"
    assert protocol.failure is None


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"destination": "/queue/q", "k": "a\0b"}, "no frame can carry the NUL in 'k'"),
        ({"destination": "/queue/q", "content-length": "9"}, "the body has 4 bytes, and not the 9"),
    ],
)
def test_what_would_cost_the_connection_is_refused(headers, said):
    with pytest.raises(ValueError, match=said):
        opened().send("SEND", headers, b"a\0bc")


def test_a_body_may_have_nul_and_say_how_long_it_is():
    headers = {"destination": "/queue/q", "content-length": "3"}
    assert opened().send("SEND", headers, b"a\0b") == (
        b"SEND\ndestination:/queue/q\ncontent-length:3\n\na\0b\0"
    )


# -- writing -------------------------------------------------------------------------------------


def test_what_is_written_of_headers_that_repeat_is_what_is_written_of_them_once():
    protocol = opened("version:1.2\n")
    rows = [
        ({"destination": "/queue/q"}, b"one"),
        ({"destination": "/queue/q"}, b"and content-length:7"),
        ({"destination": "/queue/q"}, b""),
        ({"destination": "/queue/q", "a:b": "c\nd"}, b"x"),
        ({"destination": "/queue/q", "a:b": "c\nd"}, b"\0"),
        ({"destination": "/queue/q", "a:b": "e"}, b"x"),
        ({"destination": "/queue/q", "content-length": "1"}, b"x"),
        ({"destination": "/queue/q", "content-length": "1"}, b"y"),
        ({"destination": "content-length:1"}, b"y"),
        ({"destination": "content-length:1"}, b"y"),
    ]
    for headers, body in rows:
        assert protocol.send("SEND", headers, body) == encode_frame("SEND", headers, body)


def test_headers_that_were_written_may_be_changed_and_written_again():
    protocol = opened("version:1.2\n")
    headers = {"destination": "/queue/q"}
    protocol.send("SEND", headers, b"x")
    headers["n"] = "1"
    assert protocol.send("SEND", headers, b"x") == encode_frame("SEND", headers, b"x")
    headers["n"] = "2"
    assert protocol.send("SEND", headers, b"x") == encode_frame("SEND", headers, b"x")


def test_headers_that_never_repeat_are_written_as_they_are_and_those_that_do_afterwards():
    protocol = opened("version:1.2\n")
    rows = [{"destination": "/queue/q", "n": str(number)} for number in range(300)]
    rows += [{"destination": "/queue/q"}] * 300
    for headers in rows:
        assert protocol.send("SEND", headers, b"x") == encode_frame("SEND", headers, b"x")
    assert protocol._not_looked_at == 0


@pytest.mark.parametrize("ack_id", ["12-34", "a", "a:b", "a b", "\n", "", "ü", "\udcff", "a\\"])
def test_a_settlement_is_written_as_any_frame(ack_id):
    protocol = opened("version:1.2\n")
    for command in ("ACK", "NACK"):
        assert protocol.settle(command, ack_id) == protocol.send(command, {"id": ack_id})


def test_who_looks_at_frames_sees_settlements():
    seen = []

    class Trace:
        def sending(self, command, headers, body):
            seen.append((command, dict(headers)))
            return headers, body

        def received(self, frames):
            pass

    protocol = opened("version:1.2\n", trace=Trace())
    assert protocol.settle("ACK", "1-2") == b"ACK\nid:1-2\n\n\0"
    assert seen[-1] == ("ACK", {"id": "1-2"})
