"""Heads known by their bytes: from the second time on, within bounds, whatever the receipt."""

from __future__ import annotations

import pytest

from stompy.protocol.header_cache import FAST_BLOCK, Head, HeadCache, ack_run, plain_acks


def head(block: bytes, **headers: str) -> Head:
    return Head("SEND", {"destination": "/queue/q", **headers}, block, -1)


def plain(number: int = 0) -> Head:
    return head(b"SEND\ndestination:/queue/q\nnumber:%d" % number, number=str(number))


def with_receipt(value: str) -> Head:
    return head(b"SEND\ndestination:/queue/q\nreceipt:%b\na:b" % value.encode(), receipt=value)


def test_a_block_is_known_from_the_second_time_on() -> None:
    cache, one = HeadCache(), plain()
    cache.remember(one)
    assert cache.known(one.block) is None
    cache.remember(one)
    assert cache.known(one.block) is one


@pytest.mark.parametrize(
    "other",
    [
        Head("ACK", {"id": "1-1"}, b"ACK\nid:1-1", -1),
        head(b"SEND\nx:" + b"y" * FAST_BLOCK),
    ],
)
def test_what_is_no_send_or_too_long_is_not_remembered(other: Head) -> None:
    cache = HeadCache()
    for _ in range(3):
        cache.remember(other)
    assert cache.known(other.block) is None


def test_it_never_holds_more_than_it_may() -> None:
    cache = HeadCache(capacity=4)
    for number in range(50):
        for _ in range(2):
            cache.remember(plain(number))
        assert len(cache.heads) <= 4
    assert cache.known(plain(49).block) is not None


def test_a_head_is_known_whatever_its_receipt_is() -> None:
    cache = HeadCache()
    for value in ("r-1", "r-2"):
        cache.remember(with_receipt(value))
    found = cache.like(with_receipt("r-3").block)
    assert found is not None
    assert found.receipt == "r-3"
    assert found.headers == {"destination": "/queue/q"}
    assert found.pattern is not None
    assert found.plan is found.pattern.plan


@pytest.mark.parametrize("value", ["a\\c", " padded", "caf\u00e9", ""])
def test_a_receipt_that_needs_a_look_is_parsed(value: str) -> None:
    cache = HeadCache()
    for known in ("r-1", "r-2"):
        cache.remember(with_receipt(known))
    assert cache.like(with_receipt(value).block) is None


def test_a_run_of_plain_acks_is_found_and_taken_apart() -> None:
    acks = b"ACK\nid:1-1\n\n\0\nACK\nid:1-22\n\n\0"
    run = ack_run(acks + b"SEND\n\n\0")
    assert run is not None
    assert run.end() == len(acks)
    assert plain_acks(run[0]) == [(b"1", b"1"), (b"1", b"22")]


@pytest.mark.parametrize(
    "other", [b"ACK\nid:1-x\n\n\0", b"ACK\nid:1-1\nreceipt:r\n\n\0", b"NACK\nid:1-1\n\n\0"]
)
def test_any_other_ack_is_read_as_usual(other: bytes) -> None:
    assert ack_run(other) is None
