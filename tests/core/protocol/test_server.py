"""The server's side of the conversation, without a socket and with a time turned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol import ServerProtocol, State
from stompy.protocol.codec import ACK_RUN, HeadCache
from stompy.protocol.headers import Version
from stompy.protocol.limits import Limits
from stompy.protocol.server import REQUIRED_HEADERS, choose_version, supported_versions

CONNECT = b"CONNECT\naccept-version:%b\nhost:x\n%b\n\0"


def connected(version: str = "1.2", more: bytes = b"", **settings: object) -> ServerProtocol:
    """A server that has let a client in at time 0."""
    server = ServerProtocol(**settings)  # type: ignore[arg-type]
    ((head, body),) = server.receive_data(CONNECT % (version.encode(), more), 0.0)
    assert (head.command, body) == ("CONNECT", b"")
    server.accept({}, 0.0)
    assert server.state is State.OPEN
    return server


def failure(server: ServerProtocol) -> ErrorCode:
    """Which rule was broken."""
    assert server.failure is not None
    return server.failure.error_code


@pytest.mark.parametrize(
    ("offer", "version"),
    [
        (None, "1.0"),
        ("1.0", "1.0"),
        ("1.1,1.0", "1.1"),
        ("1.0,1.1,1.2", "1.2"),
        (" 1.2 ,9", "1.2"),
        ("9", None),
        ("", None),
        ("1.2x", None),
    ],
)
def test_choose_version(offer: str | None, version: str | None):
    assert choose_version(offer) == version


def test_supported_versions():
    assert supported_versions() == "1.0,1.1,1.2"


@pytest.mark.parametrize("command", [b"CONNECT", b"STOMP"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2"])
def test_accept(command: bytes, version: bytes):
    server = ServerProtocol(heart_beat=(1000, 2000))
    assert server.state is State.START
    server.receive_data(command + b"\naccept-version:" + version + b"\n\n\0", 1.0)
    assert server.state is State.CONNECTING
    beats = b"0,0" if version == b"1.0" else b"1000,2000"
    assert server.accept({"session": "s", "server": "x/1"}, 1.0) == (
        b"CONNECTED\nversion:%b\nheart-beat:%b\nsession:s\nserver:x/1\n\n\0\n" % (version, beats)
    )
    assert server.state is State.OPEN


def test_connect_comes_alone_and_the_rest_after_it():
    server = ServerProtocol()
    more = b"SEND\ndestination:a\\cb\n\nbody\0"
    ((connect, _),) = server.receive_data(CONNECT % (b"1.2", b"") + more, 0.0)
    assert connect.command == "CONNECT"
    assert server.receive_data(more, 0.0) == []
    server.accept({}, 0.0)
    frames = server.receive_data(b"", 0.0)
    assert [(head.headers["destination"], body) for head, body in frames] == [("a:b", b"body")] * 2


def test_in_1_0_connect_is_trimmed():
    server = ServerProtocol()
    ((head, _),) = server.receive_data(b"CONNECT\nlogin: joe \n passcode :x\n\n\0", 0.0)
    assert head.headers == {"login": "joe", "passcode": "x"}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"SEND\ndestination:a\n\n\0", ErrorCode.UNEXPECTED_FRAME),
        (b"CONNECTED\n\n\0", ErrorCode.UNEXPECTED_FRAME),
        (b"connect\n\n\0", ErrorCode.UNKNOWN_COMMAND),
        (b"CONNECT\naccept-version:2\n\n\0", ErrorCode.UNSUPPORTED_VERSION),
        (b"CONNECT\naccept-version:1.1\nheart-beat:x\n\n\0", ErrorCode.BAD_HEADER),
        (b"CONNECT\nlogin:\xff\n\n\0", ErrorCode.BAD_ENCODING),
        (b"CONNECT\n" + b"x" * 70_000, ErrorCode.FRAME_TOO_LARGE),
        (b"CONNECT\ncontent-length:70000\n\n", ErrorCode.FRAME_TOO_LARGE),
    ],
)
def test_who_does_not_come_in(data: bytes, code: ErrorCode):
    server = ServerProtocol()
    assert server.receive_data(data, 0.0) == []
    assert failure(server) is code
    assert server.receive_data(CONNECT % (b"1.2", b""), 0.0) == []


def test_the_limits_before_login_end_with_it():
    server = connected(limits=Limits(body=100_000))
    assert len(server.receive_data(b"SEND\ndestination:a\n\n" + b"x" * 100_000 + b"\0", 0.0)) == 1


def test_an_error_before_the_version_is_known_needs_no_escape():
    server = ServerProtocol()
    data = server.error({"message": "a:b\\c\r\nd", "receipt-id": ":"}, "text: \\\n")
    head, _, body = data.partition(b"\n\n")
    for line in head.split(b"\n")[1:]:
        assert line.count(b":") == 1
        assert b"\\" not in line
    assert body == b"text: \\\n\0\n"
    assert server.state is State.CLOSING


@pytest.mark.parametrize(("version", "colon"), [("1.0", b":"), ("1.1", b"\\c"), ("1.2", b"\\c")])
def test_receipts_and_errors_are_written_as_the_version_has_it(version: str, colon: bytes):
    server = connected(version)
    assert server.receipt("a:b") == b"RECEIPT\nreceipt-id:a" + colon + b"b\n\n\0\n"
    telling = server.receipt_telling("a:b", {"routed": "2"})
    assert telling == b"RECEIPT\nrouted:2\nreceipt-id:a" + colon + b"b\n\n\0\n"
    error = server.error({"message": "m", "receipt-id": "a:b"}, "text")
    assert b"\nreceipt-id:a" + colon + b"b\n" in error
    assert error.endswith(b"\n\ntext\0\n")


def test_nothing_is_read_after_an_error():
    server = connected()
    server.error({"message": "m"}, "text")
    assert server.receive_data(b"SEND\ndestination:a\n\n\0NONSENSE\n\n\0", 0.0) == []
    assert server.failure is None


def test_nothing_is_read_after_the_client_took_its_leave():
    server = connected()
    server.receive_data(b"DISCONNECT\n\n\0", 0.0)
    server.stop_reading()
    assert server.state is State.CLOSING
    assert server.receive_data(b"NONSENSE\n\n\0", 0.0) == []
    assert server.failure is None


@pytest.mark.parametrize("times", [1, 2])
def test_the_end(times: int):
    server = connected()
    for _ in range(times):
        server.receive_eof()
    assert server.state is State.CLOSED
    assert server.tick(1e9) == b""
    assert server.receive_data(b"x", 0.0) == []


# -- which frames, with which headers --------------------------------------------------------------

ROWS = [
    (version, command, names)
    for version, table in REQUIRED_HEADERS.items()
    for command, names in table.items()
]


@pytest.mark.parametrize(("version", "command", "names"), ROWS)
def test_required_headers(version: Version, command: str, names: tuple[str, ...]):
    complete = dict.fromkeys(names, "x")

    def receive(headers: dict[str, str]) -> ErrorCode | None:
        server = connected(version)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        frames = server.receive_data(f"{command}\n{lines}receipt:r\n\n\0".encode(), 0.0)
        assert len(frames) == (server.failure is None)
        if server.failure is not None:
            assert server.failure.receipt == "r"
        return server.failure and server.failure.error_code

    assert receive(complete) is None
    for name in names:
        missing = {key: value for key, value in complete.items() if key != name}
        assert receive(missing) is ErrorCode.MISSING_HEADER
        assert receive(complete | {name: ""}) is ErrorCode.MISSING_HEADER


@pytest.mark.parametrize(
    ("version", "frame", "good"),
    [
        ("1.0", "UNSUBSCRIBE\ndestination:a\n", True),
        ("1.1", "UNSUBSCRIBE\ndestination:a\n", False),
        ("1.0", "SUBSCRIBE\ndestination:a\n", True),
        ("1.2", "ACK\nmessage-id:1\nsubscription:0\n", True),
        ("1.2", "NACK\nmessage-id:1\nsubscription:0\n", True),
        ("1.2", "ACK\nmessage-id:1\n", False),
        ("1.1", "ACK\nid:1\n", False),
        ("1.0", "NACK\nmessage-id:1\n", True),
    ],
)
def test_what_may_take_the_place_of_a_header(version: str, frame: str, good: bool):
    server = connected(version)
    assert len(server.receive_data(f"{frame}\n\0".encode(), 0.0)) == good
    assert (server.failure is None) == good


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("CONNECT", ErrorCode.UNEXPECTED_FRAME),
        ("STOMP", ErrorCode.UNEXPECTED_FRAME),
        ("CONNECTED", ErrorCode.UNEXPECTED_FRAME),
        ("MESSAGE", ErrorCode.UNEXPECTED_FRAME),
        ("RECEIPT", ErrorCode.UNEXPECTED_FRAME),
        ("ERROR", ErrorCode.UNEXPECTED_FRAME),
        ("NONSENSE", ErrorCode.UNKNOWN_COMMAND),
        ("send", ErrorCode.UNKNOWN_COMMAND),
    ],
)
@pytest.mark.parametrize("version", list(Version))
def test_commands_that_may_not_come(version: Version, command: str, code: ErrorCode):
    server = connected(version)
    before = b"BEGIN\ntransaction:t\n\n\0"
    frames = server.receive_data(before + f"{command}\n\n\0".encode() + before, 0.0)
    assert [head.command for head, _ in frames] == ["BEGIN"]
    assert failure(server) is code


def test_the_caches_are_shared():
    caches = {version: HeadCache() for version in Version}
    data = b"SEND\ndestination:a\n\nbody\0" * 3 + b"ACK\nid:1-1\n\n\0"
    heads = []
    for _ in range(3):
        server = connected(caches=caches)
        heads += [head for head, _ in server.receive_data(data, 0.0)]
    assert len({id(head) for head in heads if head.command == "SEND"}) == 2
    assert heads[-1] is ACK_RUN
    # What is in a cache of one version is not taken for another.
    other = connected("1.0", caches=caches)
    assert other.receive_data(data[:26], 0.0)[0][0] not in heads


@given(st.binary(max_size=60), st.sampled_from(["1.0", "1.1", "1.2", ""]))
def test_it_never_raises_for_what_the_client_did(data: bytes, version: str):
    server = connected(version) if version else ServerProtocol()
    server.receive_data(data, 0.0)
    server.receive_data(b"\n\n\0" + data, 0.0)
    assert server.failure is None or isinstance(server.failure, ProtocolError)


# -- time -----------------------------------------------------------------------------------------


def test_beats():
    server = connected(more=b"heart-beat:0,5000\n", heart_beat=(10_000, 10_000))
    assert server.next_deadline() == 7.5
    assert server.tick(7.0) == b""
    assert server.tick(7.5) == b"\n"
    assert server.tick(7.6) == b""
    assert server.next_deadline() == 15.0


def test_a_dead_client():
    server = connected(more=b"heart-beat:10000,0\n", heart_beat=(0, 1000))
    server.receive_data(b"\n", 5.0)
    assert server.tick(25.0) == b""
    assert server.failure is None
    assert server.tick(25.1) == b""
    assert failure(server) is ErrorCode.HEARTBEAT_TIMEOUT
    assert "nothing received for 20.1 s" in str(server.failure)


def test_the_grace_can_be_set():
    server = connected(more=b"heart-beat:10000,0\n", heart_beat=(0, 1000), heart_beat_grace=3.0)
    server.tick(30.0)
    assert server.failure is None
    server.tick(30.1)
    assert failure(server) is ErrorCode.HEARTBEAT_TIMEOUT


@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_without_heart_beats_there_is_nothing_to_wait_for(version: str):
    server = connected(version, heart_beat=(1000, 1000))
    assert server.next_deadline() is None
    assert server.tick(1e6) == b""
    assert server.failure is None
    assert ServerProtocol().next_deadline() is None
    assert ServerProtocol().tick(1e6) == b""


def test_it_tells_where_it_stands():
    assert repr(ServerProtocol()) == "<ServerProtocol no version START>"
    assert repr(connected("1.1")) == "<ServerProtocol 1.1 OPEN>"


def test_an_error_repeats_no_nul() -> None:
    error = connected().error({"message": "m", "receipt-id": "a\0b"}, "text")
    head, _, body = error.partition(b"\n\n")
    assert b"receipt-id:a?b" in head
    assert body == b"text\0\n"
