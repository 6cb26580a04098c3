"""When a row deserves a look."""

import random

import pytest
from tests.support.envelopes import START, envelope, queue

from stompy_monitor.model.alarms import (
    CRITICAL,
    JUDGED_AT_ONCE,
    RULES,
    WARN,
    Alarms,
    with_thresholds,
)
from stompy_monitor.model.model import Model
from stompy_monitor.model.row_set import RowSet


class Watched:
    """One kind of rows and its alarms, second by second."""

    def __init__(self, kind):
        self.row_set = RowSet(kind)
        self.alarms = Alarms(kind)
        self.second = -1

    def see(self, row, seconds=1):
        for _ in range(seconds):
            self.second += 1
            change = self.row_set.apply(envelope(self.row_set.kind, self.second, [dict(row)]))
            self.alarms.update(self.row_set.rows, change.rows, self.row_set.up_ms)
        (found,) = self.row_set.rows.values()
        return found.severity, found.reason


def test_a_queue_without_consumer():
    watched = Watched("queues")
    row = queue("a", ready=3, consumers=0)
    assert watched.see(row, 30) == (0, "")
    assert watched.see(row) == (WARN, "no consumers")
    assert watched.see(row, 269) == (WARN, "no consumers")
    assert watched.see(row) == (CRITICAL, "no consumers")


def test_messages_that_no_selector_takes():
    watched = Watched("queues")
    row = queue("a", ready=3, consumers=2, unmatched=2)
    assert watched.see(row, 60) == (0, "")
    assert watched.see(row) == (WARN, "no consumer takes 2")


def test_it_is_raised_after_two_samples_and_cleared_after_five():
    watched = Watched("transactions")
    old, young = ({"id": "t-1", "age_ms": age} for age in (40_000, 10))
    assert watched.see(old)[0] == 0
    assert watched.see(old) == (WARN, "open for 40s")
    assert watched.see(young, 4)[0] == WARN
    assert watched.see(young)[0] == 0


def test_a_good_sample_in_between_does_not_let_it_flicker():
    watched = Watched("transactions")
    old, young = ({"id": "t-1", "age_ms": age} for age in (40_000, 10))
    watched.see(old, 2)
    for _ in range(3):
        assert watched.see(young, 2)[0] == WARN
        assert watched.see(old, 2)[0] == WARN


def levels_of_a_queue(levels, interval_ms=1000):
    """How severe a queue is at each moment, given how much waits then."""
    model, seen = Model(), []
    for second, ready in enumerate(levels):
        page = envelope("queues", second, [queue("a", ready=ready, in_msgs=second)])
        model.apply({**page, "interval_ms": interval_ms})
        row = model.row_sets["queues"].rows["a"]
        seen.append("growing" in row.reason)
    return seen


def test_a_queue_that_grows():
    assert any(levels_of_a_queue(range(150)))
    assert not any(levels_of_a_queue([5] * 300))


def test_a_queue_that_grows_in_bursts():
    assert levels_of_a_queue([second // 10 * 200 for second in range(150)])[-1]


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_queue_with_noise_does_not_grow(seed):
    noise = random.Random(seed)
    assert not any(levels_of_a_queue([noise.randint(950, 1050) for _ in range(1200)]))


def test_what_grows_no_more_is_let_go():
    seen = levels_of_a_queue([*range(150), *[150] * 120])
    assert seen[149]
    assert not seen[-1]
    model = Model()
    for second in range(150):
        model.apply(envelope("queues", second, [queue("a", ready=second)]))
    for second in range(150, 280):
        model.apply(envelope("queues", second, [], base=second - 1))  # no word of it any more
    assert "growing" not in model.row_sets["queues"].rows["a"].reason


def test_dead_letters_are_counted_over_a_minute():
    watched = Watched("queues")
    row = queue("DLQ.a", dlq_of="a", ready=1000, in_msgs=1000)
    assert watched.see(row, 5) == (0, "")  # they were there before
    seen = []
    for second in range(180):
        row["in_msgs"] += second % 2
        seen.append(watched.see(row))
    assert seen[-1] == (WARN, "30 dead/min")
    assert all(severity == WARN for severity, _ in seen[3:])
    assert watched.see(row, 70) == (0, "")
    row["in_msgs"] += 2
    assert watched.see(row, 2) == (WARN, "2 dead/min")
    row["in_msgs"] += 200
    assert watched.see(row, 2) == (CRITICAL, "202 dead/min")


def test_a_dead_letter_queue_that_is_young_counts_from_its_beginning():
    watched = Watched("queues")
    row = queue("DLQ.a", dlq_of="a", in_msgs=3, created_at=START - 10_000)
    assert watched.see(row, 2) == (WARN, "3 dead/min")


def test_what_the_broker_knows_since_when_is_told_at_once():
    watched = Watched("queues")
    since = {"idle_at": START - 400_000, "oldest_at": START - 600_000}
    severity, reason = watched.see(queue("a", ready=3, consumers=0, **since), 2)
    assert (severity, reason.split(" · ")[0]) == (CRITICAL, "no consumers")
    young = {"idle_at": START - 400_000, "oldest_at": START - 10_000}
    assert Watched("queues").see(queue("a", ready=3, consumers=0, **young), 2) == (0, "")


def test_all_that_is_wrong_is_told_the_worst_first():
    watched = Watched("queues")
    row = queue("a", ready=99, max_length=100, oldest_ms=90_000, paused=True)
    assert watched.see(row, 2) == (CRITICAL, "99 % full · waits 1m 30s")
    assert watched.see(row, 61) == (CRITICAL, "99 % full · waits 1m 30s · paused, 99 wait")


def test_a_sender_that_waits_is_not_one_that_does_not_read():
    blocked = {"id": "c-1", "state": "blocked", "pending_bytes": 0}
    assert Watched("connections").see(blocked, 12) == (WARN, "has to wait before it may send")
    deaf = {"id": "c-1", "state": "running", "pending_bytes": 2**21}
    assert Watched("connections").see(deaf, 12) == (WARN, "does not read")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (queue("a", ready=85, max_length=100), (WARN, "85 % full")),
        (queue("a", bytes=99, max_bytes=100), (CRITICAL, "99 % full")),
        (queue("a", ready=1, oldest_ms=90_000), (WARN, "waits 1m 30s")),
        (queue("DLQ.a", ready=1, oldest_ms=90_000, dlq_of="a", consumers=0), (0, "")),
    ],
)
def test_measures_of_queues(row, expected):
    assert Watched("queues").see(row, 3) == expected


def test_subscriptions_that_do_not_settle():
    row = {"id": "s-1", "prefetch": 5, "unacked": 5, "oldest_unacked_ms": 40_000}
    assert Watched("subscriptions").see(row, 2) == (WARN, "slow, holds 5")
    row |= {"oldest_unacked_ms": 400_000, "stuck": True}
    assert Watched("subscriptions").see(row, 2) == (CRITICAL, "stuck, holds 5")
    assert Watched("subscriptions").see({**row, "unacked": 4}, 2) == (0, "")


def test_a_row_that_went_takes_its_case_along():
    watched = Watched("transactions")
    watched.see({"id": "t-1", "age_ms": 40_000}, 2)
    watched.see({"id": "t-2", "age_ms": 1})
    assert watched.alarms.counts(watched.row_set.rows) == (0, 0)
    assert watched.alarms.alarmed(watched.row_set.rows) == []


def test_an_age_that_grows_while_the_row_stays_as_it_is():
    row_set, alarms = RowSet("queues"), Alarms("queues")
    first = envelope("queues", 0, [])
    first["data"] = [queue("a", ready=1, oldest_at=first["at"]), queue("b")]
    seen = []
    for second in range(603):
        page = first if second == 0 else envelope("queues", second, [], base=second - 1)
        alarms.update(row_set.rows, row_set.apply(page).rows, row_set.up_ms)
        row = row_set.rows["a"]
        if not seen or seen[-1][1] != row.severity:
            seen.append((second, row.severity, row.changed == row_set.version))
    assert seen == [(0, 0, True), (61, WARN, True), (600, CRITICAL, True)]
    assert row.reason == "waits 10m 02s"
    assert row_set.rows["b"].severity == 0


def test_of_very_many_rows_each_has_its_turn():
    row_set, alarms = RowSet("queues"), Alarms("queues")
    rows = [queue(f"q{number}", bytes=99, max_bytes=100) for number in range(3 * JUDGED_AT_ONCE)]
    for second in range(12):
        change = row_set.apply(envelope("queues", second, [dict(row) for row in rows]))
        alarms.update(row_set.rows, change.rows, row_set.up_ms)
    assert alarms.counts(row_set.rows) == (0, len(rows))


def test_other_thresholds():
    rules = with_thresholds(RULES, {"age": (1, 2)})
    assert [(rule.warn, rule.critical) for rule in rules if rule.name == "age"] == [(1, 2)]
    with pytest.raises(ValueError, match="there is no alarm “ages”"):
        with_thresholds(RULES, {"ages": (1, 2)})
