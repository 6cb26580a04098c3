"""Gives consumers messages that belong to groups (**hot path** of queues with groups)."""

from __future__ import annotations

from typing import Final

from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.consumer import Consumer, NotNow
from stompy_broker.routing.delivery_rate import DeliveryRate
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.group_table import GroupTable
from stompy_broker.routing.message_group import GroupedMessage
from stompy_broker.routing.turn_order import TurnOrder
from stompy_broker.routing.wait_times import NOT_COUNTED, WaitHistogram

Dealt = tuple[int, int]
"""How many messages were delivered, and how many of these are with their consumers now."""

NOTHING: Final[Dealt] = (0, 0)
TAKEN: Final[Dealt] = (1, 0)
HELD: Final[Dealt] = (1, 1)


class GroupDelivery:
    """Deliveries of one queue that belong to groups.

    Args:
        groups: those of the queue.
        turns: its consumers.
        accounts: of the queue.
        discards: of the queue.
        rate: how fast the queue may be.
    """

    __slots__ = ("_accounts", "_discards", "_given", "_groups", "_rate", "_turns")

    def __init__(
        self,
        groups: GroupTable,
        turns: TurnOrder,
        accounts: Accounts,
        discards: Discards,
        rate: DeliveryRate,
    ) -> None:
        self._groups = groups
        self._turns = turns
        self._accounts = accounts
        self._discards = discards
        self._rate = rate
        self._given = 0

    def deal(self, message: GroupedMessage, waits: WaitHistogram | None) -> Dealt:
        """Give the message that is next to the consumer that has its group, or will have it.

        Args:
            message: it.
            waits: counts how long messages waited; None = nobody wants to know.
        """
        group, groups = message.group, self._groups
        consumer = group.owner if group.line is not None else groups.pick(message)
        groups.take_out(message)
        if (message.expires or message.redelivery) and self._discards.ends(message):
            groups.show(group)
            return NOTHING
        if consumer is None:  # nobody waits any more
            groups.put(message)
            return NOTHING
        return self.give(message, consumer, waits, kept=True)

    def give(
        self,
        message: GroupedMessage,
        consumer: Consumer,
        waits: WaitHistogram | None,
        *,
        kept: bool,
    ) -> Dealt:
        """Give a message to a consumer that waits.

        Args:
            message: it.
            consumer: who.
            waits: counts how long messages waited; None = nobody wants to know.
            kept: whether it is accounted for.
        """
        groups, accounts, turns = self._groups, self._accounts, self._turns
        groups.give(message, consumer)
        self._given += 1
        try:
            more = consumer.deliver(message)
        except NotNow:
            turns.had_own_turn(consumer, more=False)
            groups.give_not(message)
            if not kept:
                accounts.keep(message)
            groups.put(message)
            return NOTHING
        except Exception as error:
            if not kept:
                accounts.keep(message)  # it is in the queue now
            groups.go_on(message)
            self._discards.cannot_write(message, error)
            return TAKEN
        if not (more and groups.sticky):
            turns.had_own_turn(consumer, more=more)
        if self._rate.limited:
            self._rate.spend()
        if not consumer.auto:
            accounts.mark_delivered(message, consumer.number)
            groups.go_on(message)
            return HELD
        if waits is not None and not self._given & NOT_COUNTED:
            waits.add(message.received_at)
        groups.go_on(message)  # it is charged before the end of the message lets the next one come
        accounts.hand_over(message, consumer.number, kept=kept)
        if not kept:
            message.end()
        return TAKEN
