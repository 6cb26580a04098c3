"""Runs of messages: where a reader goes on in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import make_head

from stompy_broker.message import stamp
from stompy_broker.routing.message_source import MessageRun
from stompy_broker.routing.reader_message import ReaderMessage

HEAD = make_head()


@given(places=st.sets(st.integers(0, 40)), place=st.integers(0, 45))
def test_a_place_is_found_with_gaps_and_without(places: set[int], place: int) -> None:
    messages = [ReaderMessage(one, one, HEAD, b"", stamp(0)) for one in sorted(places)]
    index = MessageRun(messages, 50).index_of(place)
    assert [one.place for one in messages[index:]] == [
        one for one in sorted(places) if one >= place
    ]


def test_a_run_that_grows_is_the_same_for_those_in_it() -> None:
    run = MessageRun([], 0, grows=True)
    assert run.index_of(0) == 0
    run.messages.append(ReaderMessage(0, 1, HEAD, b"", stamp(0)))
    assert run.index_of(1) == 1
