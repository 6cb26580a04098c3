"""Moves groups of messages between consumers, until all have about as many."""

from __future__ import annotations

from collections.abc import Callable

from stompy_broker.routing.consumer import Consumer
from stompy_broker.routing.match_line import MatchLine
from stompy_broker.routing.message_group import MessageGroup, OwnLine
from stompy_broker.routing.turn_order import TurnOrder

Assign = Callable[[MessageGroup, Consumer | None], bool]
"""Gives a group to a consumer, unless something of it is unsettled."""


def balance(turns: TurnOrder, assign: Assign) -> bool:
    """Move groups of which nothing is unsettled, between consumers that take the same messages.

    Args:
        turns: the consumers.
        assign: gives a group to one of them.

    Returns:
        Whether no more is to be done when what is unsettled is settled.
    """
    own_lines = turns.own_lines
    lines: dict[MatchLine, list[OwnLine]] = {}
    for consumer, line in turns.line_of.items():
        own = own_lines.get(consumer)
        if own is None:
            own = own_lines[consumer] = OwnLine(consumer)
        lines.setdefault(line, []).append(own)
    done = True
    for several in lines.values():
        done = _balance_some(several, assign) and done
    return done


def _balance_some(several: list[OwnLine], assign: Assign) -> bool:
    done = True
    while len(several) > 1:
        several.sort(key=lambda own: len(own.groups))
        least, most = several[0], several[-1]
        if len(most.groups) - len(least.groups) <= 1:
            break
        moving = next((group for group in most.groups if not group.unsettled), None)
        if moving is None:
            done = False
            several.pop()  # it has some when they are settled
            continue
        assign(moving, least.owner)
    return done
