"""How messages leave that were to come later: published, or given up where nobody takes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.accounts import Accounts
from stompy_broker.routing.answers import Done
from stompy_broker.routing.discards import Discards
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.services import Services

log = logging.getLogger("stompy_broker.queue")

_AGAIN: Final = 1.0
"""Seconds after which is tried again what was refused because of the store."""
_ASIDE: Final = 60.0
"""Seconds after which is tried again what went wrong."""


class Delay(Protocol):
    """Has a message wait for so many seconds, which was due at a time."""

    def __call__(self, message: Message, seconds: float, due: int = 0, /) -> None:
        """Have it wait, and keep step with that time."""
        ...


class ScheduleDepartures:
    """Sends what is due in one queue.

    Args:
        origin: the destination that it is for, or several.
        services: publish it.
        group: of the queue.
        accounts: of the queue.
        discards: of the queue.
        delay: has a message wait that cannot go now.
    """

    __slots__ = ("_accounts", "_delay", "_discards", "_group", "_origin", "_services")

    def __init__(
        self,
        origin: str,
        services: Services,
        group: QueueGroup,
        accounts: Accounts,
        discards: Discards,
        delay: Delay,
    ) -> None:
        self._origin = origin
        self._services = services
        self._group = group
        self._accounts = accounts
        self._discards = discards
        self._delay = delay

    def send(
        self, message: Message, head: MessageHead, due: int, gone: Callable[[Message], None]
    ) -> bool:
        """Publish a message as if it were sent now; false: it was refused, or is tried again.

        Args:
            message: as it waits.
            head: as it goes.
            due: when it was due.
            gone: called with it when it has gone.
        """
        firing, body = self._services.firing, message.body
        assert firing is not None
        assert body is not None
        refusals: list[ProtocolError] = []
        depart = partial(self._depart, message, head, due, gone)
        self._accounts.begin_for(message)
        try:
            leaves = firing.fire(self._origin, self._group, head, body, refusals.append, depart)
        except ProtocolError as error:
            leaves = False
            refusals.append(error)
        except Exception:
            log.exception("%s: %s cannot be sent now; it is tried again", self._origin, message)
            self._delay(message, _ASIDE, due)
            return False
        finally:
            self._accounts.end_for(message)
        if refusals:
            self._refused(message, head, due, gone, refusals[0])
            return False
        if leaves:
            gone(message)
        return True

    def _depart(
        self, message: Message, head: MessageHead, due: int, gone: Callable[[Message], None]
    ) -> Done:
        """Keep a message that fires until it is safe at another broker."""
        refusals: list[ProtocolError] = []

        def arrive(message: Message) -> None:
            if refusals:
                self._refused(message, head, due, gone, refusals[0])
            else:
                gone(message)

        arrived = self._discards.leaving.depart(message, arrive)

        def done(error: ProtocolError | None = None, /) -> None:
            if error is not None:
                refusals.append(error)
            arrived()

        return done

    def _refused(
        self,
        message: Message,
        head: MessageHead,
        due: int,
        gone: Callable[[Message], None],
        error: ProtocolError,
    ) -> None:
        """Give up a message that its destination does not take, or try it again later."""
        if error.error_code is ErrorCode.STORE_UNAVAILABLE:
            self._delay(message, _AGAIN, due)
            return
        letter = Message(self._group.sequences.take(), head, message.body, message.stamp)
        self._discards.turn_away(letter, "maxlen")
        gone(message)
