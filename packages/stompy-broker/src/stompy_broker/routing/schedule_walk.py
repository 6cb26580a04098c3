"""Looking at what waits in a schedule queue, next one first, without touching it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from stompy_broker.message import Message
from stompy_broker.routing.answers import nobody_asks
from stompy_broker.routing.batching import BatchedWork
from stompy_broker.routing.browse_walk import BrowseWalk
from stompy_broker.routing.browsing import give_browsed
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Browse, Browsed
from stompy_broker.routing.message_state import MessageState
from stompy_broker.routing.named_schedules import Waiting
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.selection import first_bytes
from stompy_broker.routing.services import Services

_FEW: Final = 10_000
"""So many are put in order at once."""


def next_first(delayed: Sequence[Waiting], most: int) -> list[Waiting]:
    """The first ones of a heap, in order; it stays as it is.

    Args:
        delayed: the heap.
        most: how many at most.
    """
    found: list[Waiting] = []
    ahead = [(delayed[0], 0)] if delayed else []
    while ahead and len(found) < most:
        entry, place = heapq.heappop(ahead)
        found.append(entry)
        for below in (2 * place + 1, 2 * place + 2):
            if below < len(delayed):
                heapq.heappush(ahead, (delayed[below], below))
    return found


def browse_schedules(
    ready: ReadyList,
    wanted: Browse,
    services: Services,
    group: QueueGroup,
    done: Callable[[Browsed], None],
) -> None:
    """Look at what is to come: next one first, or if states are asked for as all queues have it.

    Args:
        ready: what waits.
        wanted: which of that.
        services: say how much may be looked at in one step.
        group: of the queue, whose store reads bodies.
        done: takes what was found.
    """
    delayed = ready.delayed
    if wanted.states is not None:
        _browse_in_place(ready, wanted, services, group, done)
        return
    most = None if wanted.most is None else wanted.skip + wanted.most + 1
    if wanted.selection.is_everything and most is not None and most <= _FEW:
        _answer(next_first(delayed, most), wanted, group, done)
        return
    found: list[Waiting] = []
    is_meant = wanted.selection.test()

    def meant() -> Iterator[Message]:
        for entry in list(delayed):
            if is_meant(entry[2]):
                found.append(entry)
            yield entry[2]

    def finish() -> None:
        found.sort()
        _answer(found if most is None else found[:most], wanted, group, done)

    BatchedWork(services.work_budget).do(meant(), nobody_asks, finish)


def _answer(
    found: list[Waiting], wanted: Browse, group: QueueGroup, done: Callable[[Browsed], None]
) -> None:
    end = None if wanted.most is None else wanted.skip + wanted.most
    some = found[wanted.skip : end]
    if wanted.bodies:
        some = some[: first_bytes([entry[2] for entry in some], wanted.bodies)]
    more = wanted.skip + len(some) < len(found)
    messages = [entry[2] for entry in some]
    due = tuple([int(entry[0]) for entry in some])
    answer = Browsed(messages, len(messages), more, last=group.sequences.last, due=due)
    give_browsed(answer, wanted, group.store, done)


def _browse_in_place(
    ready: ReadyList,
    wanted: Browse,
    services: Services,
    group: QueueGroup,
    done: Callable[[Browsed], None],
) -> None:
    """Look at what waits in the order that it would have in its queue."""
    states: frozenset[MessageState] = frozenset()
    if MessageState.SCHEDULED in (wanted.states or ()):
        states = frozenset((MessageState.DELAYED,))
    last = group.sequences.last
    if wanted.most == 0:
        done(Browsed([], 0, more=False, last=last))
        return
    walk = BrowseWalk(ready, (), replace(wanted, states=states), services.wall())

    def end() -> None:
        found = [one[2] for one in walk.found]
        meant = {id(message) for message in found}
        times = {id(one[2]): int(one[0]) for one in ready.delayed if id(one[2]) in meant}
        due = tuple([times.get(id(message), 0) for message in found])
        states = (MessageState.SCHEDULED,) * len(found)
        answer = Browsed(found, 0, walk.more, states, walk.skipped, last, due)
        give_browsed(answer, wanted, group.store, done)

    BatchedWork(services.work_budget).do(walk.steps(), nobody_asks, end)
