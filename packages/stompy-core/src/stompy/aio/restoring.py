"""The subscriptions that are wanted, on the connection that there is: asked for, restored, put off.

The invariants:

* A new connection is given to senders with all that is wanted, but for what was put off because
  the broker refuses it for a time.
* That is asked for again while senders have the connection, one by one, because a refusal costs it.
* Until the broker has given it, it knows nothing of it, so there is nothing to unsubscribe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from stompy.aio.confirmation import Confirmation
from stompy.aio.connection import Link
from stompy.aio.dispatcher import Mailroom
from stompy.aio.waiting import deadline_after
from stompy.errors import (
    STOMPConnectionError,
    STOMPError,
    STOMPException,
    STOMPTimeout,
)
from stompy.protocol.frame import as_body
from stompy.session.commands import HeaderValue, as_text, unsubscribe_headers
from stompy.session.confirmations import Outcome
from stompy.session.reconnect import is_passing
from stompy.session.subscriptions import Subscriptions
from stompy.session.wanted import RESTORE_SECONDS, WantedSubscription, WantedSubscriptions

logger = logging.getLogger("stompy")


class Restorer(Mailroom):
    """What is wanted, and the frames that ask for it.

    Args:
        keeps_errors: whether ERROR frames go to the inbox.
        client_id: the ``client-id`` that CONNECT says.

    Attributes:
        ready: whether senders may use the link.
        subscriptions: what is owed for messages.
        wanted: the subscriptions.
    """

    def __init__(self, *, keeps_errors: bool, client_id: str | None) -> None:
        super().__init__(keeps_errors=keeps_errors)
        self.ready = False
        self.subscriptions = Subscriptions(None)
        self.wanted = WantedSubscriptions()
        self._client_id = client_id
        self._again: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    # -- on a new connection -----------------------------------------------------------------

    async def _resume(self, link: Link) -> None:
        """Subscribe to all that is wanted, and wait until that is confirmed.

        A broker that does not say which frame it refuses gets them one by one.
        """
        deadline = deadline_after(RESTORE_SECONDS)
        asked: set[str] = set()
        restored: list[str] = []
        try:
            while missing := [one for one in self.wanted.at_once() if one.id not in asked]:
                asked |= {one.id for one in missing}
                restored += await self._subscribe_all(link, missing, deadline)
            for sub_id in restored:
                if sub_id not in self.wanted:  # it was ended meanwhile
                    self.write(link, "UNSUBSCRIBE", unsubscribe_headers(sub_id, {}))
            if not link.is_open:
                raise link.error()
        except BaseException:
            link.abort()
            await link.wait_closed(0)
            raise

    async def _subscribe_all(
        self, link: Link, missing: list[WantedSubscription], deadline: float | None
    ) -> list[str]:
        """Subscribe, and give the ids of those that the broker has confirmed."""
        asked = []
        for wanted in missing:
            confirmation = self._subscribe_again(link, wanted)
            if confirmation is not None:
                asked.append((wanted, confirmation))
                if not self.dialect.error_names_receipt:
                    await self._confirmed(wanted, confirmation, deadline)
        for wanted, confirmation in asked:
            await self._confirmed(wanted, confirmation, deadline)
        if not link.is_open:
            raise link.error()
        return [wanted.id for wanted, _ in asked]

    def _subscribe_again(self, link: Link, wanted: WantedSubscription) -> Confirmation | None:
        try:
            headers = wanted.headers_for(self.dialect, self._client_id)
        except (STOMPError, ValueError) as error:
            # Another broker than the first one, and it has no such thing.
            reason = error if isinstance(error, STOMPError) else STOMPError(str(error))
            self._refused(wanted, reason)
            return None
        return self.subscribe(link, wanted, headers, f"resume-{self.epoch}-{wanted.id}")

    def subscribe(
        self,
        link: Link,
        wanted: WantedSubscription,
        headers: Mapping[str, HeaderValue],
        receipt_id: str,
    ) -> Confirmation:
        """Queue a SUBSCRIBE; its outcome is asked for where it is to be confirmed."""
        if wanted.confirm:
            return self.ask(link, "SUBSCRIBE", headers, receipt_id)
        self.write(link, "SUBSCRIBE", headers)
        told = Confirmation(receipt_id, self)
        told.settle(Outcome.ACCEPTED)
        return told

    async def answered(
        self, wanted: WantedSubscription, confirmation: Confirmation, timeout: float | None
    ) -> bool:
        """Wait for the outcome of a SUBSCRIBE, or until it is plain that none will be told.

        Returns:
            False if the broker did not answer in time, as it should have.
        """
        patience = self.habit.patience(timeout, self.dialect)
        if await confirmation.wait(patience):
            return True
        if patience == timeout or not self.link.is_open:
            return False
        # An ERROR that names no frame is not to be taken for an answer to this one.
        self.confirmations.forget(confirmation)
        self.habit.misses(wanted.destination)
        confirmation.settle(Outcome.ACCEPTED)
        return True

    async def _confirmed(
        self, wanted: WantedSubscription, confirmation: Confirmation, deadline: float | None
    ) -> None:
        left = None if deadline is None else deadline - self.now()
        if not await self.answered(wanted, confirmation, left):
            raise STOMPTimeout(
                f"the broker did not confirm the subscription to {wanted.destination}"
            )
        error = confirmation.error
        if confirmation.outcome is not Outcome.REJECTED or error is None:
            return
        if not is_passing(error):
            self._refused(wanted, error)
            return
        logger.info("subscription %s is not back yet: %s", wanted.id, error)
        self.wanted.put_off(wanted.id, self.now())
        receiver = self.receivers.get(wanted.id)
        if receiver is not None:
            receiver._put_off(error)
        raise error

    def _refused(self, wanted: WantedSubscription, reason: STOMPError | None) -> None:
        logger.warning("subscription %s to %s ends: %s", wanted.id, wanted.destination, reason)
        self.wanted.remove(wanted.id)
        self.subscriptions.remove(wanted.id)
        receiver = self.receivers.get(wanted.id)
        self.forget(wanted.id)
        if receiver is not None:
            receiver._end(reason)

    # -- what was put off --------------------------------------------------------------------

    def _plan(self) -> None:
        """See that subscriptions that were put off are asked for again."""
        due = self.wanted.next_due()
        if due is not None and self._again is None:
            self._again = asyncio.get_running_loop().call_at(due, self._begin)

    def _begin(self) -> None:
        self._again = None
        if self.ready and self.link.is_open:
            self._asking = asyncio.get_running_loop().create_task(
                self._ask_again(self.link), name=f"stompy subscribe {self.link.address}"
            )

    async def _ask_again(self, link: Link) -> None:
        for wanted in self.wanted.due(self.now()):
            try:
                await self._subscribe_all(link, [wanted], deadline_after(RESTORE_SECONDS))
                if not self.wanted.is_back(wanted.id):
                    self.write(link, "UNSUBSCRIBE", unsubscribe_headers(wanted.id, {}))
            except STOMPException as error:
                logger.info("subscription %s is not back: %s", wanted.id, error)
                link.abort()
                return
            logger.info("subscription %s to %s is back", wanted.id, wanted.destination)
        self._plan()

    def _ask_no_more(self) -> None:
        """The end: nothing that was put off is asked for."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._asking is not None:
            self._asking.cancel()

    # -- frames ------------------------------------------------------------------------------

    def write(
        self,
        link: Link,
        command: str,
        headers: Mapping[str, HeaderValue],
        body: bytes | str = b"",
    ) -> None:
        """Queue a frame, at this moment and whole.

        Raises:
            STOMPConnectionError: the link has ended.
            ValueError: a header that the version in use cannot carry.
        """
        if body.__class__ is not bytes:
            body = as_body(body)
        link.write(link.protocol.send(command, as_text(dict(headers)), body))

    def ask(
        self,
        link: Link,
        command: str,
        headers: Mapping[str, HeaderValue],
        receipt_id: str,
        body: bytes | str = b"",
    ) -> Confirmation:
        """Queue a frame whose outcome matters; arguments and exceptions are those of `write`."""
        confirmation = self.expect(receipt_id, command, headers.get("destination"))
        try:
            self.write(link, command, {**headers, "receipt": receipt_id}, body)
        except BaseException:
            self.confirmations.forget(confirmation)
            raise
        return confirmation

    def unsubscribe(self, sub_id: str, more: Mapping[str, HeaderValue] = {}) -> None:
        """End a subscription at this moment, without a wait for room."""
        self.subscriptions.remove(sub_id)
        self.wanted.remove(sub_id)
        if self.ready and not self.wanted.is_put_off(sub_id):
            with suppress(STOMPConnectionError):
                self.write(self.link, "UNSUBSCRIBE", unsubscribe_headers(sub_id, more))

    def now(self) -> float:
        """The time of the event loop."""
        return asyncio.get_running_loop().time()
