"""What became of frames for which a receipt was asked: accepted, rejected, or not known. Pure.

* RECEIPT accepts the frame it names.
* ERROR rejects the frame it names, and the end of the connection that follows leaves all others
  unknown (1.2, *ERROR*: the server must close the connection).
* Some brokers do not name it. Then a frame that is the only one outstanding is the rejected one;
  of several, none can be told apart, and all are unknown.
* An outcome is final: what comes after it, such as a RECEIPT behind the ERROR, changes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from enum import StrEnum
from types import MappingProxyType

from stompy.errors import OutcomeUnknown, STOMPError


class Outcome(StrEnum):
    """What became of a frame."""

    PENDING = "pending"
    """The broker has not answered yet."""
    ACCEPTED = "accepted"
    """The broker has done it; for ours that means, where it applies, that it is on disk."""
    REJECTED = "rejected"
    """The broker has refused it, with a reason."""
    UNKNOWN = "unknown"
    """The connection ended before an answer came."""


_NONE: Mapping[str, str] = MappingProxyType({})


class AwaitedReceipt:
    """What the broker says, some time, about one frame.

    Attributes:
        receipt_id: the receipt that was asked for.
        outcome: what became of the frame.
        error: what `check` raises, if it raises.
        headers: those of the RECEIPT; none before it comes.
    """

    __slots__ = ("_command", "_destination", "error", "headers", "outcome", "receipt_id")

    def __init__(
        self, receipt_id: str, command: str | None = None, destination: object = None
    ) -> None:
        self.receipt_id = receipt_id
        self._command = command
        self._destination = destination
        self.outcome = Outcome.PENDING
        self.error: STOMPError | None = None
        self.headers: Mapping[str, str] = _NONE

    @property
    def done(self) -> bool:
        """Whether the outcome is settled."""
        return self.outcome is not Outcome.PENDING

    @property
    def duplicate(self) -> bool:
        """Whether the broker had the message already, by its id, and has dropped this one."""
        return self.headers.get("duplicate") == "true"

    @property
    def duplicate_of(self) -> str | None:
        """The ``message-id`` of the one that it had, if it tells."""
        return self.headers.get("duplicate-of")

    @property
    def missing(self) -> str:
        """Say what did not come, for a time-out."""
        if self._command is None:
            return f"no receipt {self.receipt_id!r} came"
        to = "" if self._destination is None else f" to {self._destination}"
        return f"the broker did not confirm the {self._command}{to} (receipt {self.receipt_id!r})"

    def check(self) -> str:
        """Give the receipt id, if the frame was accepted or is still pending.

        Raises:
            STOMPError: the broker rejected it; the text has its words.
            OutcomeUnknown: the connection ended first.
        """
        if self.error is not None:
            raise self.error
        return self.receipt_id

    def settle(self, outcome: Outcome, error: STOMPError | None = None) -> None:
        """Note what became of the frame."""
        self.error = error
        self.outcome = outcome

    def __repr__(self) -> str:
        """Receipt id and outcome."""
        return f"<{type(self).__name__} {self.receipt_id} {self.outcome}>"


class Confirmations:
    """Those of one client that are pending. The methods give what was settled by the call."""

    def __init__(self) -> None:
        self._pending: dict[str, AwaitedReceipt] = {}

    def __len__(self) -> int:
        """How many are pending."""
        return len(self._pending)

    def __contains__(self, receipt_id: object) -> bool:
        """Whether this one is pending."""
        return receipt_id in self._pending

    def expect(self, confirmation: AwaitedReceipt) -> None:
        """Wait for the receipt of a frame that is about to be sent."""
        self._pending[confirmation.receipt_id] = confirmation

    def forget(self, confirmation: AwaitedReceipt) -> None:
        """Wait for it no more: the frame was not sent after all."""
        self._pending.pop(confirmation.receipt_id, None)

    def receipt(self, receipt_id: str, headers: Mapping[str, str] = _NONE) -> AwaitedReceipt | None:
        """Accept the frame that a RECEIPT names; None when it is not one of these."""
        confirmation = self._pending.pop(receipt_id, None)
        if confirmation is not None:
            confirmation.headers = headers
            confirmation.settle(Outcome.ACCEPTED)
        return confirmation

    def refused(self, error: STOMPError, *, names_frames: bool) -> AwaitedReceipt | None:
        """Reject the frame that an ERROR names. The others become unknown: call `lost` then.

        Args:
            error: made of the ERROR frame.
            names_frames: whether this broker says in ``receipt-id`` which frame is at fault,
                wherever that frame asked for a receipt.
        """
        named = error.headers.get("receipt-id")
        if named is None and not names_frames and len(self._pending) == 1:
            named = next(iter(self._pending))
        confirmation = None if named is None else self._pending.pop(named, None)
        if confirmation is not None:
            confirmation.settle(Outcome.REJECTED, error)
        return confirmation

    def lost(self, reason: STOMPError | None, kept: Container[str] = ()) -> list[AwaitedReceipt]:
        """Settle what is pending as unknown: the connection has ended.

        Args:
            reason: why.
            kept: the receipts of what is sent again over the next one; they stay pending.
        """
        settled = [one for name, one in self._pending.items() if name not in kept]
        for confirmation in settled:
            del self._pending[confirmation.receipt_id]
        for confirmation in settled:
            confirmation.settle(Outcome.UNKNOWN, unknown_outcome(confirmation.receipt_id, reason))
        return settled


def unknown_outcome(receipt_id: str, reason: STOMPError | None) -> OutcomeUnknown:
    """Make the exception for a frame whose receipt did not come before the connection ended."""
    why = "was closed" if reason is None else f"was lost ({reason})"
    error = OutcomeUnknown(
        f"the connection {why} before receipt {receipt_id!r} came: "
        "whether the frame took effect is not known",
        None if reason is None else reason.Frame,
    )
    error.__cause__ = reason
    return error
