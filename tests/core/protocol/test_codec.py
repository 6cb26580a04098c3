"""The codec: every frame comes back as it was, however the bytes are cut, and nothing else does."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.codec import (
    ACK_RUN,
    FrameParser,
    Head,
    HeadCache,
    MessageHeads,
    accept_any,
    encode_frame,
    plain_acks,
)
from stompy.protocol.headers import BODY_COMMANDS, Version, is_writable
from stompy.protocol.limits import DEFAULT_LIMITS, Limits

Read = tuple[str, dict[str, str], bytes]

VERSIONS = tuple(Version)
TINY = Limits(command=12, header_line=24, header_count=4, header_block=80, body=40)

# -- strategies -----------------------------------------------------------------------------------

# Everything that means something to the codec comes often.
texts = st.text(
    st.one_of(
        st.sampled_from("\\:\r\n ancr"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)
bodies = st.one_of(
    st.binary(max_size=40), st.lists(st.sampled_from([b"\0", b"\n", b"a"])).map(b"".join)
)


@st.composite
def frames(draw: st.DrawFn, version: Version) -> Read:
    """A frame that the version can carry."""
    command = draw(st.sampled_from(["SEND", "MESSAGE", "ERROR", "BEGIN", "ACK", "X"]))
    headers = draw(st.dictionaries(texts, texts, max_size=5))
    headers.pop("content-length", None)
    headers = {n: v for n, v in headers.items() if n and is_writable(n, v, version)}
    return command, headers, draw(bodies) if command in BODY_COMMANDS else b""


WORDS = [
    b"SEND", b"MESSAGE", b"ACK", b"BEGIN", b"CONNECT", b"CONNECTED", b"send", b"\n", b"\n", b"\n\n",
    b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\0", b"\0", b"\0\n", b":", b"\\n", b"\\r", b"\\c",
    b"\\", b"\\x", b"a", b"a:b\n", b"content-length:", b"content-length:0\n",
    b"content-length:3\n", b"content-length:41\n", b"id:1-1\n", b"ACK\nid:1-12\n\n\0",
    b"ACK\nid:x\n\n\0", b"message-id:", b"ack:1-1\n", b"message-id:7\n", b"\xff", b"\xc3\xa9",
    b" ", b"x" * 30, b"SEND\na:b\n\n\0",
]  # fmt: skip
garbage = st.one_of(
    st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join)
)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in pieces, some of them empty."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in pairwise([0, *places, len(data)])]


# -- what is told of a parser ---------------------------------------------------------------------


def read(
    pieces: Iterable[bytes],
    version: Version = Version.V1_2,
    limits: Limits = DEFAULT_LIMITS,
    memory: HeadCache | MessageHeads | None = None,
) -> tuple[list[Read], ErrorCode | None]:
    """Feed pieces to a parser; give the frames, and what was wrong."""
    found, code, _ = read_and_keep(pieces, version, limits, memory)
    return found, code


def read_and_keep(
    pieces: Iterable[bytes],
    version: Version,
    limits: Limits,
    memory: HeadCache | MessageHeads | None = None,
) -> tuple[list[Read], ErrorCode | None, int]:
    """The same, and how many bytes are kept for a frame that is unfinished."""
    parser = FrameParser(limits, version=version)
    if memory is not None:
        parser.proceed(version, limits, accept_any, memory)
    found: list[Read] = []
    for piece in pieces:
        for head, body in parser.feed(piece):
            if head is ACK_RUN:
                found += [
                    ("ACK", {"id": f"{tag.decode()}-{number.decode()}"}, b"")
                    for tag, number in plain_acks(body)
                ]
            else:
                found.append((head.command, dict(head.headers), body))
        assert parser.buffered <= max(limits.header_block + 2, limits.body + 1)
        if parser.failure is not None:
            assert parser.feed(b"SEND\na:b\n\n\0") == []
            assert parser.buffered == 0
    return found, parser.failure and parser.failure.error_code, parser.buffered


def octets(data: bytes) -> list[bytes]:
    """One by one."""
    return [data[at : at + 1] for at in range(len(data))]


# -- round trip -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_frame_comes_back(version: Version, data: st.DataObject):
    command, headers, body = data.draw(frames(version))
    wire = encode_frame(command, headers, body, version)
    expected = dict(headers)
    if body:
        expected["content-length"] = str(len(body))
    assert read([wire], version) == ([(command, expected, body)], None)


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_stream_comes_back_however_it_is_cut(version: Version, data: st.DataObject):
    several = data.draw(st.lists(frames(version), max_size=5))
    eols = st.lists(st.sampled_from([b"\n", b"\r\n"]), max_size=3).map(b"".join)
    wire = data.draw(eols) + b"".join(
        encode_frame(*frame, version) + data.draw(eols) for frame in several
    )
    whole = read([wire], version)
    assert whole[1] is None
    assert [(command, body) for command, _, body in whole[0]] == [
        (command, body) for command, _, body in several
    ]
    assert read(octets(wire), version) == whole
    assert read(data.draw(cuts(wire)), version) == whole


@given(
    headers=st.dictionaries(
        texts.filter(lambda name: name and not set(name) & set("\r\n:")),
        texts.filter(lambda value: not set(value) & set("\r\n")),
    ),
    command=st.sampled_from(["CONNECT", "STOMP", "CONNECTED"]),
    eol=st.sampled_from([b"\n", b"\r\n"]),
)
def test_connect_comes_back_without_escapes(headers: dict[str, str], command: str, eol: bytes):
    headers.pop("content-length", None)
    wire = encode_frame(command, headers).replace(b"\n", eol)
    for pieces in ([wire], octets(wire)):
        parser = FrameParser()
        found = [frame for piece in pieces for frame in parser.feed(piece)]
        assert parser.failure is None
        assert [(head.command, head.headers, body) for head, body in found] == [
            (command, headers, b"")
        ]


@pytest.mark.parametrize("header", [("a\nb", "c"), ("a", "b\nc"), ("a", "b\r"), ("a:b", "c")])
@pytest.mark.parametrize("command", ["CONNECT", "STOMP", "CONNECTED"])
def test_connect_cannot_carry_line_breaks(command: str, header: tuple[str, str]):
    with pytest.raises(ValueError, match="line break"):
        encode_frame(command, dict([header]))


def test_content_length_is_added_where_there_is_a_body():
    assert encode_frame("SEND", {"a": "b"}, b"xyz") == b"SEND\na:b\ncontent-length:3\n\nxyz\0"
    assert encode_frame("SEND", {"content-length": "3"}, b"xyz").count(b"content-length") == 1
    assert encode_frame("SEND", {}, b"") == b"SEND\n\n\0"


# -- garbage --------------------------------------------------------------------------------------


def same_fault(one: ErrorCode | None, other: ErrorCode | None) -> bool:
    """Of two faults of one frame that is cut differently, another may be found first."""
    if ErrorCode.FRAME_TOO_LARGE in (one, other):
        return one is not None and other is not None
    return one == other


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, TINY], ids=["usual", "tiny"])
@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_garbage_is_read_the_same_however_it_is_cut(
    version: Version, limits: Limits, data: st.DataObject
):
    """Only `failure` is set, never an exception raised; what is kept is bounded (see `read`)."""
    wire = data.draw(garbage)
    found, failure, kept = read_and_keep([wire], version, limits)
    for pieces in (octets(wire), data.draw(cuts(wire))):
        again, other_failure = read(pieces, version, limits)
        assert again == found
        # A limit that an unfinished frame is over may be noticed now or later.
        early = failure is None and kept and other_failure is ErrorCode.FRAME_TOO_LARGE
        assert same_fault(failure, other_failure) or early
    for command, headers, body in found:
        assert len(command) <= limits.command
        assert len(headers) <= limits.header_count
        assert len(body) <= limits.body


@pytest.mark.parametrize("opening", [True, False])
@given(wire=garbage)
def test_before_the_version_is_known(opening: bool, wire: bytes):
    """After one frame the parser halts, and keeps the rest for `proceed`."""
    wire = b"CONNECT\na:b\n\n\0" * opening + wire
    parser = FrameParser()
    found = parser.feed(wire)
    assert len(found) <= 1
    assert parser.halted == bool(found)
    if opening:
        assert parser.feed(b"more") == []
        assert parser.buffered == len(wire) - len(b"CONNECT\na:b\n\n\0") + len(b"more")
        parser.proceed(Version.V1_2, DEFAULT_LIMITS)
        rest = [(head.command, head.headers, body) for head, body in parser.feed(b"")]
        code = parser.failure and parser.failure.error_code
        assert (rest, code) == read([wire.partition(b"\0")[2] + b"more"])


# -- memories -------------------------------------------------------------------------------------


MESSAGES = st.lists(
    st.builds(
        lambda message_id, ack, x, body: encode_frame(
            "MESSAGE", {"subscription": "0"} | ack | {"message-id": message_id} | x, body
        ),
        texts,
        st.one_of(st.just({}), st.builds(lambda ack: {"ack": ack}, texts)),
        st.sampled_from([{}, {"x": "1"}, {"x": "\\:"}, {"ack": "late"}]),
        st.sampled_from([b"", b"\0", b"message-id:"]),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(
    ("memory", "version"),
    [(HeadCache, version) for version in VERSIONS]
    + [(MessageHeads, version) for version in VERSIONS[1:]],
)
@given(messages=MESSAGES, more=garbage, data=st.data())
def test_what_is_remembered_is_what_was_parsed(
    memory: type[HeadCache | MessageHeads],
    version: Version,
    messages: list[bytes],
    more: bytes,
    data: st.DataObject,
):
    """Whatever comes again and again, and whatever comes in between."""
    wire = b"".join(messages) + more
    expected = read([wire], version)
    shared = memory()
    for pieces in ([wire], data.draw(cuts(wire)), [wire]):
        found, failure = read(pieces, version, memory=shared)
        assert found == expected[0]
        assert (failure is None) == (expected[1] is None)


@pytest.mark.parametrize(
    "line",
    [b"message-id: 7 ", b"message-id:\\c", b"message-id:7\r", b"message-id:\xff", b"ack: 1 "],
)
@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_message_id_is_read_by_the_rules_of_the_version(version: Version, line: bytes):
    shared = MessageHeads()
    plain = b"MESSAGE\nsubscription:0\nack:1\nmessage-id:1\nx:y\n\n\0"
    name = line.partition(b":")[0]
    odd = b"\n".join(line if each.startswith(name + b":") else each for each in plain.split(b"\n"))
    read([plain, plain], version, memory=shared)
    assert read([odd], version, memory=shared) == read([odd], version)


def test_a_remembered_message_is_the_readers_own():
    parser = FrameParser(version=Version.V1_2)
    parser.proceed(Version.V1_2, DEFAULT_LIMITS, accept_any, MessageHeads())
    for number in range(5):
        ((head, _),) = parser.feed(b"MESSAGE\nsubscription:0\nmessage-id:%d\nx:y\n\n\0" % number)
        assert head.headers == {"subscription": "0", "message-id": str(number), "x": "y"}
        head.headers.clear()


def test_a_repeated_block_is_parsed_twice_and_then_known():
    cache, checked = HeadCache(), []
    parser = FrameParser(version=Version.V1_2)
    parser.proceed(Version.V1_2, DEFAULT_LIMITS, checked.append, cache)
    heads = [head for head, _ in parser.feed(b"SEND\na:b\n\nbody\0" * 5)]
    assert heads[1] is heads[2] is heads[4]
    assert checked == heads[:2]


@pytest.mark.parametrize("capacity", [1, 3])
def test_a_cache_is_bounded(capacity: int):
    cache = HeadCache(capacity)
    parser = FrameParser(version=Version.V1_2)
    parser.proceed(Version.V1_2, DEFAULT_LIMITS, accept_any, cache)
    for number in range(50):
        parser.feed(b"SEND\na:%d\n\n\0" % number * 4)
        assert len(cache.heads) <= capacity
    other = MessageHeads(capacity)
    parser.proceed(Version.V1_2, DEFAULT_LIMITS, accept_any, other)
    for number in range(50):
        parser.feed(b"MESSAGE\nmessage-id:1\na:%d\n\n\0" % number * 4)
        assert len(other._patterns) <= capacity


@given(
    ids=st.lists(
        st.one_of(
            st.from_regex(r"[0-9]{1,3}-[0-9]{1,3}", fullmatch=True),
            st.from_regex(r"[0-9]{0,12}-?[0-9]{0,20}", fullmatch=True),
            st.sampled_from(["1-1 ", "a-1", "1--1", "", "1-1:"]),
        )
    ),
    eols=st.sampled_from([b"", b"\n", b"\n\n", b"\r\n"]),
    data=st.data(),
)
def test_acks_taken_in_a_run_are_the_same_acks(ids: list[str], eols: bytes, data: st.DataObject):
    wire = b"".join(b"ACK\nid:%b\n\n\0" % each.encode() + eols for each in ids)
    wire += data.draw(
        st.sampled_from([b"", b"ACK\nid:1-1\nreceipt:r\n\n\0", b"ACK\nid", b"SEND\n\n\0"])
    )
    for pieces in ([wire], octets(wire), data.draw(cuts(wire))):
        assert read(pieces, memory=HeadCache()) == read([wire])


@pytest.mark.parametrize("version", [Version.V1_0, Version.V1_1])
def test_older_acks_do_not_come_in_runs(version: Version):
    parser = FrameParser(version=version)
    parser.proceed(version, DEFAULT_LIMITS, accept_any, HeadCache())
    ((head, _),) = parser.feed(b"ACK\nid:1-1\n\n\0")
    assert head is not ACK_RUN


# -- one rule at a time ---------------------------------------------------------------------------

HEAD = "SEND\nreceipt:r\n"
FAULTS = [
    (b"SEND\nno colon\n\n\0", ErrorCode.MALFORMED_FRAME),
    (b"SEND\n:v\n\n\0", ErrorCode.MALFORMED_FRAME),
    (b"SEND\na:b\rc\n\n\0", ErrorCode.MALFORMED_FRAME),
    (b"SEND\na:b\0c\n\n\0", ErrorCode.MALFORMED_FRAME),
    (b"SEND\na:b\r\r\n\r\n\0", ErrorCode.MALFORMED_FRAME),
    (b"SEND\ncontent-length:1\n\nab\0", ErrorCode.MALFORMED_FRAME),
    (b"SEND\na:\\t\n\n\0", ErrorCode.BAD_ESCAPE),
    (b"SEND\na:\\\n\n\0", ErrorCode.BAD_ESCAPE),
    (b"SEND\n\\d:b\n\n\0", ErrorCode.BAD_ESCAPE),
    (b"SEND\na:\xff\n\n\0", ErrorCode.BAD_ENCODING),
    (b"\xffSEND\n\n\0", ErrorCode.BAD_ENCODING),
    (b"SEND\ncontent-length:-1\n\n\0", ErrorCode.BAD_CONTENT_LENGTH),
    (b"SEND\ncontent-length:\n\n\0", ErrorCode.BAD_CONTENT_LENGTH),
    (b"SEND\ncontent-length:" + b"1" * 19 + b"\n\n\0", ErrorCode.BAD_CONTENT_LENGTH),
    (b"SEND\ncontent-length:" + b"1" * 5000 + b"\n\n\0", ErrorCode.BAD_CONTENT_LENGTH),
    (b"SEND\ncontent-length:67108865\n\n", ErrorCode.FRAME_TOO_LARGE),
    (b"BEGIN\n\nbody\0", ErrorCode.UNEXPECTED_BODY),
    (b"BEGIN\ncontent-length:1\n\nb\0", ErrorCode.UNEXPECTED_BODY),
]


@pytest.mark.parametrize(("wire", "code"), FAULTS)
def test_faults(wire: bytes, code: ErrorCode):
    before, after = b"SEND\nok:1\n\nbody\0", b"SEND\nnot:read\n\n\0"
    good = ("SEND", {"ok": "1"}, b"body")
    for pieces in ([before + wire + after], [before, wire, after], octets(before + wire + after)):
        assert read(pieces) == ([good], code)


@pytest.mark.parametrize(
    "wire",
    [
        b"SEND\nreceipt:r\nno colon\n\n\0",
        b"X\nreceipt:r\nbad:\\x\n\n\0",
        b"BEGIN\nreceipt:r\n\nbody\0",
        b"SEND\nreceipt:r\na:b\0\n\n\0",
        b"SEND\nreceipt:r\ncontent-length:x\n\n\0",
        b"SEND\nreceipt:r\ncontent-length:1\n\nabc\0",
    ],
)
def test_a_fault_knows_the_receipt_that_was_asked_for(wire: bytes):
    for pieces in ([wire], octets(wire)):
        parser = FrameParser(version=Version.V1_2)
        for piece in pieces:
            parser.feed(piece)
        assert parser.failure is not None
        assert parser.failure.receipt == "r"


def test_a_check_may_refuse_a_head():
    def refuse(head: Head) -> None:
        raise ProtocolError(ErrorCode.UNKNOWN_COMMAND, f"no {head.command}")

    parser = FrameParser(check=refuse, version=Version.V1_2)
    assert parser.feed(b"SEND\nreceipt:r\n\nbody\0") == []
    assert parser.failure is not None
    assert parser.failure.receipt == "r"
    assert str(parser.failure) == "no SEND"


def test_the_head_tells_what_it_is():
    parser = FrameParser(version=Version.V1_2)
    ((head, _),) = parser.feed(b"SEND\na:b\nc:secret\n\n\0")
    assert repr(head) == "<Head SEND 2 headers>"
    assert head.block == b"SEND\na:b\nc:secret"
    assert head.length == -1


# -- limits ---------------------------------------------------------------------------------------

LIMITS = Limits(command=8, header_line=20, header_count=3, header_block=60, body=30)
EXACT = {
    "command": b"C" * 8 + b"\n\n\0",
    "header line": b"SEND\na:" + b"x" * 18 + b"\n\n\0",
    "header count": b"SEND\n" + b"a:b\n" * 3 + b"\n\0",
    "header block": b"SEND\na:%b\nb:%b\nc:%b\n\n\0" % (b"x" * 16, b"x" * 16, b"x" * 15),
    "body": b"SEND\n\n" + b"x" * 30 + b"\0",
    "body of known length": b"SEND\ncontent-length:30\n\n" + b"\0" * 30 + b"\0",
}
LARGER = {
    "command": b"C" * 9 + b"\n\n\0",
    "header line": b"SEND\na:" + b"x" * 19 + b"\n\n\0",
    "header count": b"SEND\n" + b"a:b\n" * 4 + b"\n\0",
    "header block": b"SEND\na:%b\nb:%b\nc:%b\n\n\0" % ((b"x" * 18,) * 3),
    "body": b"SEND\n\n" + b"x" * 31 + b"\0",
    "body of known length": b"SEND\ncontent-length:31\n\n" + b"\0" * 31 + b"\0",
}


@pytest.mark.parametrize("what", EXACT)
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_up_to_the_limit(what: str, eol: bytes):
    wire = EXACT[what]
    if eol != b"\n" and what == "header block":
        wire = wire.replace(b"x" * 15, b"x" * 12)  # a CR counts as well
    wire = wire.replace(b"\n", eol)
    for pieces in ([wire], octets(wire), [wire[:-1], wire[-1:]]):
        found, code = read(pieces, limits=LIMITS)
        assert (len(found), code) == (1, None)


@pytest.mark.parametrize("what", LARGER)
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
@pytest.mark.parametrize("cut", range(0, 70, 3))
def test_beyond_the_limit(what: str, eol: bytes, cut: int):
    wire = LARGER[what].replace(b"\n", eol)
    for pieces in ([wire[:cut], wire[cut:]], octets(wire)):
        assert read(pieces, limits=LIMITS) == ([], ErrorCode.FRAME_TOO_LARGE)


@pytest.mark.parametrize(
    "endless", [b"C", b"SEND\na:b", b"SEND\n" + b"a:b\n", b"SEND\n\nbody", b"SEND\r\n\r\nbody"]
)
@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_what_never_ends_is_refused_before_it_piles_up(endless: bytes, size: int):
    parser = FrameParser(LIMITS, version=Version.V1_2)
    tail = endless[-4:] if endless.endswith(b"\n") else endless[-1:]
    parser.feed(endless)
    for _ in range(200 // size + 1):
        parser.feed(tail * size)
    assert parser.failure is not None
    assert parser.failure.error_code is ErrorCode.FRAME_TOO_LARGE
    assert parser.buffered == 0


# -- linear time ----------------------------------------------------------------------------------


def steps(wire: bytes, size: int) -> int:
    """How many calls, also of built-in functions, a parser makes for bytes that come in pieces."""
    parser = FrameParser(version=Version.V1_2)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        for piece in pieces:
            parser.feed(piece)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("size", [1, 10, 100_000])
@pytest.mark.parametrize(
    "kind", ["body", "body of known length", "headers", "frames", "line", "eols", "crlf"]
)
def test_twice_the_input_takes_twice_the_steps(kind: str, size: int):
    def wire(scale: int) -> bytes:
        return {
            "body": b"SEND\n\n" + b"x" * scale * 100,
            "body of known length": b"SEND\ncontent-length:99999\n\n" + b"\0" * scale * 100,
            "headers": b"SEND\n" + b"name:value\n" * scale,
            "frames": b"SEND\na:b\n\nx\0" * scale * 10,
            "line": b"SEND\na:" + b"x" * scale * 100,
            "eols": b"\n" * scale * 100,
            "crlf": b"SEND\r\na:b\r\n\r\nx\0\r\n" * scale * 10,
        }[kind]

    one, two = steps(wire(100), size), steps(wire(200), size)
    assert two <= 2.2 * one + 50


def test_a_large_body_of_nuls():
    size = 64 * 1024 * 1024
    parser = FrameParser(version=Version.V1_2)
    chunk = bytes(256 * 1024)
    assert parser.feed(b"SEND\ncontent-length:%d\n\n" % size) == []
    for _ in range(size // len(chunk)):
        assert parser.feed(chunk) == []
    ((_, body),) = parser.feed(b"\0")
    assert len(body) == size
    assert parser.buffered == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_frame_octet_by_octet(known: bool):
    headers = {f"name-{n}": "v" * 900 for n in range(100)}
    wire = encode_frame("SEND", headers, b"x" * 100_000)
    if not known:
        wire = wire.replace(b"content-length:100000\n", b"")
    found, code = read(octets(wire))
    assert code is None
    assert [len(body) for _, _, body in found] == [100_000]


def test_a_long_line_octet_by_octet():
    wire = b"SEND\na:" + b"x" * 16_000 + b"\nb:" + b"y" * 16_000 + b"\n\n\0"
    found, code = read(octets(wire))
    assert code is None
    assert len(found[0][1]["b"]) == 16_000
