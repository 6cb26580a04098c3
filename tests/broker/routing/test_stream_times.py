"""When the messages came at which readers are: also of those that are on disk only."""

from __future__ import annotations

from stompy_broker.message import MessageHead
from stompy_broker.routing.stream_source import StreamSource
from stompy_broker.routing.stream_times import StreamTimes
from stompy_broker.store.entry_log import LogEntry, LogPage, PageRead

HEAD = MessageHead.from_headers({"destination": "/queue/s"})


class OnDisk(StreamSource):
    """A source with ten messages to a block; message 35 is damaged, and 100 is in memory."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, PageRead]] = []

    def time_at(self, place: int) -> int | None:
        """Know one of them."""
        return 5 if place == 100 else None

    def read_block(self, place: int, done: PageRead) -> None:
        """Remember what is asked."""
        self.asked.append((place, done))

    def answer(self) -> int:
        """Answer the question; gives the place that was asked for."""
        ((place, done),) = self.asked
        self.asked.clear()
        end = (place // 10 + 1) * 10
        entries = [
            LogEntry(at, at, b"s:%d" % (1000 + at), HEAD, b"", None, b"")
            for at in range(place, end)
            if at != 35
        ]
        done(LogPage(entries, end, end - place - len(entries)))
        return place


def test_a_block_is_read_once_for_all_who_are_in_it() -> None:
    source = OnDisk()
    times = StreamTimes(source)
    told: list[bool] = []
    times.want({12, 15, 35, 36, 100}, lambda: told.append(True))
    assert (times.at(100), times.at(12)) == (5, None)
    assert source.answer() == 12
    assert not told
    assert source.answer() == 35
    assert told == [True]
    assert [times.at(place) for place in (12, 15, 35, 36)] == [1012, 1015, None, 1036]
    times.want({12, 35})
    assert not source.asked, "what is known is not read again, nor what cannot be"
    assert times.at(15) is None
    times.want({12, 15})
    assert source.answer() == 15


def test_only_so_much_is_read_at_a_time() -> None:
    source = OnDisk()
    times = StreamTimes(source)
    told: list[bool] = []
    places = set(range(1000, 1250, 10))
    times.want(places, lambda: told.append(True))
    while source.asked:
        source.answer()
    assert told == [True]
    assert [times.at(place) for place in (1190, 1200)] == [2190, None]
    times.want(places)
    while source.asked:
        source.answer()
    assert times.at(1240) == 2240


def test_what_is_wanted_no_more_when_it_comes_is_forgotten() -> None:
    source = OnDisk()
    times = StreamTimes(source)
    times.want({12})
    times.want({25})
    source.answer()
    assert source.answer() == 25
    assert (times.at(12), times.at(25)) == (None, 1025)
