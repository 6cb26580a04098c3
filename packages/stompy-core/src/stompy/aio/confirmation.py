"""Waiting, in a task, for what a broker made of a message.

A message that is *confirmed* has one of three outcomes: accepted, rejected with the broker's
reason, or unknown, when the connection ended first and it is not sent again over the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Protocol

from stompy.aio.waiting import Signal, deadline_after
from stompy.errors import STOMPError, STOMPTimeout
from stompy.session.confirmations import AwaitedReceipt, Outcome
from stompy.session.timeouts import within


class Answering(Protocol):
    """Where answers are waited for."""

    def priority_read(self) -> AbstractContextManager[None]:
        """Entered while somebody waits for one."""

    def hindrance(self) -> str:
        """What keeps one from being read."""


class Confirmation(AwaitedReceipt):
    """What the broker says, some time, about one message that was posted.

    To await it is to wait for its `result` without a time-out.

    Attributes:
        receipt_id: the receipt that was asked for.
        outcome: what is known now, an `Outcome`.
        headers: those of the RECEIPT; none before it comes.
    """

    __slots__ = ("_session", "_settled")

    def __init__(
        self,
        receipt_id: str,
        session: Answering,
        command: str | None = None,
        destination: object = None,
    ) -> None:
        super().__init__(receipt_id, command, destination)
        self._session = session
        self._settled = Signal()

    def settle(self, outcome: Outcome, error: STOMPError | None = None) -> None:
        """The outcome is known."""
        super().settle(outcome, error)
        self._settled.wake()

    async def wait(self, timeout: float | None = 10.0) -> bool:
        """Wait until the outcome is settled; false when that did not happen in time.

        Args:
            timeout: seconds; None waits for as long as the connection lasts.
        """
        if not self.done:
            deadline = deadline_after(timeout)
            with self._session.priority_read():
                while not self.done:
                    if not await self._settled.wait(deadline):
                        return False
        return True

    async def result(self, timeout: float | None = 10.0) -> str:
        """Wait for the outcome.

        Args:
            timeout: seconds; None waits for as long as the connection lasts.

        Returns:
            The receipt id: the message was accepted.

        Raises:
            OutcomeUnknown: the connection ended first.
            STOMPError: the broker rejected the message; the text has its words.
            STOMPTimeout: it did not answer in time; that may come later.
        """
        if not await self.wait(timeout):
            raise STOMPTimeout(f"{self.missing}{within(timeout)}{self._session.hindrance()}")
        return self.check()

    def __await__(self) -> Generator[object, None, str]:
        """The same as `result` without a time-out."""
        return self.result(None).__await__()


async def take(unconfirmed: deque[Confirmation], keep: int, timeout: float | None) -> None:
    """Take the oldest ones until so many are left, and wait for each; who fails stays.

    Raises:
        OutcomeUnknown: the connection ended.
        STOMPError: the broker rejected one.
        STOMPTimeout: it did not answer in time.
    """
    if len(unconfirmed) > keep:
        # Our broker answers in the order of the frames, so this is mostly the only wait.
        await unconfirmed[len(unconfirmed) - keep - 1].wait(timeout)
    while len(unconfirmed) > keep:
        oldest = unconfirmed[0]
        if oldest.done:
            oldest.check()
        else:
            await oldest.result(timeout)
        unconfirmed.popleft()
