"""Waiting, in a thread, for what a broker made of a message.

A message that is *confirmed* has one of three outcomes: accepted, rejected with the broker's
reason, or unknown, when the connection ended first and it is not sent again over the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from stompy.errors import STOMPTimeout
from stompy.session.confirmations import AwaitedReceipt


class Answering(Protocol):
    """Where answers are waited for."""

    def wait(self, condition: Callable[[], bool], timeout: float | None, what: str) -> None:
        """Wait until something that a frame brings has come."""


class Confirmation(AwaitedReceipt):
    """What the broker says, some time, about one message that was posted.

    Attributes:
        receipt_id: the receipt that was asked for.
        outcome: what is known now, an `Outcome`.
        headers: those of the RECEIPT; none before it comes.
    """

    __slots__ = ("_session",)

    def __init__(
        self,
        receipt_id: str,
        session: Answering,
        command: str | None = None,
        destination: object = None,
    ) -> None:
        super().__init__(receipt_id, command, destination)
        self._session = session

    def wait(self, timeout: float | None = 10.0) -> bool:
        """Wait until the outcome is settled; false when that did not happen in time.

        Args:
            timeout: seconds; None waits for as long as the connection lasts.
        """
        try:
            self._wait(timeout)
        except STOMPTimeout:
            return False
        return True

    def result(self, timeout: float | None = 10.0) -> str:
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
        self._wait(timeout)
        return self.check()

    def _wait(self, timeout: float | None) -> None:
        if not self.done:
            self._session.wait(lambda: self.done, timeout, self.missing)


def take(unconfirmed: deque[Confirmation], keep: int, timeout: float | None) -> None:
    """Take the oldest ones until so many are left, and wait for each; who fails stays.

    Raises:
        OutcomeUnknown: the connection ended.
        STOMPError: the broker rejected one.
        STOMPTimeout: it did not answer in time.
    """
    if len(unconfirmed) > keep:
        # Our broker answers in the order of the frames, so this is mostly the only wait.
        unconfirmed[len(unconfirmed) - keep - 1].wait(timeout)
    while len(unconfirmed) > keep:
        unconfirmed[0].result(timeout)
        unconfirmed.popleft()
