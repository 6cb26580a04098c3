"""Commands about connections, subscriptions and transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stompy.admin.command import Request
from stompy.admin.rows import Kind, Role
from stompy.errors import ErrorCode, ProtocolError
from stompy_broker.admin.cluster_status import tail_of
from stompy_broker.admin.commands.base import (
    Addressee,
    Argument,
    Call,
    Command,
    CommandContext,
    Result,
    at_holder,
    bad,
    not_found,
)
from stompy_broker.admin.commands.listing import LISTING, listing
from stompy_broker.admin.tasks import Steps
from stompy_broker.session.context import AdminClient

_REASON = Argument("reason", "text", "shown to the client", default="closed by an operator")


class ClientCommands:
    """Commands about connections, subscriptions and transactions.

    Args:
        context: the broker.
    """

    def __init__(self, context: CommandContext) -> None:
        self._context = context

    def table(self) -> list[Command]:
        """Give the rows of these commands."""
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
                place=_of_connections,
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
                place=at_holder,
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
                place=at_holder,
            ),
        ]

    def _connections(self, call: Call) -> Steps[Result]:
        return listing(Kind.CONNECTIONS, self._context, call)

    def _closed(self, call: Call) -> Result:
        return {"total": len(self._context.closed), "rows": list(self._context.closed)}

    def _close_connection(self, call: Call) -> Result | Steps[Result]:
        args = call.args
        given = [name for name in ("id", "user", "client_id") if args[name] is not None]
        if len(given) != 1:
            raise bad("connection.close needs one of 'id', 'user', 'client_id'")
        (name,) = given
        found = [s for s in self._context.sessions.values() if _trait(s, name) == args[name]]
        if not found and name == "id":
            raise not_found(f"there is no connection {args['id'][:60]!r}")
        if self._context.peers is not None and name != "id" and not call.relayed:
            return self._close_everywhere(call, found)
        return self._close(call, found)

    def _close_everywhere(self, call: Call, found: list[AdminClient]) -> Steps[Result]:
        """Close connections of all brokers, once it is known how many there are."""
        cmd, args = call.request.cmd, call.request.args
        counted = yield from self._context.ask_peers(call, Request(cmd, args, dry_run=True))
        matched = [one for result in counted.values() for one in _closed_of(result)]
        call.expect(len(found) + len(matched))
        done: Result = {
            "matched": len(found) + len(matched),
            "connections": [*(one.key for one in found), *matched],
        }
        if call.dry_run:
            return done
        results = yield from self._context.ask_peers(call, Request(cmd, args))
        closed = [one for result in results.values() for one in _closed_of(result)]
        own = self._close(replace(call, request=Request(cmd, args)), found)
        return {**done, "closed": len(closed) + len(_closed_of(own))}

    def _close(self, call: Call, found: list[AdminClient]) -> Result:
        call.expect(len(found))
        result: Result = {"matched": len(found), "connections": [s.key for s in found]}
        if call.dry_run:
            return result
        reason = ProtocolError(ErrorCode.CLOSED_BY_OPERATOR, call.args["reason"][:1000])
        # One's own last, so that the others are gone before.
        for session in sorted(found, key=lambda session: session is call.client):
            session.refuse(reason)
        return {**result, "closed": len(found)}

    def _subscriptions(self, call: Call) -> Steps[Result]:
        return listing(Kind.SUBSCRIPTIONS, self._context, call)

    def _close_subscription(self, call: Call) -> Result:
        wanted, tail = call.args["id"], tail_of(self._context.cluster)
        for session in self._context.sessions.values():
            for subscription in session.subscriptions.values():
                if f"s-{subscription.number}{tail}" == wanted:
                    call.expect(1)
                    if not call.dry_run:
                        session.end_subscription(subscription)
                    return {
                        "closed": int(not call.dry_run),
                        "connection": session.key,
                        "destination": subscription.queue.destination,
                    }
            for browser in session.browsers:
                if f"s-{browser.number}{tail}" == wanted:
                    call.expect(1)
                    if not call.dry_run:
                        browser.end()
                    return {
                        "closed": int(not call.dry_run),
                        "connection": session.key,
                        "destination": str(browser.request.destination),
                    }
        raise not_found(f"there is no subscription {wanted[:60]!r}")

    def _transactions(self, call: Call) -> Steps[Result]:
        return listing(Kind.TRANSACTIONS, self._context, call)

    def _abort(self, call: Call) -> Result:
        wanted, tail = call.args["id"], tail_of(self._context.cluster)
        for session in self._context.sessions.values():
            for name, transaction in session.transactions.items():
                if f"t-{transaction.number}{tail}" == wanted:
                    call.expect(1)
                    if not call.dry_run:
                        session.abort_transaction(name)
                    return {
                        "aborted": int(not call.dry_run),
                        "connection": session.key,
                        "operations": len(transaction.operations),
                    }
        raise not_found(f"there is no transaction {wanted[:60]!r}")


def _of_connections(args: Mapping[str, Any]) -> Addressee:
    """Say where connections are closed: one where it is, several by the broker that was asked."""
    return Addressee.HERE if args["id"] is None else Addressee.HOLDER


def _closed_of(result: Mapping[str, object]) -> list[str]:
    """The connections that a broker has closed, or would."""
    found = result.get("connections")
    return [str(one) for one in found] if isinstance(found, list) else []


def _trait(session: AdminClient, name: str) -> Any:
    if name == "id":
        return session.key
    if name == "user":
        return session.principal.name if session.principal else None
    return session.client_id
