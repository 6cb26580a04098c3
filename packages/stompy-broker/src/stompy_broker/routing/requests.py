"""Requests whose answer somebody waits for only so long, and what the broker answers itself.

A request is open from its SEND until its first reply, or until the broker has answered: at once
where nobody is there to take it, when its time is over, or when the last of its copies was given
up. Each is answered once. Its message ends with its time like any other (header ``ttl``), so it is
taken back wherever it waits, at other brokers and after a restart as well.

Who gives a message up need not be the broker that its sender is connected to. It sends a notice to
the address for replies, and that is the answer there.

Invariant: as long as nobody sends such requests, nothing is kept here and no timer is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError, ReplyStatus
from stompy_broker.destinations.names import Destination, DestinationKind, parse_destination
from stompy_broker.events import Events
from stompy_broker.message import Message, MessageHead
from stompy_broker.timers import Clock

TIMEOUT: Final = "reply-timeout"
"""The header by which a SEND is a request that the broker answers, in milliseconds."""

_IN_BLOCK: Final = b"reply-timeout:"

STATUS: Final = "reply-status"
"""The header by which the broker's answer says what became of the request."""

INFO: Final = "x-death-info"
"""The header by which it says why."""

CAUSE: Final = "x-last-death-reason"
"""The header by which it says what a queue gave the request up for. No client can write it."""

MOST: Final = 65_536
"""Requests with one address for replies that may be open."""

REMEMBERED: Final = 16_384
"""Requests that the broker has answered, of which late replies are told apart."""

_LONGEST_NUMBER: Final = 15

_REPLY: Final = DestinationKind.REPLY.value


class Wanted(NamedTuple):
    """What a SEND wants to be answered.

    Attributes:
        address: where replies go, as repliers name it.
        correlation_id: what they carry; empty = the request names none.
        milliseconds: after which it is answered by the broker.
    """

    address: str
    correlation_id: str
    milliseconds: int

    @property
    def name(self) -> str:
        """The temporary queue behind the address; empty = it is none."""
        return self.address.removeprefix(_REPLY) if self.address.startswith(_REPLY) else ""


class _Open:
    """A request that waits for its reply."""

    __slots__ = ("copies", "timer", "wanted")

    def __init__(self, clock: Clock, wanted: Wanted, end: Callable[[Wanted], None]) -> None:
        self.wanted = wanted
        self.copies = 1
        self.timer = clock.timer(lambda: end(wanted))
        self.timer.set(clock.now() + wanted.milliseconds / 1000)


class AnswerSender(Protocol):
    """What gives answers to who asked."""

    def answer(self, destination: Destination, head: MessageHead) -> None:
        """Put an answer where replies go, here; dropped if nobody is there any more."""
        ...

    def notify(self, name: str, head: MessageHead) -> None:
        """Send a notice to the owner of a temporary queue, if that is at another broker."""
        ...


class Answering(Protocol):
    """What sends the answers on."""

    @property
    def clock(self) -> Clock:
        """The one with all deadlines."""
        ...

    @property
    def events(self) -> Events:
        """What happens to queues and messages."""
        ...

    def note_time(self) -> None:
        """Have messages that are published from now on carry the present time."""
        ...

    @property
    def replies(self) -> AnswerSender:
        """What gives answers to who asked."""
        ...


class Requests:
    """The requests of the clients of one broker that it answers itself if nobody else does.

    Args:
        answering: sends answers.

    Attributes:
        asked: how many there were.
        answered: what the broker has answered, and how often.
        late: replies that came after that, and are dropped.
    """

    def __init__(self, answering: Answering) -> None:
        self.asked = self.late = 0
        self.answered: dict[ReplyStatus, int] = {}
        self._answering = answering
        self._open: dict[str, dict[str, _Open]] = {}
        self._answered: dict[tuple[str, str], None] = {}  # lately, oldest first

    @property
    def open(self) -> int:
        """How many wait for their reply."""
        return sum(map(len, self._open.values()))

    @property
    def failed(self) -> int:
        """How many the broker has answered."""
        return sum(self.answered.values())

    def begin(self, wanted: Wanted, copies: int) -> None:
        """Have a request be open, which is sent now.

        One of the same address and ``correlation-id`` that is open already stands for both.

        Args:
            wanted: it.
            copies: to how many places it goes.
        """
        self.asked += 1
        here = self._open.setdefault(wanted.address, {})
        if wanted.correlation_id in here:
            here[wanted.correlation_id].copies += copies
            return
        one = here[wanted.correlation_id] = _Open(self._answering.clock, wanted, self._end)
        one.copies = copies
        self._answered.pop((wanted.address, wanted.correlation_id), None)

    def check(self, wanted: Wanted) -> None:
        """Check that one more may be open.

        Raises:
            ProtocolError: it could not be told from another one, or there are too many.
        """
        here = self._open.get(wanted.address)
        if here is None:
            return
        if len(here) >= MOST:
            raise ProtocolError(
                ErrorCode.LIMIT_EXCEEDED,
                f"{MOST} requests with {TIMEOUT} and one reply-to are the limit",
            )
        if not wanted.correlation_id and "" in here:
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"a request with {TIMEOUT} and the same reply-to is open, and neither has a "
                "correlation-id by which their replies could be told apart",
            )

    def answer(self, wanted: Wanted, status: ReplyStatus, info: str = "") -> None:
        """Answer a request that is not open: it was not sent."""
        self.asked += 1
        self._answer(wanted, status, info)

    def _end(self, wanted: Wanted) -> None:
        """Answer one whose time is over."""
        self._close(wanted)
        self._answer(wanted, ReplyStatus.TIMEOUT, "")

    def _answer(self, wanted: Wanted, status: ReplyStatus, info: str) -> None:
        self._note(wanted, status)
        self._publish(wanted, _head(wanted, status, info))

    def _note(self, wanted: Wanted, status: ReplyStatus) -> None:
        self.answered[status] = self.answered.get(status, 0) + 1
        if len(self._answered) >= REMEMBERED:
            del self._answered[next(iter(self._answered))]
        self._answered[wanted.address, wanted.correlation_id] = None
        events = self._answering.events
        if "request" in events.detailed:
            events.tell(
                Event(
                    type="request.failed",
                    destination=wanted.address,
                    reason=status.value,
                    detail={"correlation_id": wanted.correlation_id},
                )
            )

    def _publish(self, wanted: Wanted, head: MessageHead) -> None:
        self._answering.note_time()
        self._answering.replies.answer(parse_destination(wanted.address), head)

    def forget(self, address: str) -> None:
        """Answer nothing more there: whose address it is has gone."""
        if self._open:
            for one in self._open.pop(address, {}).values():
                one.timer.end()

    def _close(self, wanted: Wanted) -> None:
        here = self._open.get(wanted.address, {})
        one = here.pop(wanted.correlation_id, None)
        if one is not None:
            one.timer.end()
        if not here:
            self._open.pop(wanted.address, None)

    # -- replies ------------------------------------------------------------------------------

    @property
    def watching(self) -> bool:
        """Whether replies have to be looked at."""
        return bool(self._open or self._answered)

    def take(self, address: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Take note of a reply; say whether its requester gets it.

        Args:
            address: where it was sent to.
            headers: its headers.
            body: its body.
        """
        correlation_id = headers.get("correlation-id", "")
        status = _status_in(headers) if CAUSE in headers and not body else None
        one = self._find(address, correlation_id)
        if status is not None:
            return one is not None and self._count_out(one, status)
        if one is None:
            late = (address, correlation_id) in self._answered or (address, "") in self._answered
            self.late += late
            return not late
        self._close(one.wanted)
        return True

    def _find(self, address: str, correlation_id: str) -> _Open | None:
        """The request that a reply is for."""
        here = self._open.get(address)
        if here is None:
            return None
        found = here.get(correlation_id) or here.get("")
        if found is None and not correlation_id and len(here) == 1:
            return next(iter(here.values()))
        return found

    def _count_out(self, one: _Open, status: ReplyStatus) -> bool:
        """Take note that a copy of a request is given up; say whether it was the last one."""
        one.copies -= 1
        if one.copies > 0:
            return False
        self._close(one.wanted)
        self._note(one.wanted, status)
        return True

    # -- messages that are given up ---------------------------------------------------------------

    def given_up(self, message: Message, cause: str, reason: str) -> bool:
        """Tell whose request a message is that a queue gives up, if it is one.

        Args:
            message: it.
            cause: as dead letters tell it.
            reason: in words.

        Returns:
            Whether it is taken back, because its requester waits no more: it goes nowhere.
        """
        if _IN_BLOCK not in message.head.block:
            return False
        headers = message.head.headers()
        wanted = wanted_in(headers)
        if wanted is None:
            return False
        if cause == "expired" and _has_timed_out(headers, message):
            return True
        status = ReplyStatus.EXPIRED if cause == "expired" else ReplyStatus.REJECTED
        if cause == "maxlen":
            status = ReplyStatus.REFUSED
        one = self._find(wanted.address, wanted.correlation_id)
        if one is not None:
            if self._count_out(one, status):
                self._publish(one.wanted, _head(one.wanted, status, reason, cause))
        elif wanted.name:
            head = _head(wanted, status, reason, cause)
            self._answering.replies.notify(wanted.name, head)
        return False


def _head(wanted: Wanted, status: ReplyStatus, info: str, cause: str = "") -> MessageHead:
    """The headers of an answer, or of a notice.

    Args:
        wanted: what is answered.
        status: what became of the request.
        info: why, in words.
        cause: why its message was given up, as dead letters tell it.
    """
    headers = {"destination": wanted.address, STATUS: status.value}
    if wanted.correlation_id:
        headers["correlation-id"] = wanted.correlation_id
    if info:
        headers[INFO] = info
    if cause:
        headers[CAUSE] = cause
    return MessageHead.from_headers(headers)


def wanted_in(headers: Mapping[str, str]) -> Wanted | None:
    """What the headers of a message want that was sent as a request; None = it is none."""
    text, address = headers.get(TIMEOUT, ""), headers.get("reply-to", "")
    if not address or not is_whole(text) or not int(text):
        return None
    try:
        destination = parse_destination(address)
    except ProtocolError:
        return None
    if destination.kind not in (DestinationKind.REPLY, DestinationKind.QUEUE):
        return None
    return Wanted(str(destination), headers.get("correlation-id", ""), int(text))


def is_whole(text: str) -> bool:
    """Whether a text is a whole number that is not absurd."""
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER


def _has_timed_out(headers: Mapping[str, str], message: Message) -> bool:
    """Whether it was the time of the request that is over, and not that of the message."""
    return headers.get("ttl") == headers[TIMEOUT] and str(message.expires) != headers.get("expires")


def _status_in(headers: Mapping[str, str]) -> ReplyStatus | None:
    """What a notice says; None = it is a reply."""
    try:
        return ReplyStatus(headers.get(STATUS, ""))
    except ValueError:
        return None
