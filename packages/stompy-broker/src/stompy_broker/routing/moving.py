"""Messages that an operator sends from where they wait to somewhere else, in one change.

What goes to another broker is kept here until it is safe there: two changes, and never in none of
the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

from stompy.admin.settlements import SettlementKind
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination
from stompy_broker.message import Message, earlier_deliveries
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.answers import when_all
from stompy_broker.routing.browsing import copies_to_read, read_bodies
from stompy_broker.routing.consumer_line import ConsumerLine
from stompy_broker.routing.counts import Counts
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import (
    AssignGroup,
    Expire,
    Foresee,
    GiveUp,
    KeepGroups,
    Move,
    OfGroups,
    OfMessages,
    OfSchedules,
    Outcome,
    Remove,
    Reschedule,
    ShareMemory,
    Transfer,
    Unschedule,
    Withdraw,
)
from stompy_broker.routing.paging import DeadLetterReader
from stompy_broker.routing.ready_list import ReadyList
from stompy_broker.routing.services import Services
from stompy_broker.routing.stream_orders import ForgetReader, OfStreams, Seek, Truncate

Parts = tuple[ReadyList, Accounts, Counts, DeadLetterReader]
"""Of a queue: what is in it, what that costs, what it counts, and what leaves."""


def remove(
    order: Remove, ready: ReadyList, accounts: Accounts, counts: Counts
) -> Sequence[Message]:
    """Forget messages of a queue that wait; gives those that did."""
    taken = ready.remove(order.sequences)
    for message in taken:
        accounts.give_up(message, SettlementKind.DELETED, order.cause)
    counts.removed += len(taken)
    return taken


def carry_out(
    order: OfMessages
    | OfSchedules
    | Expire
    | Withdraw
    | ShareMemory
    | OfGroups
    | Foresee
    | OfStreams,
    parts: tuple[ReadyList, Accounts, Counts, Discards, ConsumerLine],
    services: Services,
    group: QueueGroup,
    done: Callable[[Outcome], None],
) -> None:
    """Carry out an order that is about messages of a queue, or who waits for them.

    Args:
        order: it.
        parts: of the queue.
        services: of the broker.
        group: of the queue.
        done: takes the answer.
    """
    ready, accounts, counts, discards, line = parts
    if isinstance(order, Move):
        move(order, (ready, accounts, counts, discards.leaving), services, group, done)
    elif isinstance(order, Expire):
        discards.turn_away(order.message, "expired")
        done(1)
    elif isinstance(order, Withdraw):
        line.leave(order.consumers)
        done(len(order.consumers))
    elif isinstance(order, ShareMemory):
        accounts.share()
        done(0)
    elif isinstance(order, KeepGroups | AssignGroup):
        done(0)  # it has other things in order, or one consumer for all of them
    elif isinstance(order, Foresee):
        consumer = line.next_for(order.message)
        done(0 if consumer is None else consumer.number)
    elif isinstance(order, Unschedule | Reschedule):
        done(0)  # of those there are none here
    elif isinstance(order, Truncate | Seek | ForgetReader):
        done(ProtocolError(ErrorCode.NOT_SUPPORTED, "the queue is no stream"))
    else:
        done(take_away(order, ready, accounts, counts, discards))


def take_away(
    order: Remove | GiveUp,
    ready: ReadyList,
    accounts: Accounts,
    counts: Counts,
    discards: Discards,
) -> int:
    """Have messages of a queue that wait end, with a dead letter or without; gives how many did."""
    if isinstance(order, Remove):
        return len(remove(order, ready, accounts, counts))
    messages = ready.remove(order.sequences)
    for message in messages:
        discards.give_up(message, order.cause, order.reason)
    return len(messages)


def move(
    order: Move,
    parts: Parts,
    services: Services,
    group: QueueGroup,
    done: Callable[[Outcome], None],
) -> None:
    """Read their bodies, ask the destinations, and then take messages out and publish them there.

    Args:
        order: which, and where to.
        parts: of their queue.
        services: of the broker.
        group: of their queue.
        done: takes the answer.
    """
    messages = copies_to_read(parts[0].find({one.sequence for one in order.transfers}))
    read_bodies(group.store, messages, lambda: _move(order, messages, services, group, parts, done))


def _move(
    order: Move,
    messages: Sequence[Message],
    services: Services,
    group: QueueGroup,
    parts: Parts,
    done: Callable[[Outcome], None],
) -> None:
    _, accounts, _, leaving = parts
    # Without a body are those that were consumed meanwhile.
    bodies = {message.sequence: message.body for message in messages}
    transfers = [one for one in order.transfers if bodies.get(one.sequence) is not None]

    def admitted(error: ProtocolError | None = None, /) -> None:
        if error is not None:
            done(error)
            return
        gone, departing = _take_out(order, transfers, parts, services, group)
        part_done = when_all(len(departing) + 1, lambda error=None, /: done(error or len(gone)))
        services.note_time()
        for one in transfers:
            body = bodies[one.sequence]
            if one.sequence in gone and body is not None:
                earlier = earlier_deliveries(one.deliveries, one.failures)
                arrived = None
                if one.sequence in departing:
                    message = departing[one.sequence]
                    arrived = leaving.depart(message, accounts.let_go)
                    leaving.when_gone(message, part_done)
                arriving = body if one.body is None else one.body
                services.republish(one.destination, one.head, arriving, earlier, arrived)
        part_done()

    asked = [] if order.within else transfers
    part_done = when_all(len(asked) + 1, admitted)
    for one in asked:
        ask_destination(services, one, part_done)
    part_done()


def _take_out(
    order: Move,
    transfers: Sequence[Transfer],
    parts: Parts,
    services: Services,
    group: QueueGroup,
) -> tuple[Set[int], dict[int, Message]]:
    """Take messages out of their queue, or leave them there if they are copied.

    Returns:
        Those that are to be published, and those of them that are to be kept until they are safe
        at another broker.
    """
    ready, accounts, counts, _ = parts
    destinations = {one.destination for one in transfers}
    near = {one for one in destinations if services.leave_together(group, one)}
    if order.copies:
        return {one.sequence for one in transfers}, {}
    far = {one.sequence for one in transfers if one.destination not in near}
    far = {
        message.sequence
        for message in ready.find(far)
        if accounts.store is not None and message.head.persistent
    }
    departing = {message.sequence: message for message in ready.remove(far)}
    counts.removed += len(departing)
    at_once = {one.sequence: one.destination for one in transfers if one.sequence not in far}
    gone = _send_off(at_once, ready, accounts, counts)
    return gone | departing.keys(), departing


def _send_off(
    places: Mapping[int, Destination], ready: ReadyList, accounts: Accounts, counts: Counts
) -> Set[int]:
    """Take messages out that go elsewhere, by sequence; gives those that waited."""
    taken = ready.remove(places.keys())
    for message in taken:
        sent_to = str(places[message.sequence])
        accounts.give_up(message, SettlementKind.MOVED, sent_to=sent_to)
    counts.removed += len(taken)
    return {message.sequence for message in taken}


def ask_destination(services: Services, one: Transfer, done: Callable[..., None]) -> None:
    """Ask whether a message would be taken where it is to go."""
    try:
        services.admit(one.destination, one.head, done)
    except ProtocolError as error:
        done(error)
