"""A message takes the place of the one before it that had the same key, in a last-value queue.

The old one is taken out and the new one kept within one turn, so that it is one change of the
store. Only what waits is replaced.
"""

from __future__ import annotations

from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.interface import QueueIdentity
from stompy_broker.routing.last_values import LastValues
from stompy_broker.routing.ready_list import ReadyList


def keep_values(queue: QueueIdentity, ready: ReadyList, accounts: Accounts) -> None:
    """Know of the messages that come from now on which of them newer ones replace."""
    policy, known = queue.policy, ready.values
    header = policy.value_header if queue.replaces else ""
    in_place = policy.last_value_position == "place"
    if known is not None and known.header == header:
        known.in_place = in_place
    elif header or known is not None:
        values = LastValues(header, in_place=in_place) if header else None
        ready.replace_values(values)
        accounts.tell_values(values)


def makes_room(message: Message, ready: ReadyList) -> bool:
    """Whether a message that comes has one go that waits."""
    values = ready.values
    before = None if values is None else values.newest_like(message)
    return before is not None and ready.waits(before)


def replace(message: Message, ready: ReadyList, discards: Discards) -> None:
    """Have the message go that waits and has the key of one that comes.

    Args:
        message: which comes. It gets the place of the other one, and an id of its own, if that is
            what its queue wants.
        ready: what waits.
        discards: of the queue.
    """
    values = ready.values
    before = None if values is None else values.newest_like(message)
    if values is None or before is None or not ready.withdraw(before):
        return
    discards.outdate(before, in_place=values.in_place)
    if values.in_place:
        head, own = message.head, b"%d" % message.sequence
        if head.message_id is None:
            message.head = MessageHead.from_headers(head.headers(), message_id=own)
        message.sequence = before.sequence


def end_outdated(ready: ReadyList, discards: Discards) -> None:
    """Have those go that a store gave back together with newer ones."""
    values = ready.values
    if values is None or not values.outdated:
        return
    outdated, values.outdated = values.outdated, []
    for message in outdated:
        if values.is_outdated(message) and ready.withdraw(message):
            discards.outdate(message)


def end_if_outdated(message: Message, ready: ReadyList, discards: Discards) -> bool:
    """Have a message go that comes back, if a newer one is there; say whether it was so."""
    if ready.values is None or not ready.values.is_outdated(message):
        return False
    discards.outdate(message)
    return True
