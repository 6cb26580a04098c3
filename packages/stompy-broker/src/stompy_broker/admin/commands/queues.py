"""Commands about queues, durable subscriptions and policies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from stompy.admin.rows import Event, Kind, Role
from stompy.admin.snapshot import aged, row_to_json
from stompy.errors import ProtocolError
from stompy_broker.admin.asking import agreed, ask, order
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_owner,
    bad,
    conflict,
    name_in,
    not_found,
)
from stompy_broker.admin.commands.listing import LISTING, listing
from stompy_broker.admin.commands.selection import QUEUE, SELECTOR, UP_TO, selected
from stompy_broker.admin.snapshots.readers import stream_figures
from stompy_broker.admin.snapshots.retained import retained_row
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import (
    Destination,
    DestinationKind,
    parse_destination,
    sendable,
)
from stompy_broker.destinations.policy import ARGUMENTS
from stompy_broker.routing.interface import Browse, Configure, Queue, Remove
from stompy_broker.routing.stream_orders import Truncate

PURGED_AT_ONCE = 1000
_SCHEDULED_AT_ONCE = 50_000

_DELIVERY = Argument("delivery", "true or false", "deliveries to consumers", default=True)
_INTAKE = Argument("intake", "true or false", "what comes in; senders wait", default=False)
_STATE = Argument(
    "state",
    "text",
    "waiting: what is in the queue; scheduled: what was sent to come to it later; all: both",
    default="all",
    words=("all", "waiting", "scheduled"),
)


class QueueCommands:
    """Commands about queues, durable subscriptions and policies.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        return [*self._of_queues(), *self._of_others()]

    def _of_queues(self) -> list[Command]:
        monitor, operator, admin = Role.MONITOR, Role.OPERATOR, Role.ADMIN
        pausing = (QUEUE, _DELIVERY, _INTAKE)
        return [
            Command("queue.list", monitor, "Queues, as on $SYS.queues.", self._list, LISTING),
            Command("queue.get", monitor, "One queue, in detail.", self._get, (QUEUE,)),
            Command(
                "queue.create",
                admin,
                "Make a queue that stays when nobody uses it.",
                self._create,
                (QUEUE, Argument("arguments", "object", f"any of {', '.join(ARGUMENTS)}")),
                changes=True,
                place=at_owner,
            ),
            Command(
                "queue.delete",
                admin,
                "Delete a queue that has no consumer, with what waits in it.",
                self._delete,
                (QUEUE, Argument("if_empty", "true or false", "only if it is", default=False)),
                changes=True,
                place=at_owner,
            ),
            Command(
                "queue.purge",
                operator,
                "Destroy all messages that wait in a queue, or those that a selector takes.",
                self._purge,
                (QUEUE, SELECTOR, UP_TO, _STATE),
                changes=True,
                place=at_owner,
            ),
            Command(
                "queue.pause",
                operator,
                "Stop a queue, until resumed.",
                self._pause,
                pausing,
                changes=True,
                place=at_owner,
            ),
            Command(
                "queue.resume",
                operator,
                "Let a paused queue go on.",
                self._resume,
                (QUEUE, _DELIVERY, replace(_INTAKE, default=True)),
                changes=True,
                place=at_owner,
            ),
        ]

    def _of_others(self) -> list[Command]:
        monitor, admin = Role.MONITOR, Role.ADMIN
        return [
            Command("durable.list", monitor, "Durable subscriptions.", self._list_durable, LISTING),
            Command(
                "durable.delete",
                admin,
                "Delete a durable subscription without subscriber, with its backlog.",
                self._delete_durable,
                (
                    Argument(
                        "name", "text", "as durable.list gives it", required=True, names="durable"
                    ),
                ),
                changes=True,
                place=at_owner,
            ),
            Command("policy.list", monitor, "The policies, in their order.", self._policies),
            Command(
                "policy.explain",
                monitor,
                "Which policy a destination follows, and all it says.",
                self._explain,
                (Argument("destination", "text", "of a queue or topic", required=True),),
            ),
        ]

    # -- queues -----------------------------------------------------------------------------

    def _list(self, call: Call) -> Steps[Result]:
        return listing(Kind.QUEUES, self._context, call)

    def _get(self, call: Call) -> Steps[Result]:
        name = name_in(call.args["queue"])
        found, at = yield from self._context.look(Kind.QUEUE, call, name)
        if not found.rows:
            raise not_found(f"there is no queue {name[:200]!r}")
        return row_to_json(aged(found.rows[0], at))

    def _create(self, call: Call) -> Steps[Result]:
        router, text = self._context.router, call.args["queue"]
        destination = sendable(text)
        if destination.kind is not DestinationKind.QUEUE or destination.name.startswith("$"):
            raise bad(f"{text[:200]!r} is no name of a queue")
        if destination.name in router.queues:
            raise conflict(f"there is a queue {destination.name!r} already")
        arguments = call.args["arguments"] or {}
        unknown = next((name for name in arguments if name not in ARGUMENTS), None)
        if unknown is not None:
            raise bad(f"{unknown!r} is none of {', '.join(ARGUMENTS)}")
        try:
            headers = destination.setting_up({n: str(value) for n, value in arguments.items()})
            router.policies.find(DestinationKind.QUEUE, destination.name).with_arguments(headers)
        except ProtocolError as error:
            raise bad(error.Message) from None
        except ValueError as error:
            raise bad(str(error)) from None
        self._context.permissions(call).check_set_up(destination, headers)
        call.expect(0)
        if not call.dry_run:
            try:
                queue = router.queue(destination.name, headers)
            except ProtocolError as error:
                raise conflict(error.Message) from None
            told = yield from ask(queue.stats)
            yield from order(queue, Configure(replace(told.settings, created=True)))
        return {"created": int(not call.dry_run), "queue": destination.name}

    def _delete(self, call: Call) -> Steps[Result]:
        queue = self._context.queue(call.args["queue"])
        if queue.durable:
            raise conflict("it belongs to a durable subscription; use durable.delete")
        told = yield from ask(queue.stats)
        if told.consumers:
            raise conflict(f"it has {told.consumers} consumers; close their subscriptions first")
        if told.unacked:
            raise conflict(f"{told.unacked} of its messages are in open transactions")
        waiting = told.ready + told.delayed + (yield from self._scheduled(queue))
        if waiting and call.args["if_empty"]:
            raise conflict(f"{waiting} messages wait in it")
        call.expect(waiting)
        if not call.dry_run:
            delete = self._context.router.registry.delete_queue
            why = "an operator deleted it"
            outcome = yield from ask(partial(delete, queue, why, call.user))
            if isinstance(outcome, ProtocolError):
                raise conflict(outcome.Message)
        return {"deleted": int(not call.dry_run), "queue": queue.name, "messages": waiting}

    def _purge(self, call: Call) -> Steps[Result]:
        queue, state = self._context.queue(call.args["queue"]), call.args["state"]
        if state != "scheduled" and queue.policy.is_stream:
            return (yield from self._purge_stream(queue, call))
        # Those that wait now: what comes in meanwhile is not meant.
        look = Browse(selected(call.args))
        later = self._context.router.registry.schedules(queue.destination)
        meant: dict[Queue, list[int]] = {}
        for place in (
            queue if state != "scheduled" else None,
            later if state != "waiting" else None,
        ):
            if place is not None:
                browsed = yield from ask(partial(place.browse, look))
                meant[place] = [message.sequence for message in browsed.messages]
        every = [sequence for some in meant.values() for sequence in some]
        call.expect(len(every))
        told = yield from ask(queue.stats)
        result: Result = {"queue": queue.name, "matched": len(every), "unacked": told.unacked}
        if call.dry_run:
            return {**result, "up_to": str(max(every, default=0))}
        purged = 0
        for place, sequences in meant.items():
            # What is to come is in no order in which it is found soon.
            at_once = PURGED_AT_ONCE if place is queue else _SCHEDULED_AT_ONCE
            for at in range(0, len(sequences), at_once):
                some = frozenset(sequences[at : at + at_once])
                purged += yield from order(place, Remove(some, "purged"))
                yield None
        self._tell("queue.purged", queue.destination, call, {"purged": purged})
        return {**result, "purged": purged}

    def _purge_stream(self, queue: Queue, call: Call) -> Steps[Result]:
        """Destroy all that is in a stream now."""
        if call.args["selector"]:
            raise bad("a stream loses its oldest messages only, whatever they say; no 'selector'")
        if call.args["state"] == "all" and (yield from self._scheduled(queue)):
            raise conflict("messages are to come to it later; purge 'scheduled', then 'waiting'")
        figures = yield from stream_figures(queue)
        assert figures is not None
        matched = figures.next - figures.first
        call.expect(matched)
        result: Result = {"queue": queue.name, "matched": matched, "unacked": 0}
        if call.dry_run:
            return {**result, "up_to": ""}
        purged = yield from order(queue, Truncate(figures.next))
        self._tell("queue.purged", queue.destination, call, {"purged": purged})
        return {**result, "purged": purged}

    def _scheduled(self, queue: Queue) -> Steps[int]:
        """How much is to come to a queue later."""
        later = self._context.router.registry.schedules(queue.destination)
        if later is None:
            return 0
        told = yield from ask(later.stats)
        return told.delayed

    def _pause(self, call: Call) -> Steps[Result]:
        return self._configure(call, paused=True)

    def _resume(self, call: Call) -> Steps[Result]:
        return self._configure(call, paused=False)

    def _configure(self, call: Call, *, paused: bool) -> Steps[Result]:
        queue = self._context.queue(call.args["queue"])
        before = (yield from ask(queue.stats)).settings
        settings = before
        if call.args["delivery"]:
            settings = replace(settings, paused=paused)
        if call.args["intake"]:
            settings = replace(settings, intake_paused=paused)
        state = {"paused": settings.paused, "intake_paused": settings.intake_paused}
        if settings != before and not call.dry_run:
            yield from order(queue, Configure(settings))
            what = "queue.paused" if paused else "queue.resumed"
            self._tell(what, queue.destination, call, state)
        return {"queue": queue.name, **state}

    def _tell(self, what: str, destination: str, call: Call, detail: dict[str, Any]) -> None:
        client = call.client
        self._context.events.tell(
            Event(
                type=what,
                connection=client.key if client is not None else "",
                user=call.user,
                destination=destination,
                detail=detail,
            )
        )

    # -- durable subscriptions and policies ---------------------------------------------------

    def _list_durable(self, call: Call) -> Steps[Result]:
        return listing(Kind.DURABLE, self._context, call)

    def _delete_durable(self, call: Call) -> Steps[Result]:
        router, name = self._context.router, call.args["name"]
        known = router.registry.durable.by_name.get(name)
        if known is None:
            raise not_found(f"there is no durable subscription {name[:200]!r}")
        told = yield from ask(router.queues[known.queue].stats)
        if told.consumers:
            raise conflict("it has a subscriber; close that subscription first")
        if told.unacked:
            raise conflict(f"{told.unacked} of its messages are in open transactions")
        waiting = told.ready + told.delayed
        call.expect(waiting)
        if not call.dry_run:
            try:
                yield from agreed(partial(router.registry.durable.delete, name))
            except ProtocolError as error:
                raise conflict(error.Message) from None
        return {"deleted": int(not call.dry_run), "name": name, "messages": waiting}

    def _policies(self, call: Call) -> Result:
        policies = [policy.model_dump(mode="json") for policy in self._context.router.policies]
        return {"total": len(policies), "rows": policies}

    def _explain(self, call: Call) -> Steps[Result]:
        try:
            read = parse_destination(call.args["destination"])
            destination = self._context.router.directions.resolve(read)
        except ProtocolError as error:
            raise bad(error.Message) from None
        policies, router = self._context.router.policies, self._context.router
        index = policies.index(destination.kind, destination.name)
        policy = policies.find(destination.kind, destination.name)
        queue = router.queues.get(destination.name)
        arguments: dict[str, str] = {}
        if queue is not None and destination.kind is DestinationKind.QUEUE:
            told = yield from ask(queue.stats)
            policy, arguments = queue.policy, dict(told.settings.arguments)
        return {
            "destination": str(destination),
            "policy": index,
            "match": policy.match if index is not None else "",
            "arguments": arguments,
            "settings": policy.model_dump(mode="json", exclude={"match"}),
            "directions": router.directions.describe(destination),
            "retained": self._retained(destination),
        }

    def _retained(self, destination: Destination) -> dict[str, object] | None:
        """What a topic keeps for who subscribes later, without its body; None = nothing."""
        if destination.kind is not DestinationKind.TOPIC:
            return None
        message = self._context.router.retained.messages.get(destination.name)
        return None if message is None else row_to_json(retained_row(destination.name, message))
