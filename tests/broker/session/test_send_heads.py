"""What the broker makes of a SEND that was read in one step is what it makes of a parsed one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import make_directions

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.codec import FrameParser, Head
from stompy.protocol.headers import Version
from stompy.protocol.limits import DEFAULT_LIMITS
from stompy_broker.broker_headers import BROKER_HEADERS, DEATH_HEADERS
from stompy_broker.foreign_headers import OF_SEND
from stompy_broker.message import TELLING
from stompy_broker.session.send import plan_for
from stompy_broker.session.send_heads import head_caches
from stompy_broker.session.send_routes import SendRoutes

NAMES = sorted({*BROKER_HEADERS, *DEATH_HEADERS, *TELLING, *OF_SEND, "reply-to", "x", "ttl-x", "e"})
DESTINATIONS = [
    "/queue/q", "q", "/topic/t", "/temp-queue/t", "/reply-queue/r", "/queue/$SYS.command",
    "/queue/$x", "/queue/a.*", "/nothing/q", "queue/q", "/queue/durable.x", "/queue/ q",
]  # fmt: skip
VALUES = ["", "1", "9", "12", "true", "false", "no", "-1", "text", "a\\cb", "é"]

TRAITS = ("sized", "stamped", "persistent", "priority", "ttl", "expires", "message_id", "plain")


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """Mostly a SEND as clients write it, with names that mean something to the broker."""
    plain = st.sampled_from([*TELLING, "receipt", "content-length", "x"])
    names = draw(st.lists(st.one_of(plain, plain, st.sampled_from(NAMES)), max_size=4))
    lines = [f"{name}:{draw(st.sampled_from(VALUES))}" for name in names]
    lines.insert(
        draw(st.integers(0, len(lines))), f"destination:{draw(st.sampled_from(DESTINATIONS))}"
    )
    return "\n".join(["SEND", *lines]).encode()


def made(head: Head) -> tuple[object, ...]:
    """All that becomes of it, or why nothing does."""
    try:
        plan = plan_for(head, Version.V1_2, SendRoutes(make_directions()))
    except ProtocolError as error:
        return error.error_code, error.Message
    traits = [getattr(plan.head.traits, name) for name in TRAITS]
    own = (plan.simple, plan.destination, plan.sets_up, plan.commands, plan.foreign)
    # Of a repeated header both may be passed on, or the first (``docs/wire.md``), and the other
    # one alone may be written otherwise in another version.
    names = [line.partition(b":")[0] for line in head.block.split(b"\n")]
    neutral = plan.head.version_neutral if len(names) == len(set(names)) else None
    return plan.head.headers(), neutral, traits, own


@given(block=blocks())
def test_both_ways_mean_the_same(block: bytes) -> None:
    head = head_caches(DEFAULT_LIMITS)[Version.V1_2].like(block)
    if head is None:
        return
    parsed = FrameParser(version=Version.V1_2)._parse_head(block)
    if head.receipt is not None:
        # A receipt is a matter of its own then, as with one of several that differ in it alone.
        rest = block.replace(b"\nreceipt:" + head.receipt.encode(), b"")
        parsed = FrameParser(version=Version.V1_2)._parse_head(rest)
    assert made(head) == made(parsed)


@pytest.mark.parametrize("name", sorted(OF_SEND | {"transaction", "reply-to", "x-max-length"}))
def test_what_asks_for_more_is_parsed(name: str) -> None:
    block = f"SEND\ndestination:/queue/q\n{name}:1".encode()
    assert head_caches(DEFAULT_LIMITS)[Version.V1_2].like(block) is None


def test_1_0_is_parsed() -> None:
    assert head_caches(DEFAULT_LIMITS)[Version.V1_0].like(b"SEND\ndestination:/queue/q") is None


def test_a_bad_number_is_told() -> None:
    head = head_caches(DEFAULT_LIMITS)[Version.V1_2].like(b"SEND\ndestination:q\npriority:high")
    assert head is not None
    assert made(head)[0] is ErrorCode.BAD_HEADER
