"""What every store with logs promises of them, the reference in memory and the one on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.house import WALL, make_head, make_message
from tests.support.logged import LoggedShelf, MemoryShop
from tests.support.storage import Shelf, short_wal

from stompy_broker.cluster.remote.away_store import AwayStore
from stompy_broker.message import Message, MessageHead, stamp
from stompy_broker.store.entry_log import EntryLogs, LogEnds, LogEntry, LogPage, WantedValues
from stompy_broker.store.interface import MessageStore

SHELVES: dict[str, Callable[[Path], Shelf]] = {
    "memory": lambda top: Shelf(None),
    "sqlite": lambda top: Shelf(top / "data"),
}


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with short_wal():
        yield


@pytest.fixture(params=SHELVES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    shelf = SHELVES[request.param](tmp_path)
    yield shelf
    shelf.close()


def logs(shelf: Shelf) -> EntryLogs:
    assert shelf.store.keeps_logs
    return shelf.store.logs


def page(shelf: Shelf, offset: int, log: str = "a", **how: object) -> LogPage:
    """Read one page."""
    found: list[LogPage] = []
    logs(shelf).read(log, offset, found.append, **how)  # type: ignore[arg-type]
    shelf.turns.until(lambda: found)
    return found[0]


def everything(shelf: Shelf, offset: int = 0, log: str = "a", **how: object) -> list[LogEntry]:
    """Read to the end, page by page."""
    entries: list[LogEntry] = []
    while True:
        read = page(shelf, offset, log, **how)
        entries += read.entries
        if read.next == offset:
            return entries
        assert read.next > offset
        offset = read.next


def fill(shelf: Shelf, count: int, log: str = "a", start: int = 0) -> None:
    """Add entries that tell their offsets."""
    for number in range(start, start + count):
        message = Message(number << 10, HEAD, b"%d" % number, stamp(WALL + number))
        assert logs(shelf).append(log, message) == number


def found_at(shelf: Shelf, time: int, log: str = "a") -> int:
    """Search by time."""
    found: list[int] = []
    logs(shelf).find_time(log, time, found.append)
    shelf.turns.until(lambda: found)
    return found[0]


def bounded(shelf: Shelf, limit: int, log: str = "a") -> int:
    """Where a log begins that is to have so many bytes."""
    found: list[int] = []
    logs(shelf).find_bytes(log, limit, found.append)
    shelf.turns.until(lambda: found)
    return found[0]


HEAD = make_head()

BETWEEN = [lambda shelf: None, Shelf.sync, Shelf.reopen]


@pytest.mark.parametrize("between", BETWEEN)
def test_entries_come_back_as_they_were(shelf: Shelf, between: Callable[[Shelf], None]) -> None:
    heads = [make_head(color="red"), make_head(priority="9"), make_head(timestamp="17")]
    heads.append(MessageHead.from_headers({"destination": "/queue/x"}, message_id=b"older"))
    for number, head in enumerate(heads):
        message = Message(7 << number, head, b"body" * number, stamp(WALL + number))
        assert logs(shelf).append("a", message, "red" if number else None, b"!" * number) == number
    between(shelf)
    entries = everything(shelf)
    assert [one.offset for one in entries] == [0, 1, 2, 3]
    assert [one.sequence for one in entries] == [7, 14, 28, 56]
    assert [one.body for one in entries] == [b"", b"body", b"body" * 2, b"body" * 3]
    assert [one.filter_value for one in entries] == [None, "red", "red", "red"]
    assert [one.payload for one in entries] == [b"", b"!", b"!!", b"!!!"]
    assert [one.received_at for one in entries] == [WALL, WALL + 1, WALL + 2, WALL + 3]
    for one, head in zip(entries, heads, strict=True):
        assert one.head.block == head.block
        assert one.head.traits.priority == head.traits.priority
        assert one.head.message_id == head.message_id
        assert one.message().stamp == one.stamp
    assert entries[3].message().message_id == "older"


def test_entries_of_one_head_share_it(shelf: Shelf) -> None:
    fill(shelf, 3)
    one, two, three = everything(shelf)
    assert one.head is two.head is three.head


@pytest.mark.parametrize("between", BETWEEN)
def test_it_is_read_on_in_pages_from_any_offset(
    shelf: Shelf, between: Callable[[Shelf], None]
) -> None:
    fill(shelf, 3500)
    between(shelf)
    fill(shelf, 10, start=3500)
    assert [one.offset for one in everything(shelf)] == list(range(3510))
    for start in (0, 1, 999, 1000, 1001, 3499, 3500, 3509):
        entries = everything(shelf, start)
        assert [one.offset for one in entries] == list(range(start, 3510))
        assert entries[0].body == b"%d" % start
    small = page(shelf, 0, limit=1)
    assert 1 <= len(small.entries) <= 1000
    assert small.next == len(small.entries)


def test_behind_the_end_there_is_an_empty_page(shelf: Shelf) -> None:
    fill(shelf, 5)
    assert page(shelf, 5) == LogPage([], 5, 0)
    assert page(shelf, 0, "unknown") == LogPage([], 0, 0)


def test_an_entry_of_any_size(shelf: Shelf) -> None:
    sizes = [3, 5_000_000, 0, 300_000, 7]
    for number, size in enumerate(sizes):
        logs(shelf).append("a", make_message(number + 1, b"x" * size))
    shelf.reopen()
    assert [len(one.body or b"") for one in everything(shelf)] == sizes


@pytest.mark.parametrize("between", BETWEEN)
def test_where_logs_begin_and_end(shelf: Shelf, between: Callable[[Shelf], None]) -> None:
    fill(shelf, 3)
    fill(shelf, 1, "b/größe '; --")
    between(shelf)
    ends = logs(shelf).ends()
    size = len(make_head().block) + 1
    assert ends == {
        "a": LogEnds(0, 3, 3 * size, WALL),
        "b/größe '; --": LogEnds(0, 1, size, WALL),
    }
    assert {name: logs(shelf).ends_of(name) for name in ends} == ends
    assert logs(shelf).ends_of("unknown") == LogEnds(0, 0, 0, 0)
    shelf.sync()
    assert logs(shelf).safe_next("a") == 3
    assert logs(shelf).safe_next("unknown") == 0


def test_an_entry_may_have_a_time_of_its_own(shelf: Shelf) -> None:
    logs(shelf).append("a", make_message(1), stamp=stamp(WALL + 5))
    shelf.sync()
    assert everything(shelf)[0].received_at == WALL + 5
    assert logs(shelf).ends_of("a").oldest == WALL + 5


@pytest.mark.parametrize("between", BETWEEN)
def test_who_asks_for_some_values_gets_those(
    shelf: Shelf, between: Callable[[Shelf], None]
) -> None:
    values = [None, "red", "größe 🐇", ""]
    for number in range(4000):
        value = values[number % 4] if number < 2000 else "late"
        logs(shelf).append("a", make_message(number + 1), value)
    between(shelf)

    def wanted(*names: str, unfiltered: bool = False) -> list[int]:
        asked = WantedValues(frozenset(names), unfiltered)
        return [one.offset for one in everything(shelf, wanted=asked)]

    assert wanted("red") == list(range(1, 2000, 4))
    assert wanted("red", "") == [n for n in range(2000) if n % 4 in (1, 3)]
    assert wanted(unfiltered=True) == list(range(0, 2000, 4))
    assert wanted("größe 🐇", unfiltered=True) == list(range(0, 2000, 2))
    assert wanted("late") == list(range(2000, 4000))
    assert wanted("nobody's") == []


@pytest.mark.parametrize("between", BETWEEN)
def test_a_place_is_found_by_time(shelf: Shelf, between: Callable[[Shelf], None]) -> None:
    fill(shelf, 2500)
    between(shelf)
    for number in (0, 1, 999, 1000, 2499):
        assert found_at(shelf, WALL + number) == number
    assert found_at(shelf, 0) == 0
    assert found_at(shelf, WALL + 2500) == 2500
    assert found_at(shelf, WALL, "unknown") == 0
    logs(shelf).cut("a", 1500)
    assert found_at(shelf, WALL) == 1500


@pytest.mark.parametrize("between", BETWEEN)
def test_a_clock_may_have_gone_back(shelf: Shelf, between: Callable[[Shelf], None]) -> None:
    for number, time in enumerate([10, 30, 20, 20, 40]):
        logs(shelf).append("a", Message(number, make_head(), b"", stamp(WALL + time)))
        between(shelf)
    assert [found_at(shelf, WALL + time) for time in (10, 11, 20, 25, 31, 41)] == [0, 1, 1, 1, 4, 5]


@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_cut_off_is_read_no_more(shelf: Shelf, between: Callable[[Shelf], None]) -> None:
    fill(shelf, 3500)
    between(shelf)
    logs(shelf).cut("a", 1234)
    assert logs(shelf).ends()["a"][:2] == (1234, 3500)
    between(shelf)
    assert logs(shelf).ends()["a"][:2] == (1234, 3500)
    assert [one.offset for one in everything(shelf)] == list(range(1234, 3500))
    logs(shelf).cut("a", 1000)
    assert page(shelf, 7).entries[0].offset == 1234


@pytest.mark.parametrize("between", BETWEEN)
def test_a_log_that_was_emptied_goes_on_where_it_was(
    shelf: Shelf, between: Callable[[Shelf], None]
) -> None:
    fill(shelf, 1200)
    between(shelf)
    logs(shelf).cut("a", 99_999)
    between(shelf)
    assert logs(shelf).ends()["a"][:2] == (1200, 1200)
    assert everything(shelf) == []
    fill(shelf, 3, start=1200)
    between(shelf)
    assert [one.offset for one in everything(shelf)] == [1200, 1201, 1202]


def test_how_much_there_is_may_be_bounded(shelf: Shelf) -> None:
    fill(shelf, 10_000)
    shelf.sync()
    size = logs(shelf).ends()["a"].bytes
    assert bounded(shelf, size) == 0
    half = bounded(shelf, size // 2)
    assert 4000 < half < 6500
    assert bounded(shelf, 0) in range(9000, 10_000)
    assert bounded(shelf, 5, "unknown") == 0
    logs(shelf).cut("a", half)
    assert bounded(shelf, size) == half


@pytest.mark.parametrize("between", BETWEEN)
def test_readers_have_places(shelf: Shelf, between: Callable[[Shelf], None]) -> None:
    fill(shelf, 1)
    logs(shelf).keep_reader("a", "ann", 1)
    logs(shelf).keep_reader("b", "ann", 2)
    between(shelf)
    for offset in range(2, 2000):
        logs(shelf).keep_reader("a", "ann", offset)
    logs(shelf).keep_reader("a", "größe '; --", 0)
    between(shelf)
    assert logs(shelf).readers("a") == {"ann": 1999, "größe '; --": 0}
    logs(shelf).keep_reader("a", "ann", None)
    logs(shelf).keep_reader("a", "nobody", None)
    between(shelf)
    assert logs(shelf).readers("a") == {"größe '; --": 0}
    assert logs(shelf).readers("b") == {"ann": 2}
    assert logs(shelf).readers("unknown") == {}


@pytest.mark.parametrize("between", BETWEEN)
def test_a_log_that_was_dropped_begins_again(
    shelf: Shelf, between: Callable[[Shelf], None]
) -> None:
    fill(shelf, 1500)
    fill(shelf, 3, "b")
    logs(shelf).keep_reader("a", "ann", 1)
    between(shelf)
    logs(shelf).drop("a")
    logs(shelf).drop("unknown")
    between(shelf)
    assert set(logs(shelf).ends()) == {"b"}
    assert everything(shelf) == []
    fill(shelf, 2)
    between(shelf)
    assert [one.body for one in everything(shelf)] == [b"0", b"1"]
    assert logs(shelf).readers("a") == {}
    assert len(everything(shelf, log="b")) == 3


@pytest.mark.parametrize("between", BETWEEN)
def test_a_body_that_is_in_the_store_only_is_taken_over(
    shelf: Shelf, between: Callable[[Shelf], None]
) -> None:
    bodies = [b"%d" % number * 300 for number in range(3)]
    for number, body in enumerate(bodies):
        shelf.store.append("/queue/q", make_message(number + 1, body))
    shelf.reopen()
    for one in list(shelf.store.restore()):
        assert one.message.body is None
        logs(shelf).append("a", one.message, payload=b"gone")
        shelf.store.remove(one.message)
    between(shelf)
    assert [one.body for one in everything(shelf)] == bodies
    assert [one.payload for one in everything(shelf)] == [b"gone"] * 3
    shelf.reopen()
    assert list(shelf.store.restore()) == []


def test_very_many_bodies_are_taken_over_in_one_change(shelf: Shelf) -> None:
    bodies = [b"%d" % number for number in range(3000)]
    for number, body in enumerate(bodies):
        shelf.store.append("/queue/q", make_message(number + 1, body))
    shelf.reopen()
    for number, one in enumerate(list(shelf.store.restore())):
        if number % 1000 == 999:
            shelf.load(one.message)
        logs(shelf).append("a", one.message)
        shelf.store.remove(one.message)
    shelf.reopen()
    assert [one.body for one in everything(shelf)] == bodies


def test_stores_of_a_cluster_keep_none() -> None:
    shelf = LoggedShelf(MemoryShop())
    stores: list[MessageStore] = [AwayStore(), shelf.store]
    for store in stores:
        assert not store.keeps_logs
        with pytest.raises(NotImplementedError):
            store.logs.ends()
    shelf.close()
