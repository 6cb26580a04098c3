"""What a SEND asks for, worked out once for each header block."""

from __future__ import annotations

from stompy.headers import Version
from stompy.heads import Head
from stompy_broker.destination import COMMANDS, Kind, sendable
from stompy_broker.message import MessageHead
from stompy_broker.policy import ARGUMENTS

_SPECIAL = frozenset(("receipt", "transaction", "reply-to", *ARGUMENTS))
"""Headers that make more of a SEND than a message to route."""


_ARGUMENTS = frozenset(ARGUMENTS)


class SendPlan:
    """What a header block of SEND means; worked out once and kept with the parsed head.

    Attributes:
        simple: whether there is nothing to do but to route it.
        destination: where to.
        head: the headers that are passed on.
        sets_up: whether it sets up a queue, if that is its first frame.
        commands: whether it is a command to the broker itself.
    """

    __slots__ = ("commands", "destination", "head", "sets_up", "simple")

    def __init__(self, head: Head, version: Version) -> None:
        headers = head.headers
        self.destination = destination = sendable(headers["destination"])
        self.head = MessageHead.from_send(head, version)
        plain = _SPECIAL.isdisjoint(headers)
        self.commands = destination.name == COMMANDS and destination.kind is Kind.QUEUE
        self.simple = plain and destination.kind is not Kind.TEMPORARY and not self.commands
        self.sets_up = (
            not plain and destination.kind is Kind.QUEUE and not _ARGUMENTS.isdisjoint(headers)
        )
