"""Messages of a queue that are looked at and stay there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace

from stompy.aio.message import Message
from stompy.aio.session import Session
from stompy.aio.subscribing import hold
from stompy.errors import STOMPException
from stompy.session.browse_options import BrowseOptions, Shown
from stompy.session.wanted import WantedSubscription


class Browsing:
    """What is in a queue, as `STOMPClient.browse` gives it: go through it with ``async for``.

    Each time it is gone through it is asked for anew, and shows what there is then. Nothing is
    asked for before that, and whoever leaves the loop early has it end.

    Attributes:
        destination: the queue.
        browsed: how many messages the last round showed; None before its end.
    """

    def __init__(
        self,
        session: Session,
        new_id: Callable[[], str],
        wanted: WantedSubscription,
        timeout: float | None,
    ) -> None:
        self.destination = wanted.destination
        self.browsed: int | None = None
        self._session = session
        self._new_id = new_id
        self._wanted = wanted
        self._timeout = timeout

    def __aiter__(self) -> AsyncIterator[Message]:
        """Messages in the order in which they would be delivered, up to the end.

        Raises:
            STOMPConnectionError: the connection was lost on the way; begin again.
            STOMPError: the broker refused.
            STOMPTimeout: nothing came in time.
            UnsupportedByBroker: the broker cannot show messages, or not like that.
        """
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        self.browsed = None
        handle = await hold(self._session, replace(self._wanted, id=self._new_id()), self._timeout)
        try:
            options = self._wanted.browse or BrowseOptions()
            shown = Shown(options, self._session.dialect, self.destination)
            while not shown.complete:
                following = options.follow and self.browsed is not None
                message = await handle.get(None if following else self._timeout)
                shown.check_connection(message.epoch)
                if shown.is_end(message):
                    self.browsed = shown.count
                    if not options.follow:
                        return
                elif shown.wants():
                    yield message
            self.browsed = shown.count
        finally:
            with suppress(STOMPException):
                await handle.unsubscribe()

    def __repr__(self) -> str:
        """Show what it looks at."""
        return f"<Browsing {self.destination}>"
