"""Commands about what is to come later: to see it, end it, have it now, or at another time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from stompy.admin.rows import Event, Kind, Role
from stompy.admin.snapshot import field_names, row_to_json
from stompy_broker.admin.asking import order
from stompy_broker.admin.commands.base import (
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    bad,
    not_found,
)
from stompy_broker.admin.commands.listing import FIELDS, LIMIT, MATCH, MOST_ROWS, OFFSET, matcher
from stompy_broker.admin.commands.messages import SHOWN_BYTES
from stompy_broker.admin.commands.selection import MOST_MOVED, SELECTOR, as_json, select
from stompy_broker.admin.snapshots.schedules import Schedule, ScheduleSnapshots
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import (
    parse_destination,
    parts_of,
    scheduled_for,
    schedules_of,
)
from stompy_broker.routing.interface import Order, Queue, Remove, Reschedule
from stompy_broker.schedules.headers import LATEST
from stompy_broker.security.access import Action

_UPCOMING = 5
_AT_ONCE = 1000
_TOLD = 20

_ID = Argument("id", "text", "its job_id, as scheduled.list gives it", required=True)
_IDS = Argument("ids", "list", "their job_ids, as scheduled.list gives them")
_DESTINATION = Argument(
    "destination", "text", "of the messages, with its prefix; any if left out", names="destination"
)

_Act = Callable[[Call], Steps[Result]]


class ScheduleCommands:
    """Commands about what is to come later.

    In a cluster each broker knows what is to come to the queues and topics that it owns; the one
    that is asked asks the others.

    Args:
        context: what they have to do with.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
        monitor, operator = Role.MONITOR, Role.OPERATOR
        return [
            Command(
                "scheduled.list",
                monitor,
                "What is to come later, next one first, as on $SYS.scheduled.",
                self._list,
                (
                    replace(MATCH, meaning="part of the destination, or a pattern with * and ?"),
                    SELECTOR,
                    LIMIT,
                    OFFSET,
                    FIELDS,
                ),
            ),
            Command(
                "scheduled.get",
                monitor,
                "One schedule, with its message and when it is due the next times.",
                self._get,
                (_ID, _DESTINATION),
            ),
            Command(
                "scheduled.cancel",
                operator,
                "End schedules, by their ids or a selector; their messages never come.",
                self._cancel,
                (
                    _IDS,
                    SELECTOR,
                    _DESTINATION,
                    replace(LIMIT, meaning="schedules at most", default=MOST_MOVED),
                ),
                changes=True,
            ),
            Command(
                "scheduled.fire_now",
                operator,
                "Have messages come now. What comes again and again also comes when it is due.",
                self._fire_now,
                (replace(_IDS, required=True), _DESTINATION),
                changes=True,
            ),
            Command(
                "scheduled.reschedule",
                operator,
                "Have a message come at another time; what comes again goes on from there.",
                self._reschedule,
                (
                    _ID,
                    Argument("at", "number", "milliseconds since 1970", required=True, most=LATEST),
                    _DESTINATION,
                ),
                changes=True,
            ),
        ]

    # -- looking ----------------------------------------------------------------------------

    def _list(self, call: Call) -> Steps[Result]:
        args, names = call.args, field_names(Kind.SCHEDULED, clustered=self._clustered)
        offset, limit = args["offset"], args["limit"]
        wanted: Sequence[str] = args["fields"] or list(names)
        unknown = next((name for name in wanted if name not in names), None)
        if unknown is not None:
            raise bad(f"there is no field {unknown!r}; there are {', '.join(names)}")
        queues = self._schedules.queues()
        if args["match"]:
            is_meant = matcher(args["match"])
            queues = [queue for queue in queues if is_meant(scheduled_for(queue.name))]
        selection = select(selector=args["selector"])
        found = yield from self._schedules.find(queues, selection, offset + limit + 1)
        rows = [row_to_json(self._schedules.row(one)) for one in found]
        more = len(rows) > offset + limit
        if self._context.peers is not None and not call.relayed:
            # Of each broker those that may be among the next ones of all.
            most = min(offset + limit, MOST_ROWS)
            asked = {**call.request.args, "offset": 0, "limit": most, "fields": list(names)}
            request = replace(call.request, args=asked)
            for result in (yield from self._context.ask_peers(call, request)).values():
                rows += cast(list[dict[str, object]], result["rows"])
                more = more or bool(result["more"])
            rows.sort(key=lambda row: cast(int, row["next_at"]))
            more = more or len(rows) > offset + limit
        some = rows[offset : offset + limit]
        chosen = [{name: row.get(name) for name in wanted} for row in some]
        return {"offset": offset, "more": more, "rows": chosen}

    def _get(self, call: Call) -> Steps[Result]:
        found = yield from self._found(call, [call.args["id"]], bodies=SHOWN_BYTES // 2)
        if found:
            one = found[0]
            self._check(call, one.queue, Action.BROWSE)
            due: int | None = one.due
            times: list[int] = []
            while due is not None and len(times) < _UPCOMING:
                times.append(due)
                due = one.spec.next_due(due, one.message.deliveries + len(times))
            shown = as_json(one.message, "scheduled", SHOWN_BYTES // 2)
            return {**row_to_json(self._schedules.row(one)), "next_times": times, "message": shown}
        for result in (yield from self._context.ask_peers(call, call.request)).values():
            return result
        raise not_found(f"there is no schedule {call.args['id'][:200]!r}")

    # -- changing ---------------------------------------------------------------------------

    def _cancel(self, call: Call) -> Steps[Result]:
        if call.args["ids"] is None and call.args["selector"] is None:
            raise bad("scheduled.cancel needs 'ids' or 'selector'")
        return self._everywhere(call, self._cancel_here)

    def _cancel_here(self, call: Call) -> Steps[Result]:
        return self._change(call, Remove, "cancelled")

    def _fire_now(self, call: Call) -> Steps[Result]:
        return self._everywhere(call, self._fire_here, required=True)

    def _fire_here(self, call: Call) -> Steps[Result]:
        return self._change(call, lambda sequences: Reschedule(sequences, 0), "fired")

    def _reschedule(self, call: Call) -> Steps[Result]:
        return self._everywhere(call, self._reschedule_here, required=True)

    def _reschedule_here(self, call: Call) -> Steps[Result]:
        at = max(call.args["at"], 1)
        return self._change(call, lambda sequences: Reschedule(sequences, at), "rescheduled")

    def _change(
        self, call: Call, make: Callable[[frozenset[int]], Order], done: str
    ) -> Steps[Result]:
        """Do something with the schedules that a request means, at this broker."""
        args = call.args
        ids = [args["id"]] if "id" in args else args.get("ids")  # [] means none of them
        found = yield from self._found(call, ids)
        by_queue: dict[Queue, list[Schedule]] = {}
        for one in found:
            by_queue.setdefault(one.queue, []).append(one)
        for queue in by_queue:
            self._check(call, queue, Action.ADMIN)
        call.expect(len(found))
        changed = 0
        if not call.dry_run:
            for queue, some in by_queue.items():
                changed += yield from self._tell_queue(call, queue, some, make, done)
        jobs = [one.job_id for one in found[:_TOLD]]
        return {"matched": len(found), done: changed, "job_ids": jobs}

    def _tell_queue(
        self,
        call: Call,
        queue: Queue,
        found: Sequence[Schedule],
        make: Callable[[frozenset[int]], Order],
        done: str,
    ) -> Steps[int]:
        changed = 0
        for at in range(0, len(found), _AT_ONCE):
            some = frozenset(one.message.sequence for one in found[at : at + _AT_ONCE])
            changed += yield from order(queue, make(some))
            yield None
        if done == "cancelled" and changed:
            jobs = [one.job_id for one in found[:_TOLD]]
            self._context.events.tell(
                Event(
                    type="scheduler.cancelled",
                    connection=call.client.key if call.client is not None else "",
                    user=call.user,
                    destination=scheduled_for(queue.name),
                    detail={"cancelled": changed, "job_ids": jobs},
                )
            )
        return changed

    def _everywhere(self, call: Call, act: _Act, *, required: bool = False) -> Steps[Result]:
        """Carry something out at all brokers, as one number of matches.

        Args:
            call: the request.
            act: carries it out here.
            required: whether there must be something that is meant.
        """
        if self._context.peers is None or call.relayed:
            result = yield from act(call)
        else:
            request = replace(call.request, expect=None)
            if call.request.expect is not None:
                dry = replace(request, dry_run=True)
                told = yield from self._together(replace(call, request=dry), act)
                call.expect(cast(int, told["matched"]))
            result = yield from self._together(replace(call, request=request), act)
        if required and not result["matched"] and not call.relayed:
            raise not_found("there is no such schedule")
        return result

    def _together(self, call: Call, act: _Act) -> Steps[Result]:
        others = yield from self._context.ask_peers(call, call.request)
        results: list[dict[str, Any]] = [*others.values(), (yield from act(call))]
        total: dict[str, Any] = dict(results.pop())
        for result in results:
            for name, value in result.items():
                total[name] += value
        total["job_ids"] = total["job_ids"][:_TOLD]
        return total

    # -- which ------------------------------------------------------------------------------

    @property
    def _schedules(self) -> ScheduleSnapshots:
        return self._context.snapshots.schedules

    @property
    def _clustered(self) -> bool:
        return self._context.cluster is not None

    def _found(
        self, call: Call, ids: Sequence[object] | None, bodies: int = 0
    ) -> Steps[list[Schedule]]:
        """Find the schedules of this broker that a request means."""
        args, queues = call.args, self._schedules.queues()
        if args["destination"]:
            name = schedules_of(str(parse_destination(args["destination"])))
            queues = [queue for queue in queues if queue.name == name]
        selection = select(ids, selector=args.get("selector"))
        return self._schedules.find(queues, selection, args.get("limit"), bodies)

    def _check(self, call: Call, queue: Queue, action: Action) -> None:
        """See that the access rules let somebody do something with what goes to a destination.

        Raises:
            ProtocolError: they do not.
        """
        principal = call.principal
        if principal is not None:
            for part in parts_of(scheduled_for(queue.name)):
                self._context.access.check(principal, action, parse_destination(part))
