"""How queues are set up by headers, and what becomes of that.

The first frame decides. What a later one says otherwise is taken, and told by an event, or refused
where the configuration wants that. What a queue was that ended with its last consumer is remembered
for a while: a sender that knows nothing of it would make it again, and it would stay for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stompy.admin.rows import Event
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.destinations.policy import ARGUMENTS, Policies, Policy, arguments_in
from stompy_broker.destinations.stream_settings import (
    QUEUE_TYPE,
    STREAM,
    not_of_streams,
    read_type,
)
from stompy_broker.events import Events
from stompy_broker.routing.group import QueueGroup
from stompy_broker.routing.interface import Queue, QueueFigures
from stompy_broker.routing.settings import NO_SETTINGS, QueueSettings
from stompy_broker.timers import Clock

REMEMBERED = 10_000
"""Queues that have ended, of which is known what they were, ..."""

REMEMBERED_SECONDS = 600.0
"""... and for how long."""

_COMPARED = 8
"""Sets of arguments that are compared with what a queue is, for each; then it begins anew."""


class NewQueue(NamedTuple):
    """How a queue is set up that somebody makes.

    Attributes:
        policy: how it behaves.
        settings: what is kept of that.
        orphaned: whether it was for a connection alone that is gone, so that nobody is to come.
    """

    policy: Policy
    settings: QueueSettings
    orphaned: bool


class QueueArguments:
    """The arguments of the queues of one broker.

    Args:
        policies: how destinations behave where no argument says otherwise.
        clock: tells the time.
        events: told of arguments that are not followed.

    Attributes:
        strict: whether those are refused.
    """

    def __init__(self, policies: Policies, clock: Clock, events: Events) -> None:
        self.strict = False
        self._policies = policies
        self._clock = clock
        self._events = events
        self._ended: dict[str, tuple[QueueSettings, float]] = {}
        self._compared: dict[str, set[tuple[tuple[str, str], ...]]] = {}

    def for_new(self, name: str, headers: Mapping[str, str] | None) -> NewQueue:
        """How a queue is set up that is made.

        Args:
            name: of the queue.
            headers: of the frame that makes it; None = a message that has nothing to say of it, so
                that it is what it was.

        Raises:
            ProtocolError: an argument that cannot be.
        """
        usual = self._policies.find(DestinationKind.QUEUE, name)
        before = self._recall(name) if headers is None else NO_SETTINGS
        self._ended.pop(name, None)
        arguments = before.arguments or arguments_in(headers or {}, usual)
        try:
            if read_type(arguments.get(QUEUE_TYPE, "") or usual.type) == STREAM:
                _check_stream(name, headers or {})
            policy = usual.with_arguments(arguments)
        except ValueError as error:
            raise ProtocolError(ErrorCode.BAD_HEADER, str(error)) from None
        if policy.is_stream:
            arguments = {**arguments, QUEUE_TYPE: STREAM}  # whatever policies say later
        return NewQueue(policy, QueueSettings(arguments), before.exclusive)

    def kept(self, name: str, settings: QueueSettings) -> Policy:
        """How a queue is set up that is there: policies may change, but not what it is.

        Args:
            name: of the queue.
            settings: what is kept of it.

        Raises:
            ValueError: an argument that cannot be any more.
        """
        policy = self._policies.find(DestinationKind.QUEUE, name)
        if policy.is_stream and QUEUE_TYPE not in settings.arguments:
            policy = policy.model_copy(update={"type": "queue"})
        return policy.with_arguments(settings.arguments)

    def means_stream(
        self, destination: Destination, headers: Mapping[str, str], queue: Queue | None
    ) -> bool:
        """Whether a frame is about a stream, or makes one.

        Args:
            destination: of the frame; one queue.
            headers: of the frame.
            queue: the one of that name; None = there is none yet.
        """
        if destination.stream or headers.get(QUEUE_TYPE, "").strip().lower() == STREAM:
            return True  # it is refused later, if the queue is something else
        if queue is not None:
            return queue.policy.is_stream
        return self._policies.find(DestinationKind.QUEUE, destination.name).is_stream

    def check(self, queue: Queue, headers: Mapping[str, str]) -> None:
        """Compare the headers of a frame with what a queue is already; each set of them once.

        Raises:
            ProtocolError: they differ, and that is not ignored, or an argument that cannot be.
        """
        given = tuple([(name, headers[name]) for name in ARGUMENTS if name in headers])
        if not given:
            return
        self.check_type(queue, headers)
        compared = self._compared.setdefault(queue.name, set())
        if given in compared and not self.strict:
            return
        try:
            wanted = queue.policy.with_arguments(headers)
        except ValueError as error:
            raise ProtocolError(ErrorCode.BAD_HEADER, str(error)) from None
        if wanted != queue.policy:
            self._refuse_or_tell(queue, wanted, dict(given))
        if len(compared) >= _COMPARED:
            compared.clear()
        compared.add(given)
        if len(self._compared) > REMEMBERED:
            del self._compared[next(iter(self._compared))]

    @staticmethod
    def check_type(queue: Queue, headers: Mapping[str, str]) -> None:
        """Check that a queue is what a frame says that it is; that is never ignored.

        Raises:
            ProtocolError: it is something else, or there are no such queues.
        """
        try:
            wanted = read_type(headers.get(QUEUE_TYPE, "") or queue.policy.type)
        except ValueError as error:
            raise ProtocolError(ErrorCode.BAD_HEADER, str(error)) from None
        if wanted != queue.policy.type:
            what = (
                "a stream, whose messages stay when they were read"
                if queue.policy.is_stream
                else "no stream: its messages go when they are settled"
            )
            raise ProtocolError(
                ErrorCode.BAD_HEADER,
                f"{queue.destination} is {what}; take another name, or delete the queue first "
                f"(queue.delete), which takes its messages with it",
            )
        if queue.policy.is_stream:
            _check_stream(queue.name, headers)

    def _refuse_or_tell(self, queue: Queue, wanted: Policy, given: Mapping[str, str]) -> None:
        differ = [
            name
            for name, setting in ARGUMENTS.items()
            if name in given and getattr(wanted, setting) != getattr(queue.policy, setting)
        ]
        words = f"{queue.destination} is set up otherwise: {', '.join(differ)}"
        if self.strict:
            raise ProtocolError(ErrorCode.BAD_HEADER, words)
        self._events.tell(
            Event(
                type="queue.argument_ignored",
                severity="warn",
                destination=queue.destination,
                reason=words,
                detail={name: given[name] for name in differ},
            )
        )

    def forget(self, name: str) -> None:
        """Compare nothing any more with a queue that has ended."""
        self._compared.pop(name, None)

    # -- queues that end by themselves ------------------------------------------------------

    def remember(self, queue: Queue, *, orphaned: bool = False) -> None:
        """Remember what a queue is that is about to end, if it passes with those who use it.

        Args:
            queue: it.
            orphaned: whether it was for a connection alone that is gone.
        """

        def keep(figures: QueueFigures) -> None:
            settings = figures.settings
            exclusive = settings.exclusive or orphaned
            if not (exclusive or (settings.arguments and queue.policy.auto_delete)):
                return  # it would stay, or a policy says what it is
            arguments = {**settings.arguments, "auto-delete": "true"}
            known = QueueSettings(arguments, exclusive=exclusive)
            self._ended.pop(queue.name, None)
            self._ended[queue.name] = (known, self._clock.now() + REMEMBERED_SECONDS)
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]

        queue.stats(keep)

    def _recall(self, name: str) -> QueueSettings:
        """What a queue of that name was that has ended not long ago."""
        known, until = self._ended.get(name, (NO_SETTINGS, 0.0))
        return known if until > self._clock.now() else NO_SETTINGS


def check_keeps_streams(group: QueueGroup, name: str) -> None:
    """Check that a stream can be made where the queues of a group are kept.

    Raises:
        ProtocolError: its store keeps none, as in a cluster.
    """
    if not group.store.keeps_logs:
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED,
            f"{name[:200]!r} cannot be a stream: brokers of a cluster keep queues, and no streams",
        )


def _check_stream(name: str, headers: Mapping[str, str]) -> None:
    """Check that nothing is asked of a stream that none can be.

    Raises:
        ProtocolError: an argument among the headers of a frame is not for streams.
    """
    refused = not_of_streams(headers)
    if refused is not None:
        argument, why = refused
        raise ProtocolError(
            ErrorCode.NOT_SUPPORTED, f"{argument} is not for the stream {name[:200]!r}: {why}"
        )
