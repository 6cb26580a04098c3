"""When a row deserves a look."""

import pytest
from tests.support.envelopes import envelope, queue

from stompy_monitor.alarms import CRITICAL, JUDGED_AT_ONCE, RULES, WARN, Alarms, with_thresholds
from stompy_monitor.table import Table


class Watched:
    """One kind of rows and its alarms, second by second."""

    def __init__(self, kind):
        self.table = Table(kind)
        self.alarms = Alarms(kind)
        self.second = -1

    def see(self, row, seconds=1):
        for _ in range(seconds):
            self.second += 1
            change = self.table.apply(envelope(self.table.kind, self.second, [dict(row)]))
            self.alarms.update(self.table.rows, change.rows, self.table.up_ms)
        (found,) = self.table.rows.values()
        return found.severity, found.reason


def test_a_queue_without_consumer():
    watched = Watched("queues")
    row = queue("a", ready=3, consumers=0)
    assert watched.see(row, 30) == (0, "")
    assert watched.see(row) == (WARN, "no consumers")
    assert watched.see(row, 269) == (WARN, "no consumers")
    assert watched.see(row) == (CRITICAL, "no consumers")


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


def test_growing():
    watched = Watched("queues")
    for second in range(62):
        found = watched.see(queue("a", ready=second, in_msgs=second * 10, out_msgs=second))
    assert found == (WARN, "growing")


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
    assert Watched("subscriptions").see(row, 2) == (WARN, "slow")
    row |= {"oldest_unacked_ms": 400_000, "stuck": True}
    assert Watched("subscriptions").see(row, 2) == (CRITICAL, "stuck")
    assert Watched("subscriptions").see({**row, "unacked": 4}, 2) == (0, "")


def test_a_row_that_went_takes_its_case_along():
    watched = Watched("transactions")
    watched.see({"id": "t-1", "age_ms": 40_000}, 2)
    watched.see({"id": "t-2", "age_ms": 1})
    assert watched.alarms.counts(watched.table.rows) == (0, 0)
    assert watched.alarms.alarmed(watched.table.rows) == []


def test_an_age_that_grows_while_the_row_stays_as_it_is():
    table, alarms = Table("queues"), Alarms("queues")
    first = envelope("queues", 0, [])
    first["data"] = [queue("a", ready=1, oldest_at=first["at"]), queue("b")]
    seen = []
    for second in range(603):
        page = first if second == 0 else envelope("queues", second, [], base=second - 1)
        alarms.update(table.rows, table.apply(page).rows, table.up_ms)
        row = table.rows["a"]
        if not seen or seen[-1][1] != row.severity:
            seen.append((second, row.severity, row.changed == table.version))
    assert seen == [(0, 0, True), (61, WARN, True), (600, CRITICAL, True)]
    assert row.reason == "waits 10m 02s"
    assert table.rows["b"].severity == 0


def test_of_very_many_rows_each_has_its_turn():
    table, alarms = Table("queues"), Alarms("queues")
    rows = [queue(f"q{number}", bytes=99, max_bytes=100) for number in range(3 * JUDGED_AT_ONCE)]
    for second in range(12):
        change = table.apply(envelope("queues", second, [dict(row) for row in rows]))
        alarms.update(table.rows, change.rows, table.up_ms)
    assert alarms.counts(table.rows) == (0, len(rows))


def test_other_thresholds():
    rules = with_thresholds(RULES, {"age": (1, 2)})
    assert [(rule.warn, rule.critical) for rule in rules if rule.name == "age"] == [(1, 2)]
    with pytest.raises(ValueError, match="there is no alarm “ages”"):
        with_thresholds(RULES, {"ages": (1, 2)})
