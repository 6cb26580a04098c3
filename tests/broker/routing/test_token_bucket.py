"""Tokens come evenly, a burst may be taken at once, and a timer at the right time is enough."""

from __future__ import annotations

import random

import pytest

from stompy_broker.rate_limit import Rate
from stompy_broker.routing.token_bucket import TokenBucket

START = (0.0, 12.5, 123_456.789, 100_000_000.0)


def taken(bucket: TokenBucket, now: float) -> int:
    """How often one can be taken at a moment."""
    count = 0
    while bucket.take(1, now):
        count += 1
    return count


@pytest.mark.parametrize("start", START)
@pytest.mark.parametrize("amount", [1, 2, 3, 7, 10, 100, 999])
def test_a_second_brings_what_the_rate_says_and_no_more(start: float, amount: int) -> None:
    bucket = TokenBucket(Rate(amount))
    assert taken(bucket, start) == amount
    for second in range(1, 20):
        assert taken(bucket, start + second) == amount


def test_a_slow_rate_gives_one_at_once_and_the_next_in_its_time() -> None:
    bucket = TokenBucket(Rate(2, 60))
    assert taken(bucket, 0.0) == 1
    assert not bucket.take(1, 29.0)
    assert bucket.ready_at(0.0) == pytest.approx(30.0, abs=0.5)
    assert taken(bucket, 30.0) == 1


@pytest.mark.parametrize("start", START)
@pytest.mark.parametrize("rate", [Rate(10), Rate(1, 7), Rate(1_000_000), Rate(333, 60)])
def test_whoever_comes_when_it_is_ready_gets_one(start: float, rate: Rate) -> None:
    bucket, now, chance = TokenBucket(rate), start, random.Random(1)
    for _ in range(1000):
        assert bucket.take(chance.choice([1, 1, 1, 5, 40]), now)
        now = bucket.ready_at(now)
    assert bucket.ready_at(now) == now


def test_the_rate_holds_in_the_long_run_whatever_is_taken_at_once() -> None:
    bucket, now, total = TokenBucket(Rate(1000)), 0.0, 0
    chance = random.Random(2)
    while now < 1000:
        size = chance.randrange(1, 5000)
        assert bucket.take(size, now)
        total += size
        now = bucket.ready_at(now)
    assert total == pytest.approx(1_000_000, rel=0.01)


def test_more_than_there_is_becomes_a_debt() -> None:
    bucket = TokenBucket(Rate(10))
    assert bucket.take(25, 0.0)
    assert not bucket.take(1, 1.5)
    assert bucket.ready_at(0.0) == pytest.approx(1.6, abs=0.01)
    bucket.spend(10, 0.0)
    assert bucket.ready_at(0.0) == pytest.approx(2.6, abs=0.01)
    assert bucket.used(0.0) == pytest.approx(3.5, abs=0.01)


def test_it_says_how_much_is_used() -> None:
    bucket = TokenBucket(Rate(10))
    assert bucket.used(5.0) == 0
    bucket.spend(8, 5.0)
    assert bucket.used(5.0) == pytest.approx(0.8, abs=0.01)
    assert bucket.used(5.4) == pytest.approx(0.4, abs=0.01)
    assert bucket.used(100.0) == 0


def test_another_rate_keeps_what_was_taken() -> None:
    bucket = TokenBucket(Rate(10))
    assert taken(bucket, 0.0) == 10
    bucket.renew(Rate(100), 0.0)
    assert not bucket.take(1, 0.0)
    assert taken(bucket, 0.1) == 10
    fresh = TokenBucket(Rate(10))
    fresh.renew(Rate(1), 3.0)
    assert taken(fresh, 3.0) == 1
