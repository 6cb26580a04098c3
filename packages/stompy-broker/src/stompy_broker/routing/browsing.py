"""Looking at the messages that wait in a queue, without touching them.

There may be very many, so they are looked through in steps. Whoever wants bodies is given copies of
the messages, so that nothing about the queue changes, and nothing in it changes what was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from stompy_broker.message import Message
from stompy_broker.routing.batching import BatchedWork, WorkBudget
from stompy_broker.routing.browse_walk import BrowseWalk
from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Browse, Browsed, GroupFigures
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.selection import first_bytes
from stompy_broker.routing.services import Services
from stompy_broker.store.base import Callback
from stompy_broker.store.interface import MessageStore


def browse(
    ready: ReadyList,
    consumers: Iterable[Consumer],
    groups: Callable[[], tuple[GroupFigures, ...]] | None,
    wanted: Browse,
    services: Services,
    group: QueueGroup,
    done: Callable[[Browsed], None],
) -> None:
    """Look at what waits, or what consumers have, or at the groups of that.

    Args:
        ready: what waits.
        consumers: who may have messages of the queue.
        groups: gives the groups of its messages; None = there are none.
        wanted: which of them.
        services: clock, and how many may be looked at in one step.
        group: the queue's, whose store reads bodies.
        done: takes what was found.
    """
    if wanted.groups:
        done(Browsed([], 0, more=False, groups=() if groups is None else groups()))
        return
    budget, store = services.work_budget, group.store
    if wanted.stream:
        done(Browsed([], 0, more=False))  # it is none
        return
    if wanted.states is None:
        _browse_waiting(ready, wanted, budget, store, done)
        return
    last = group.sequences.last
    if wanted.most == 0:
        done(Browsed([], 0, more=False, last=last))
        return
    walk = BrowseWalk(ready, consumers, wanted, services.wall())

    def end() -> None:
        found = [one[2] for one in walk.found]
        states = tuple([one[1] for one in walk.found])
        due = _due(ready, found, states, services)
        answer = Browsed(found, 0, walk.more, states, walk.skipped, last, due)
        give_browsed(answer, wanted, store, done)

    BatchedWork(budget).do(walk.steps(), _look, end)


def _due(
    ready: ReadyList,
    found: Sequence[Message],
    states: Sequence[MessageState],
    services: Services,
) -> tuple[int, ...]:
    """When each message may be delivered, on the wall; 0 = it does not wait for a time."""
    if MessageState.DELAYED not in states:
        return (0,) * len(found)
    now, wall = services.clock.now(), services.wall()
    times = {id(message): wall + round((due - now) * 1000) for due, _, message in ready.in_time()}
    return tuple([times.get(id(message), 0) for message in found])


def _look(message: Message) -> None:
    """Do nothing: the walk itself takes what is meant."""


def _browse_waiting(
    ready: ReadyList,
    wanted: Browse,
    budget: WorkBudget,
    store: MessageStore,
    done: Callable[[Browsed], None],
) -> None:
    """Look at what waits: what is ready, then what is delayed."""
    most = None if wanted.most is None else wanted.skip + wanted.most + 1
    delayed = {id(entry[2]) for entry in ready.in_time()}

    def finish() -> None:
        _answer(wanted, found, delayed, store, done)

    selection = wanted.selection
    if selection.is_everything and (most is None or most <= ready.ready):
        found = _all_in_order(ready) if most is None else ready.in_order(most)
        finish()
        return
    if selection.after and not ready.delayed:
        everything = ready.later_than(selection.after)
    else:
        everything = _all_in_order(ready)
    found = []
    is_meant = selection.test()

    def look(message: Message) -> None:
        if is_meant(message):
            found.append(message)

    def until_enough() -> Iterator[Message]:
        for message in everything:
            if most is not None and len(found) >= most:
                return
            yield message

    BatchedWork(budget).do(until_enough(), look, finish)


def _answer(
    wanted: Browse,
    found: list[Message],
    delayed: set[int],
    store: MessageStore,
    done: Callable[[Browsed], None],
) -> None:
    end = None if wanted.most is None else wanted.skip + wanted.most
    some = found[wanted.skip : end]
    if wanted.bodies:
        some = some[: first_bytes(some, wanted.bodies)]
    more = wanted.skip + len(some) < len(found)
    late = sum(id(message) in delayed for message in some) if delayed else 0
    give_browsed(Browsed(some, late, more), wanted, store, done)


def give_browsed(
    answer: Browsed, wanted: Browse, store: MessageStore, done: Callable[[Browsed], None]
) -> None:
    """Give what was found; with bodies, where those are wanted: then it is copies.

    Args:
        answer: what was found.
        wanted: what was asked for.
        store: reads the bodies that are not in memory.
        done: takes it.
    """
    if not wanted.bodies:
        done(answer)
        return
    copies = copies_to_read(answer.messages)
    read_bodies(store, copies, lambda: done(answer._replace(messages=copies)))


def copies_to_read(messages: Sequence[Message]) -> list[Message]:
    """Copies of messages, with the bodies that are in memory.

    A copy keeps what it has. While the bodies of others are read, or until somebody has made use of
    them, those of the messages themselves may leave memory for the disk.
    """
    return [message.restored(message.deliveries, message.failures) for message in messages]


def read_bodies(store: MessageStore, messages: Sequence[Message], done: Callback) -> None:
    """Give messages their bodies, and call ``done``; one that is gone meanwhile stays None."""
    missing = [message for message in messages if message.body is None]
    if missing:
        store.load(missing, done)
    else:
        done()


def _all_in_order(ready: ReadyList) -> list[Message]:
    return ready.in_order() + [entry[2] for entry in sorted(ready.in_time())]
