"""Brokers that die, sleep, are cut off, come and go: groups have one owner, and all end even."""

from __future__ import annotations

import pytest
from tests.support.cluster_simulation import World


@pytest.mark.parametrize("part", range(10))
def test_some_schedules(part: int):
    for seed in range(part, 200, 10):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(400))
def test_ten_thousand_schedules(part: int):
    for seed in range(part, 10_000, 400):
        check(seed)


def check(seed: int) -> None:
    try:
        World(seed).check()
    except AssertionError as error:
        raise AssertionError(f"schedule {seed}: {error}") from error
