"""What stores give and take: the values that `stompy_broker.store.interface` speaks of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stompy_broker.message import Message

log = logging.getLogger("stompy_broker.store")

Callback = Callable[[], None]


def call_all(waiting: Sequence[Callback]) -> None:
    """Call those who waited until all was safe. The others are not to wait for ever because of one.

    What one of them raises goes to the log.
    """
    for done in waiting:
        try:
            done()
        except Exception:
            log.exception("fault in what was to follow a commit")


DeliveryState = tuple[int, int, int, int]
"""Deliveries, failures, not before, and who holds it."""


class StoreError(Exception):
    """The store cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A durable topic subscription as it is kept.

    Attributes:
        name: what identifies it; unique.
        pattern: the topics it gets.
        settings: everything else, as text of the owner's choice.
    """

    name: str
    pattern: str
    settings: str


class Restored(NamedTuple):
    """A message that survived. There may be millions, so it is cheap to make.

    Attributes:
        destination: the queue it was in.
        message: the message; its body is not loaded.
        due: milliseconds since the epoch at which it may be delivered again, or 0.
        holder: `Consumer.number` of who had it when the broker crashed, or 0.
    """

    destination: str
    message: Message
    due: int
    holder: int = 0


class StoredId(NamedTuple):
    """A duplicate id as it is kept.

    Attributes:
        destination: where its message was sent to.
        sequence: of the message; no other id has it.
        value: the id.
        until: when it is known no longer, in milliseconds since the epoch.
        shown: what clients call the message; 0 = its sequence.
    """

    destination: str
    sequence: int
    value: bytes
    until: int
    shown: int = 0


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How a store is doing.

    Attributes:
        trouble: why nothing can be written, or no more messages are taken; empty = all is well.
        bytes: the length of its files.
        free: bytes left on their disk.
        unwritten: changes that it was told and has not made safe yet.
        commits: how many it has made since the start.
        commit_seconds: how long one takes, a running average.
        damaged: messages that are set aside, and entries of logs that are read past, because they
            are not what was written any more.
    """

    trouble: str = ""
    bytes: int = 0
    free: int = 0
    unwritten: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    damaged: int = 0
