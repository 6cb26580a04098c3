"""What a client owes for the messages it gets: which are acknowledged by whom, and how. Pure.

The manual's ``client.ack(frame["ack"])`` works in every version. 1.2 sends an ``ack`` header with
each delivery; where it does not come, in 1.0 and 1.1, `Subscriptions.receive` adds one that holds
subscription and message, and `Subscriptions.settlement` takes it apart again.

Where one connection follows another, that header also remembers its connection (`AckToken`), so
that a message of an earlier one is never settled on a later one, where its id may mean another.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from stompy.errors import StaleMessageError, STOMPError
from stompy.protocol.client import ClientProtocol
from stompy.protocol.frame import AckMode, STOMPFrame
from stompy.protocol.headers import V1_0, V1_2, Version

_REMEMBERED = 1000


class AckToken(str):
    """An ``ack`` header that remembers the connection it came over.

    Attributes:
        epoch: the number of that connection.
    """

    __slots__ = ("epoch",)

    epoch: int

    @classmethod
    def of(cls, token: str, epoch: int) -> AckToken:
        """Mark a text with its connection."""
        marked = cls(token)
        marked.epoch = epoch
        return marked


class AckDuty(Enum):
    """What a received message asks of us."""

    NONE = auto()
    """Nothing, or the application does it."""
    ACK = auto()
    """We acknowledge it."""
    STALE = auto()
    """Nothing may be done with it: its subscription has ended, and the broker has it back."""


class Subscriptions:
    """The subscriptions of one connection.

    Args:
        version: what was agreed with the broker.
        epoch: the number of the connection, where others may follow it; else None.

    Attributes:
        needs_no_acks: whether no message can ask anything of us.
    """

    def __init__(self, version: Version | None, epoch: int | None = None) -> None:
        self._version = version
        self._epoch = epoch
        self._duties: dict[str, AckDuty] = {}
        self._lost = False
        self.needs_no_acks = True

    def on(self, version: Version | None, epoch: int) -> Subscriptions:
        """Make the same subscriptions for the next connection."""
        renewed = Subscriptions(version, epoch)
        for name, duty in list(self._duties.items()):
            if duty is not AckDuty.STALE:
                renewed._duties[name] = duty
        renewed.needs_no_acks = not renewed._duties
        return renewed

    def lose(self) -> None:
        """Take what was to be settled for stale: with the connection the broker has it back."""
        self._lost = True

    def add(self, sub_id: str, mode: AckMode, send_acks: bool) -> None:
        """Remember how the messages of a subscription are to be acknowledged."""
        if mode is AckMode.AUTO:
            self._duties.pop(sub_id, None)
        else:
            self._duties[sub_id] = AckDuty.ACK if send_acks else AckDuty.NONE
            self.needs_no_acks = False

    def remove(self, sub_id: str) -> None:
        """Take what is still under way of a subscription that has ended for stale."""
        if sub_id in self._duties:
            self._duties[sub_id] = AckDuty.STALE
            stale = [name for name, duty in self._duties.items() if duty is AckDuty.STALE]
            if len(stale) > _REMEMBERED:
                del self._duties[stale[0]]

    def receive(self, frame: STOMPFrame) -> AckDuty:
        """Say what a MESSAGE asks of us; it has an ``ack`` header then if it can be settled."""
        duty = self._duties.get(frame._shared().get("subscription", ""))
        if duty is None:
            return AckDuty.NONE
        if self._lost:
            return AckDuty.STALE
        headers = frame.Headers
        if self._version is not V1_2:
            headers["ack"] = delivery_token(self._version, headers) or ""
        elif "ack" not in headers:
            # The broker wants no answer, unless there is none to be given any more.
            return duty if duty is AckDuty.STALE else AckDuty.NONE
        if self._epoch is not None:
            headers["ack"] = AckToken.of(headers["ack"], self._epoch)
        return duty

    def owes(self, frame: STOMPFrame) -> bool:
        """Whether we still have to acknowledge a message that we received."""
        duty = self._duties.get(frame.Headers.get("subscription", ""))
        return duty is AckDuty.ACK and not self._lost

    def settlement(self, command: str, ack: str | STOMPFrame) -> dict[str, str]:
        """Make the headers of an ACK or NACK (1.0, 1.1 and 1.2, *ACK*).

        Args:
            command: ``ACK`` or ``NACK``.
            ack: the message, or its ``ack`` header.

        Raises:
            STOMPError: the version in use has no NACK.
            StaleMessageError: the message came over an earlier connection.
            ValueError: this does not say which message is meant.
        """
        token = ack.get("ack") if isinstance(ack, STOMPFrame) else ack
        if isinstance(token, AckToken) and token.epoch != self._epoch:
            raise StaleMessageError(
                f"the connection that brought this message is gone, so there is no {command}: "
                "the broker delivers it again"
            )
        return settlement_headers(self._version, command, token)


def delivery_token(version: Version | None, headers: Mapping[str, str]) -> str | None:
    """Name a delivery: by its ``ack`` header, or what stands for it in 1.0 and 1.1."""
    if version is V1_2:
        return headers.get("ack")
    return f"{headers.get('subscription', '')}\n{headers.get('message-id', '')}"


def settlement_frame(
    protocol: ClientProtocol,
    command: str,
    message: STOMPFrame,
    more: Mapping[str, str],
    transaction: str | None,
) -> bytes:
    """Write an ACK or NACK for a message: the **hot path** of settling.

    Raises:
        STOMPError: the version has no NACK.
        ValueError: this message cannot be settled.
    """
    version = protocol.version
    token = message._ack() if version is V1_2 else delivery_token(version, message.Headers)
    if token and version is V1_2 and not more and transaction is None:
        return protocol.settle(command, token)
    headers = {**settlement_headers(version, command, token), **more}
    if transaction is not None:
        headers["transaction"] = transaction
    return protocol.send(command, headers)


def settlement_headers(version: Version | None, command: str, token: str | None) -> dict[str, str]:
    """Make the headers of an ACK or NACK from what `delivery_token` gave.

    Raises:
        STOMPError: the version has no NACK.
        ValueError: this does not say which message is meant.
    """
    if version is V1_0 and command == "NACK":
        raise STOMPError("STOMP 1.0 has no NACK; connect with 1.1 or 1.2")
    if not token:
        raise ValueError("this message has no ack header: nobody waits for it to be settled")
    if version is V1_2:
        return {"id": str(token)}
    subscription, separator, message_id = token.partition("\n")
    if separator:
        return {"subscription": subscription, "message-id": message_id}
    if version is V1_0:
        return {"message-id": token}
    raise ValueError(
        "in STOMP 1.1 a message-id alone does not name a message: "
        "give the frame, or its frame['ack']"
    )
