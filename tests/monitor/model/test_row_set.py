"""Rows and their rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.envelopes import envelope, queue

from stompy_monitor.model.row_set import Gap, RowSet

FIELDS = ["name", "destination", "ready", "in_msgs", "out_msgs", "acked", "oldest_at"]


def columns(second, *rows, **more):
    return envelope("queues", second, [list(row) for row in rows], fields=FIELDS, **more)


def row(name, in_msgs=0, ready=0, oldest_at=None):
    return (name, f"/queue/{name}", ready, in_msgs, 0, 0, oldest_at)


def test_rates_come_from_the_brokers_running_time_not_from_its_clock():
    row_set = RowSet("queues")
    row_set.apply(envelope("queues", 0, [queue("a", in_msgs=10)]))
    assert row_set.rows["a"].value("in") is None
    later = envelope("queues", 4, [queue("a", in_msgs=30)], at=12)
    row_set.apply(later)
    assert row_set.rows["a"].value("in") == 5
    assert row_set.rows["a"].value("rate.in") == 5


def test_a_counter_that_fell_has_no_rate():
    row_set = RowSet("queues")
    row_set.apply(envelope("queues", 0, [queue("a", in_msgs=10)]))
    row_set.apply(envelope("queues", 1, [queue("a", in_msgs=3)]))
    assert row_set.rows["a"].value("in") is None


def test_a_full_set_takes_away_what_it_does_not_have():
    row_set = RowSet("queues")
    row_set.apply(envelope("queues", 0, [queue("a"), queue("b")]))
    change = row_set.apply(envelope("queues", 1, [queue("b")]))
    assert change.removed == ["a"]
    assert list(row_set.rows) == ["b"]


def test_pages_make_one_set():
    row_set = RowSet("queues")
    assert row_set.apply(columns(0, row("a"), page=1, pages=2)) is None
    assert not row_set.complete
    change = row_set.apply(columns(0, row("b"), page=2, pages=2))
    assert [changed.key for changed in change.rows] == ["a", "b"]


def test_a_delta_changes_and_removes_and_lets_the_rest_come_to_rest():
    row_set = RowSet("queues")
    row_set.apply(columns(0, row("a"), row("b"), row("c")))
    row_set.apply(columns(1, row("a", 5), row("b", 5), base=0))
    assert row_set.rows["a"].value("in") == 5
    change = row_set.apply(columns(2, row("b", 9), base=1, removed=["c"]))
    assert row_set.rows["a"].value("in") == 0
    assert row_set.rows["b"].value("in") == 4
    assert change.removed == ["c"]
    assert {changed.key for changed in change.rows} == {"a", "b"}


def test_a_delta_to_another_snapshot_is_a_gap():
    row_set = RowSet("queues")
    row_set.apply(columns(0, row("a")))
    with pytest.raises(Gap):
        row_set.apply(columns(2, row("a", 1), base=1))
    assert row_set.rows["a"].value("in_msgs") == 0


def test_ages_grow_by_themselves():
    row_set = RowSet("queues")
    first = columns(0, row("a", oldest_at=columns(0)["at"] - 2000))
    row_set.apply(first)
    assert row_set.rows["a"].value("oldest_ms") == 2000
    row_set.apply(columns(3, base=0))
    assert row_set.rows["a"].value("oldest_ms") == 5000
    assert row_set.rows["a"].number("oldest_ms") == 5000


def test_text_is_made_safe_and_values_inside_values_are_found():
    row_set = RowSet("connections")
    beat = {"in_ms": 10, "out_ms": 20}
    rows = [{"id": "c-1", "peer": "\x1b[31m", "heart_beat": beat}]
    row_set.apply(envelope("connections", 0, rows))
    row = row_set.rows["c-1"]
    assert row.text("peer") == "␛[31m"
    assert row.value("heart_beat.out_ms") == 20
    assert row.value("heart_beat.absent") is None
    assert row.haystack == "c-1 ␛[31m"


def test_fields_that_are_not_known_are_kept():
    row_set = RowSet("queues")
    row_set.apply(envelope("queues", 0, [queue("a")]))
    row_set.apply(envelope("queues", 1, [queue("a", novelty=7), queue("b")]))
    assert row_set.rows["a"].value("novelty") == 7
    assert row_set.rows["b"].value("novelty") is None


def test_a_copy_stands_still():
    row_set = RowSet("queues")
    row_set.apply(envelope("queues", 0, [queue("a", ready=1)]))
    copy = row_set.copy()
    row_set.apply(envelope("queues", 1, [queue("a", ready=2)]))
    assert (copy.rows["a"].value("ready"), row_set.rows["a"].value("ready")) == (1, 2)


def test_rows_that_come_alone_push_out_the_oldest():
    row_set = RowSet("events")
    for number in range(4):
        row_set.append(("number", "type"), [number, "x.y"], 3)
    assert list(row_set.rows) == ["1", "2", "3"]


NAMES = st.sets(st.sampled_from("abcdef"), min_size=1)


@given(st.lists(NAMES, min_size=1, max_size=8))
def test_deltas_and_full_sets_lead_to_the_same_rows(rounds):
    by_delta, by_full = RowSet("queues"), RowSet("queues")
    before = {}
    for second, names in enumerate(rounds):
        now = {name: second if name in "abc" else 0 for name in sorted(names)}
        rows = [row(name, ready=ready) for name, ready in now.items()]
        by_full.apply(columns(second, *rows))
        if second == 0:
            by_delta.apply(columns(second, *rows))
        else:
            changed = [r for r in rows if before.get(r[0]) != r[2]]
            removed = [name for name in before if name not in now]
            by_delta.apply(columns(second, *changed, base=second - 1, removed=removed))
        before = now
        ready = [{k: r.value("ready") for k, r in t.rows.items()} for t in (by_delta, by_full)]
        assert ready[0] == ready[1] == now
