"""Who should own which group: evenly, the same everywhere, and few move when a broker goes."""

from __future__ import annotations

from collections import Counter

import pytest

from stompy_broker.cluster.membership.placement import rank, spread

BROKERS = [f"broker-{number}" for number in range(1, 8)]


@pytest.mark.parametrize("count", [1, 5, 16, 48])
@pytest.mark.parametrize("brokers", range(1, 8))
def test_everybody_gets_as_many_as_any_other_or_one_more(count: int, brokers: int):
    found = spread(count, BROKERS[:brokers])
    assert found == spread(count, BROKERS[:brokers][::-1])
    assert sorted(found) == list(range(count))
    counts = Counter(dict.fromkeys(BROKERS[:brokers], 0)) + Counter(found.values())
    most = -(-count // brokers)
    assert max(counts.values()) <= most
    assert sum(value == most for value in counts.values()) <= (count % brokers or brokers)


def test_most_groups_stay_when_a_broker_comes_or_goes():
    for brokers in range(2, 7):
        before, after = spread(48, BROKERS[:brokers]), spread(48, BROKERS[: brokers + 1])
        moved = sum(before[group] != after[group] for group in range(48))
        assert moved <= 2 * 48 // brokers


def test_who_cannot_have_a_group_does_not_get_it():
    assert spread(3, []) == {}
    found = spread(4, ["a", "b"], {"a": frozenset((0, 1, 2)), "b": frozenset((0,))})
    assert 0 not in found
    assert found[1] == found[2] == "b"
    assert spread(2, ["a", "b"], {"a": frozenset((0, 1))}) == {0: "b", 1: "b"}


def test_each_group_has_an_order_of_its_own():
    orders = {tuple(rank(group, BROKERS)) for group in range(16)}
    assert len(orders) == 16
    assert all(sorted(order) == BROKERS for order in orders)
