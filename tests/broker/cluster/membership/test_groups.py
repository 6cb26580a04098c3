"""A queue's group: a pattern that fits, else the hash of its name, and its dead letters with it."""

from __future__ import annotations

from collections import Counter

import pytest

from stompy_broker.cluster.membership.groups import MOST_NAMED_GROUPS, GroupMap, stable_hash


def test_the_hash_is_the_same_in_each_process_and_version():
    assert [stable_hash(text) for text in ("", "orders", "Grüße")] == [
        16476032584258269876,
        15396940609477705549,
        480575330471420818,
    ]


def test_queues_are_spread_over_all_groups():
    groups = GroupMap(16)
    counts = Counter(groups.of(f"queue.{number}") for number in range(1600))
    assert sorted(counts) == list(range(16))
    assert max(counts.values()) < 2 * min(counts.values())


@pytest.mark.parametrize("prefix", ["DLQ.", "durable.", "DLQ.durable.", "durable.DLQ."])
def test_dead_letters_and_backlogs_stay_with_their_queue(prefix: str):
    groups = GroupMap(16, ["/queue/orders.>"])
    for name in ["a", "b.c", "orders", "orders.new", "x" * 300]:
        assert groups.of(prefix + name) == groups.of(name)
    assert isinstance(groups.of(prefix), int)


def test_patterns_have_groups_of_their_own_and_the_first_one_counts():
    groups = GroupMap(4, ["/queue/orders.>", ["/queue/bills.*", "/queue/orders.late"], "plain"])
    assert groups.count == 7
    assert groups.of("orders") == groups.of("orders.late") == groups.of("DLQ.orders.new") == 4
    assert groups.of("bills.may") == 5
    assert groups.of("plain") == 6
    assert groups.of("bills.may.1") < 4


def test_groups_must_fit_into_message_ids_and_be_groups_of_queues():
    assert GroupMap(MOST_NAMED_GROUPS).count == MOST_NAMED_GROUPS
    for hashed, pins in ((0, []), (MOST_NAMED_GROUPS, ["/queue/a"])):
        with pytest.raises(ValueError, match="together"):
            GroupMap(hashed, pins)
    with pytest.raises(ValueError, match="no pattern of queues"):
        GroupMap(1, ["/topic/a"])


def test_who_groups_otherwise_has_another_layout():
    maps = [GroupMap(4), GroupMap(5), GroupMap(4, ["/queue/a"]), GroupMap(4, ["/queue/a", "b"])]
    assert len({one.layout for one in maps}) == 4
    assert GroupMap(4, [["/queue/a"]]).layout == GroupMap(4, ["/queue/a"]).layout
