"""SENDs that somebody wants to know about: requests with ``reply-timeout``, and ``mandatory``.

Both ask who is there before anything is published. A request that nobody would take is answered
and goes nowhere (`stompy_broker.routing.requests`); inside a transaction that is decided at COMMIT.
``mandatory:true`` has the RECEIPT say to how many places a message went, and where no RECEIPT is
asked for, one that would go nowhere is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from stompy.errors import ErrorCode, ProtocolError, ReplyStatus
from stompy_broker.destinations.names import Destination, DestinationKind, parse_destination
from stompy_broker.message import Message, MessageHead
from stompy_broker.routing.admission import Admission
from stompy_broker.routing.answers import Done, when_all
from stompy_broker.routing.distribution import Distribution
from stompy_broker.routing.flow_control import Watermark
from stompy_broker.routing.interface import Queue, QueueFigures
from stompy_broker.routing.requests import TIMEOUT, Wanted, is_whole
from stompy_broker.routing.router import Router
from stompy_broker.schedules.headers import SCHEDULE_HEADERS
from stompy_broker.selectors.selector import compile_selector
from stompy_broker.session.spread_send import SpreadSend
from stompy_broker.session.transaction_span import TransactionSpan

ROUTED: Final = "routed"
"""The header of RECEIPT that says to how many queues and subscriptions a message went."""

_TIME_TO_LIVE: Final = ("expiration", "ttl")

_ANSWERED: Final = (DestinationKind.QUEUE, DestinationKind.TOPIC)
"""Where a SEND can go whose sender wants to know what became of it."""

Awaiting = Callable[[Destination], None]
"""Has replies to a queue with a name be seen."""

_EXPECTED: Final = frozenset((ErrorCode.QUEUE_FULL,))


def is_mandatory(headers: Mapping[str, str]) -> bool:
    """Whether the headers of a SEND ask to how many places it goes. Other values are somebody's."""
    return headers.get("mandatory", "").strip().lower() == "true"


def asks_for_answer(headers: Mapping[str, str]) -> bool:
    """Whether the headers of a SEND make it a request that the broker may answer."""
    return headers.get(TIMEOUT, "") not in ("", "0")


def is_answered(headers: Mapping[str, str], destination: Destination) -> bool:
    """Whether the sender of a SEND wants to know what became of it."""
    if destination.kind not in _ANSWERED:
        return False
    return asks_for_answer(headers) or is_mandatory(headers)


def milliseconds_in(headers: Mapping[str, str]) -> int:
    """How long a request is to be waited for.

    Raises:
        ProtocolError: that is no number, or something else is missing or cannot be.
    """
    text = headers[TIMEOUT]
    if not is_whole(text):
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{TIMEOUT} must be a whole number of ms, not {text[:40]!r}"
        )
    if not headers.get("reply-to"):
        raise ProtocolError(
            ErrorCode.BAD_HEADER, f"{TIMEOUT} needs reply-to: that is where the answer goes"
        )
    later = SCHEDULE_HEADERS & headers.keys()
    if later:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"{TIMEOUT} and {min(later)} together are not done: nobody waits that long",
        )
    return int(text)


def wanted_in(
    headers: Mapping[str, str], own: Queue | None, router: Router, await_replies: Awaiting
) -> Wanted:
    """What a request wants to be answered.

    Args:
        headers: of its SEND.
        own: the client's own temporary queue that ``reply-to`` names, if it does.
        router: knows who is there.
        await_replies: has replies to a queue with a name be seen.

    Raises:
        ProtocolError: something about it cannot be.
    """
    milliseconds = milliseconds_in(headers)
    if own is not None:
        address = f"{DestinationKind.REPLY.value}{own.name}"
    else:
        destination = parse_destination(headers["reply-to"])
        address = str(destination)
        if destination.kind is DestinationKind.QUEUE:
            _check_named(destination, router)
            await_replies(destination)
        elif not (
            destination.kind is DestinationKind.REPLY
            and destination.name in router.registry.replies
        ):
            raise _not_there(address, "it is no queue, and no address of a connection to it")
    wanted = Wanted(address, headers.get("correlation-id", ""), milliseconds)
    router.requests.check(wanted)
    return wanted


def _check_named(destination: Destination, router: Router) -> None:
    """Check that replies to a queue with a name can be seen: all of them come in here."""
    if router.registry.table.others is not None:
        raise _not_there(str(destination), "in a cluster replies to it may come in elsewhere")
    if router.directions.distribution(destination) is not None:
        raise _not_there(str(destination), "a route leads from it")


def _not_there(address: str, why: str) -> ProtocolError:
    return ProtocolError(
        ErrorCode.NOT_SUPPORTED,
        f"{TIMEOUT} with reply-to:{address[:200]} is not done, because this broker would not see "
        f"the replies: {why}. A /temp-queue/ of this connection always works",
    )


def with_end(headers: Mapping[str, str], milliseconds: int) -> dict[str, str]:
    """The headers of a request whose message ends with it, unless it ends before by itself."""
    told = dict(headers)
    own = next((told[name] for name in _TIME_TO_LIVE if name in told), "0")
    if not is_whole(own) or 0 < int(own) < milliseconds:
        return told  # what is no number is told of as ever
    told.pop("expiration", None)
    told["ttl"] = headers[TIMEOUT]
    return told


class AnsweredSend(SpreadSend):
    """A message that goes to one or more places, and whose sender is told what became of it.

    Args:
        router: where to.
        distribution: makes its parts.
        head: its headers.
        body: its body.
        sender: what its sender is called; see `Topics.sender`.
        wanted: what is to be answered; None = it is no request.
    """

    __slots__ = ("_heard", "_must", "_refused", "_routed", "_sender", "_wanted")

    def __init__(
        self,
        router: Router,
        distribution: Distribution,
        head: MessageHead,
        body: bytes,
        *,
        sender: tuple[str, ...],
        wanted: Wanted | None,
    ) -> None:
        super().__init__(router, distribution, head, body)
        self._sender = sender
        self._wanted = wanted
        self._must = False
        self._heard = wanted is None
        self._refused = ""
        self._routed = 0

    def mandate(self, *, has_receipt: bool) -> None:
        """Tell to how many places it goes; without a RECEIPT, refuse it if there is none."""
        if has_receipt:
            self.told = {}
        else:
            self._must = self._wanted is None

    @property
    def goes(self) -> bool:
        """Whether anything of it is published, as far as is known."""
        return self._heard and not self._refused

    def refusal(self, error: ProtocolError) -> ProtocolError | None:
        """What its sender is told when it is refused; None = it gets an answer instead."""
        if self._wanted is None or error.error_code not in _EXPECTED:
            return error
        self._refused = error.Message
        return None

    def prepare(self, admission: Admission | None, span: TransactionSpan | None) -> None:
        """Find out where it goes, and who is there.

        Raises:
            ProtocolError: as `SpreadSend.prepare`; or it goes nowhere, and nobody would know.
        """
        super().prepare(admission, span)
        if admission is None:
            return
        self._routed = len(self._backlogs()) + sum(
            part.destination.kind is not DestinationKind.TOPIC for part in self._parts
        )
        if self._must and not self._routed:
            raise ProtocolError(
                ErrorCode.BAD_DESTINATION,
                "mandatory:true: nobody gets what is sent there. With a receipt header there is a "
                f"RECEIPT with {ROUTED}:0 instead",
            )
        if self._wanted is not None:
            admission.ask_first(self._listen)

    def _backlogs(self) -> list[Queue]:
        """The backlogs of subscriptions that get it, by all of its parts."""
        found: dict[Queue, None] = {}
        for destination, head in self._parts:
            if destination.kind is DestinationKind.TOPIC:
                topic = self._router.topics.find(destination.name)
                message = self._as(head)
                queues: Iterable[Queue] = topic.queues
                if topic.choice is not None:
                    queues = topic.choice.would_take(message, self._sender)
                found.update(dict.fromkeys(queues))
        return list(found)

    def _as(self, head: MessageHead) -> Message:
        return Message(0, head, self._body, self._router.stamp)

    def _listen(self, done: Done) -> None:
        """Find out whether anybody is there to take it."""
        asked = [
            (queue, self._as(head))
            for destination, head in self._parts
            if destination.kind is DestinationKind.QUEUE
            and (queue := self._queue(destination.name)) is not None
        ]
        for queue in self._backlogs():
            if queue.unshared and not queue.private:  # it may have nobody who takes part
                asked.append((queue, self._as(self._head)))
            else:
                self._heard = True
        if self._heard:
            asked.clear()
        part_done = when_all(len(asked) + 1, done)

        def judge(message: Message) -> Callable[[QueueFigures], None]:
            def take(figures: QueueFigures) -> None:
                self._heard = self._heard or takes(figures, message)
                part_done()

            return take

        for queue, message in asked:
            queue.stats(judge(message))
        part_done()

    def _queue(self, name: str) -> Queue | None:
        """The queue of that name; None = there is none, so that nobody consumes from it."""
        router = self._router
        queue = router.queues.get(name)
        others = router.registry.table.others
        if queue is None and others is not None and not others.is_here(router.groups.of(name)):
            return router.queue(name)
        return queue

    def publish(self, done: Done) -> Watermark | None:
        """Publish all parts, which were admitted; or answer, if that is all there is to do."""
        wanted, requests = self._wanted, self._router.requests
        if not self.goes:
            assert wanted is not None
            if self._refused:
                requests.answer(wanted, ReplyStatus.REFUSED, self._refused)
            else:
                requests.answer(wanted, ReplyStatus.NO_CONSUMERS)
            self._tell(0)
            done()
            return None
        if wanted is not None:
            requests.begin(wanted, self._routed)
        self._tell(self._routed)
        return super().publish(done)

    def _tell(self, routed: int) -> None:
        if self.told is not None:
            self.told[ROUTED] = str(routed)


def takes(figures: QueueFigures, message: Message) -> bool:
    """Whether a queue has a consumer that would take a message once it has credit."""
    if not figures.created_at:
        return True  # its owner is not there just now, and nobody knows
    choosing = sum([line.consumers for line in figures.lines])
    if figures.consumers > choosing:
        return True
    return any(compile_selector(line.selector).matches(message) for line in figures.lines)
