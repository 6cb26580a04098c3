"""A SEND that is read in one step is read as the parser reads it; and it costs no more."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stompy.errors import ErrorCode
from stompy.protocol.codec import FrameParser, Head, HeadMemory
from stompy.protocol.headers import Version
from stompy.protocol.limits import DEFAULT_LIMITS, Limits
from stompy.protocol.send_heads import SendHeads

VERSIONS = (Version.V1_1, Version.V1_2)
TINY = Limits(command=12, header_line=2000, header_count=4, header_block=2000, body=40)
TELLING, UNUSUAL = ("persistent", "priority"), ("transaction", "x-max", "x-max-priority", "a")

NAMES = [
    b"destination", b"content-length", b"receipt", b"persistent", b"priority", b"transaction",
    b"x-max", b"x-max-priority", b"x-maximum", b"x-m", b"a", b"ab", b"c", b"Destination", b"id",
    b"", b" ", b"\xc3\xa9", b"\xff", b"a\\cb", b"\\n",
]  # fmt: skip
VALUES = [
    b"/queue/q", b"/queue/\xc3\xa9", b"1", b"0", b"41", b"007", b"true", b"", b" padded ", b"a:b",
    b"a\\cb", b"\\\\", b"\\r", b"\\n", b"\\t", b"\\", b"\r", b"a\rb", b"\0", b"\xff", b"r-1",
    b"/queue/" + b"q" * 121, b"/queue/" + b"q" * 122, b"1" * 18, b"1" * 19, b"-1",
]  # fmt: skip
lines = st.one_of(
    st.builds(
        lambda name, value: name + b":" + value, st.sampled_from(NAMES), st.sampled_from(VALUES)
    ),
    st.sampled_from([b"destination:/queue/q", b"content-length:0", b"no colon", b""]),
    st.binary(max_size=6).filter(lambda line: b"\n" not in line),
)
blocks = st.builds(
    lambda command, lines: b"\n".join([command, *lines]),
    st.sampled_from([b"SEND", b"SEND", b"SEND", b"SENDER", b"SEND\r", b"ACK"]),
    st.lists(lines, max_size=6),
)


def memory(version: Version, limits: Limits = DEFAULT_LIMITS) -> SendHeads:
    return SendHeads(version, limits, TELLING, UNUSUAL)


def frames(
    wire: bytes, version: Version, limits: Limits, known: HeadMemory | None
) -> tuple[list[tuple[Head, bytes]], ErrorCode | None]:
    parser = FrameParser(version=version)
    parser.proceed(version, limits, memory=known)
    found = parser.feed(wire)
    return found, parser.failure and parser.failure.error_code


def told(head: Head) -> tuple[str, dict[str, str], int, bytes, str | None]:
    """What a reader sees, whoever read it."""
    receipt = head.receipt or head.headers.get("receipt")
    headers = {name: value for name, value in head.headers.items() if name != "receipt"}
    return head.command, headers, head.length, head.block, receipt


@pytest.mark.parametrize("limits", [DEFAULT_LIMITS, TINY], ids=["usual", "tiny"])
@pytest.mark.parametrize("version", VERSIONS)
@given(several=st.lists(blocks, min_size=1, max_size=4))
@example(several=[b"SEND\ndestination:/queue/q\nreceipt:r-1\ncontent-length:1\nx-m:\\c"])
def test_it_is_read_as_the_parser_reads_it(version: Version, limits: Limits, several: list[bytes]):
    """Whatever comes, the first time and again."""
    wire = b"".join([block + b"\n\nx\0" for block in several]) * 3
    expected, failure = frames(wire, version, limits, None)
    found, other = frames(wire, version, limits, memory(version, limits))
    assert [(told(head), body) for head, body in found] == [
        (told(head), body) for head, body in expected
    ]
    assert other == failure


@pytest.mark.parametrize("version", VERSIONS)
@given(block=blocks)
def test_what_is_found_are_the_values_of_the_headers(version: Version, block: bytes):
    head = memory(version).like(block)
    if head is None:
        return
    assert head.found is not None
    values = [
        head.headers.get(name) for name in ("destination", "content-length", "receipt", *TELLING)
    ]
    assert [None if one is None else one.decode() for one in head.found[:-1]] == values
    assert (head.found[-1] is not None) == any(name in head.headers for name in TELLING)
    assert head.headers.keys().isdisjoint(UNUSUAL)
    assert not any(line.count(b":") > 1 for line in block.split(b"\n"))


@pytest.mark.parametrize(
    "block",
    [
        b"SEND\ndestination:/queue/q",
        b"SEND\ncontent-type:text/plain\ndestination:q\ncorrelation-id:c-1\ncontent-length:3",
        b"SEND\ndestination:/topic/\xc3\xa9\npersistent:true\nwhen:10\\c30\ntraceparent:00-ab-cd-01",
        b"SEND\nreceipt:r\ndestination:/queue/q\npriority:9",
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_clients_send_is_read_in_one_step(version: Version, block: bytes):
    assert memory(version).like(block) is not None


@pytest.mark.parametrize(
    "block",
    [
        b"SEND\nx:y",
        b"SEND\ndestination:/queue/q\ntransaction:t",
        b"SEND\ndestination:/queue/q\ndestination:/queue/r",
        b"SEND\ndestination:/queue/q\nx:\\t",
        b"SEND\ndestination:/queue/q\nx:\xff",
        b"SEND\ndestination:/queue/q\ncontent-length:9999999999",
        b"SEND\ndestination:/queue/q\n\nx:y",
        b"SEND\ndestination:" + b"q" * 129,
    ],
)
def test_anything_else_is_left_to_the_parser(block: bytes):
    assert memory(Version.V1_2).like(block) is None


def test_a_cr_is_escaped_only_since_1_2():
    block = b"SEND\ndestination:/queue/q\nx:\\r"
    assert memory(Version.V1_1).like(block) is None
    assert memory(Version.V1_2).like(block) is not None


def test_nothing_more_need_be_told():
    known = SendHeads(Version.V1_2, DEFAULT_LIMITS, (), ())
    head = known.like(b"SEND\ndestination:/queue/q\npersistent:true")
    assert head is not None
    assert head.found == (b"/queue/q", None, None, None)


def test_where_lines_would_have_to_be_measured_nothing_is_read_in_one_step():
    narrow = memory(Version.V1_2, Limits(header_line=1000))
    assert narrow.like(b"SEND\ndestination:/queue/q") is None


# -- what it costs, in steps ----------------------------------------------------------------------


def parsed(wire: bytes, known: SendHeads) -> int:
    """How many heads of these frames were taken apart."""
    parser, count = FrameParser(version=Version.V1_2), []
    parser.proceed(Version.V1_2, DEFAULT_LIMITS, count.append, known)
    parser.feed(wire)
    assert parser.failure is None
    return len(count)


@pytest.mark.parametrize("queues", [1, 100, 10_000])
def test_no_head_is_taken_apart_however_many_there_are(queues: int):
    frames = [b"SEND\ndestination:/queue/g.%d\n\nx\0" % number for number in range(queues)]
    wire = b"".join(frames * (20_000 // queues))
    assert parsed(wire, memory(Version.V1_2)) == 0


def test_no_head_is_taken_apart_because_it_never_repeats():
    wire = b"".join(
        [b"SEND\ndestination:/queue/q\nreceipt:%d\ntrace:%d\n\n\0" % (n, n) for n in range(5000)]
    )
    assert parsed(wire, memory(Version.V1_2)) == 0


@pytest.mark.parametrize("size", [1, 900])
def test_what_it_keeps_is_bounded(size: int):
    """In number, and in bytes where the blocks are large."""
    known = memory(Version.V1_2)
    for number in range(20_000):
        for _ in range(2):
            head = known.like(b"SEND\ndestination:/queue/q\nn:%0*d" % (size, number))
            assert head is not None
    assert 0 < len(known.heads) <= 16_384
    assert sum(map(len, known.heads)) <= 2 * 1024 * 1024


def test_what_repeats_is_known_and_shared():
    known = memory(Version.V1_2)
    block = b"SEND\ndestination:/queue/q"
    first, second = known.like(block), known.like(block)
    assert first is not None
    assert not first.repeats
    assert second is not None
    assert second.repeats
    assert known.known(block) is second
    with_receipts = [known.like(block + b"\nreceipt:%d" % number) for number in range(4)]
    patterns = {head and head.pattern for head in with_receipts[1:]}
    assert len(patterns - {None}) == 1
    assert [head and head.receipt for head in with_receipts] == ["0", "1", "2", "3"]


def test_faults_name_the_headers_of_their_frame():
    parser = FrameParser(version=Version.V1_2)
    parser.proceed(Version.V1_2, DEFAULT_LIMITS, memory=memory(Version.V1_2))
    parser.feed(b"SEND\ndestination:/queue/q\nreceipt:r\ncontent-length:1\n\nxx\0")
    assert parser.failure is not None
    assert parser.failure.frame_headers["receipt"] == "r"
