"""Commands that take messages out of where they wait: moved, copied, tried again, given up.

Each batch is one change in the store: a message is in the one queue or in the other, whenever the
broker may end. Between two batches other work goes on, and what was consumed meanwhile is left
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from stompy.admin.rows import Role
from stompy.errors import ProtocolError
from stompy_broker.admin.asking import ask, order
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
    conflict,
)
from stompy_broker.admin.commands.content import read_place
from stompy_broker.admin.commands.retry import (
    backlog_of,
    deliveries_of,
    head_of,
    headers_at,
    keep_end,
    origin_of,
)
from stompy_broker.admin.commands.selection import (
    HEADERS,
    IDS,
    LIMIT,
    MOST_MOVED,
    QUEUE,
    SELECTOR,
    TO,
    UP_TO,
    last_of,
    selected,
)
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import Destination, DestinationKind
from stompy_broker.message import HIGHEST_PRIORITY, Message
from stompy_broker.routing.dead_letters import target_of
from stompy_broker.routing.interface import (
    Browse,
    GiveUp,
    Move,
    Order,
    Queue,
    Remove,
    Transfer,
)
from stompy_broker.routing.selection import first_bytes
from stompy_broker.security.access import Action

BATCH_MESSAGES, BATCH_BYTES = 500, 8 * 1024 * 1024

_PICKING = (QUEUE, IDS, HEADERS, SELECTOR, UP_TO, LIMIT)
_CHOOSING = (QUEUE, IDS, HEADERS, SELECTOR, UP_TO, replace(LIMIT, default=None))
"""Where one of them has to be given, lest everything ends because somebody forgot it."""

_BY_OPERATOR = "operator"

Target = Callable[[Message], Destination]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to become of the messages that a request names.

    Attributes:
        done: the word for it in the answer.
        order: says it to the queue, for some of them.
        targets: where they go; whatever is wrong with one is raised there, before any goes.
        about: what the answer tells beside.
    """

    done: str
    order: Callable[[Sequence[Message]], Order]
    targets: Callable[[Sequence[Message]], Collection[Destination]] = lambda messages: ()
    about: Result | None = None


class TransferCommands:
    """Commands that take messages out of where they wait.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [*self._that_send(), *self._that_end()]

    def _that_send(self) -> list[Command]:
        operator = Role.OPERATOR
        return [
            Command(
                "message.move",
                operator,
                "Move messages to another destination.",
                self._move,
                (*_PICKING, TO),
                changes=True,
                place=at_owner,
                # It hands messages to another destination, where others may read them.
                needs=(Action.RECEIVE,),
            ),
            Command(
                "message.copy",
                operator,
                "Send copies of messages to another destination.",
                self._copy,
                (*_PICKING, TO),
                changes=True,
                place=at_owner,
                needs=(Action.BROWSE,),
            ),
            Command(
                "message.retry",
                operator,
                "Send dead letters back to where they came from.",
                self._retry,
                _PICKING,
                changes=True,
                place=at_owner,
            ),
            Command(
                "message.reprioritize",
                operator,
                "Give messages another priority; each goes to the end of it.",
                self._reprioritize,
                (
                    *_PICKING,
                    Argument(
                        "priority",
                        "number",
                        f"0 to {HIGHEST_PRIORITY}; higher goes first",
                        required=True,
                        most=HIGHEST_PRIORITY,
                    ),
                ),
                changes=True,
                place=at_owner,
            ),
        ]

    def _that_end(self) -> list[Command]:
        operator = Role.OPERATOR
        return [
            Command(
                "message.delete",
                operator,
                "Destroy messages. One of ids, headers, selector, up_to, limit has to be given.",
                self._delete,
                _CHOOSING,
                changes=True,
                place=at_owner,
            ),
            Command(
                "message.expire",
                operator,
                "Have the time of messages be over: each goes where expired ones go. One of ids, "
                "headers, selector, up_to, limit has to be given.",
                self._expire,
                _CHOOSING,
                changes=True,
                place=at_owner,
            ),
            Command(
                "message.deadletter",
                operator,
                "Give messages up: each becomes a dead letter. One of ids, headers, selector, "
                "up_to, limit has to be given.",
                self._deadletter,
                (*_CHOOSING, Argument("reason", "text", "why, for x-death-info", default="")),
                changes=True,
                place=at_owner,
            ),
        ]

    # -- what is to become of them --------------------------------------------------------------

    def _move(self, call: Call) -> Steps[Result]:
        return self._take(call, self._sending(call, "moved", stays=False))

    def _copy(self, call: Call) -> Steps[Result]:
        return self._take(call, self._sending(call, "copied", stays=True))

    def _sending(self, call: Call, done: str, *, stays: bool) -> _Plan:
        target = self._target(call)

        def send(batch: Sequence[Message]) -> Order:
            transfers = [
                Transfer(
                    message.sequence,
                    target,
                    head_of(message, headers_at(message, target, revives=False), is_copy=stays),
                    0 if stays else message.deliveries,
                )
                for message in batch
            ]
            return Move(transfers, copies=stays)

        return _Plan(done, send, lambda picked: {target} if picked else ())

    def _target(self, call: Call) -> Destination:
        destination = read_place("to", call.args["to"])
        queue = self._context.queue(call.args["queue"])
        if str(destination) == queue.destination:
            raise bad(f"the messages are in {destination} already")
        return destination

    def _retry(self, call: Call) -> Steps[Result]:
        queue = self._context.queue(call.args["queue"])
        if not queue.final:
            raise conflict(f"{queue.name} is no dead-letter queue; use message.move")
        durable = self._context.router.registry.durable.by_name

        def find(picked: Sequence[Message]) -> set[Destination]:
            for message in picked:
                backlog_of(message, durable)
            return {origin_of(message) for message in picked}

        def revive(batch: Sequence[Message]) -> Order:
            return Move([self._revived(message) for message in batch])

        return self._take(call, _Plan("retried", revive, find))

    def _revived(self, message: Message) -> Transfer:
        origin = origin_of(message)
        head = head_of(message, headers_at(message, origin, revives=True))
        place = backlog_of(message, self._context.router.registry.durable.by_name) or origin
        return Transfer(message.sequence, place, head, deliveries_of(message, revived=True))

    def _reprioritize(self, call: Call) -> Steps[Result]:
        queue, priority = self._context.queue(call.args["queue"]), call.args["priority"]
        here = Destination(DestinationKind.QUEUE, queue.name, is_pattern=False)

        def rank(batch: Sequence[Message]) -> Order:
            transfers = []
            for message in batch:
                headers = message.head.headers()
                keep_end(message, headers)
                # It is not newer than it was.
                headers.setdefault("timestamp", str(message.received_at))
                headers["priority"] = str(priority)
                head, past = head_of(message, headers), (message.deliveries, message.failures)
                transfers.append(Transfer(message.sequence, here, head, *past))
            return Move(transfers, within=True)

        return self._take(call, _Plan("reprioritized", rank))

    def _delete(self, call: Call) -> Steps[Result]:
        _check_chosen(call)
        return self._take(
            call, _Plan("deleted", lambda batch: Remove(_sequences(batch), "deleted"))
        )

    def _expire(self, call: Call) -> Steps[Result]:
        _check_chosen(call)
        return self._take(call, self._ending(call, "expired", "expired", ""))

    def _deadletter(self, call: Call) -> Steps[Result]:
        _check_chosen(call)
        queue = self._context.queue(call.args["queue"])
        plan = self._ending(call, "dead_lettered", _BY_OPERATOR, call.args["reason"])
        if not target_of(queue, _BY_OPERATOR):
            why = "it is a dead-letter queue" if queue.final else "its policy keeps none"
            raise conflict(f"{queue.name} has no dead letters: {why}; use message.delete or .move")
        return self._take(call, plan)

    def _ending(self, call: Call, done: str, cause: str, reason: str) -> _Plan:
        queue = self._context.queue(call.args["queue"])
        about: Result = {"to": _place_of_dead(queue, cause)}
        return _Plan(done, lambda batch: GiveUp(_sequences(batch), cause, reason), about=about)

    # -- batch by batch ---------------------------------------------------------------------

    def _take(self, call: Call, plan: _Plan) -> Steps[Result]:
        """Do what is planned with the messages that a request names, batch by batch."""
        args, queue = call.args, self._context.queue(call.args["queue"])
        limit = MOST_MOVED if args["limit"] is None else args["limit"]
        selection = selected(args)
        picked = (yield from ask(partial(queue.browse, Browse(selection, most=limit)))).messages
        targets = plan.targets(picked)
        permissions = self._context.permissions(call)
        for destination in targets:
            permissions.check_send(str(destination))
        most = 1 if any(map(self._may_refuse, targets)) else BATCH_MESSAGES
        call.expect(len(picked))
        result: Result = {"queue": queue.name, "matched": len(picked), **(plan.about or {})}
        if call.dry_run:
            return {**result, "up_to": last_of(picked)}
        taken = 0
        while picked and self._context.router.queues.get(queue.name) is queue:
            size = min(first_bytes(picked[:most], BATCH_BYTES), most)
            batch, picked = picked[:size], picked[size:]
            try:
                taken += yield from order(queue, plan.order(batch))
            except ProtocolError as error:
                raise conflict(f"{taken} {plan.done}, then: {error.Message}") from None
            yield self._context.router.groups.sync
        return {**result, plan.done: taken}

    def _may_refuse(self, target: Destination) -> bool:
        """Whether a target has to be asked before each message."""
        router = self._context.router
        if target.kind is not DestinationKind.QUEUE:
            return True  # a backlog of a durable subscription may refuse
        queue = router.queues.get(target.name)
        policy = router.policies.find(target.kind, target.name) if queue is None else queue.policy
        limited = policy.max_length or policy.max_length_bytes
        return policy.overflow == "reject-publish" and bool(limited)


def _check_chosen(call: Call) -> None:
    args = call.args
    chosen = [args["headers"] or None, *(args[n] for n in ("ids", "selector", "up_to", "limit"))]
    if not any(choice is not None for choice in chosen):
        raise bad(
            f"{call.request.cmd} needs 'ids', 'headers', 'selector', 'up_to' or 'limit'; "
            "queue.purge destroys all"
        )


def _sequences(messages: Sequence[Message]) -> frozenset[int]:
    return frozenset(message.sequence for message in messages)


def _place_of_dead(queue: Queue, cause: str) -> str:
    """Where messages of a queue go that end; those of a topic's backlog go by their topic."""
    target = target_of(queue, cause)
    return target if queue.durable else target.replace("{name}", queue.name)
