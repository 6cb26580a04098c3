"""Messages that an operator sends from where they wait to somewhere else, in one change."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import partial

from stompy.errors import ProtocolError
from stompy_broker.message import Message
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.browsing import copies_to_read, read_bodies
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Move, Outcome, Transfer
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.services import Services

TakeOut = Callable[[Set[int]], Sequence[Message]]
"""Takes messages out of a queue, by sequence; gives those that waited."""


def remove(
    sequences: Set[int], ready: ReadyList, accounts: Accounts, counts: Counts
) -> Sequence[Message]:
    """Forget messages of a queue that wait, by sequence; gives those that did."""
    taken = ready.remove(sequences)
    for message in taken:
        accounts.let_go(message)
    counts.removed += len(taken)
    return taken


def move(
    order: Move,
    parts: tuple[ReadyList, Accounts, Counts],
    services: Services,
    group: QueueGroup,
    done: Callable[[Outcome], None],
) -> None:
    """Read their bodies, ask the destinations, and then take messages out and publish them there.

    Args:
        order: which, and where to.
        parts: of their queue: the messages in it, what they cost, and what it counts.
        services: of the broker.
        group: of their queue.
        done: takes the answer.
    """
    ready, accounts, counts = parts
    take_out = partial(remove, ready=ready, accounts=accounts, counts=counts)
    messages = copies_to_read(ready.find({one.sequence for one in order.transfers}))
    read_bodies(
        group.store, messages, lambda: _move(order, messages, services, group, take_out, done)
    )


def _move(
    order: Move,
    messages: Sequence[Message],
    services: Services,
    group: QueueGroup,
    take_out: TakeOut,
    done: Callable[[Outcome], None],
) -> None:
    # Without a body are those that were consumed meanwhile.
    bodies = {message.sequence: message.body for message in messages}
    transfers = [one for one in order.transfers if bodies.get(one.sequence) is not None]

    def admitted(error: ProtocolError | None = None, /) -> None:
        if error is not None:
            done(error)
            return
        for destination in {one.destination for one in transfers}:
            services.leave_together(group, destination)
        gone = {one.sequence for one in transfers}
        if not order.copies:
            gone = {message.sequence for message in take_out(gone)}
        services.note_time()
        for one in transfers:
            body = bodies[one.sequence]
            if one.sequence in gone and body is not None:
                services.republish(one.destination, one.head, body, one.deliveries)
        done(len(gone))

    part_done = when_all(len(transfers) + 1, admitted)
    for one in transfers:
        _admit(services, one, part_done)
    part_done()


def _admit(services: Services, one: Transfer, done: Callable[..., None]) -> None:
    try:
        services.admit(one.destination, one.head, done)
    except ProtocolError as error:
        done(error)
