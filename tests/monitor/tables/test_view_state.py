"""Which rows a table shows, and in which order."""

from hypothesis import given
from hypothesis import strategies as st
from tests.support.envelopes import envelope, queue

from stompy_monitor.model.filter import parse
from stompy_monitor.model.row_set import RowSet
from stompy_monitor.tables import definitions, short_tables
from stompy_monitor.tables.view_state import HOLD_SECONDS, SORT_SECONDS, ViewState


class Shown:
    """A table of queues on the screen, second by second."""

    def __init__(self):
        self.row_set = RowSet("queues")
        self.view_state = ViewState(definitions.QUEUES)
        self.now = 100.0
        self.second = 0

    def see(self, seconds=1.0, **ready):
        self.second += 1
        self.now += seconds
        rows = [queue(name, ready=count) for name, count in ready.items()]
        self.row_set.apply(envelope("queues", self.second, rows))
        self.view_state.refresh(self.row_set, self.now)
        return self.view_state.keys


def test_alarms_then_the_deepest_then_by_name():
    shown = Shown()
    assert shown.see(a=1, b=5, c=5) == ["b", "c", "a"]
    shown.row_set.rows["a"].severity = 1
    shown.view_state.release()
    shown.view_state.refresh(shown.row_set, shown.now)
    assert shown.view_state.keys == ["a", "b", "c"]


def test_the_cursor_stays_on_its_row():
    shown = Shown()
    shown.see(a=1, b=5)
    assert shown.view_state.cursor is None or shown.view_state.position == 0
    shown.view_state.select("a")
    shown.see(a=9, b=5)
    assert (shown.view_state.cursor, shown.view_state.position) == ("a", 0)


def test_a_row_that_went_leaves_the_cursor_where_it_was():
    shown = Shown()
    shown.see(a=3, b=2, c=1)
    shown.view_state.select("b")
    shown.see(a=3, c=1)
    assert (shown.view_state.cursor, shown.view_state.position) == ("c", 1)
    shown.see(a=3)
    assert shown.view_state.cursor == "a"
    shown.see()
    assert shown.view_state.cursor is None


def test_the_order_holds_while_the_reader_moves():
    shown = Shown()
    shown.see(a=1, b=5, c=9)
    shown.view_state.move_to(1, shown.now)
    assert shown.see(a=100, b=5, d=50) == ["b", "a", "d"]
    assert shown.see(HOLD_SECONDS, a=100, b=5, d=50) == ["a", "d", "b"]
    assert shown.view_state.cursor == "b"


def test_a_filter_and_what_it_leaves():
    shown = Shown()
    shown.see(orders=5, bills=1)
    shown.view_state.filter_by(parse("ready>2"))
    assert shown.see(orders=5, bills=1) == ["orders"]
    assert shown.view_state.total == 2
    shown.view_state.mark_all()
    assert shown.see(bills=9) == ["bills"]
    assert shown.view_state.marks == set()


def test_another_order_and_back():
    shown = Shown()
    shown.view_state.sort(definitions.QUEUES.column("name"), descending=False)
    assert shown.see(c=1, a=2, b=3) == ["a", "b", "c"]
    shown.view_state.sort(definitions.QUEUES.column("name"), descending=True)
    assert shown.see(c=1, a=2, b=3) == ["c", "b", "a"]
    shown.view_state.sort(None)
    assert shown.see(c=1, a=2, b=3) == ["b", "a", "c"]


def test_the_monitors_own_rows_are_hidden_unless_asked_for():
    table = RowSet("connections")
    table.own = "c-9"
    table.apply(envelope("connections", 0, [{"id": "c-1"}, {"id": "c-9"}]))
    view_state = ViewState(definitions.CONNECTIONS)
    view_state.refresh(table, 0)
    assert view_state.keys == ["c-1"]
    view_state.show_own = True
    view_state.release()
    view_state.refresh(table, 0)
    assert view_state.keys == ["c-1", "c-9"]


def test_very_many_rows_are_sorted_now_and_then():
    table = RowSet("queues")
    names = [f"q{number:05d}" for number in range(10_001)]
    table.apply(envelope("queues", 0, [queue(name) for name in names]))
    view_state = ViewState(definitions.QUEUES)
    view_state.refresh(table, 100)
    table.apply(envelope("queues", 1, [queue(name, ready=name == "q09999") for name in names]))
    view_state.refresh(table, 100.5)
    assert view_state.keys[0] == "q00000"
    view_state.refresh(table, 100 + SORT_SECONDS)
    assert view_state.keys[0] == "q09999"


COLUMNS = st.sampled_from([column for column in definitions.QUEUES.columns if column.title])
READY = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), min_size=1)


@given(READY, COLUMNS, st.booleans(), st.randoms())
def test_the_order_is_total_and_does_not_depend_on_how_the_rows_came(
    ready, column, descending, rnd
):
    names = list(ready)
    results = []
    for _ in range(2):
        rnd.shuffle(names)
        shown = Shown()
        shown.view_state.sort(column, descending)
        results.append(list(shown.see(**{name: ready[name] for name in names})))
    assert results[0] == results[1]
    assert sorted(results[0]) == sorted(ready)


CHANGES = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.none() | st.integers(0, 3)),
    min_size=1,
    max_size=6,
)


@given(CHANGES, COLUMNS, st.booleans(), st.sampled_from(["", "ready>1", "!c"]))
def test_rows_that_look_for_a_new_place_find_the_one_of_a_fresh_start(
    changes, column, descending, text
):
    kept, now = Shown(), {}
    kept.view_state.sort(column, descending)
    kept.view_state.filter_by(parse(text))
    for change in changes:
        now = {name: ready for name, ready in {**now, **change}.items() if ready is not None}
        kept.see(**now)
        fresh = ViewState(definitions.QUEUES)
        fresh.sort(column, descending)
        fresh.filter_by(parse(text))
        fresh.refresh(kept.row_set, kept.now)
        assert kept.view_state.keys == fresh.keys


def test_a_list_that_nobody_has_touched_stays_at_its_top():
    shown = Shown()
    shown.see(a=3, b=2)
    assert shown.view_state.cursor == "a"
    shown.see(a=3, b=9)
    assert (shown.view_state.cursor, shown.view_state.position) == ("b", 0)
    shown.view_state.move_to(1, shown.now)
    shown.see(4.0, a=3, b=1)
    assert (shown.view_state.cursor, shown.view_state.position) == ("a", 0)


def test_who_goes_to_the_top_of_a_short_list_follows_it_again():
    shown = Shown()
    shown.view_state = ViewState(short_tables.DEEPEST)
    shown.see(a=3, b=2)
    shown.view_state.move_to(1, shown.now)
    shown.see(4.0, a=3, b=9)
    assert (shown.view_state.cursor, shown.view_state.position) == ("b", 0)
    shown.see(a=30, b=9)
    assert shown.view_state.position == 1
    shown.view_state.move_to(0, shown.now)
    shown.see(a=30, b=90)
    assert (shown.view_state.cursor, shown.view_state.position) == ("b", 0)
