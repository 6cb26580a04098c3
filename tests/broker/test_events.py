"""Events: kept, passed on by pattern, and made only when wanted."""

from __future__ import annotations

from stompy.admin.rows import Event
from stompy_broker.events import EVENTS, KEPT, MOST_REFUSALS, MOST_REFUSALS_OF_ALL, Events


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def test_the_last_ones_are_kept_for_who_comes_later() -> None:
    events = Events(lambda: 7)
    for number in range(KEPT + 5):
        events.tell(Event(type="queue.created", destination=str(number)))
    kept = events.watch("queue.>", print)
    assert [event.id for event in kept] == list(range(6, KEPT + 6))
    assert kept[0].at == 7


def test_patterns_choose_and_details_are_for_who_names_them() -> None:
    events, everything, queues, messages = Events(lambda: 0), [], [], []
    events.watch(">", everything.append)
    events.watch("queue.*", queues.append)
    assert not events.detailed
    events.watch("message.>", messages.append)
    assert events.detailed == {"message"}
    for kind in ("queue.created", "message.expired", "connection.opened"):
        events.tell(Event(type=kind))
    assert types(everything) == ["queue.created", "connection.opened"]
    assert types(queues) == ["queue.created"]
    assert types(messages) == ["message.expired"]
    assert types(list(events.recent)) == ["queue.created", "connection.opened"]


def test_who_has_gone_is_told_nothing() -> None:
    events, told = Events(lambda: 0), []
    take = told.append
    events.watch("message.>", take)
    events.unwatch(take)
    assert not events.detailed
    events.tell(Event(type="queue.created"))
    assert told == []


def test_what_is_not_kept_is_passed_on_all_the_same() -> None:
    events, told = Events(lambda: 0), []
    events.watch(">", told.append)
    events.tell(Event(type="admin.command"), keep=False)
    assert types(told) == ["admin.command"]
    assert not events.recent


def test_numbers_have_no_gaps_for_who_sees_all_of_a_sort() -> None:
    events, life, details = Events(lambda: 0), [], []
    events.watch(">", life.append)
    events.watch("message.*", details.append)
    for kind in ("queue.created", "message.expired", "queue.deleted", "message.dropped"):
        events.tell(Event(type=kind))
    assert [event.id for event in life] == [event.id for event in details] == [1, 2]


def test_the_list_is_sorted_and_made_of_objects_and_actions() -> None:
    assert list(EVENTS) == sorted(EVENTS)
    assert all(len(name.split(".")) == 2 for name in EVENTS)


def test_one_object_does_not_push_out_another() -> None:
    events = Events(lambda: 0)
    events.tell(Event(type="admin.command"))
    for _ in range(KEPT + 10):
        events.tell(Event(type="subscription.created"))
        events.tell(Event(type="admin.command", reason="refused"), ring="auth")
    assert events.recent[0] == Event(type="admin.command", id=1)
    ids = [event.id for event in events.recent]
    assert ids == sorted(ids)
    assert len(events.watch(">", print)) == 1 + 2 * KEPT


def test_refusals_are_told_so_many_times_a_second() -> None:
    now = [1_000_000]
    events, told = Events(lambda: now[0]), []
    events.watch(">", told.append)
    for _ in range(500):
        events.refuse(Event(type="auth.failed"))
    assert len(told) == MOST_REFUSALS
    events.refuse(Event(type="auth.denied", user="somebody else"))
    other = told.pop()
    assert (other.user, other.detail) == ("somebody else", {"untold": 500 - MOST_REFUSALS})
    for number in range(500):
        events.refuse(Event(type="auth.failed", user=str(number)))
    assert len(told) == MOST_REFUSALS_OF_ALL - 1
    del told[MOST_REFUSALS:]
    now[0] += 999
    events.refuse(Event(type="auth.denied"))
    assert len(told) == MOST_REFUSALS
    now[0] += 1
    events.refuse(Event(type="auth.denied", detail={"peer": "x"}))
    events.refuse(Event(type="auth.denied"))
    assert told[-2].detail == {
        "peer": "x",
        "untold": 501 - (MOST_REFUSALS_OF_ALL - MOST_REFUSALS - 1),
    }
    assert told[-1].detail is None
    now[0] -= 5000  # the clock was put back
    events.refuse(Event(type="auth.denied"))
    assert len(told) == MOST_REFUSALS + 3
