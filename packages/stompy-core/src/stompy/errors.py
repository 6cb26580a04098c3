"""Every exception of the core, and the words that travel in an ERROR frame's ``error-code``.

The tree::

    STOMPException
    ├── STOMPError                 the broker said ERROR, or the conversation broke
    │   ├── STOMPConnectionError   no connection, or it was lost (also a ConnectionError)
    │   │   ├── ConnectionImpossible  none could be made, and none will by trying again
    │   │   │   └── STOMPCertificateError  a certificate is not trusted, not fitting, or missing
    │   │   ├── OutcomeUnknown     it was lost before the broker answered for a frame
    │   │   └── TransactionLost    it was lost, and an open transaction with it
    │   ├── ProtocolError          the peer broke the rules of the specification
    │   ├── StaleMessageError      a message that is not ours to settle any more
    │   ├── NoResponders           nobody is there to answer a request
    │   ├── RequestRejected        a request was given up by who had it
    │   └── UnsupportedByBroker    the broker met has no way to do it without losing messages
    └── STOMPTimeout               nothing came in time (also a TimeoutError)

`STOMPTimeout` is not a `STOMPError`, so that ``except STOMPError`` does not swallow a time-out.
This module imports nothing of ours; exceptions carry plain data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


class ErrorCode(StrEnum):
    """The ``error-code`` header of an ERROR frame: a word that programs may compare."""

    MALFORMED_FRAME = "malformed-frame"
    """Bytes that are no STOMP frame: a header without colon, a NUL in a header, a missing NUL."""
    BAD_ESCAPE = "bad-escape"
    """A backslash sequence that the negotiated version does not define."""
    BAD_ENCODING = "bad-encoding"
    """A command or header that is not UTF-8."""
    BAD_CONTENT_LENGTH = "bad-content-length"
    """A ``content-length`` that is not a plain decimal number."""
    FRAME_TOO_LARGE = "frame-too-large"
    """A command, header line, header count or body beyond the limit."""
    UNKNOWN_COMMAND = "unknown-command"
    """A command that STOMP does not have; commands are case sensitive."""
    UNEXPECTED_FRAME = "unexpected-frame"
    """A known command at the wrong time: before CONNECT, a second CONNECT, a server's command."""
    UNEXPECTED_BODY = "unexpected-body"
    """A body on a frame that must not have one."""
    MISSING_HEADER = "missing-header"
    """A header that the specification requires is not there."""
    BAD_HEADER = "bad-header"
    """A header value that does not mean anything for this frame."""
    BAD_SELECTOR = "bad-selector"
    """A ``selector`` that cannot be read; ``error-column`` says where, the text what to write."""
    NOT_SUPPORTED = "not-supported"
    """A header that asks for something that this broker does not do; the text says what."""
    UNSUPPORTED_VERSION = "unsupported-version"
    """No common protocol version."""
    AUTHENTICATION_FAILED = "authentication-failed"
    """Unknown login, wrong passcode, or anonymous access that is not allowed."""
    BAD_DESTINATION = "bad-destination"
    """A destination with an unknown prefix, a wildcard where none may stand, or no name."""
    DUPLICATE_SUBSCRIPTION = "duplicate-subscription"
    """A subscription id that is in use on this connection."""
    UNKNOWN_SUBSCRIPTION = "unknown-subscription"
    """A subscription id that is not in use on this connection."""
    UNKNOWN_ACK = "unknown-ack"
    """An ACK or NACK for a delivery that was never made."""
    DUPLICATE_TRANSACTION = "duplicate-transaction"
    """BEGIN with the id of a transaction that is open."""
    UNKNOWN_TRANSACTION = "unknown-transaction"
    """A transaction id that is not open on this connection."""
    TRANSACTION_SPANS_GROUPS = "transaction-spans-groups"
    """In a cluster: a frame whose destination is in another group than its transaction is."""
    LIMIT_EXCEEDED = "limit-exceeded"
    """Too many connections, subscriptions, transactions or frames in one."""
    RATE_LIMITED = "rate-limited"
    """Faster than a quota of the user allows; ``retry-after`` says after how many seconds."""
    HEARTBEAT_TIMEOUT = "heart-beat-timeout"
    """Nothing was received for longer than the negotiated heart-beat and its grace."""
    LOGIN_TIMEOUT = "login-timeout"
    """No complete CONNECT frame within the login time-out."""
    QUEUE_FULL = "queue-full"
    """A queue at its length limit whose policy is to refuse."""
    STORE_UNAVAILABLE = "store-unavailable"
    """The disk is full or cannot be written to, and producers are refused rather than paused."""
    SUBSCRIPTION_IN_USE = "subscription-in-use"
    """A durable subscription that somebody else subscribes to."""
    SLOW_CONSUMER = "slow-consumer"
    """A topic subscriber whose backlog is full and whose policy is ``disconnect``."""
    ACCESS_REFUSED = "access-refused"
    """The user may not do this with this destination."""
    CLOSED_BY_OPERATOR = "closed-by-operator"
    """An operator closed the connection; the text says why."""
    SHUTTING_DOWN = "shutting-down"
    """The broker is stopping."""
    INTERNAL_ERROR = "internal-error"
    """A fault of the broker itself; its log has the details."""


class ReplyStatus(StrEnum):
    """The ``reply-status`` of an answer that the broker gives itself, to a request."""

    NO_CONSUMERS = "no-consumers"
    """Nobody consumes where it was sent to; it was not put there."""
    TIMEOUT = "timeout"
    """No reply came in time; it was taken back if nobody had it."""
    EXPIRED = "expired"
    """Its own time to live was over before that."""
    REJECTED = "rejected"
    """It was given up: refused by a consumer, or delivered too often."""
    REFUSED = "refused"
    """The queue is full."""


class FrameLike(Protocol):
    """What an exception may carry as its frame, so that this module need not know frames."""

    Command: str | None
    Headers: dict[str, str]
    Body: bytes


class STOMPException(Exception):  # noqa: N818  # siblings are named by the manual
    """The base of everything this library raises on purpose."""


class STOMPError(STOMPException):
    """The broker answered with ERROR, or the conversation could not go on.

    Attributes:
        Message: one line of text; the ERROR frame's ``message`` header where there was one.
        Frame: the ERROR frame, or None when the error was found on our side.
    """

    def __init__(self, message: str, frame: FrameLike | None = None) -> None:
        super().__init__(message, frame)
        self.Message = message
        self.Frame = frame

    def __str__(self) -> str:
        """The message, then what the broker wrote in the body."""
        if self.Frame is None or not self.Frame.Body:
            return self.Message
        detail = self.Frame.Body.decode("utf-8", "replace").strip()
        return self.Message if self.Message.endswith(detail) else f"{self.Message}: {detail}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the ERROR frame; empty when there was none."""
        return {} if self.Frame is None else dict(self.Frame.Headers)

    @property
    def code(self) -> str | None:
        """The ``error-code`` header, as our broker sends it; None from other brokers."""
        return self.headers.get("error-code")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which to try again, if the broker said so, as with ``rate-limited``."""
        text = self.headers.get("retry-after", "")
        return float(text) if _SECONDS.fullmatch(text) else None


class STOMPConnectionError(STOMPError, ConnectionError):
    """There is no connection: none could be made, it was lost, or it was closed."""

    _refusals: Sequence[tuple[object, STOMPError | None]] = ()  # of each address, as it was tried


class ConnectionImpossible(STOMPConnectionError):  # noqa: N818  # says what, not that
    """No connection could be made, and trying again seems hopeless.

    There is no common version of STOMP, say.
    """


class STOMPCertificateError(ConnectionImpossible):
    """TLS failed because of a certificate, theirs or ours; trying again does not help."""


class OutcomeUnknown(STOMPConnectionError):  # noqa: N818  # says what, not that
    """The connection ended before the broker answered: a frame took effect, or did not.

    Send it again only if doing it twice does no harm; or have that done by the client, with
    ``Reconnect(resend=True)``, so that it takes effect once.
    """


class TransactionLost(STOMPConnectionError):  # noqa: N818  # says what, not that
    """The connection of an open transaction has ended; the broker has undone it."""


class StaleMessageError(STOMPError):
    """A message cannot be settled: its connection or subscription has ended.

    Nothing was sent. The broker has the message back and delivers it again.
    """


class NoResponders(STOMPError):  # noqa: N818  # says what, not that
    """Nobody consumes where a request was sent to, so the broker answered it at once.

    Nobody has the request, and nobody will get it.
    """


class RequestRejected(STOMPError):  # noqa: N818  # says what, not that
    """The broker gave up a request before anybody had answered it.

    Attributes:
        status: what became of it.
    """

    def __init__(
        self, message: str, frame: FrameLike | None = None, status: str = ReplyStatus.REJECTED
    ) -> None:
        super().__init__(message, frame)
        self.status = ReplyStatus(status)


class ProtocolError(STOMPError):
    """The peer's bytes break the specification.

    Attributes:
        error_code: which rule, as an `ErrorCode`.
        receipt: the ``receipt`` header of the frame at fault, if it had one that was read.
        frame_headers: the headers of the frame at fault as far as they are known.
        details: what an ERROR frame has to say about it in headers of its own.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.error_code = code
        self.frame_headers: Mapping[str, str] = headers or {}
        self.details: Mapping[str, str] = details or {}

    @property
    def code(self) -> str:
        """The rule that was broken."""
        return self.error_code.value

    @property
    def receipt(self) -> str | None:
        """The receipt that the frame at fault asked for, if that was read."""
        return self.frame_headers.get("receipt")


class UnsupportedByBroker(STOMPError):  # noqa: N818  # says what, not that
    """The broker met cannot do this, or would lose messages by it; nothing was sent."""


class STOMPTimeout(STOMPException, TimeoutError):  # noqa: N818  # the manual's name
    """Nothing came within the time given."""
