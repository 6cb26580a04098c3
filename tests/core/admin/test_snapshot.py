"""The envelope: read in both formats, and gathered into a table whatever is missing."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.admin import (
    AGES,
    KEYS,
    ROWS,
    Fit,
    Kind,
    QueueRow,
    SchemaError,
    SnapshotSequence,
    Table,
    age_fields,
    aged,
    field_names,
    moving_fields,
    read_page,
    row_from,
    row_to_json,
)


def page(data: object, **envelope: object) -> bytes:
    head = {"v": 1, "kind": "queues", "boot": "b", "seq": 1}
    return json.dumps({**head, "data": data, **envelope}).encode()


def test_objects_and_columns_say_the_same() -> None:
    objects = read_page(page([{"name": "a", "ready": 3}]))
    columns = read_page(page([["a", 3]], fields=["name", "ready"]))
    assert objects.rows == columns.rows == (QueueRow(name="a", ready=3),)


def test_fields_that_are_not_known_are_ignored_and_those_missing_have_defaults() -> None:
    (row,) = read_page(page([{"name": "a", "invented_later": [1]}])).rows
    assert row == QueueRow(name="a")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"x"',
        b'{"v":2,"kind":"queues","data":[]}',
        page([], kind="chickens"),
        page([3]),
        page([None]),
        page([], seq="soon"),
        b'{"v":1,"kind":"queues"}',
        b"\xff",
    ],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(SchemaError):
        read_page(body)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_whatever_a_broker_sends_is_a_page_or_refused(data: object) -> None:
    with suppress(SchemaError):
        read_page(page(data))


def test_the_header_tells_whose_connection_it_is() -> None:
    body = page([{"id": "c-1"}, {"id": "c-2"}], kind="connections")
    assert [row.self for row in read_page(body, {"self": "c-2"}).rows] == [False, True]
    body = page([{"id": "s-1", "connection": "c-2"}], kind="subscriptions")
    assert read_page(body, {"self": "c-2"}).rows[0].self


def test_rows_survive_json() -> None:
    for kind, cls in ROWS.items():
        row = cls()
        assert row_from(kind, json.loads(json.dumps(row_to_json(row)))) == row


def test_every_kind_has_its_key_and_every_age_its_time() -> None:
    for kind in Kind:
        names = field_names(kind)
        if kind is not Kind.EVENT:
            assert KEYS[kind] in names
        for age, since in age_fields(kind).items():
            assert since in names
            assert AGES[age] == since
        assert set(age_fields(kind)) <= moving_fields(kind) <= set(names)


def test_ages_follow_the_clock() -> None:
    row = aged(QueueRow(name="a", oldest_at=1000), 3500)
    assert row.oldest_ms == 2500
    assert aged(QueueRow(name="a"), 3500).oldest_ms is None


class TestTable:
    def table(self, *pages: bytes) -> Table:
        table = Table(Kind.QUEUES)
        for body in pages:
            table.add(read_page(body))
        return table

    def test_pages_count_when_all_of_them_are_there(self) -> None:
        table = Table(Kind.QUEUES)
        first, second = (
            page([{"name": "a"}], page=1, pages=2),
            page([{"name": "b"}], page=2, pages=2),
        )
        assert not table.add(read_page(first))
        assert table.rows == {}
        assert table.add(read_page(second))
        assert list(table.rows) == ["a", "b"]

    def test_a_snapshot_that_breaks_off_changes_nothing(self) -> None:
        table = self.table(
            page([{"name": "a"}]),
            page([{"name": "b"}], seq=2, page=1, pages=2),
            page([{"name": "c"}], seq=3),
        )
        assert list(table.rows) == ["c"]
        assert table.gaps == 1

    def test_changes_are_laid_over_what_was(self) -> None:
        table = self.table(
            page([{"name": "a", "ready": 1}, {"name": "b"}, {"name": "c"}]),
            page([{"name": "a", "ready": 2}, {"name": "d"}], seq=2, base=1, removed=["b"]),
        )
        assert {name: row.ready for name, row in table.rows.items()} == {"a": 2, "c": 0, "d": 0}
        assert not table.lost

    def test_changes_without_their_base_are_refused_until_a_full_set_comes(self) -> None:
        table = self.table(page([{"name": "a"}]), page([{"name": "b"}], seq=3, base=2))
        assert table.lost
        assert list(table.rows) == ["a"]
        assert table.add(read_page(page([{"name": "x"}], seq=4)))
        assert not table.lost

    def test_changes_after_a_restart_of_the_broker_are_refused(self) -> None:
        table = self.table(page([{"name": "a"}]), page([], seq=2, base=1, boot="other"))
        assert table.lost

    def test_ages_are_brought_up_to_the_last_snapshot(self) -> None:
        table = self.table(
            page([{"name": "a", "oldest_at": 1000, "oldest_ms": 0}], at=1000),
            page([], seq=2, base=1, at=61_000),
        )
        assert [row.oldest_ms for row in table.now()] == [60_000]


class TestSequence:
    def test_a_page_that_is_missing_makes_the_rest_of_the_snapshot_mean_nothing(self) -> None:
        sequence = SnapshotSequence()
        assert sequence.take("b", 1, None, page=1, pages=3) is Fit.PART
        assert sequence.take("b", 1, None, page=3, pages=3) is Fit.MISFIT
        assert not sequence.lost  # the next full one mends it, and nothing was known before
        assert sequence.take("b", 2, None) is Fit.WHOLE
        assert sequence.take("b", 3, 2, page=2, pages=2) is Fit.MISFIT
        assert sequence.lost

    def test_once_lost_no_change_fits_until_a_full_one_came(self) -> None:
        sequence = SnapshotSequence()
        assert sequence.take("b", 1, None) is Fit.WHOLE
        assert sequence.take("b", 3, 2) is Fit.MISFIT
        assert sequence.take("b", 4, 3) is Fit.MISFIT
        assert sequence.take("b", 5, None) is Fit.WHOLE
        assert sequence.take("b", 6, 5) is Fit.WHOLE
        assert (sequence.lost, sequence.gaps, sequence.seq) == (False, 3, 6)

    def test_pages_of_two_snapshots_make_none(self) -> None:
        sequence = SnapshotSequence()
        assert sequence.take("b", 1, None, page=1, pages=2) is Fit.PART
        assert sequence.take("b", 2, None, page=2, pages=2) is Fit.MISFIT
        assert sequence.take("c", 1, None, page=2, pages=2) is Fit.MISFIT

    def test_a_start_of_the_broker_is_no_gap(self) -> None:
        sequence = SnapshotSequence()
        assert sequence.take("b", 1, None) is Fit.WHOLE
        assert sequence.take("c", 9, None) is Fit.WHOLE
        assert sequence.gaps == 0
