"""Commands about the broker itself, connections, subscriptions and transactions."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stompy.admin.rows import Kind, Role
from stompy.admin.snapshot import (
    TOPIC_PREFIX,
    VERSION,
    Format,
    Mode,
    aged,
    field_names,
    row_to_json,
)
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.commands.base import Argument, Call, Command, Result, Rooms, bad, not_found
from stompy_broker.admin.commands.queues import LISTING, listing
from stompy_broker.admin.publisher import Publisher
from stompy_broker.admin.streams import Identity, Stream, Writer
from stompy_broker.admin.tasks import Steps
from stompy_broker.destinations.names import parse_destination
from stompy_broker.session.context import BrokerContext
from stompy_broker.session.session import Session
from stompy_broker.session.sys_subscription import (
    LEAST_INTERVAL,
    MOST_INTERVAL,
    read_wanted,
    remarks,
)
from stompy_broker.version import __version__

CLOSED_KEPT = 200
"""Connections whose ends are remembered."""

_REASON = Argument("reason", "text", "shown to the client", default="closed by an operator")


@dataclass(frozen=True, slots=True)
class Frame:
    """What these commands have to do with beside the rooms.

    Attributes:
        context: where clients come in.
        identity: who the broker is.
        publisher: the streams that are observed.
        writer: makes the messages.
        closed: the last connections that ended, as events tell it.
        table: gives all commands there are.
    """

    context: BrokerContext
    identity: Identity
    publisher: Publisher
    writer: Writer
    closed: deque[dict[str, object]]
    table: Callable[[], list[Command]]


class ClientCommands:
    """Commands about the broker itself, connections, subscriptions and transactions.

    Args:
        rooms: what they have to do with.
        frame: what they have to do with beside that.
    """

    def __init__(self, rooms: Rooms, frame: Frame) -> None:
        self._rooms = rooms
        self._frame = frame

    def table(self) -> list[Command]:
        """What there is."""
        return [*self._broker_table(), *self._client_table()]

    def _broker_table(self) -> list[Command]:
        monitor = Role.MONITOR
        return [
            Command("ping", monitor, "Whether the broker answers.", self._ping),
            Command("broker.info", monitor, "Who the broker is, and who you are.", self._info),
            Command("broker.stats", monitor, "As on $SYS.broker.", self._stats),
            Command("broker.help", monitor, "What commands there are.", self._help),
            Command(
                "broker.drain",
                Role.ADMIN,
                "Let in operators only; who is there may stay.",
                self._drain,
                (Argument("enable", "true or false", "false = let all in again", default=True),),
                changes=True,
            ),
            Command(
                "snapshot.get",
                monitor,
                "What the last snapshot of a stream said, in full, a page an answer.",
                self._snapshot,
                (
                    Argument("kind", "text", "queues, connections, ...", required=True),
                    Argument("name", "text", "of the queue, for the kind queue", default=""),
                    Argument("format", "text", "", words=tuple(Format), default="objects"),
                    Argument("mode", "text", "", words=tuple(Mode), default="full"),
                    Argument(
                        "interval",
                        "number",
                        "of that stream",
                        default=1000,
                        least=LEAST_INTERVAL,
                        most=MOST_INTERVAL,
                    ),
                    Argument("fields", "list", "of that stream"),
                ),
            ),
        ]

    def _client_table(self) -> list[Command]:
        monitor, operator = Role.MONITOR, Role.OPERATOR
        return [
            Command(
                "connection.list", monitor, "As on $SYS.connections.", self._connections, LISTING
            ),
            Command(
                "connection.closed", monitor, "The last ones that ended, and why.", self._closed
            ),
            Command(
                "connection.close",
                operator,
                "Send ERROR to clients and disconnect them. One of id, user, client_id.",
                self._close_connection,
                (
                    Argument("id", "text", "of a connection"),
                    Argument("user", "text", "all connections of a user"),
                    Argument("client_id", "text", "all connections with that client-id"),
                    _REASON,
                ),
                changes=True,
            ),
            Command(
                "subscription.list",
                monitor,
                "As on $SYS.subscriptions.",
                self._subscriptions,
                LISTING,
            ),
            Command(
                "subscription.close",
                operator,
                "End a subscription; what it has not settled goes back. The client is not told.",
                self._close_subscription,
                (Argument("id", "text", "of a row", required=True),),
                changes=True,
            ),
            Command(
                "transaction.list", monitor, "As on $SYS.transactions.", self._transactions, LISTING
            ),
            Command(
                "transaction.abort",
                operator,
                "Abort a transaction. What its client still sends for it is an error.",
                self._abort,
                (Argument("id", "text", "of a row", required=True),),
                changes=True,
            ),
        ]

    # -- the broker -------------------------------------------------------------------------

    def _ping(self, call: Call) -> Result:
        return {"at": self._rooms.router.wall(), "up_ms": self._rooms.census.up_ms}

    def _info(self, call: Call) -> Result:
        identity, router = self._frame.identity, self._rooms.router
        return {
            "name": identity.name,
            "boot": identity.boot,
            "version": __version__,
            "admin_version": VERSION,
            "up_ms": self._rooms.census.up_ms,
            "role": call.role,
            "user": call.user,
            "connection": call.guest.key if call.guest is not None else "",
            "draining": self._frame.context.draining,
            "alarms": list(router.alarms),
        }

    def _stats(self, call: Call) -> Steps[Result]:
        moment = self._rooms.census.moment()
        row = yield from self._rooms.census.broker(moment)
        return row_to_json(aged(row, moment.at))

    def _help(self, call: Call) -> Result:
        commands = sorted(self._frame.table(), key=lambda command: command.name)
        return {
            "role": call.role,
            "topics": [f"{TOPIC_PREFIX}{kind}" for kind in Kind if kind not in _NAMED]
            + [f"{TOPIC_PREFIX}queue.<name>", f"{TOPIC_PREFIX}event.<object>.<action>"],
            "commands": [command.describe(call.role) for command in commands],
        }

    def _drain(self, call: Call) -> Result:
        context, enable = self._frame.context, call.args["enable"]
        if not call.dry_run:
            context.draining = enable
        return {"draining": enable, "connections": len(self._rooms.sessions)}

    def _snapshot(self, call: Call) -> Steps[Result]:
        args = call.args
        name = f".{args['name']}" if args["name"] else ""
        headers = {
            "format": args["format"],
            "mode": args["mode"],
            "interval": str(args["interval"]),
            "fields": ",".join(map(str, args["fields"] or ())),
        }
        streams, _ = read_wanted(parse_destination(f"{TOPIC_PREFIX}{args['kind']}{name}"), headers)
        if len(streams) != 1:
            raise bad(f"{args['kind'][:60]!r} is not one kind of snapshot")
        note = remarks(streams, headers)
        if note:
            raise bad(f"{note}; there are {', '.join(field_names(streams[0].kind))}")
        stream = self._frame.publisher.find(streams[0])
        if stream is None:
            # Nobody observes it, so it is made for this one.
            stream = Stream(streams[0], self._frame.writer)
            moment = self._rooms.census.moment()
            rows = yield from self._rooms.census.rows(streams[0].kind, streams[0].name, moment)
            yield from stream.publish(rows, moment)
            self._frame.publisher.tidy()
        *pages, last = yield from stream.everything()
        for page in pages:
            call.part(json.loads(page.body or b""))
            yield None
        result: Result = json.loads(last.body or b"")
        return result

    # -- clients ------------------------------------------------------------------------------

    def _connections(self, call: Call) -> Steps[Result]:
        moment = self._rooms.census.moment()
        rows = yield from self._rooms.census.clients.connections(moment)
        return listing(Kind.CONNECTIONS, rows, call, moment.at)

    def _closed(self, call: Call) -> Result:
        return {"total": len(self._frame.closed), "rows": list(self._frame.closed)}

    def _close_connection(self, call: Call) -> Result:
        args = call.args
        given = [name for name in ("id", "user", "client_id") if args[name] is not None]
        if len(given) != 1:
            raise bad("connection.close needs one of 'id', 'user', 'client_id'")
        (name,) = given
        found = [s for s in self._rooms.sessions.values() if _trait(s, name) == args[name]]
        if not found and name == "id":
            raise not_found(f"there is no connection {args['id'][:60]!r}")
        call.expect(len(found))
        result: Result = {"matched": len(found), "connections": [s.key for s in found]}
        if call.dry_run:
            return result
        reason = ProtocolError(ErrorCode.CLOSED_BY_OPERATOR, args["reason"][:1000])
        # One's own last, so that the others are gone before.
        for session in sorted(found, key=lambda session: session is call.guest):
            session.refuse(reason)
        return {**result, "closed": len(found)}

    def _subscriptions(self, call: Call) -> Steps[Result]:
        moment = self._rooms.census.moment()
        rows = yield from self._rooms.census.clients.subscriptions(moment)
        return listing(Kind.SUBSCRIPTIONS, rows, call, moment.at)

    def _close_subscription(self, call: Call) -> Result:
        wanted = call.args["id"]
        for session in self._rooms.sessions.values():
            for subscription in session.subscriptions.values():
                if f"s-{subscription.number}" == wanted:
                    call.expect(1)
                    if not call.dry_run:
                        session.end_subscription(subscription)
                    return {
                        "closed": int(not call.dry_run),
                        "connection": session.key,
                        "destination": subscription.queue.destination,
                    }
        raise not_found(f"there is no subscription {wanted[:60]!r}")

    def _transactions(self, call: Call) -> Steps[Result]:
        moment = self._rooms.census.moment()
        rows = yield from self._rooms.census.clients.transactions(moment)
        return listing(Kind.TRANSACTIONS, rows, call, moment.at)

    def _abort(self, call: Call) -> Result:
        wanted = call.args["id"]
        for session in self._rooms.sessions.values():
            for name, transaction in session.transactions.items():
                if f"t-{transaction.number}" == wanted:
                    call.expect(1)
                    if not call.dry_run:
                        session.abort_transaction(name)
                    return {
                        "aborted": int(not call.dry_run),
                        "connection": session.key,
                        "operations": len(transaction.operations),
                    }
        raise not_found(f"there is no transaction {wanted[:60]!r}")


_NAMED = (Kind.QUEUE, Kind.EVENT)


def _trait(session: Session, name: str) -> Any:
    if name == "id":
        return session.key
    if name == "user":
        return session.principal.name if session.principal else None
    return session.client_id
